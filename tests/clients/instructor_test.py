"""Instructor against the built binary and a real model: typed answers by each way it asks for them.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file.
`cargo xtask ci --only frameworks` sets everything up.
"""

import typing

import instructor
import openai
import pydantic
import pytest
from openai_test import Server

DESCRIBE = [{"role": "user", "content": "Describe Paris as JSON."}]


class Place(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    city: typing.Literal["Paris", "London"]
    has_a_river: bool


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "log")
    yield running
    running.stop()


MODES = [
    instructor.Mode.TOOLS,
    instructor.Mode.TOOLS_STRICT,
    instructor.Mode.JSON_SCHEMA,
]


@pytest.fixture(params=MODES, ids=lambda mode: mode.name)
def client(server, request):
    plain = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    return instructor.from_openai(plain, mode=request.param)


SETTINGS = {"model": "default", "temperature": 0, "max_tokens": 96, "max_retries": 0}


def test_an_answer_has_its_type(client):
    place, raw = client.chat.completions.create_with_completion(
        response_model=Place, messages=DESCRIBE, **SETTINGS
    )
    assert isinstance(place, Place)
    assert raw.usage.completion_tokens > 0


def test_an_answer_grows_as_it_streams(client):
    *_, last = client.chat.completions.create_partial(
        response_model=Place, messages=DESCRIBE, **SETTINGS
    )
    assert last.city in ("Paris", "London")
    assert isinstance(last.has_a_river, bool)


def test_failures_are_told(client):
    with pytest.raises(Exception, match="no-such-model"):
        client.chat.completions.create(
            response_model=Place, messages=DESCRIBE, **{**SETTINGS, "model": "no-such-model"}
        )
