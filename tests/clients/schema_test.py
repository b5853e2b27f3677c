"""Schemathesis against the built binary: no answer is a 5xx, and each is as the description says.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. Every route
gets its examples and some random requests that fit its description or do not; always the same ones.
`cargo xtask ci --only schema` sets everything up.
"""

import pathlib

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from openai_test import Server
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

DESCRIPTION = pathlib.Path(__file__).parents[2] / "crates/shimmy-server/openapi.json"
# With as few tokens as this an answer is as good as a long one, however long it may be.
FEW = 4
SMALL = ["--max-output", str(FEW), "--ctx", "512"]
LIMITS = {"max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "num_predict"}
# What writes into the store of whoever runs this, deletes from it, or fetches from elsewhere.
LEFT_OUT = ["/api/copy", "/api/create", "/api/delete", "/api/pull", "/api/blobs/{digest}"]
CONFIG = {
    "seed": 1,
    "generation": {"max-examples": 3, "deterministic": True, "no-shrink": True},
    # The edges of the large requests are thousands, each an answer of the model.
    "phases": {"stateful": {"enabled": False}, "coverage": {"enabled": False}},
}

schema = schemathesis.openapi.from_path(
    DESCRIPTION, config=SchemathesisConfig.from_dict(CONFIG)
).exclude(path=LEFT_OUT)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "log", arguments=SMALL)
    yield running
    running.stop()


def test_the_server_has_this_description(server):
    served = requests.get(server.url + "/openapi.json", timeout=30).json()
    assert set(served["paths"]) == set(schema.raw_schema["paths"])


def shorten(body):
    for name, value in body.items():
        if name == "options" and isinstance(value, dict):
            shorten(value)
        elif name in LIMITS and isinstance(value, int) and (value > FEW or value in (-1, -2)):
            body[name] = FEW


@schema.parametrize()
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(server, case):
    if isinstance(case.body, dict):
        shorten(case.body)
        # A made-up name is not found, which would be all that is ever seen of a route.
        if isinstance(case.body.get("model"), str):
            case.body["model"] = "default"
    answer = case.call(base_url=server.url, timeout=30)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    # Schemathesis takes the schema of a stream for that of its events' envelopes; here as in OpenAI's
    # own description it is that of their data, and the contract tests hold each event to it.
    if not answer.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        checks.append(response_schema_conformance)
    case.validate_response(answer, checks=checks)
