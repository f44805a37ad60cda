"""Which checkpoint a nested graph starts from during a replay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.engine.runs.replay import ReplayState

NESTED: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": "sub"}}


def saver_with(*ids: str) -> InMemorySaver:
    saver = InMemorySaver()
    for checkpoint_id in ids:
        saver.put(NESTED, {**empty_checkpoint(), "id": checkpoint_id}, {}, {})
    return saver


@pytest.fixture(params=["sync", "async"])
def load(request: pytest.FixtureRequest) -> Any:
    def call(replay: ReplayState, ns: str, saver: InMemorySaver) -> str | None:
        if request.param == "sync":
            found = replay.get_checkpoint(ns, saver, NESTED)
        else:
            found = asyncio.run(replay.aget_checkpoint(ns, saver, NESTED))
        return found and found.checkpoint["id"]

    return call


def test_a_nested_graph_starts_before_the_replayed_checkpoint_once_and_then_from_its_newest(load: Any) -> None:
    saver, replay = saver_with("1", "3", "5", "7"), ReplayState("4")
    assert load(replay, "sub:first-task", saver) == "3"
    assert load(replay, "sub:second-task", saver) == "7"


def test_each_nested_graph_has_a_first_time_of_its_own(load: Any) -> None:
    saver, replay = saver_with("1", "7"), ReplayState("4")
    assert [load(replay, ns, saver) for ns in ("a:1", "b:1", "a:1|c:1", "plain", "plain", "b:2")] == [*"1111", "7", "7"]


def test_a_nested_graph_that_did_not_exist_yet_starts_afresh(load: Any) -> None:
    assert load(ReplayState("4"), "sub:1", saver_with("5")) is None
