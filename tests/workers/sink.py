"""A destination of effects: an HTTP server in this process that counts what it was asked to do.

- `POST /commit/KEY` commits once more for the key, and answers with the number of commits.
- `GET /found/KEY` says how often the key was committed.
- A mode for the next request of a key: `commit, hold` commits and never answers; `hold` does neither; `commit, drop`
  commits and closes the connection; `refuse` answers 402.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Sink:
    """What was committed, by key."""

    def __init__(self) -> None:
        self.commits: Counter[str] = Counter()
        self.ids: dict[str, set[str]] = {}
        self.modes: dict[str, str] = {}
        self.asked = threading.Event()
        self.closing = threading.Event()
        self.url = ""
        self._lock = threading.Lock()

    def serve(self, key: str, idempotency_id: str) -> int | None:
        """Do what the mode says; return the number of commits, or None for no answer."""
        with self._lock:
            mode = self.modes.pop(key, "commit")
            if "commit" in mode:
                self.commits[key] += 1
            self.ids.setdefault(key, set()).add(idempotency_id)
        self.asked.set()
        if "hold" in mode:
            self.closing.wait(60)
        if mode == "refuse":
            return 0
        return self.commits[key] if mode == "commit" else None


@contextmanager
def running() -> Iterator[Sink]:
    """Serve on loopback for a block."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            commits = sink.serve(self.path.rpartition("/")[2], self.headers.get("Idempotency-Key", ""))
            if commits is None:
                self.close_connection = True
            else:
                self.answer(200 if commits else 402, {"commits": commits})

        def do_GET(self) -> None:
            self.answer(200, {"commits": sink.commits[self.path.rpartition("/")[2]]})

        def answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sink.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def commit(url: str, key: str, idempotency_id: str = "") -> int:
    """Ask a sink to commit.

    Raises:
        PermissionError: It refused.
        OSError: The connection broke.
    """
    request = urllib.request.Request(
        f"{url}/commit/{key}", data=b"{}", method="POST", headers={"Idempotency-Key": idempotency_id}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            done: int = json.load(answer)["commits"]
    except urllib.error.HTTPError as error:
        error.close()
        raise PermissionError("refused") from None
    return done


def found(url: str, key: str) -> int:
    """Ask a sink how often a key was committed."""
    with urllib.request.urlopen(f"{url}/found/{key}", timeout=60) as answer:
        commits: int = json.load(answer)["commits"]
    return commits
