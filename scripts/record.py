#!/usr/bin/env python3
"""Makes docs/terminal.svg, the README's picture, of a real session in a real terminal.

    cargo build --release && python3 scripts/record.py [OUTPUT.svg]

A shell is started in a pseudo-terminal, the commands below are typed into it, and what appears is
written down with the moment at which it appeared. The picture plays that once, in its own time, and
stands still for who has asked his system for less motion. Only the standard library; Linux and macOS.
"""

import html
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS, ROWS = 96, 18
PROMPT = "$ "
# What is typed, and how many seconds it then gets. The last one runs until the shell hangs up.
SESSION = [
    ("shimmy list", 20),
    ('shimmy generate -t 0 -p "What is the capital of France? Answer in one sentence."', 60),
    ("shimmy serve", 20),
]
SERVING = "listening on"
KEY_SECONDS = 0.045
READ_SECONDS = 1.2

FONT, CELL, LINE, EDGE = 14, 8.4, 20, 16
COLOURS = {"": "#d6deeb", "prompt": "#7fdbca"}
# Escape sequences: colours, cursor and modes. What moves text about is not used by these commands.
ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")


class Session:
    """A shell in a pseudo-terminal, and what it has shown: (seconds, text) one after the other."""

    def __init__(self, folder, path):
        self.events = []
        self.start = time.monotonic()
        environment = {
            "HOME": str(folder),
            "PATH": f"{path}:/usr/bin:/bin",
            "TERM": "xterm",
            "PS1": PROMPT,
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
            "OLLAMA_MODELS": str(folder / "none"),
        }
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execve("/bin/bash", ["bash", "--noprofile", "--norc", "--noediting"], environment)
        import fcntl
        import termios

        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)

    def read(self, seconds, until=None):
        """Takes what appears, until a text has or the time is over; whether the text has."""
        end, seen = time.monotonic() + seconds, ""
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.terminal], [], [], left)[0]:
                break
            text = os.read(self.terminal, 65536).decode("utf-8", "replace")
            self.events.append((time.monotonic() - self.start, text))
            seen += text
            if until and until in seen:
                return True
        return until is None

    def type(self, text):
        for key in text:
            os.write(self.terminal, key.encode())
            self.read(KEY_SECONDS)
        os.write(self.terminal, b"\n")

    def end(self):
        os.close(self.terminal)
        os.kill(self.process, signal.SIGHUP)
        os.waitpid(self.process, 0)


def record(shimmy, model):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "models").mkdir()
        shutil.copy(model, folder / "models")
        session = Session(folder, shimmy.parent)
        try:
            if not session.read(10, PROMPT):
                sys.exit("error: the shell shows no prompt")
            for command, seconds in SESSION:
                session.type(command)
                until = SERVING if command == "shimmy serve" else "\n" + PROMPT
                if not session.read(seconds, until):
                    sys.exit(f"error: {command} did not end in {seconds} s")
                session.read(READ_SECONDS)
        finally:
            session.end()
        return session.events


def lines_of(events):
    """The screen's lines, each a list of (seconds, text) that stand one after the other."""
    lines = [[]]
    for seconds, text in events:
        text = ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "")
        for number, part in enumerate(text.split("\n")):
            if number:
                lines.append([])
            if part:
                lines[-1].append((seconds, part))
    while lines and not "".join(text for _, text in lines[-1]).strip(PROMPT):
        lines.pop()
    return lines


def draw(lines):
    width = COLUMNS * CELL + 2 * EDGE
    height = (len(lines) + 1) * LINE + EDGE
    first = min(seconds for line in lines for seconds, _ in line)
    parts = []
    for row, line in enumerate(lines):
        column = 0
        for seconds, text in line:
            pieces = [("", text)]
            if column == 0 and text.startswith(PROMPT):
                pieces = [("prompt", PROMPT), ("", text[len(PROMPT):])]
            for kind, piece in pieces:
                # Not every viewer keeps spaces side by side, so each stretch of words has its place.
                for words in re.finditer(r"\S+(?: \S+)*", piece):
                    place = EDGE + (column + words.start()) * CELL
                    length = len(words.group()) * CELL
                    parts.append(
                        f'<text x="{place:.1f}" y="{(row + 1) * LINE + EDGE / 2}" '
                        f'textLength="{length:.1f}" fill="{COLOURS[kind]}" '
                        f'style="animation-delay:{seconds - first:.2f}s">'
                        f"{html.escape(words.group())}</text>"
                    )
                column += len(piece)
    label = "A terminal: shimmy lists a model, answers a question with it, and serves it"
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" \
width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{label}">
<style>
text {{ font: {FONT}px ui-monospace, Menlo, Consolas, monospace; opacity: 0; \
animation: show 0.01s forwards; }}
@keyframes show {{ to {{ opacity: 1; }} }}
@media (prefers-reduced-motion: reduce) {{ text {{ animation: none; opacity: 1; }} }}
</style>
<rect width="100%" height="100%" rx="8" fill="#011627"/>
{body}
</svg>
"""


def main():
    output = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "terminal.svg")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    shimmy = target / "release" / "shimmy"
    if not shimmy.is_file():
        sys.exit(f"error: {shimmy} is not there\nhint: cargo build --release")
    model = subprocess.check_output(["bash", ROOT / "scripts" / "demo-model.sh"], text=True)
    lines = lines_of(record(shimmy, model.strip()))
    output.write_text(draw(lines))
    print(f"{output}: {len(lines)} lines")


if __name__ == "__main__":
    main()
