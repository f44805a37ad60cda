"""`stategraph thread check`, over a database that an earlier version of a graph wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import forgetting, write

PROGRAM = """
from typing import TypedDict

from stategraph import START, Migration, StateGraph, interrupt


class State(TypedDict, total=False):
    text: str


def made(name, **options):
    builder = StateGraph(State).add_node(name, lambda state: {"text": interrupt("?")}).add_edge(START, name)
    return builder.compile(**options)


old = made("ask", version="1")
new = made("confirm", version="2", migrations=[Migration("1", "2", nodes={"ask": "confirm"})])
hasty = made("confirm", version="2", migrations=[Migration("1", "2")])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(write(tmp_path, program=PROGRAM))
    monkeypatch.setenv("STATEGRAPH_STORE", "sqlite:///threads.db")
    with forgetting(tmp_path):
        for name in ("a", "b"):
            assert main(["run", "program:old", "--thread", name, "--input", '{"text": "in"}', "-q"]) == 1
    capsys.readouterr()
    return tmp_path


def test_threads_that_would_break_are_told_with_the_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with forgetting(folder):
        assert main(["thread", "check", "--graph", "program:new"]) == 0
        assert capsys.readouterr().out == "2 threads: 2 migrated.\n"
        assert main(["thread", "check", "--graph", "program.py:hasty", "--thread", "a"]) == 1
        told = capsys.readouterr().out.splitlines()
        assert told[0] == "a (version 1): breaks"
        assert told[1].startswith("  The node 'ask' is next, and the graph has none of that name, only confirm")
        assert told[-1] == "1 thread: 1 break."
        assert main(["thread", "check", "--graph", "program:old", "--all", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["threads"] == {"fits": 2}
        assert [each["thread_id"] for each in facts["found"]] == ["a", "b"]


def test_a_check_that_was_stopped_goes_on_where_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["thread", "check", "--graph", "program:hasty", "--results", "results.jsonl"]
    with forgetting(folder):
        assert main([*words, "--thread", "a"]) == 1
        results = folder / "results.jsonl"
        whole = results.read_text()
        # A line that was cut off is checked again; a whole one is not, whatever it says.
        results.write_text(whole.replace("breaks", "fits") + '{"thread_id": "b", "verd')
        capsys.readouterr()
        assert main(words) == 1
        assert capsys.readouterr().out.splitlines()[-1] == "2 threads: 1 as they are, 1 break."
        assert [json.loads(line)["thread_id"] for line in results.read_text().splitlines()] == ["a", "b"]
        results.write_text("{}\n")
        assert main(words) == 2
        assert "Line 1 of 'results.jsonl' is no result of this command" in capsys.readouterr().err


def test_what_cannot_be_checked_has_a_code_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with forgetting(folder):
        assert main(["thread", "check", "--graph", "program:none"]) == 2
        assert "has no 'none'" in capsys.readouterr().err
        assert main(["thread", "check", "--graph", "program:new", "--thread", "c"]) == 2
        assert main(["thread", "check", "--graph", "program:new", "--owner", "nobody"]) == 2
        assert "There are no threads to check" in capsys.readouterr().err
