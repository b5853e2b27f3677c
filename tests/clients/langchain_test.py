"""LangChain's standard tests of chat models, through its OpenAI and its Ollama integration.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. What the tests
ask of the model itself and one of 135M does not give is listed with the reason. Those are not strict:
a larger model gives it, and a small one on another processor may. `cargo xtask ci --only frameworks`
sets everything up.
"""

import inspect

import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from openai_test import Server

# An object that fits a schema needs room for its end.
LONGEST = 256

DECIDES = "the model has to call a tool by itself, and one of 135M does not"
FOLLOWS = "the shape is only told in words, and a model of 135M writes another one"
LOOPS = "the model has to read a tool's outcome and answer by it, and one of 135M does not"
LETTERS = "the model has to copy words of another script, and one of 135M writes others"
NOTHING_ELSE = "the schema allows further keys, and a model of 135M adds some"

OF_ALL = {
    "test_json_mode": FOLLOWS,
    "test_agent_loop": LOOPS,
}
TOO_HARD = {
    "TestOpenAI": OF_ALL,
    "TestOpenAIResponses": {**OF_ALL, "test_structured_output_pydantic_2_v1": NOTHING_ELSE},
    # Ollama's API has no way to require a call.
    "TestOllama": {
        **OF_ALL,
        "test_structured_output_pydantic_2_v1": NOTHING_ELSE,
        "test_tool_calling": DECIDES,
        "test_tool_calling_async": DECIDES,
        "test_tool_calling_with_no_arguments": DECIDES,
        "test_bind_runnables_as_tools": DECIDES,
        "test_unicode_tool_call_integration": LETTERS,
    },
}


@pytest.fixture(autouse=True)
def allow_for_a_small_model(request):
    name = getattr(request.node, "originalname", request.node.name)
    # A small model fills an object with repetition for ever, unless that is punished; but punished it
    # calls again and again, each time with other arguments, instead of once with the right ones.
    request.cls.is_punished = "tool_call" not in name
    reason = TOO_HARD[request.cls.__name__].get(name)
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))


# The clients keep their connections, which belong to an event loop.
in_one_loop = pytest.mark.asyncio(loop_scope="module")
for _, function in inspect.getmembers(ChatModelIntegrationTests, inspect.iscoroutinefunction):
    in_one_loop(function)


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "log")
    for tests in (TestOpenAI, TestOpenAIResponses, TestOllama):
        tests.server = running
    yield running
    running.stop()


class Standard(ChatModelIntegrationTests):
    """What holds for all integrations."""

    server = None
    is_punished = True

    @property
    def has_tool_choice(self):
        return True

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_image_inputs(self):
        return False


class TestOpenAI(Standard):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {
            "model": self.server.model,
            "base_url": self.server.url + "/v1",
            "api_key": "none",
            "max_retries": 0,
            "temperature": 0,
            "max_completion_tokens": LONGEST,
            "frequency_penalty": 1.0 if self.is_punished else 0.0,
            "stream_usage": True,
        }


class TestOpenAIResponses(TestOpenAI):
    @property
    def chat_model_params(self):
        params = {**super().chat_model_params, "use_responses_api": True}
        # That API has no penalties of its own.
        del params["frequency_penalty"]
        return {**params, "extra_body": {"repeat_penalty": 1.3 if self.is_punished else 1.0}}


class TestOllama(Standard):
    @property
    def chat_model_class(self):
        return ChatOllama

    @property
    def chat_model_params(self):
        return {
            "model": self.server.model,
            "base_url": self.server.url,
            "temperature": 0,
            "num_predict": LONGEST,
            "repeat_penalty": 1.3,
        }

    @property
    def has_tool_choice(self):
        # Ollama's API has no such field.
        return False
