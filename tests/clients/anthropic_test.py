"""The official Anthropic client against the built binary and a real model.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. Nothing is
asserted about how clever the answers are, only that the client understands all of them and that
each fits the vendor's published schema. `cargo xtask ci --only anthropic` sets everything up.
"""

import json

import anthropic
import pytest
from anthropic.types import Message
from openai_test import KEY, Server

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "log")
    yield running
    running.stop()


def connect(server, **options):
    settings = {
        "api_key": "none",
        "max_retries": 0,
        "timeout": 120.0,
        # Every answer and every event must have the client's own types.
        "_strict_response_validation": True,
        **options,
    }
    return anthropic.Anthropic(base_url=server.url, **settings)


@pytest.fixture(scope="module")
def client(server):
    return connect(server)


@pytest.fixture(scope="module")
def model(server):
    return server.model


def ask(client, model, messages=None, **options):
    settings = {"temperature": 0, "max_tokens": 24, **options}
    extra = {"temperature": settings.pop("temperature")}
    raw = client.messages.with_raw_response.create(
        model=model, messages=messages or SKY, extra_body=extra, **settings
    )
    Message.model_validate(json.loads(raw.text()))
    return raw.parse()


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_models_are_listed_page_by_page_and_retrieved(client, model):
    assert model in [entry.id for entry in client.models.list(limit=1)]
    assert client.models.retrieve(model).display_name


def test_a_message_is_answered(client, model):
    answer = ask(client, model)
    assert (answer.type, answer.role) == ("message", "assistant")
    assert text_of(answer)
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 0
    assert 0 < answer.usage.output_tokens <= 24


def test_a_stream_is_the_same_message(client, model):
    whole = ask(client, model)
    with client.messages.stream(
        model=model, messages=SKY, max_tokens=24, extra_body={"temperature": 0}
    ) as stream:
        texts = list(stream.text_stream)
        streamed = stream.get_final_message()
    assert "".join(texts) == text_of(streamed) == text_of(whole)
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    Message.model_validate(streamed.model_dump())


def test_events_come_in_their_order(client, model):
    events = client.messages.create(model=model, messages=SKY, max_tokens=8, stream=True)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}


def test_a_stop_sequence_ends_the_answer_and_is_named(client, model):
    whole = text_of(ask(client, model))
    stop = whole.split()[2]
    answer = ask(client, model, stop_sequences=["never said", stop])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    assert text_of(answer) == whole[: whole.index(stop)]


def test_a_limit_beyond_the_context_is_no_error(client, model):
    messages = [{"role": "user", "content": "Say hi."}]
    with client.messages.stream(model=model, messages=messages, max_tokens=32_000) as stream:
        for _ in stream.text_stream:
            break


def test_tokens_are_counted_as_they_are_used(client, model):
    request = {"system": "You answer briefly.", "messages": SKY, "tools": [WEATHER]}
    counted = client.messages.count_tokens(model=model, **request).input_tokens
    usage = ask(client, model, **request).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_a_conversation_of_every_kind_of_block_is_taken(client, model):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I look it up.", "signature": "shimmy-thoughts:"},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "22 C"}]},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Dry."}},
                {"type": "text", "text": "Well?"},
            ],
        },
    ]
    system = [{"type": "text", "text": "You are brief."}, {"type": "text", "text": "And kind."}]
    answer = ask(
        client,
        model,
        messages,
        system=system,
        tools=[WEATHER],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        thinking={"type": "disabled"},
        metadata={"user_id": "u"},
    )
    assert {block.type for block in answer.content} <= {"text", "tool_use", "thinking"}


def test_a_json_schema_is_kept(client, model):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
        "additionalProperties": False,
    }
    answer = ask(
        client,
        model,
        [{"role": "user", "content": "Describe Paris as JSON."}],
        max_tokens=96,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert answer.stop_reason == "end_turn"
    assert set(json.loads(text_of(answer))) == {"city", "big"}


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as raised:
        ask(client, "no-such-model")
    error = raised.value
    assert error.body["error"]["type"] == "not_found_error"
    assert "no-such-model" in error.body["error"]["message"]
    assert error.request_id == error.body["request_id"]


def test_a_prompt_over_the_context_is_refused_in_the_known_words(client, model):
    long = [{"role": "user", "content": "one two three four five " * 60_000}]
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask(client, model, long)
    assert raised.value.body["error"]["message"].startswith("prompt is too long: ")


def test_an_image_is_refused_with_its_place(client, model):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask(client, model, [{"role": "user", "content": [image]}])
    assert "messages[0].content[0]" in raised.value.body["error"]["message"]


def test_a_reader_that_leaves_does_not_stop_the_server(client, model):
    stream = client.messages.create(model=model, messages=SKY, max_tokens=400, stream=True)
    next(iter(stream))
    stream.close()
    assert text_of(ask(client, model))


def test_a_key_is_asked_for_when_one_is_set(tmp_path, model):
    guarded = Server(tmp_path / "log", api_key=KEY)
    try:
        with pytest.raises(anthropic.AuthenticationError):
            ask(connect(guarded, api_key="wrong"), model)
        assert text_of(ask(connect(guarded, api_key=KEY), model, max_tokens=4))
        by_token = connect(guarded, api_key=None, auth_token=KEY)
        assert text_of(ask(by_token, model, max_tokens=4))
    finally:
        guarded.stop()
