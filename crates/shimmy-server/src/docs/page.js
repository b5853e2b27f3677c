// Shows /openapi.json and tries its routes. Everything from outside becomes text, never markup.

const main = document.getElementById("main");
const key = document.getElementById("key");

/** An element with properties and children; strings become text. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.flat().filter((child) => child !== undefined));
  return element;
}

/** Text with `code` in it, by paragraphs. */
function prose(text = "") {
  return text.split("\n\n").filter(Boolean).map((paragraph) => make("p", {}, inline(paragraph)));
}

function inline(text = "") {
  return text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

function authorization() {
  return key.value ? { Authorization: `Bearer ${key.value}` } : {};
}

let api;

function resolve(value) {
  if (!value?.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, name) => at[name], api);
}

const nameOf = (schema) => schema?.$ref?.split("/").pop();

/** A schema in few words. */
function kind(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return nameOf(schema);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map(kind).join(" or ");
  if (schema.allOf) return schema.allOf.map(kind).join(" and ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const types = [schema.type ?? "anything"].flat();
  const words = types.map((type) => (type === "array" ? `array of ${kind(schema.items)}` : type));
  return words.join(" or ");
}

/** The schemas of objects that a value of this schema may be made of. */
function objects(schema) {
  const target = resolve(schema) ?? {};
  if (target.properties) return [target];
  const parts = target.allOf ?? target.oneOf ?? target.anyOf ?? [];
  return target.items ? objects(target.items) : parts.flatMap(objects);
}

/** The fields of a schema, those of nested ones behind a click. */
function fields(schema) {
  const list = make("ul", { className: "fields" });
  for (const object of objects(schema)) {
    for (const [name, field] of Object.entries(object.properties)) {
      const about = field.description ?? field.oneOf?.[0]?.description ?? resolve(field)?.description;
      const bounds = ["minimum", "maximum"].filter((bound) => bound in field);
      const words = [
        kind(field),
        ...bounds.map((bound) => `${bound} ${field[bound]}`),
        ...(object.required?.includes(name) ? ["required"] : []),
      ];
      const line = [
        make("code", {}, name), " ",
        make("span", { className: "quiet" }, words.join(", ")), " ",
        ...inline(about),
      ];
      const inner = objects(field).length ? lazily(make("details", {}, make("summary", {}, line)), () => fields(field)) : line;
      list.append(make("li", {}, inner));
    }
  }
  return list;
}

/** Fills a `details` when it is first opened. */
function lazily(details, content) {
  details.addEventListener("toggle", () => details.append(...[content()].flat()), { once: true });
  return details;
}

/** What a body may be, by content type. Where it may be several things, each is behind a click. */
function schemas(content) {
  return Object.entries(content ?? {}).flatMap(([type, { schema }]) => {
    const title = make("p", { className: "quiet" }, `as ${type}: ${kind(schema)}`);
    const choices = schema?.anyOf ?? [schema];
    const shown = choices.filter((choice) => objects(choice).length).map((choice, index) => {
      if (choices.length === 1) return fields(choice);
      const details = make("details", {}, make("summary", {}, kind(choice)));
      lazily(details, () => fields(choice));
      details.open = index === 0;
      return details;
    });
    return [title, ...shown];
  });
}

function responses(operation) {
  return Object.entries(operation.responses).map(([status, reference]) => {
    const response = resolve(reference);
    const summary = make("summary", {}, make("code", {}, status), " ", ...inline(response.description));
    return lazily(make("details", {}, summary), () => schemas(response.content));
  });
}

/** The part of an operation that sends it. */
function trial(method, path, operation) {
  const parameters = (operation.parameters ?? []).map((parameter) =>
    [parameter.name, make("input", { placeholder: parameter.name, title: parameter.description })]);
  const body = operation.requestBody?.content["application/json"];
  const examples = Object.entries(body?.examples ?? {});
  const text = make("textarea", { spellcheck: false });
  const show = (index) => { text.value = JSON.stringify(examples[index]?.[1].value ?? {}, null, 2); };
  const choice = make("select", { onchange: () => show(choice.selectedIndex) },
    examples.map(([title]) => make("option", {}, title)));
  if (body) show(0);
  const output = make("pre", { hidden: true });
  const status = make("span", { className: "quiet" });
  let running;
  const stop = make("button", { type: "button", disabled: true, onclick: () => running?.abort() }, "Stop");
  const send = make("button", { type: "button", onclick: run }, "Send");

  async function run() {
    const values = Object.fromEntries(parameters.map(([name, input]) => [name, input.value]));
    // Names of models hold slashes.
    const target = path.replace(/\{(\w+)\}/g, (_, name) =>
      encodeURIComponent(values[name]).replaceAll("%2F", "/"));
    const headers = { ...authorization(), ...(body ? { "Content-Type": "application/json" } : {}) };
    running = new AbortController();
    output.hidden = stop.disabled = false;
    output.textContent = "";
    status.textContent = "…";
    const started = performance.now();
    const say = (words) => { status.textContent = `${words}, ${Math.round(performance.now() - started)} ms`; };
    try {
      const response = await fetch(target, {
        method: method.toUpperCase(), headers, signal: running.signal,
        ...(body ? { body: text.value } : {}),
      });
      const type = response.headers.get("Content-Type") ?? "";
      const words = `${response.status} ${type}`;
      say(words);
      status.classList.toggle("failed", !response.ok);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let whole = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        whole += value;
        output.append(value);
      }
      if (type.startsWith("application/json")) output.textContent = JSON.stringify(JSON.parse(whole), null, 2);
      say(words);
    } catch (error) {
      say(error.name === "AbortError" ? "stopped" : String(error));
    }
    stop.disabled = true;
  }

  return [
    make("h3", {}, "Try it"),
    parameters.length ? make("div", { className: "row" }, parameters.map(([, input]) => input)) : undefined,
    examples.length > 1 ? make("div", { className: "row" }, choice) : undefined,
    body ? text : undefined,
    make("div", { className: "row" }, send, stop, status),
    output,
  ].filter(Boolean);
}

function detail(method, path, operation) {
  const body = operation.requestBody?.content;
  const parameters = operation.parameters ?? [];
  const isSocket = "101" in operation.responses;
  return make("div", {}, [
    ...prose(operation.description),
    ...parameters.map((parameter) =>
      make("p", {}, make("code", {}, parameter.name), " ", ...inline(parameter.description))),
    ...(body ? [make("h3", {}, "Request"), ...schemas(body)] : []),
    make("h3", {}, "Responses"),
    ...responses(operation),
    ...(isSocket ? [] : trial(method, path, operation)),
  ]);
}

function entry(method, path, operation) {
  const summary = make("summary", {},
    make("span", { className: `method ${method}` }, method),
    make("span", { className: "path" }, path),
    make("span", { className: "quiet" }, operation.summary));
  const details = make("details", { className: "operation", id: operation.operationId }, summary);
  details.addEventListener("toggle", () => {
    if (details.open) history.replaceState(null, "", `#${details.id}`);
  });
  return lazily(details, () => detail(method, path, operation));
}

function show() {
  document.getElementById("version").textContent = api.info.version;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => [method, path, operation]));
  main.replaceChildren(...prose(api.info.description), ...api.tags.map((tag) =>
    make("section", {},
      make("h2", {}, tag.name),
      make("p", { className: "quiet" }, tag.description),
      operations.filter(([, , operation]) => operation.tags.includes(tag.name))
        .map((operation) => entry(...operation)))));
  const chosen = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (chosen?.matches("details")) {
    chosen.open = true;
    chosen.scrollIntoView();
  }
}

async function load() {
  try {
    const response = await fetch("/openapi.json", { headers: authorization() });
    if (!response.ok) {
      const { error } = await response.json();
      main.replaceChildren(make("p", { className: "failed" }, `${response.status}: ${error}`));
      if (response.status === 401) key.focus();
      return;
    }
    api = await response.json();
    show();
  } catch (error) {
    main.replaceChildren(make("p", { className: "failed" }, `The server cannot be reached: ${error}`));
  }
}

key.value = sessionStorage.getItem("key") ?? "";
key.addEventListener("change", () => {
  sessionStorage.setItem("key", key.value);
  load();
});
load();
