"""The official OpenAI client against the built binary and a real model.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. Nothing is
asserted about how clever the answers are, only that the client understands all of them.
`cargo xtask ci --only openai` sets everything up.
"""

import json
import math
import os
import pathlib
import socket
import subprocess
import threading
import time
import typing
import urllib.error
import urllib.request

import openai
import pydantic
import pytest

KEY = "a-token-for-this-test"
START_LIMIT = 60.0
SKY = [{"role": "user", "content": "Why is the sky blue?"}]
FRANCE = [
    {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
]


class Server:
    """The binary, serving on a free loopback port until it is stopped."""

    def __init__(self, log, api_key=None, arguments=(), more=()):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SHIMMY_", "OPENAI_", "OLLAMA_"))
        }
        base = os.environ.get("SHIMMY_TEST_MODEL") or os.environ["SHIMMY_BASE_GGUF"]
        environment["SHIMMY_BASE_GGUF"] = base
        # What lies beside it is listed too, so the first of a list need not be this one.
        self.model = pathlib.Path(base).stem.lower().replace("_", "-")
        if api_key:
            environment["SHIMMY_API_KEY"] = api_key
        environment.update(more)
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [os.environ["SHIMMY_BIN"], "serve", "--bind", f"127.0.0.1:{port}", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.wait_until_healthy()

    def wait_until_healthy(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + START_LIMIT
        while True:
            try:
                with opener.open(self.url + "/health", timeout=5) as answer:
                    assert json.load(answer)["status"] == "ok"
                    return
            except (OSError, urllib.error.URLError):
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    pytest.fail(f"the server did not start:\n{self.log.read_text()}")
                time.sleep(0.02)

    def client(self, **options):
        settings = {
            "api_key": "none",
            "max_retries": 0,
            "timeout": 120.0,
            # Every answer and every chunk must have the client's own types.
            "_strict_response_validation": True,
            **options,
        }
        return openai.OpenAI(base_url=self.url + "/v1", **settings)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


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


def chat(client, model, messages=None, **options):
    settings = {"temperature": 0, "max_tokens": 24, **options}
    return client.chat.completions.create(model=model, messages=messages or SKY, **settings)


def text_of(stream):
    return "".join(
        choice.delta.content or "" for chunk in stream for choice in chunk.choices
    )


def test_models_are_listed_and_retrieved(client, model):
    listed = client.models.list().data
    assert model in [entry.id for entry in listed]
    assert all(entry.object == "model" for entry in listed)
    assert client.models.retrieve(model).id == model


def test_chat_answers(client, model):
    answer = chat(client, model, FRANCE)
    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert choice.message.role == "assistant"
    assert "Paris" in choice.message.content
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_the_base_model_has_a_name_that_always_works(client):
    assert "Paris" in chat(client, "default", FRANCE).choices[0].message.content


def test_chat_streams_the_same_text(client, model):
    whole = chat(client, model)
    chunks = list(
        chat(client, model, stream=True, stream_options={"include_usage": True})
    )
    assert text_of(chunks) == whole.choices[0].message.content
    assert len({chunk.id for chunk in chunks}) == 1
    assert len({chunk.created for chunk in chunks}) == 1
    roles = [choice.delta.role for chunk in chunks for choice in chunk.choices]
    assert roles[0] == "assistant"
    assert not any(roles[1:])
    *others, last = chunks
    assert last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens
    assert all(chunk.usage is None for chunk in others)
    assert others[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_stop_string_ends_the_answer_and_is_left_out(client, model):
    whole = chat(client, model).choices[0].message.content
    stop = whole.split()[4]
    answer = chat(client, model, stop=[stop]).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.content == whole[: whole.index(stop)]
    streamed = text_of(chat(client, model, stop=[stop], stream=True))
    assert streamed == answer.message.content


def test_the_same_seed_gives_the_same_text(client, model):
    def draw(seed):
        answer = chat(client, model, seed=seed, temperature=1.0, top_p=1.0)
        return answer.choices[0].message.content

    assert draw(7) == draw(7)
    assert len({draw(seed) for seed in range(4)}) > 1


def test_max_tokens_is_kept_and_told(client, model):
    answer = chat(client, model, max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    newer = client.chat.completions.create(
        model=model, messages=SKY, temperature=0, max_completion_tokens=5
    )
    assert newer.choices[0].finish_reason == "length"
    assert newer.usage.completion_tokens == 5


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        chat(client, "no-such-model")
    assert "no-such-model" in raised.value.body["message"]


def test_a_prompt_over_the_context_is_refused_with_its_code(client, model):
    long = [{"role": "user", "content": "one two three four five " * 8000}]
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, model, long)
    assert raised.value.code == "context_length_exceeded"
    assert sum(word.strip(".,;()").isdigit() for word in raised.value.body["message"].split()) >= 2


def test_a_bad_value_names_its_field(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, model, max_tokens=-1)
    assert "max_tokens" in raised.value.body["message"]
    assert set(raised.value.body) == {"message", "type", "param", "code"}


def test_a_wrong_type_names_its_field(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, model, temperature="warm")
    assert "temperature" in raised.value.body["message"]


def test_no_messages_are_refused(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=model, messages=[], max_tokens=4)
    assert "messages" in raised.value.body["message"]


def test_a_json_schema_is_kept(client, model):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
        "additionalProperties": False,
    }
    answer = chat(
        client,
        model,
        [{"role": "user", "content": "Describe Paris as JSON."}],
        max_tokens=96,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "strict": True, "schema": schema},
        },
    )
    assert answer.choices[0].finish_reason == "stop"
    value = json.loads(answer.choices[0].message.content)
    assert set(value) == {"city", "big"}
    assert isinstance(value["city"], str)
    assert isinstance(value["big"], bool)


class Place(pydantic.BaseModel):
    """What structured outputs are parsed into; small, so that every model comes to its end."""

    model_config = pydantic.ConfigDict(extra="forbid")
    city: typing.Literal["Paris", "London"]
    has_a_river: bool


def test_structured_outputs_are_parsed(client, model):
    parsed = client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "Describe Paris as JSON."}],
        response_format=Place,
        temperature=0,
        max_tokens=96,
    )
    assert parsed.choices[0].finish_reason == "stop"
    assert isinstance(parsed.choices[0].message.parsed, Place)


READ_WEATHER = {
    "type": "function",
    "function": {
        "name": "read_weather",
        "description": "Reads the weather of a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Paris", "London"]},
                "celsius": {"type": "boolean"},
            },
            "required": ["city", "celsius"],
            "additionalProperties": False,
        },
    },
}
READ_TIME = {
    "type": "function",
    "function": {
        "name": "read_time",
        "description": "Reads the clock.",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]


def check_weather(arguments):
    value = json.loads(arguments)
    assert set(value) == {"city", "celsius"}
    assert value["city"] in ("Paris", "London")
    assert isinstance(value["celsius"], bool)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "read_weather"}}]
)
def test_a_tool_that_must_be_called_is_called(client, model, choice):
    answer = chat(
        client,
        model,
        WEATHER,
        tools=[READ_WEATHER],
        tool_choice=choice,
        parallel_tool_calls=False,
        max_tokens=128,
    )
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "read_weather"
    check_weather(call.function.arguments)

    # The conversation goes on with the tool's result.
    follow = WEATHER + [
        {"role": "assistant", "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "20 degrees, sunny"},
    ]
    after = chat(client, model, follow, tools=[READ_WEATHER], tool_choice="none")
    assert after.choices[0].message.content
    assert after.choices[0].message.tool_calls is None


def test_tool_calls_stream_in_pieces(client, model):
    stream = chat(
        client,
        model,
        WEATHER,
        tools=[READ_WEATHER, READ_TIME],
        tool_choice={"type": "function", "function": {"name": "read_weather"}},
        parallel_tool_calls=False,
        max_tokens=128,
        stream=True,
    )
    pieces = []
    reason = None
    for chunk in stream:
        (choice,) = chunk.choices
        pieces.extend(choice.delta.tool_calls or [])
        reason = choice.finish_reason or reason
    assert reason == "tool_calls"
    first, *others = pieces
    assert first.id and first.type == "function"
    assert first.function.name == "read_weather"
    assert all(piece.index == 0 for piece in pieces)
    assert not any(piece.id or piece.function.name for piece in others)
    check_weather("".join(piece.function.arguments for piece in pieces))


def test_a_tool_that_does_not_exist_cannot_be_chosen(client, model):
    choice = {"type": "function", "function": {"name": "read_minds"}}
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, model, WEATHER, tools=[READ_WEATHER], tool_choice=choice)
    assert "read_minds" in raised.value.body["message"]
    with pytest.raises(openai.BadRequestError):
        chat(client, model, WEATHER, tool_choice="required", tools=[])


def test_probabilities_come_whole_and_streamed(client, model):
    whole = chat(client, model, logprobs=True, top_logprobs=3, max_tokens=8)
    tokens = whole.choices[0].logprobs.content
    text = bytes(byte for token in tokens for byte in token.bytes or [])
    assert text.decode("utf-8", "replace") == whole.choices[0].message.content
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        # At temperature 0 the likeliest token is the one that is taken.
        assert token.top_logprobs[0].token == token.token
    stream = chat(client, model, logprobs=True, max_tokens=8, stream=True)
    streamed = [
        token
        for chunk in stream
        for choice in chunk.choices
        if choice.logprobs
        for token in choice.logprobs.content
    ]
    assert [token.token for token in streamed] == [token.token for token in tokens]
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, model, logprobs=True, top_logprobs=21)
    assert "top_logprobs" in raised.value.body["message"]


def test_several_choices_stream_side_by_side(client, model):
    whole = chat(client, model, n=3, seed=3, temperature=1.0, max_tokens=8)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    texts = ["", "", ""]
    stream = chat(
        client,
        model,
        n=3,
        seed=3,
        temperature=1.0,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts)
    assert chunk.usage.completion_tokens == whole.usage.completion_tokens


def test_images_are_refused_in_plain_words(client, model):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, model, [{"role": "user", "content": parts}])
    assert "text" in raised.value.body["message"]


def complete(client, model, prompt, **options):
    settings = {"temperature": 0, "max_tokens": 8, **options}
    return client.completions.create(model=model, prompt=prompt, **settings)


def test_completions_go_on_where_the_prompt_ends(server, client, model):
    whole = complete(client, model, "The capital of France is")
    assert whole.object == "text_completion"
    text = whole.choices[0].text
    assert text
    assert whole.choices[0].finish_reason in ("stop", "length")
    # The vendor's own chunks have a null where its types want a reason.
    lenient = server.client(_strict_response_validation=False)
    stream = list(
        complete(
            lenient,
            model,
            "The capital of France is",
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(choice.text for chunk in stream for choice in chunk.choices) == text
    assert stream[-1].usage.completion_tokens == whole.usage.completion_tokens
    echoed = complete(client, model, "The capital of France is", echo=True)
    assert echoed.choices[0].text == "The capital of France is" + text


def test_several_prompts_have_several_answers(client, model):
    prompts = ["One, two,", "Monday, Tuesday,"]
    answer = complete(client, model, prompts, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    texts = [choice.text for choice in answer.choices]
    assert texts[0] == texts[1]
    assert texts[2] == texts[3]
    singles = [complete(client, model, prompt).usage.prompt_tokens for prompt in prompts]
    assert answer.usage.prompt_tokens == sum(singles)


def test_completions_have_the_older_probabilities(client, model):
    answer = complete(client, model, "One, two,", logprobs=2, max_tokens=4)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 4
    assert logprobs.text_offset[0] == 0
    assert all(token in top for token, top in zip(logprobs.tokens, logprobs.top_logprobs))
    with pytest.raises(openai.BadRequestError):
        complete(client, model, "x", logprobs=6)
    with pytest.raises(openai.BadRequestError) as raised:
        complete(client, model, "x", best_of=2)
    assert "best_of" in raised.value.body["message"]


def test_embeddings_or_a_plain_refusal(client, model):
    """A generative model may have none; one that has them keeps the contract."""
    try:
        # Asked for base64, which is its habit, the strict client refuses what it then decodes.
        texts = ["the sea", "the ocean"]
        answer = client.embeddings.create(model=model, input=texts, encoding_format="float")
    except openai.BadRequestError as refused:
        assert "embeddings" in refused.body["message"]
        return
    first, second = answer.data
    assert (first.index, second.index) == (0, 1)
    assert math.isclose(sum(x * x for x in first.embedding), 1.0, rel_tol=1e-3)
    assert answer.usage.prompt_tokens > 0
    floats = client.embeddings.create(model=model, input="the sea", encoding_format="float")
    pairs = zip(floats.data[0].embedding, first.embedding)
    assert all(math.isclose(a, b, abs_tol=1e-3) for a, b in pairs)
    short = client.embeddings.create(
        model=model, input="the sea", encoding_format="float", dimensions=8
    )
    assert len(short.data[0].embedding) == 8


def test_text_of_any_script_goes_in_and_comes_out_whole(client, model):
    messages = [{"role": "user", "content": "Repeat: Grüße, 你好, Здравствуй, 🦙👩‍👩‍👧"}]
    whole = chat(client, model, messages, max_tokens=48)
    chunks = chat(client, model, messages, max_tokens=48, stream=True)
    streamed = text_of(chunks)
    assert streamed == whole.choices[0].message.content
    assert streamed
    streamed.encode("utf-8")


def test_a_conversation_keeps_what_was_said(client, model):
    messages = [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": [{"type": "text", "text": "My name is Ada."}]},
        {"role": "assistant", "content": "Nice to meet you, Ada."},
        {"role": "user", "content": "Say hello to me."},
    ]
    short = chat(client, model, messages[:2]).usage.prompt_tokens
    answer = chat(client, model, messages)
    assert answer.usage.prompt_tokens > short
    assert answer.choices[0].message.content


def test_a_reader_that_leaves_does_not_stop_the_server(client, model):
    stream = chat(client, model, stream=True, max_tokens=400)
    next(iter(stream))
    stream.close()
    assert "Paris" in chat(client, model, FRANCE).choices[0].message.content


def test_two_streams_run_together(server, model):
    """Neither waits for the other to end: each gets its first text before the other's last."""
    moments = {}
    texts = {}
    start = threading.Barrier(2)

    def read(name, messages):
        own = server.client()
        start.wait(timeout=30)
        seen = []
        text = ""
        stream = own.chat.completions.create(
            model=model,
            messages=messages,
            stream=True,
            max_tokens=64,
            temperature=0,
            extra_body={"ignore_eos": True},
        )
        for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    seen.append(time.monotonic())
                    text += choice.delta.content
        moments[name], texts[name] = seen, text

    prompts = {"sky": SKY, "sea": [{"role": "user", "content": "Write about the sea."}]}
    threads = [threading.Thread(target=read, args=item) for item in prompts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert set(moments) == {"sky", "sea"}
    assert moments["sky"][0] < moments["sea"][-1]
    assert moments["sea"][0] < moments["sky"][-1]
    assert texts["sky"] != texts["sea"]


def test_a_token_is_asked_for_when_one_is_set(tmp_path):
    guarded = Server(tmp_path / "log", api_key=KEY)
    try:
        with pytest.raises(openai.AuthenticationError):
            guarded.client(api_key="wrong").models.list()
        with pytest.raises(openai.AuthenticationError):
            chat(guarded.client(api_key="wrong"), "default")
        allowed = guarded.client(api_key=KEY)
        assert allowed.models.list().data
        assert chat(allowed, "default", FRANCE, max_tokens=4).choices[0].message.content
    finally:
        guarded.stop()
