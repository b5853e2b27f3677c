"""The OpenAI client for JavaScript and the Vercel AI SDK against the built binary and a real model.

SHIMMY_BIN names the binary, SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file, and
SHIMMY_NODE_MODULES the folder of the JavaScript packages. Each file of tests is run by Node.
`cargo xtask ci --only javascript` sets everything up.
"""

import os
import pathlib
import shutil
import subprocess

import pytest
from openai_test import Server

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "log")
    yield running
    running.stop()


@pytest.mark.parametrize("name", ["openai_test.mjs", "aisdk_test.mjs"])
def test_the_tests_in_javascript_pass(server, tmp_path, name):
    # Node looks for packages beside the file that asks for them.
    shutil.copy(HERE / name, tmp_path)
    os.symlink(os.environ["SHIMMY_NODE_MODULES"], tmp_path / "node_modules")
    environment = {
        **os.environ,
        "SHIMMY_TEST_URL": server.url + "/v1",
        "SHIMMY_TEST_NAME": server.model,
    }
    command = ["node", "--test", "--test-reporter=spec", str(tmp_path / name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
