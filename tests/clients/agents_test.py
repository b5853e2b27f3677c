"""The OpenAI Agents SDK against the built binary and a real model, over Responses and over chat.

SHIMMY_BIN names the binary and SHIMMY_TEST_MODEL (or SHIMMY_BASE_GGUF) the GGUF file. Nothing is
asserted about how clever the answers are, only that the loop of tools goes round.
`cargo xtask ci --only frameworks` sets everything up.
"""

import asyncio
import typing

import agents
import openai
import pydantic
import pytest
from openai_test import Server

agents.set_tracing_disabled(True)


class Place(pydantic.BaseModel):
    city: typing.Literal["Paris", "London"]
    has_a_river: bool


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "log")
    yield running
    running.stop()


@pytest.fixture(params=[agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel])
def make(server, request):
    """Makes an agent. Each has a client of its own, since each test has its own event loop."""

    def agent(name="default", **options):
        client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        settings = agents.ModelSettings(
            temperature=0,
            max_tokens=64,
            tool_choice=options.pop("tool_choice", None),
            parallel_tool_calls=False if options.get("tools") else None,
        )
        return agents.Agent(
            name="Guide",
            instructions="You answer in one short sentence.",
            model=request.param(name, client),
            model_settings=settings,
            **options,
        )

    return agent


@pytest.fixture
def cities():
    return []


@pytest.fixture
def read_weather(cities):
    @agents.function_tool
    def read_weather(city: typing.Literal["Paris", "London"]) -> str:
        """Reads the weather of a city."""
        cities.append(city)
        return "20 degrees, sunny"

    return read_weather


def test_an_agent_answers(make):
    result = agents.Runner.run_sync(make(), "What is the capital of France?")
    assert result.final_output
    usage = result.context_wrapper.usage
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


def test_the_loop_calls_the_tool_and_answers_with_its_outcome(make, cities, read_weather):
    agent = make(tools=[read_weather], tool_choice="read_weather")
    result = agents.Runner.run_sync(agent, "What is the weather in Paris?")
    assert cities
    kinds = [item.type for item in result.new_items]
    assert kinds[:2] == ["tool_call_item", "tool_call_output_item"]
    # The choice is no longer forced once the tool was called; whether this model then answers or
    # goes on calling is its own affair, but the loop has come to an end.
    assert result.final_output


def test_the_loop_streams(make, cities, read_weather):
    async def run():
        agent = make(
            tools=[read_weather],
            tool_choice="required",
            # An answer of this model may run into its limit, which is an error of such a stream.
            tool_use_behavior="stop_on_first_tool",
        )
        result = agents.Runner.run_streamed(agent, "What is the weather in Paris?")
        return [event.type async for event in result.stream_events()], result.final_output

    kinds, output = asyncio.run(run())
    assert len(cities) == 1
    assert {"raw_response_event", "run_item_stream_event"} <= set(kinds)
    assert output == "20 degrees, sunny"


def test_an_output_has_its_type(make):
    result = agents.Runner.run_sync(make(output_type=Place), "Describe Paris.")
    assert isinstance(result.final_output, Place)


def test_a_second_turn_goes_on_from_the_first(make):
    first = agents.Runner.run_sync(make(), "My name is Ada.")
    asked = first.to_input_list() + [{"role": "user", "content": "What is my name?"}]
    second = agents.Runner.run_sync(make(), asked)
    assert second.final_output
    used = [r.context_wrapper.usage.input_tokens for r in (first, second)]
    assert used[1] > used[0]


def test_failures_have_their_class(make):
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        agents.Runner.run_sync(make("no-such-model"), "Hello")
