"""Writes cases.json: what Jinja2, set up as Hugging Face's apply_chat_template does, renders.

Run with jinja2 installed, from this folder; the tests compare our rendering byte for byte.
"""
import datetime
import json
import pathlib

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = datetime.datetime(2026, 11, 2, 9, 5, 7).strftime
    return env


def m(role, content, **rest):
    return {"role": role, "content": content, **rest}


CHATS = {
    "one user": [m("user", "Hello")],
    "system first": [m("system", "Be brief."), m("user", "Hello?"), m("assistant", "Hi."), m("user", " bye \n")],
    "unicode": [m("user", "Grüße, 世界! 👩‍👩‍👧 e\u0301 \u200d \u00a0x \u2028"), m("assistant", "نعم"), m("user", "\u1f600")],
    "markup": [m("user", "<b>&amp; \"quoted\" 'single' {{ braces }} {% raw %} \\n \\ \t"), m("assistant", ""), m("user", "\r\nline\r")],
    "thinking": [m("user", "Hello there"), m("assistant", "<thinking>hm</thinking>\n\nYes"), m("user", "more")],
    "names and calls": [
        m("user", "Weather?", name="anna"),
        m("assistant", "", tool_calls=[{"id": "c1", "type": "function", "function": {
            "name": "weather", "arguments": {"town": "Zürich 🏔", "days": 3, "exact": True, "limit": None, "step": 0.5}}}]),
        m("tool", "{\"t\": 3}", tool_call_id="c1"),
        m("skip", "skipped"),
        m("user", "Thanks"),
    ],
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "It's <b>\"hot\" & wet</b>/ü 🌧\n",
     "parameters": {"type": "object", "properties": {"zeta": {"type": "string"}, "alpha": {"type": "number", "default": 1.0,
      "enum": [1, -2.5, 1e-07, 1e22, 123456789012345680, 0.1]}}, "required": ["zeta"], "extra": [], "none": {}}}},
    {"type": "function", "function": {"name": "bare", "parameters": {}}},
]


def main():
    cases = []
    for name in ["smollm2", "alternating", "tools"]:
        source = (HERE / f"{name}.jinja").read_text()
        for chat, messages in CHATS.items():
            for tools, add, kwargs in [(None, True, {}), (TOOLS, False, {"enable_thinking": False})]:
                try:
                    text = environment().from_string(source).render(
                        messages=messages, tools=tools, add_generation_prompt=add, bos_token="<s>", eos_token="</s>", **kwargs)
                except jinja2.exceptions.TemplateError:
                    continue  # Where Hugging Face fails, we fold: other tests.
                cases.append({"template": name, "chat": chat, "messages": messages, "tools": tools,
                              "add_generation_prompt": add, "kwargs": kwargs, "expected": text})
    (HERE / "cases.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")
    print(len(cases), "cases")


main()
