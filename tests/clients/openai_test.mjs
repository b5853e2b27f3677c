// The official OpenAI client for JavaScript. `javascript_test.py` starts the server and runs this.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.env.SHIMMY_TEST_URL, apiKey: "none", maxRetries: 0 });
const model = process.env.SHIMMY_TEST_NAME;
const messages = [{ role: "user", content: "Why is the sky blue?" }];
const asked = { model, messages, temperature: 0, max_tokens: 24 };
const Place = z.object({ city: z.enum(["Paris", "London"]), has_a_river: z.boolean() });
const weather = {
  name: "read_weather",
  description: "Reads the weather of a city.",
  parameters: {
    type: "object",
    properties: { city: { type: "string", enum: ["Paris", "London"] } },
    required: ["city"],
    additionalProperties: false,
  },
};

test("models are listed and retrieved", async () => {
  const names = [];
  for await (const entry of client.models.list()) names.push(entry.id);
  assert.ok(names.includes(model));
  assert.equal((await client.models.retrieve(model)).id, model);
});

test("a stream is the same answer", async () => {
  const whole = await client.chat.completions.create(asked);
  assert.ok(whole.choices[0].message.content);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  const stream = client.chat.completions.stream({
    ...asked,
    stream_options: { include_usage: true },
  });
  let streamed = "";
  for await (const chunk of stream) streamed += chunk.choices[0]?.delta.content ?? "";
  assert.equal(streamed, whole.choices[0].message.content);
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, streamed);
  assert.equal(final.choices[0].finish_reason, whole.choices[0].finish_reason);
  assert.equal((await stream.totalUsage()).completion_tokens, whole.usage.completion_tokens);
});

test("structured outputs are parsed", async () => {
  const parsed = await client.chat.completions.parse({
    ...asked,
    max_tokens: 96,
    messages: [{ role: "user", content: "Describe Paris as JSON." }],
    response_format: zodResponseFormat(Place, "place"),
  });
  assert.equal(parsed.choices[0].finish_reason, "stop");
  Place.parse(parsed.choices[0].message.parsed);
});

test("a tool that must be called is called, and its outcome is answered", async () => {
  const cities = [];
  const read = ({ city }) => {
    cities.push(city);
    return "20 degrees, sunny";
  };
  const runner = client.chat.completions.runTools({
    ...asked,
    max_tokens: 96,
    messages: [{ role: "user", content: "What is the weather in Paris?" }],
    tools: [{ type: "function", function: { ...weather, function: read, parse: JSON.parse } }],
    tool_choice: { type: "function", function: { name: "read_weather" } },
  });
  await runner.done();
  assert.equal(cities.length, 1);
  assert.ok(["Paris", "London"].includes(cities[0]));
  assert.equal(await runner.finalFunctionToolCallResult(), "20 degrees, sunny");
});

test("tool calls stream in pieces", async () => {
  const stream = client.chat.completions.stream({
    ...asked,
    max_tokens: 96,
    tools: [{ type: "function", function: { ...weather, strict: true } }],
    tool_choice: "required",
    parallel_tool_calls: false,
  });
  const final = await stream.finalChatCompletion();
  const { message, finish_reason: reason } = final.choices[0];
  assert.equal(reason, "tool_calls");
  assert.equal(message.tool_calls[0].function.name, "read_weather");
  assert.ok(JSON.parse(message.tool_calls[0].function.arguments).city);
});

test("responses are complete, streamed and chained", async () => {
  const request = { model, input: "Why is the sky blue?", temperature: 0, max_output_tokens: 24 };
  const whole = await client.responses.create(request);
  assert.ok(whole.output_text);
  const stream = client.responses.stream(request);
  let streamed = "";
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") streamed += event.delta;
  }
  assert.equal(streamed, whole.output_text);
  const final = await stream.finalResponse();
  assert.equal(final.output[0].content[0].text, whole.output_text);
  const next = await client.responses.create({
    ...request,
    input: "And the sea?",
    previous_response_id: whole.id,
  });
  assert.ok(next.usage.input_tokens > whole.usage.input_tokens);
});

test("a prompt is continued", async () => {
  const prompt = "The capital of France is";
  const request = { model, prompt, temperature: 0, max_tokens: 8 };
  const whole = await client.completions.create(request);
  let streamed = "";
  for await (const chunk of await client.completions.create({ ...request, stream: true })) {
    streamed += chunk.choices[0].text;
  }
  assert.ok(streamed);
  assert.equal(streamed, whole.choices[0].text);
});

test("embeddings, or a plain refusal", async () => {
  try {
    // Without a format the client asks for base64 and decodes it.
    const { data } = await client.embeddings.create({ model, input: ["the sea", "the ocean"] });
    assert.equal(data.length, 2);
    const length = data[0].embedding.reduce((sum, value) => sum + value * value, 0);
    assert.ok(Math.abs(length - 1) < 1e-3);
  } catch (refused) {
    assert.ok(refused instanceof OpenAI.BadRequestError, refused);
    assert.match(refused.message, /embeddings/);
  }
});

test("failures have their class, field and code", async () => {
  await assert.rejects(
    client.chat.completions.create({ ...asked, model: "no-such-model" }),
    (error) => error instanceof OpenAI.NotFoundError && /no-such-model/.test(error.message),
  );
  await assert.rejects(
    client.chat.completions.create({ ...asked, max_tokens: -1 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "max_tokens",
  );
  const long = [{ role: "user", content: "one two three four five ".repeat(8000) }];
  await assert.rejects(
    client.chat.completions.create({ ...asked, messages: long, stream: true }),
    { status: 400, code: "context_length_exceeded" },
  );
});

test("a stream can be left", async () => {
  const stream = await client.chat.completions.create({ ...asked, max_tokens: 400, stream: true });
  for await (const _ of stream) break;
  assert.ok((await client.chat.completions.create(asked)).choices[0].message.content);
});
