"""Errors that end `stategraph run` and others, as a person reads them: sentences, and lines of the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.programs import DESK, stategraph, write

ODD = """
from typing import TypedDict

from stategraph import AgentInputs
from stategraph.graph.state import START, StateGraph
from stategraph.testing import ScriptedChatModel


class State(TypedDict):
    number: int


def of(name, node, loops=False):
    builder = StateGraph(State)
    builder.add_node(name, node)
    builder.add_edge(START, name)
    if loops:
        builder.add_edge(name, name)
    return builder.compile()


def count(state):
    return {"number": state["number"] + 1}


looping = of("count", count, loops=True)
wrong = of("wrong", lambda state: 3)
counting = of("count", count)
settings = {"agents": [AgentInputs(agent_id="desk", model=ScriptedChatModel(replies=["Hello."]))]}
"""


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (
            ["odd:looping", "--input", '{"number": 1}', "--config", '{"recursion_limit": 3}'],
            ["stategraph: Recursion limit of 3 reached", "another limit with --config '{\"recursion_limit\": 100}'"],
        ),
        (["odd:wrong", "--input", '{"number": 1}'], ["Node 'wrong' returned a value of type int"]),
        (["odd:counting", "--input", "null"], ["stategraph: ", "It is JSON with number, such as --input"]),
        (["odd:counting", "--thread", "t"], ["There is no thread 't': name the database that it is in with --store"]),
        (
            ["odd:counting", "--thread", "t", "--resume", "1", "--store", "sqlite:///a.db"],
            ["There is no thread 't' in this database", "begin it with --input"],
        ),
        (["odd:counting", "--resume", "1"], ["--resume answers what a thread waits for: give --thread too"]),
        (
            ["odd:settings", "--input", "Hello"],
            ["'odd:settings' is settings of create_run", "'stategraph chat odd:settings'"],
        ),
        (
            ["odd:counting", "--input", "{}", "--config", '{"configurable": 3}'],
            ['--config: configurable is 3; expected an object, as in --config \'{"configurable": {'],
        ),
        (["./", "--input", "{}"], ["'./' is a folder: write MODULE:NAME", "There: odd."]),
    ],
)
def test_what_no_line_of_the_program_raised_is_a_sentence(
    tmp_path: Path, words: list[str], sentences: list[str]
) -> None:
    done = stategraph(write(tmp_path, odd=ODD), "run", "-q", *words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert [each for each in sentences if each not in done.stderr] == [], done.stderr


def test_an_error_of_a_node_is_shown_with_the_lines_of_the_program(tmp_path: Path) -> None:
    write(tmp_path, desk=DESK)
    done = stategraph(tmp_path, "run", "desk:broken", "--input", '{"number": 1}')
    assert done.returncode == 2
    assert done.stderr.startswith("ZeroDivisionError: division by zero\n")
    assert "  at desk.py, line " in done.stderr
    assert ", in fail\n     return {" in done.stderr
    assert str(Path(__file__).parents[2] / "stategraph") not in done.stderr
    whole = stategraph(tmp_path, "run", "desk:broken", "--input", '{"number": 1}', "--traceback")
    assert whole.returncode == 2
    assert whole.stderr.startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["chat", "--store", "foo"], "stategraph: --store: A store is an address such as sqlite:///runs.db"),
        (["dev", "--store", "foo"], "stategraph: --store: A store is an address such as sqlite:///runs.db"),
        (["dev", "--host", "no.such.host.invalid"], "There is no host 'no.such.host.invalid': give an address of this"),
        (["chat", "odd:counting"], "execute it with 'stategraph run odd:counting --input ...'"),
    ],
)
def test_options_are_named_as_they_were_typed(tmp_path: Path, words: list[str], sentence: str) -> None:
    done = stategraph(write(tmp_path, odd=ODD), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "checkpointer" not in done.stderr
