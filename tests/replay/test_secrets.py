"""Secrets do not get into a recording, wherever they stand, and a graph that was given one replays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, StateGraph
from stategraph.replay import RecordingError, assert_replays, record, recorded, update
from stategraph.replay.codec import encode, text
from stategraph.replay.lines import Cleaner
from tests.replay.graphs import thread


class Login(TypedDict, total=False):
    password: Any
    found: Any


SECRET = "hunter2-plain"


def one_node(work: Any) -> Any:
    return StateGraph(Login).add_node("work", work).add_edge(START, "work").compile()


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": [SECRET]},
        {"password": SECRET.encode()},
        {"password": (SECRET,)},
        {"password": {"value": SECRET}},
        {1: "a", "password": SECRET},
        {b"authorization": SECRET},
        ("password", SECRET),
    ],
)
def test_the_whole_value_under_a_secret_name_is_hidden(value: Any) -> None:
    cleaner = Cleaner()
    cleaned = cleaner.clean(encode(value))
    assert text(encode(SECRET.encode()))[1:-1] not in text(cleaned) and SECRET not in text(cleaned)
    assert cleaner.hidden == 1 and cleaner.clean(cleaned) == cleaned


def test_a_number_under_a_secret_name_is_hidden_and_counts_of_tokens_stay() -> None:
    assert Cleaner().clean({"pin": 123456, "total_tokens": 5, "password": None}) == {
        "pin": "[redacted]",
        "total_tokens": 5,
        "password": None,
    }


def test_a_secret_in_a_channel_or_a_positional_argument_is_not_in_the_file(tmp_path: Path) -> None:
    @recorded
    def sign_in(user: str, password: str, *token: str) -> bool:
        return len(password) > 0

    def work(state: Login) -> Login:
        return {"password": SECRET, "found": sign_in("ada", SECRET + "1", SECRET + "2")}

    path, graph = tmp_path / "run.jsonl", one_node(work)
    with record(path, graph) as recorder:
        recorder.invoke({"found": 0})
    assert SECRET not in path.read_text()
    asked = next(line for line in map(json.loads, path.read_text().splitlines()) if line["kind"] == "ask")
    assert asked["request"] == {"args": ["ada", "[redacted]", "[redacted]"], "kwargs": {}}
    assert assert_replays(path, graph).calls == 1


def test_an_unchanged_graph_that_was_given_a_secret_replays(tmp_path: Path) -> None:
    @recorded
    def fetch(url: str) -> dict[str, str]:
        return {"token": f"{SECRET}-of-the-answer"}

    @recorded
    def send(what: str) -> str:
        return "sent"

    def work(state: Login) -> Login:
        answer = fetch(f"https://example.org/?p={state['password']}")
        return {"found": send(answer["token"])}

    path = tmp_path / "run.jsonl"
    builder = StateGraph(Login).add_node("work", work).add_edge(START, "work")
    graph = builder.compile(InMemorySaver())
    with record(path, graph) as recorder:
        recorder.invoke({"password": SECRET}, thread())
    assert SECRET not in path.read_text()
    assert assert_replays(path, graph).calls == 1


def test_a_recording_of_a_secret_is_not_made_again(tmp_path: Path) -> None:
    seen: list[Any] = []

    @recorded
    def sign_in(word: str) -> bool:
        seen.append(word)
        return True

    path, graph = tmp_path / "run.jsonl", one_node(lambda state: {"found": sign_in(state["password"])})
    with record(path, graph) as recorder:
        recorder.invoke({"password": SECRET})
    before = path.read_bytes()
    with pytest.raises(RecordingError, match=r"input\.password of call 1 was a secret.*overwrite=True"):
        update(path, graph)
    assert seen == [SECRET] and path.read_bytes() == before
