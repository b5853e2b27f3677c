"""A model hub with one file, on a free port of this machine, for the tests of clients that pull."""

import hashlib
import http.server
import json
import pathlib
import threading

REPOSITORY = "Owner/Model-GGUF"
FILE = "Model-Q4_K_M.gguf"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves the file at `path` until it is stopped."""

    daemon_threads = True

    def __init__(self, path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = pathlib.Path(path).read_bytes()
        self.sha256 = hashlib.sha256(self.content).hexdigest()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()

    def listing(self):
        size = len(self.content)
        lfs = {"sha256": self.sha256, "size": size, "pointerSize": 134}
        file = {"rfilename": FILE, "size": size, "blobId": COMMIT, "lfs": lfs}
        return {"id": REPOSITORY, "sha": COMMIT, "siblings": [file]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{REPOSITORY}"):
            self.answer(200, json.dumps(self.server.listing()).encode())
        elif path == f"/{REPOSITORY}/resolve/{COMMIT}/{FILE}":
            self.send_part()
        else:
            self.answer(404, b"")

    def send_part(self):
        content = self.server.content
        wanted = self.headers.get("Range")
        if not wanted:
            self.answer(200, content)
            return
        start, end = wanted.removeprefix("bytes=").split("-")
        start, end = int(start), min(int(end), len(content) - 1)
        place = {"Content-Range": f"bytes {start}-{end}/{len(content)}"}
        self.answer(206, content[start : end + 1], place)

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
