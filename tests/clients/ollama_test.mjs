// The official Ollama client for JavaScript. `ollama_test.py` starts the server and runs this.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";

const client = new Ollama({ host: process.env.OLLAMA_TEST_HOST });
const messages = [{ role: "user", content: "Why is the sky blue?" }];
const options = { temperature: 0, num_predict: 24 };
const model = process.env.SHIMMY_TEST_NAME;

test("models are listed and shown", async () => {
  const { models } = await client.list();
  assert.equal(models.find((entry) => entry.model === model).digest.length, 64);
  const shown = await client.show({ model });
  assert.ok(shown.capabilities.includes("completion"));
  assert.ok(shown.model_info["general.architecture"]);
  assert.ok((await client.version()).version);
});

test("a stream is the same answer", async () => {
  const whole = await client.chat({ model, messages, options });
  let streamed = "";
  let last;
  for await (const part of await client.chat({ model, messages, options, stream: true })) {
    streamed += part.message.content;
    last = part;
  }
  assert.equal(streamed, whole.message.content);
  assert.equal(last.done, true);
  assert.equal(last.eval_count, whole.eval_count);
  assert.ok(last.eval_duration > 0);
});

test("a prompt is answered", async () => {
  const answer = await client.generate({ model, prompt: "Hello", options });
  assert.ok(answer.response);
  const loaded = await client.generate({ model, prompt: "", keep_alive: "5m" });
  assert.equal(loaded.done_reason, "load");
  const running = await client.ps();
  assert.equal(running.models[0].model, model);
});

test("a stream can be aborted", async () => {
  const endless = { ...options, num_predict: 512 };
  const stream = await client.chat({ model, messages, options: endless, stream: true });
  try {
    for await (const _ of stream) stream.abort();
  } catch (aborted) {
    // A short answer may have come whole before.
    assert.equal(aborted.name, "AbortError");
  }
  assert.ok((await client.chat({ model, messages, options })).message.content);
});

test("failures have their text", async () => {
  await assert.rejects(client.chat({ model: "nobody-has-this", messages }), {
    message: "model 'nobody-has-this' not found",
    status_code: 404,
  });
});

test("embeddings, or a plain refusal", async () => {
  try {
    const { embeddings } = await client.embed({ model, input: ["the sea", "the ocean"] });
    assert.equal(embeddings.length, 2);
  } catch (refused) {
    assert.match(refused.message, /embeddings/);
  }
});

test("a pull of what is there succeeds", async () => {
  assert.equal((await client.pull({ model })).status, "success");
});

test("a model is pulled, made, copied and deleted", async () => {
  const keeper = new Ollama({ host: process.env.OLLAMA_KEEPER_HOST });
  const repository = process.env.SHIMMY_TEST_REPOSITORY;
  const steps = [];
  for await (const step of await keeper.pull({ model: repository, stream: true })) steps.push(step);
  assert.equal(steps[0].status, "pulling manifest");
  assert.equal(steps.at(-1).status, "success");
  const figures = steps.filter((step) => step.total);
  assert.equal(figures.at(-1).completed, figures.at(-1).total);
  const parameters = { num_predict: 4, temperature: 0 };
  const made = await keeper.create({ model: "mine", from: repository, system: "Be brief.", parameters });
  assert.equal(made.status, "success");
  assert.equal((await keeper.show({ model: "mine" })).system, "Be brief.");
  assert.ok((await keeper.chat({ model: "mine", messages })).eval_count <= 4);
  await keeper.copy({ source: "mine", destination: "yours" });
  for (const name of ["mine", "yours", repository]) await keeper.delete({ model: name });
  await assert.rejects(keeper.delete({ model: "mine" }), { message: "model 'mine' not found" });
  await assert.rejects(keeper.pull({ model: "https://example.com/m.gguf" }), /is an address/);
});
