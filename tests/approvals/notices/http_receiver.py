"""A receiver of webhooks, as a process: notes each request, and answers as a file says.

`python -m tests.approvals.notices.http_receiver PORT FOLDER`
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    """Every method is noted; the answer is read anew for each request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        with (FOLDER / "requests").open("a") as file:
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = {"method": self.command, "path": self.path, "headers": headers, "body": body}
            file.write(json.dumps(seen) + "\n")
        how = json.loads((FOLDER / "answer").read_text())
        while (FOLDER / "hang").exists():
            time.sleep(0.02)
        said = how.get("body", "ok").replace("{path}", self.path).encode()
        self.send_response(how["status"])
        for name, value in how.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
