"""Our own server, as the third beside the two of `langgraph dev`: the same graphs, the same client."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.server.serving import HOST, Engine, Server, environment, free_port, stop, wait_until_it_answers

ROOT = Path(__file__).resolve().parents[2]

#: The drop-in is on: the graphs are written for LangGraph, and run on this engine.
OWN = Engine("own server", True, "compat")


@contextmanager
def running_own(python: Path, folder: Path, graphs: Mapping[str, str]) -> Iterator[Server]:
    """Run our server around a block.

    Args:
        python: The Python of the environment.
        folder: A scratch folder of its own.
        graphs: By name, where a graph is: `file.py:variable`.

    Raises:
        ServerError: It does not start.
    """
    folder.mkdir(parents=True)
    config = {"dependencies": ["."], "graphs": dict(graphs), "env": {}}
    (folder / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")
    port = free_port()
    command = [
        str(python),
        "-m",
        "tests.server.own_application",
        str(folder),
        str(port),
        f"sqlite:///{folder / 'runs.db'}",
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(python, OWN),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(OWN, f"http://{HOST}:{port}", folder / "server.log", process)
    try:
        wait_until_it_answers(server)
        yield server
    finally:
        stop(process)
