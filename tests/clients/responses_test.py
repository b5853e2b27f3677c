"""The official OpenAI client's Responses against the built binary and a real model.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. Nothing is
asserted about how clever the answers are, only that the client understands all of them and that
each fits the vendor's published schema. `cargo xtask ci --only openai` sets everything up.
"""

import json

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from openai_test import Server
from pydantic import TypeAdapter

SKY = "Why is the sky blue?"
EVENT = TypeAdapter(ResponseStreamEvent)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "strict": False,
    "parameters": {
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


@pytest.fixture(scope="module")
def client(server):
    return server.client()


@pytest.fixture(scope="module")
def model(server):
    return server.model


def ask(client, model, asked=SKY, **options):
    settings = {"temperature": 0, "max_output_tokens": 24, **options}
    raw = client.responses.with_raw_response.create(model=model, input=asked, **settings)
    Response.model_validate(json.loads(raw.text))
    return raw.parse()


def test_a_response_is_complete(client, model):
    answer = ask(client, model, metadata={"topic": "sky"})
    assert answer.object == "response"
    assert answer.status in ("completed", "incomplete")
    assert answer.output_text
    assert answer.metadata == {"topic": "sky"}
    usage = answer.usage
    assert usage.input_tokens > 0
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_a_stream_adds_up_to_the_same_response(client, model):
    whole = ask(client, model)
    events = list(
        client.responses.create(
            model=model, input=SKY, temperature=0, max_output_tokens=24, stream=True
        )
    )
    for number, event in enumerate(events):
        EVENT.validate_python(event.model_dump())
        assert event.sequence_number == number
    kinds = [event.type for event in events]
    assert kinds[:3] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert kinds[-1] == f"response.{whole.status}"
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    last = events[-1].response
    assert deltas == last.output_text == whole.output_text
    assert last.usage.output_tokens == whole.usage.output_tokens


def test_the_clients_own_accumulator_understands_the_stream(client, model):
    with client.responses.stream(model=model, input=SKY, max_output_tokens=400) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                assert event.snapshot.endswith(event.delta)
        final = stream.get_final_response()
    assert final.output_text


def test_a_conversation_goes_on_and_can_be_forgotten(client, model):
    first = ask(client, model, "My name is Ada.", instructions="Be brief.")
    second = ask(client, model, "What is my name?", previous_response_id=first.id)
    whole = ask(
        client,
        model,
        [
            {"role": "user", "content": "My name is Ada."},
            *[item.model_dump() for item in first.output],
            {"role": "user", "content": "What is my name?"},
        ],
    )
    assert second.usage.input_tokens == whole.usage.input_tokens
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, model, "And now?", previous_response_id=first.id)
    assert raised.value.code == "previous_response_not_found"


def test_what_is_not_to_be_kept_is_not(client, model):
    answer = ask(client, model, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_tools_of_every_kind_and_their_outcomes_are_taken(client, model):
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Look."}]},
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "22 C"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": "*** x"},
        {
            "type": "custom_tool_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_text", "text": "done"}],
        },
        {"role": "user", "content": "Well?"},
    ]
    tools = [
        WEATHER,
        {"type": "custom", "name": "apply_patch", "description": "Edits files."},
        {"type": "namespace", "name": "agents", "description": "", "tools": [
            {"type": "function", "name": "spawn", "parameters": {"type": "object"}}]},
        {"type": "web_search"},
    ]
    answer = ask(client, model, items, tools=tools, parallel_tool_calls=False)
    kinds = {item.type for item in answer.output}
    assert kinds <= {"message", "function_call", "custom_tool_call", "reasoning"}
    counted = client.responses.input_tokens.count(model=model, input=items, tools=tools)
    assert counted.input_tokens == answer.usage.input_tokens


def test_a_json_schema_is_kept(client, model):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "name": "city", "strict": True, "schema": schema}
    answer = ask(
        client,
        model,
        "Describe Paris as JSON.",
        max_output_tokens=96,
        text={"format": form},
    )
    assert answer.status == "completed"
    assert set(json.loads(answer.output_text)) == {"city", "big"}


def test_errors_name_the_field_and_carry_their_code(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, model, max_output_tokens=-1)
    assert raised.value.param == "max_output_tokens"
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, model, "one two three four five " * 60_000)
    assert raised.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        ask(client, "no-such-model")


def test_a_reader_that_leaves_does_not_stop_the_server(client, model):
    stream = client.responses.create(model=model, input=SKY, max_output_tokens=400, stream=True)
    next(iter(stream))
    stream.close()
    assert ask(client, model).output_text


def test_a_websocket_answers_one_request_after_the_other(client, model):
    with client.responses.connect() as connection:
        previous = None
        for text in ("My name is Ada.", "What is my name?"):
            connection.response.create(
                model=model,
                input=text,
                store=False,
                max_output_tokens=24,
                previous_response_id=previous,
            )
            for event in connection:
                EVENT.validate_python(event.model_dump())
                if event.type in ("response.completed", "response.incomplete"):
                    break
            assert event.response.output_text
            assert event.response.previous_response_id == previous
            previous = event.response.id
        connection.response.create(model=model, input="x", previous_response_id="resp_gone")
        refused = next(iter(connection))
        assert (refused.type, refused.status) == ("error", 400)
        assert refused.error.code == "previous_response_not_found"
