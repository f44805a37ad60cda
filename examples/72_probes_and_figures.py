"""A server as it is deployed: its probes, its figures, and how it drains.

It starts `stategraph serve` with `--probes`, asks what Kubernetes and Prometheus would ask, has a run executed, and
stops it by SIGTERM.

Prints::

    ready: ok
    live: ok
    a run says: Hello.
    stategraph_worker_runs_total{event="claimed",status=""} 1
    stategraph_worker_runs_total{event="ended",status="success"} 1
    it ended with 0
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PROGRAM = """
from typing import TypedDict

from langgraph.graph import START, StateGraph


class State(TypedDict, total=False):
    said: str


graph = StateGraph(State).add_node("say", lambda state: {"said": "Hello."}).add_edge(START, "say").compile()
"""


def asked(url: str, body: object = None) -> str:
    """Return what is answered at an address."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def addresses(output: list[str]) -> tuple[str, str]:
    """Return where the server and its probes are, from what it prints."""
    words = " ".join(output).split()
    found = [each for each in words if each.startswith("http://")]
    return found[1], found[0]


def main() -> None:
    """Serve, ask, and stop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "graphs.py").write_text(PROGRAM)
        (folder / "langgraph.json").write_text('{"graphs": {"greeter": "./graphs.py:graph"}, "dependencies": ["."]}')
        root = str(Path(__file__).resolve().parent.parent)
        environment = {**os.environ, "STATEGRAPH_RUNTIME": "1", "PYTHONPATH": root}
        environment.pop("STATEGRAPH_TOKEN", None)
        command = [sys.executable, "-m", "stategraph", "serve", "--port", "0", "--probes", "127.0.0.1:0"]
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            http, probes = addresses([server.stdout.readline() for _ in range(3)])
            while True:
                try:
                    print("ready:", asked(f"{probes}/ready").strip())
                    break
                except urllib.error.HTTPError:  # it is starting
                    time.sleep(0.1)
            print("live:", asked(f"{probes}/live").strip())
            answer = asked(f"{http}/runs/wait", {"assistant_id": "greeter", "input": {}})
            print("a run says:", json.loads(answer)["said"])
            for line in asked(f"{probes}/metrics").splitlines():
                if line.startswith("stategraph_worker_runs_total"):
                    print(line)
        finally:
            server.send_signal(signal.SIGTERM)
            print("it ended with", server.wait(60))
            server.stdout.close()


if __name__ == "__main__":
    main()
