"""`stategraph run` whose standard error nobody reads any more, as with `2>&1 | head -1`: it goes on to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import DESK, LIMIT_S, write


@contextmanager
def left() -> Iterator[int]:
    """A pipe to write to, whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def run_unread(folder: Path, *words: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command without a reader of standard error, and of standard output unless that is given."""
    with left() as pipe:
        return subprocess.run(
            [sys.executable, "-m", "stategraph", "run", *words],
            cwd=write(folder, desk=DESK),
            stdin=subprocess.DEVNULL,
            stdout=pipe if stdout is None else stdout,
            stderr=pipe,
            text=True,
            timeout=LIMIT_S,
            env={name: value for name, value in os.environ.items() if not name.startswith("STATEGRAPH_")},
        )


def test_the_result_comes_although_nobody_reads_the_steps(tmp_path: Path) -> None:
    done = run_unread(tmp_path, "desk:graph", "--input", '{"number": 7}', stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, 'number  7\nkind    order\nnotes   ["classified"]\n')


def test_a_thread_whose_output_nobody_reads_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--store", "sqlite:///threads.db", "--thread", "t")
    assert run_unread(tmp_path, "desk:graph", "--input", '{"number": 7}', *words).returncode == 0
    monkeypatch.chdir(tmp_path)
    assert main(["thread", "list", "--store", "sqlite:///threads.db", "--json"]) == 0
    assert [(each["id"], each["status"]) for each in json.loads(capsys.readouterr().out)] == [("t", "idle")]


def test_an_error_that_nobody_reads_has_its_exit_code(tmp_path: Path) -> None:
    assert run_unread(tmp_path, "desk:broken", "--input", '{"number": 1}').returncode == 2
