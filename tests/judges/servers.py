"""Our server, for as long as a block lasts, and one that is not there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.judges.frame import JudgeError
from tests.server.serving import DROPPED, HOST, free_port

STARTING_S = 120.0
STOPPING_S = 20.0


@contextmanager
def ours(python: Path, folder: Path, graphs: Mapping[str, str], options: Sequence[str] = ()) -> Iterator[str]:
    """Run our server, and yield its address once it answers.

    Args:
        python: The Python of an environment that has it.
        folder: A scratch folder.
        graphs: By id, where a graph is.
        options: Further options of `stategraph serve`.

    Raises:
        JudgeError: It does not start.
    """
    folder.mkdir(parents=True)
    config = folder / "langgraph.json"
    config.write_text(json.dumps({"dependencies": ["."], "graphs": dict(graphs)}), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(DROPPED)}
    command = [str(python), "-m", "stategraph", "serve", "--config", str(config), "--port", "0"]
    command += ["--store", f"sqlite:///{folder / 'server.db'}", "--drain", "0", *options]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**kept, "STATEGRAPH_RUNTIME": "true", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _address(process, folder / "server.log")
    finally:
        _stop(process)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + STARTING_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"(?:is|are) served at (\S+)", log.read_text(encoding="utf-8", errors="replace"))
        if found and answers(found[1]):
            return found[1]
        time.sleep(0.05)
    raise JudgeError(f"the server did not start; it printed:\n{log.read_text(encoding='utf-8', errors='replace')}")


def answers(url: str) -> bool:
    """Return whether a server answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/ok", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    for ask in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(ask)
        try:
            process.wait(STOPPING_S / 2)
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOPPING_S)


@contextmanager
def nobody() -> Iterator[str]:
    """Yield an address at which no server listens."""
    yield f"http://{HOST}:{free_port()}"
