"""`stategraph fuzz`, as a process on a person's own graph."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.programs import stategraph, write

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")

PROGRAM = """
import operator
from typing import Annotated, TypedDict

from stategraph import START, StateGraph, interrupt
from stategraph.testing import count_effect


class State(TypedDict, total=False):
    done: Annotated[list, operator.add]


def pay(state):
    count_effect("pay")
    return {"done": [interrupt("ok?")]}


builder = StateGraph(State).add_node("pay", pay).add_node("end", lambda state: {"done": ["end"]})
builder.add_edge(START, "pay").add_edge("pay", "end")
"""


def fuzzed(folder: Path, *words: str) -> tuple[int, str, str]:
    given = ("--input", '{"done": []}', "--answer", '"yes"', "--signals", "1", "--crashes", "100")
    ran = stategraph(folder, "fuzz", "shop:builder", *given, *words)
    return ran.returncode, ran.stdout, ran.stderr


def test_a_graph_is_killed_at_each_save_and_comes_to_the_same(tmp_path: Path) -> None:
    write(tmp_path, shop=PROGRAM)
    code, out, told = fuzzed(tmp_path, "--repeatable", "pay")
    assert code == 0, told
    assert "The same state each time: " in out and "pay: " in out
    assert "SIGKILL before save 1 of " in told
    assert not list(tmp_path.glob("*.db"))


def test_an_effect_that_may_not_be_repeated_is_told(tmp_path: Path) -> None:
    write(tmp_path, shop=PROGRAM)
    code, out, told = fuzzed(tmp_path, "--json")
    assert code == 1
    assert "The effect 'pay' happened " in json.loads(out)["difference"], told


def test_what_cannot_be_run_is_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, shop=PROGRAM)
    ran = stategraph(tmp_path, "fuzz", "shop:gone", "--input", "{}")
    assert ran.returncode == 2 and "gone" in ran.stderr, ran
    ran = stategraph(tmp_path, "fuzz", "shop:builder", "--input", "{no")
    assert ran.returncode == 2 and "--input is no JSON" in ran.stderr, ran
