"""Asks one question over /v1/chat/completions and shows the answer as it streams, then how fast.

    python3 scripts/ask.py http://127.0.0.1:PORT "question"

Only the standard library, so that it runs on a bare machine.
"""

import json
import sys
import time
import urllib.error
import urllib.request

MAX_TOKENS = 96


def events(answer):
    """The data of each server-sent event; every one of this API is a single line."""
    for raw in answer:
        line = raw.decode("utf-8").rstrip("\r\n")
        if line.startswith("data:"):
            yield line[len("data:"):].lstrip()


def main():
    url, question = sys.argv[1], sys.argv[2]
    body = {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = urllib.request.Request(
        url + "/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    # No proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    sent = time.monotonic()
    first = last = None
    tokens = None
    try:
        with opener.open(request, timeout=300) as answer:
            for data in events(answer):
                if data == "[DONE]":
                    break
                chunk = json.loads(data)
                if "error" in chunk:
                    sys.exit("error: " + chunk["error"]["message"])
                for choice in chunk.get("choices", []):
                    text = choice["delta"].get("content")
                    if text:
                        last = time.monotonic()
                        first = first or last
                        print(text, end="", flush=True)
                if chunk.get("usage"):
                    tokens = chunk["usage"]["completion_tokens"]
    except urllib.error.HTTPError as error:
        sys.exit(f"error: the server answered {error.code}: {error.read().decode()}")
    except OSError as error:
        sys.exit(f"error: {error}")
    print()
    if first is None:
        sys.exit("error: the answer was empty")
    line = f"\nfirst token after {first - sent:.3f} s (the model was loaded in that time)"
    if tokens and tokens > 1 and last > first:
        line += f"; {tokens} tokens at {(tokens - 1) / (last - first):.1f} tokens/s"
    print(line)


if __name__ == "__main__":
    main()
