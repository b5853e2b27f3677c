"""The official Ollama clients, Python's and JavaScript's, against the built binary and a real model.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. Nothing is
asserted about how clever the answers are, only that the clients understand all of them.
SHIMMY_NODE_MODULES names the folder of the JavaScript packages; without it those tests are skipped.
`cargo xtask ci --only ollama` sets everything up.
"""

import hashlib
import json
import math
import os
import pathlib
import shutil
import socket
import subprocess

import ollama
import pytest
from fake_hub import REPOSITORY, Hub
from openai_test import KEY, Server

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
GREEDY = {"temperature": 0, "num_predict": 24}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
HERE = pathlib.Path(__file__).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port = free_port()
    address = f"127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("server") / "log"
    running = Server(log, arguments=["--ollama", address])
    running.ollama_url = f"http://{address}"
    yield running
    running.stop()


@pytest.fixture(scope="module", params=["own address", "shared address"])
def client(server, request):
    own = request.param == "own address"
    return ollama.Client(host=server.ollama_url if own else server.url, timeout=120)


@pytest.fixture(scope="module")
def model(server):
    return server.model


def counted(answer):
    assert answer.done
    assert answer.prompt_eval_count > 0
    assert answer.eval_count > 0
    assert answer.total_duration >= answer.eval_duration > 0


def test_models_are_listed_shown_and_seen_running(client, model):
    (listed,) = [entry for entry in client.list().models if entry.model == model]
    assert listed.size >= 0
    assert len(listed.digest) == 64
    assert listed.details.format == "gguf"
    shown = client.show(model)
    architecture = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{architecture}.context_length"] > 0
    assert "completion" in shown.capabilities
    assert "num_ctx" in shown.parameters
    client.chat(model, SKY, options=GREEDY)
    running = client.ps().models[0]
    assert running.model == model
    assert running.context_length > 0
    assert running.expires_at is not None


def test_a_chat_is_answered(client, model):
    answer = client.chat(model, SKY, options=GREEDY)
    assert answer.model == model
    assert answer.message.role == "assistant"
    assert answer.message.content
    assert answer.done_reason in ("stop", "length")
    counted(answer)


def test_a_stream_is_the_same_answer(client, model):
    whole = client.chat(model, SKY, options=GREEDY)
    lines = list(client.chat(model, SKY, options=GREEDY, stream=True))
    assert "".join(line.message.content for line in lines) == whole.message.content
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    counted(lines[-1])
    assert lines[-1].eval_count == whole.eval_count


def test_a_prompt_is_answered_and_continued(client, model):
    answer = client.generate(model, "Why is the sky blue?", system="Be brief.", options=GREEDY)
    assert answer.response
    counted(answer)
    lines = list(client.generate(model, "One, two,", raw=True, options=GREEDY, stream=True))
    whole = client.generate(model, "One, two,", raw=True, options=GREEDY)
    assert "".join(line.response for line in lines) == whole.response


def test_a_stop_text_and_a_limit_end_the_answer(client, model):
    limited = client.chat(model, SKY, options={"temperature": 0, "num_predict": 2})
    assert (limited.done_reason, limited.eval_count) == ("length", 2)
    whole = client.chat(model, SKY, options=GREEDY).message.content
    cut = whole[len(whole) // 2 :][:3]
    options = {**GREEDY, "stop": [cut]}
    stopped = client.chat(model, SKY, options=options)
    assert stopped.message.content == whole[: whole.index(cut)]
    assert stopped.done_reason == "stop"


def test_a_seed_gives_the_same_text_again(client, model):
    options = {"temperature": 1.0, "num_predict": 24, "seed": 7}
    texts = {client.chat(model, SKY, options=options).message.content for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.skipif(
    not os.environ.get("SHIMMY_TEST_MODEL"), reason="the deterministic engine only echoes"
)
def test_a_schema_is_kept(client, model):
    messages = [{"role": "user", "content": "A person, as JSON."}]
    options = {"temperature": 0, "num_predict": 128}
    answer = client.chat(model, messages, format=PERSON, options=options)
    person = json.loads(answer.message.content)
    assert isinstance(person["name"], str)
    assert isinstance(person["age"], int)


def test_tools_and_their_outcomes_are_taken(client, model):
    def get_weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Which city.
        """
        return f"11 degrees in {city}"

    call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    messages = [
        {"role": "user", "content": "The weather in Paris?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": get_weather("Paris")},
    ]
    answer = client.chat(model, messages, tools=[get_weather], options=GREEDY)
    assert answer.message.role == "assistant"
    for call in answer.message.tool_calls or []:
        assert isinstance(call.function.arguments, dict)


def test_a_model_is_loaded_kept_and_unloaded(client, model):
    assert client.generate(model, keep_alive="10m").done_reason == "load"
    assert client.chat(model, keep_alive=-1).done_reason == "load"
    assert client.generate(model, keep_alive=0).done_reason == "unload"
    assert client.chat(model, SKY, options=GREEDY, keep_alive="1m").done


def test_embeddings_or_a_plain_refusal(client, model):
    """A generative model may have none; one that has them keeps the contract."""
    try:
        answer = client.embed(model, ["the sea", "the ocean"])
    except ollama.ResponseError as refused:
        assert refused.status_code == 400
        assert "embeddings" in refused.error
        return
    assert len(answer.embeddings) == 2
    assert math.isclose(sum(x * x for x in answer.embeddings[0]), 1.0, rel_tol=1e-3)
    assert answer.prompt_eval_count > 0
    assert client.embeddings(model, "the sea").embedding


def test_failures_have_their_status_and_text(client, model):
    with pytest.raises(ollama.ResponseError) as unknown:
        client.chat("nobody-has-this", SKY)
    assert unknown.value.status_code == 404
    assert unknown.value.error == "model 'nobody-has-this' not found"
    with pytest.raises(ollama.ResponseError) as unknown:
        list(client.chat("nobody-has-this", SKY, stream=True))
    assert unknown.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as wrong:
        client.chat(model, SKY, options={"temperature": -1})
    assert "options.temperature" in wrong.value.error
    picture = [{"role": "user", "content": "What is this?", "images": [b"\x89PNG\r\n"]}]
    with pytest.raises(ollama.ResponseError) as unseen:
        client.chat(model, picture)
    assert unseen.value.status_code == 400
    assert "messages[0].images" in unseen.value.error


def test_a_pull_of_what_is_there_succeeds(client, model):
    assert client.pull(model).status == "success"
    assert list(client.pull(model, stream=True))[-1].status == "success"


@pytest.fixture(scope="module")
def hub():
    running = Hub(os.environ.get("SHIMMY_TEST_MODEL") or os.environ["SHIMMY_BASE_GGUF"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def keeper(tmp_path_factory, hub):
    """A server in a home of its own, which pulls from a hub of the tests."""
    home = tmp_path_factory.mktemp("home")
    places = {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_ENDPOINT": hub.url,
    }
    running = Server(home / "log", more=places)
    yield running
    running.stop()


@pytest.fixture
def keeping(keeper):
    return ollama.Client(host=keeper.url, timeout=120)


def test_a_model_is_pulled_and_deleted(keeping, hub):
    steps = list(keeping.pull(REPOSITORY, stream=True))
    assert steps[0].status == "pulling manifest"
    figures = [step for step in steps if step.total]
    assert {step.total for step in figures} == {len(hub.content)}
    assert figures[-1].digest == f"sha256:{hub.sha256}"
    assert figures[-1].completed == figures[-1].total
    assert steps[-1].status == "success"
    assert keeping.pull(REPOSITORY).status == "success"
    assert keeping.chat(REPOSITORY, SKY, options=GREEDY).message.content
    assert keeping.delete(REPOSITORY).status == "success"
    with pytest.raises(ollama.ResponseError) as gone:
        keeping.delete(REPOSITORY)
    assert gone.value.status_code == 404


def test_a_pull_that_fails_says_why(keeping):
    for name, status, part in (
        ("http://169.254.169.254/m.gguf", 400, "is an address"),
        ("no-such-model", 404, "not found"),
        ("Nobody/None-GGUF", 404, "not found"),
    ):
        with pytest.raises(ollama.ResponseError) as refused:
            keeping.pull(name)
        assert refused.value.status_code == status
        assert part in refused.value.error
    with pytest.raises(ollama.ResponseError, match="not found"):
        list(keeping.pull("Nobody/None-GGUF", stream=True))


def test_a_model_is_made_and_is_what_it_was_told_to_be(keeping, keeper):
    steps = list(
        keeping.create(
            "mine",
            from_=keeper.model,
            system="You are a parrot.",
            parameters={"temperature": 0, "num_predict": 4, "stop": ["\n\n"]},
            license="Do as you like.",
            messages=[ollama.Message(role="user", content="Hello")],
            stream=True,
        )
    )
    assert steps[-1].status == "success"
    shown = keeping.show("mine")
    assert shown.license == "Do as you like."
    assert "num_predict" in shown.parameters
    answer = keeping.chat("mine", SKY)
    assert answer.eval_count <= 4
    # What it was told is a part of the prompt.
    told = [
        {"role": "system", "content": "You are a parrot."},
        {"role": "user", "content": "Hello"},
        *SKY,
    ]
    asked = keeping.chat(keeper.model, told, options=GREEDY)
    assert answer.prompt_eval_count == asked.prompt_eval_count
    assert keeping.copy("mine", "yours").status == "success"
    assert keeping.delete("mine").status == "success"
    assert keeping.chat("yours", SKY).eval_count <= 4
    assert keeping.delete("yours").status == "success"


def test_a_model_is_made_of_a_file_that_was_sent(keeping, hub, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(hub.content)
    digest = keeping.create_blob(file)
    assert digest == f"sha256:{hub.sha256}"
    assert keeping.create("sent", files={"model.gguf": digest}).status == "success"
    assert keeping.chat("sent", SKY, options=GREEDY).message.content
    assert keeping.delete("sent").status == "success"
    missing = f"sha256:{hashlib.sha256(b'nobody sent this').hexdigest()}"
    with pytest.raises(ollama.ResponseError, match="not found"):
        keeping.create("sent", files={"model.gguf": missing})


def test_a_reader_that_leaves_does_not_stop_the_server(client, model):
    stream = client.chat(model, SKY, stream=True, options={"num_predict": 512})
    next(stream)
    stream.close()
    assert client.chat(model, SKY, options=GREEDY).message.content


def test_a_key_is_asked_for_when_one_is_set(tmp_path, model):
    guarded = Server(tmp_path / "log", api_key=KEY)
    try:
        with pytest.raises(ollama.ResponseError) as refused:
            ollama.Client(host=guarded.url).list()
        assert refused.value.status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        assert ollama.Client(host=guarded.url, headers=headers).list().models
    finally:
        guarded.stop()


@pytest.mark.skipif(
    not os.environ.get("SHIMMY_NODE_MODULES"), reason="the JavaScript packages are not there"
)
def test_the_javascript_client(server, keeper, tmp_path):
    # Node looks for packages beside the file that asks for them.
    shutil.copy(HERE / "ollama_test.mjs", tmp_path)
    os.symlink(os.environ["SHIMMY_NODE_MODULES"], tmp_path / "node_modules")
    environment = {
        **os.environ,
        "OLLAMA_TEST_HOST": server.ollama_url,
        "SHIMMY_TEST_NAME": server.model,
        "OLLAMA_KEEPER_HOST": keeper.url,
        "SHIMMY_TEST_REPOSITORY": REPOSITORY,
    }
    command = ["node", "--test", "--test-reporter=spec", str(tmp_path / "ollama_test.mjs")]
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
