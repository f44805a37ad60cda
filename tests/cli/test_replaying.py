"""`stategraph run --record` and `stategraph replay`, as processes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.programs import stategraph, write

PROGRAM = """
import operator
from typing import Annotated, TypedDict

from stategraph import START, StateGraph, interrupt
from stategraph.replay import random, recorded


class State(TypedDict, total=False):
    notes: Annotated[list, operator.add]


@recorded
def rate(currency):
    print("asked for", currency)
    return random()


def price(state):
    return {"notes": [rate("USD")]}


def ask(state):
    return {"notes": [interrupt("Buy?")]}


def dearer(state):
    return {"notes": [rate("CHF")]}


def built(price):
    builder = StateGraph(State).add_node("price", price).add_node("ask", ask)
    return builder.add_edge(START, "price").add_edge("price", "ask").compile()


graph, changed = built(price), built(dearer)
"""


def recorded(folder: Path) -> None:
    write(folder, shop=PROGRAM)
    ran = stategraph(folder, "run", "shop:graph", "--input", "{}", "--record", "run.jsonl")
    assert ran.returncode == 1 and "Buy?" in ran.stdout, ran


def test_a_run_is_recorded_and_replayed_and_a_change_is_found(tmp_path: Path) -> None:
    recorded(tmp_path)
    same = stategraph(tmp_path, "replay", "run.jsonl", "shop:graph")
    assert same.returncode == 0 and "The same as recorded: 1 call, " in same.stdout, same
    assert "asked for" not in same.stdout + same.stderr
    other = stategraph(tmp_path, "replay", "run.jsonl", "shop:changed")
    assert other.returncode == 1, other
    assert "In node 'price' call 1 is now of function 'rate'" in other.stderr
    assert 'recorded: "USD"' in other.stderr and 'now:      "CHF"' in other.stderr
    as_json = stategraph(tmp_path, "replay", "run.jsonl", "shop:changed", "--json")
    assert json.loads(as_json.stdout)["node"] == "price"


def test_a_replay_stops_before_a_step_and_shows_the_state(tmp_path: Path) -> None:
    recorded(tmp_path)
    found = stategraph(tmp_path, "replay", "run.jsonl", "shop:graph", "--until", "2", "--json")
    assert found.returncode == 0, found
    assert len(json.loads(found.stdout)["state"]["notes"]) == 1


def test_a_recording_is_made_again(tmp_path: Path) -> None:
    recorded(tmp_path)
    updated = stategraph(tmp_path, "replay", "run.jsonl", "shop:changed", "--update")
    assert updated.returncode == 0 and "Recorded again: 1 call in run.jsonl" in updated.stdout, updated
    assert stategraph(tmp_path, "replay", "run.jsonl", "shop:changed").returncode == 0


def test_what_cannot_be_replayed_or_recorded_is_a_sentence(tmp_path: Path) -> None:
    recorded(tmp_path)
    there = stategraph(tmp_path, "run", "shop:graph", "--input", "{}", "--record", "run.jsonl")
    assert there.returncode == 2 and "There is a file 'run.jsonl' already" in there.stderr, there
    missing = stategraph(tmp_path, "replay", "gone.jsonl", "shop:graph")
    assert missing.returncode == 2 and "cannot be read: No such file" in missing.stderr, missing
