"""LiteLLM against the built binary and a real model, by its three routes: OpenAI, Anthropic, Ollama.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. Nothing is
asserted about how clever the answers are, only that the client understands all of them.
`cargo xtask ci --only frameworks` sets everything up.
"""

import json
import os
import typing

# Without it the package fetches its prices when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import pydantic
import pytest
from openai_test import READ_WEATHER, WEATHER, Server, check_weather

ONLY_THAT = {"type": "function", "function": {"name": "read_weather"}}
SKY = [{"role": "user", "content": "Why is the sky blue?"}]


class Place(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    city: typing.Literal["Paris", "London"]
    has_a_river: bool


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "log")
    yield running
    running.stop()


ROUTES = ["openai", "anthropic", "ollama_chat"]
# Ollama's API cannot ask for a call, so it is the model's to make one.
CALLING_ROUTES = [
    *ROUTES[:2],
    pytest.param(
        "ollama_chat",
        marks=pytest.mark.xfail(strict=True, reason="a model of 135M does not call by itself"),
    ),
]


@pytest.fixture(params=ROUTES)
def route(server, request):
    base = server.url + ("/v1" if request.param == "openai" else "")
    return {"prefix": request.param, "api_base": base, "api_key": "none"}


def ask(route, messages=SKY, name="default", **options):
    own = {key: value for key, value in route.items() if key != "prefix"}
    settings = {"temperature": 0, "max_tokens": 24, "num_retries": 0, **own, **options}
    return litellm.completion(model=f"{route['prefix']}/{name}", messages=messages, **settings)


def test_a_stream_is_the_same_answer(route):
    whole = ask(route)
    text = whole.choices[0].message.content
    assert text
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.prompt_tokens > 0
    assert whole.usage.completion_tokens > 0
    chunks = list(ask(route, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert streamed == text
    rebuilt = litellm.stream_chunk_builder(chunks)
    assert rebuilt.choices[0].finish_reason == whole.choices[0].finish_reason


@pytest.mark.parametrize("route", CALLING_ROUTES, indirect=True)
def test_a_tool_that_must_be_called_is_called(route):
    options = {"tools": [READ_WEATHER], "tool_choice": ONLY_THAT, "max_tokens": 64}
    answer = ask(route, WEATHER, **options)
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "read_weather"
    check_weather(call.function.arguments)
    follow = WEATHER + [
        answer.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "20 degrees, sunny"},
    ]
    after = ask(route, follow, tools=[READ_WEATHER])
    assert after.choices[0].message.content or after.choices[0].message.tool_calls


@pytest.mark.parametrize("route", CALLING_ROUTES, indirect=True)
def test_tool_calls_stream(route):
    options = {"tools": [READ_WEATHER], "tool_choice": ONLY_THAT, "max_tokens": 64}
    rebuilt = litellm.stream_chunk_builder(list(ask(route, WEATHER, stream=True, **options)))
    call = rebuilt.choices[0].message.tool_calls[0]
    assert call.function.name == "read_weather"
    check_weather(call.function.arguments)


def test_structured_output_has_its_schema(route):
    messages = [{"role": "user", "content": "Describe Paris as JSON."}]
    answer = ask(route, messages, response_format=Place, max_tokens=96)
    Place.model_validate(json.loads(answer.choices[0].message.content))


def test_failures_have_their_class(route):
    with pytest.raises(litellm.NotFoundError, match="no-such-model"):
        ask(route, name="no-such-model")
    with pytest.raises(litellm.BadRequestError):
        ask(route, [{"role": "user", "content": "one two three four five " * 8000}])


def test_embeddings_or_a_plain_refusal(server):
    try:
        answer = litellm.embedding(
            "openai/default",
            input=["the sea", "the ocean"],
            api_base=server.url + "/v1",
            api_key="none",
            encoding_format="float",
        )
    except litellm.BadRequestError as refused:
        assert "embeddings" in str(refused)
        return
    assert len(answer.data) == 2
