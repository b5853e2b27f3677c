// The Vercel AI SDK with its provider for OpenAI-compatible servers. `javascript_test.py` starts the
// server and runs this.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  embedMany,
  generateText,
  Output,
  stepCountIs,
  streamText,
  tool,
} from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "shimmy",
  baseURL: process.env.SHIMMY_TEST_URL,
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const name = process.env.SHIMMY_TEST_NAME;
const model = provider(name);
const asked = {
  model,
  prompt: "Why is the sky blue?",
  temperature: 0,
  maxOutputTokens: 24,
  maxRetries: 0,
};
const Place = z.object({ city: z.enum(["Paris", "London"]), has_a_river: z.boolean() });

function weatherTool(cities) {
  return tool({
    description: "Reads the weather of a city.",
    inputSchema: z.object({ city: z.enum(["Paris", "London"]) }),
    execute: async ({ city }) => {
      cities.push(city);
      return { degrees: 20 };
    },
  });
}

test("a stream is the same text", async () => {
  const whole = await generateText(asked);
  assert.ok(whole.text);
  assert.ok(whole.usage.inputTokens > 0);
  const result = streamText(asked);
  let streamed = "";
  for await (const piece of result.textStream) streamed += piece;
  assert.equal(streamed, whole.text);
  assert.equal(await result.finishReason, whole.finishReason);
  assert.equal((await result.usage).outputTokens, whole.usage.outputTokens);
});

test("an object has its schema, whole and streamed", async () => {
  const request = {
    ...asked,
    maxOutputTokens: 96,
    prompt: "Describe Paris as JSON.",
    output: Output.object({ schema: Place }),
  };
  const { output } = await generateText(request);
  Place.parse(output);
  const result = streamText(request);
  let last;
  for await (const partial of result.partialOutputStream) last = partial;
  assert.deepEqual(last, output);
});

test("a tool is called and its outcome goes back", async () => {
  const cities = [];
  const { steps } = await generateText({
    ...asked,
    maxOutputTokens: 96,
    prompt: "What is the weather in Paris?",
    tools: { read_weather: weatherTool(cities) },
    toolChoice: "required",
    // A choice that is required stays so in every step; a model as small as this one would go on
    // calling for as long as it may.
    stopWhen: stepCountIs(2),
    providerOptions: { shimmy: { parallel_tool_calls: false } },
  });
  assert.equal(steps.length, 2);
  for (const step of steps) assert.equal(step.finishReason, "tool-calls");
  assert.equal(cities.length, 2);
});

test("a tool is called in a stream", async () => {
  const cities = [];
  const result = streamText({
    ...asked,
    maxOutputTokens: 96,
    tools: { read_weather: weatherTool(cities) },
    toolChoice: { type: "tool", toolName: "read_weather" },
  });
  const kinds = new Set();
  for await (const part of result.fullStream) {
    assert.notEqual(part.type, "error", String(part.error));
    kinds.add(part.type);
  }
  for (const kind of ["tool-input-start", "tool-input-delta", "tool-call", "tool-result"]) {
    assert.ok(kinds.has(kind), kind);
  }
  assert.equal(await result.finishReason, "tool-calls");
  assert.ok(cities.length >= 1);
});

test("a prompt is continued", async () => {
  const { text } = await generateText({
    ...asked,
    model: provider.completionModel(name),
    prompt: "The capital of France is",
  });
  assert.ok(text);
});

test("embeddings, or a plain refusal", async () => {
  try {
    const { embeddings } = await embedMany({
      model: provider.embeddingModel(name),
      values: ["the sea", "the ocean"],
      maxRetries: 0,
    });
    assert.equal(embeddings.length, 2);
  } catch (refused) {
    assert.ok(APICallError.isInstance(refused), refused);
    assert.equal(refused.statusCode, 400);
    assert.match(refused.message, /embeddings/);
  }
});

test("failures have their status, and none is tried again in vain", async () => {
  await assert.rejects(
    generateText({ ...asked, model: provider("no-such-model") }),
    (error) => error.statusCode === 404 && !error.isRetryable && /no-such-model/.test(error.message),
  );
  await assert.rejects(
    generateText({ ...asked, prompt: "one two three four five ".repeat(8000) }),
    (error) => error.statusCode === 400 && !error.isRetryable && /context/.test(error.message),
  );
  const errors = [];
  const result = streamText({
    ...asked,
    model: provider("no-such-model"),
    onError: ({ error }) => errors.push(error),
  });
  await result.consumeStream();
  assert.equal(errors[0].statusCode, 404);
});

test("a stream can be aborted", async () => {
  const left = new AbortController();
  const result = streamText({ ...asked, maxOutputTokens: 400, abortSignal: left.signal });
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") left.abort();
  }
  assert.ok((await generateText(asked)).text);
});
