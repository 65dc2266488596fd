"""What an operator sets beside ToolRampart's examples: where the database and GitHub are.

A tool's process has no environment to read it from, so it stands in a file beside the examples.
"""

import json
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

import read_only_sql_tool

HERE = json.loads(Path(read_only_sql_tool.__file__).with_name("here.json").read_text())

read_only_sql_tool.DB_PATH = Path(HERE["database"])


class GitHubHere(urllib.request.HTTPSHandler):
    """Takes what is sent to GitHub to a server on this machine."""

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        """Send the same over plain HTTP."""
        url = f"http://127.0.0.1:{HERE['port']}{request.selector}"
        return self.parent.open(
            urllib.request.Request(url, request.data, {**request.headers}), timeout=request.timeout
        )


urllib.request.install_opener(urllib.request.build_opener(GitHubHere))
