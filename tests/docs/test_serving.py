"""The page on serving shows what a client sees: its transcripts are run on a server, and every route is in them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from stategraph.server.routes import routes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "run-api-http.md").read_text(encoding="utf-8")
TOKEN = "a-token-of-the-test"

#: A reader that leaves a stream which does not end: here when it has seen enough, whatever that takes.
_LEAVES = re.compile(r"(.*) --max-time 5 \| grep(.*)")

LINES = "".join(re.findall(r"```text\n(\$ .*?)```", PAGE, re.DOTALL)).splitlines()


def test_every_route_is_in_the_table_of_the_page() -> None:
    served = {(method, each.path) for each in routes for method in (each.methods or ()) if method != "HEAD"}
    told = {
        (method, path.replace("{path}", "{path:path}")) for method, path in re.findall(r"`([A-Z]+) (/[^`]+)` \|", PAGE)
    }
    assert told == served


def test_every_route_is_asked_in_the_transcripts() -> None:
    asked = set()
    for line in LINES:
        found = re.match(r"\$ (?:api|curl -s\S*(?: -w '[^']*')?) \"?\$(SERVER|THREAD)([\w/.]*)", line)
        if found is not None:
            method = re.search(r" -X ([A-Z]+)", line)
            path = found[2] if found[1] == "SERVER" else f"/v1/threads/t{found[2]}"
            asked.add((method[1] if method else "POST" if " -d " in line else "GET", path))
    left = [
        (method, each.path)
        for each in routes
        for method in (each.methods or ())
        if method != "HEAD" and not any(method == other and each.path_regex.match(path) for other, path in asked)
    ]
    assert left == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the page's program."""
    program = re.search(r'```python title="desk.py"\n(.*?)```', PAGE, re.DOTALL)
    assert program is not None
    (tmp_path / "desk.py").write_text(program[1], encoding="utf-8")
    words = ["-m", "stategraph", "serve", "desk:desk", "--port", "0", "--store", "sqlite:///threads.db"]
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "STATEGRAPH_TOKEN": TOKEN},
    )
    try:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert address is not None, first + second
        assert second == "Requests need the token.\n"
        yield address[0]
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
        assert (process.returncode, rest) == (0, "")
    finally:
        process.kill()
        process.communicate()


def test_the_transcripts_are_true(server: str, tmp_path: Path) -> None:
    """All of them are one session of a shell, which says before each command that it comes."""
    commands = [_LEAVES.sub(r"exec 3< <(exec 2>/dev/null; \1); grep\2 <&3", line) for line in _shown()]
    commands[0] = f"SERVER={server}"
    script = "".join(f"cat <<'---'\n$ {line}\n---\n{each}\n" for line, each in zip(_shown(), commands, strict=True))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "STATEGRAPH_TOKEN": TOKEN},
    )
    said = re.sub(r"\n+", "\n", done.stdout)  # `echo` ends lines that curl does not end
    expected = re.escape("\n".join(LINES) + "\n").replace(re.escape("..."), ".*?")
    assert re.fullmatch(expected, said, re.DOTALL), said


def _shown() -> list[str]:
    return [line.removeprefix("$ ") for line in LINES if line.startswith("$ ")]
