"""A run that is recorded is replayed to the byte, without anything outside, sync and async."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stategraph import Command
from stategraph.replay import areplay, assert_replays, record, recorded, replay
from tests.replay import graphs
from tests.replay.graphs import Counter, thread

MODES = ["values", "updates", "custom", "messages", "tasks"]


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    """Whether graphs are called or awaited."""
    return str(request.param)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forbid connections."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a replay opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield


def made(path: Path, graph: Any, way: str, *inputs: Any, modes: list[str] | None = None, **options: Any) -> list[Any]:
    """Record calls of a graph on one thread, and return what they came to."""
    found: list[Any] = []

    async def arun() -> None:
        async with record(path, graph) as recorder:
            for each in inputs:
                if modes is None:
                    found.append(await recorder.ainvoke(each, thread(), **options))
                else:
                    stream = recorder.astream(each, thread(), stream_mode=modes, subgraphs=True, **options)
                    found.append([part async for part in stream])

    if way == "async":
        asyncio.run(arun())
    else:
        with record(path, graph) as recorder:
            for each in inputs:
                if modes is None:
                    found.append(recorder.invoke(each, thread(), **options))
                else:
                    found.append(list(recorder.stream(each, thread(), stream_mode=modes, subgraphs=True, **options)))
    return found


def test_an_agent_is_replayed_to_the_byte_and_calls_nobody(tmp_path: Path, way: str, offline: None) -> None:
    path, counter = tmp_path / "run.jsonl", Counter()
    (parts,) = made(path, graphs.agent(counter), way, {"messages": []}, modes=MODES)
    assert counter.calls == ["tides"]
    again = Counter()
    found = assert_replays(path, graphs.agent(again))
    assert again.calls == []
    assert found.parts == [parts]
    assert any(part[1] == "custom" for part in parts) and any(part[1] == "messages" for part in parts)
    assert found.checkpoints > 3


def test_results_ids_and_times_are_the_recorded_ones(tmp_path: Path, way: str) -> None:
    path = tmp_path / "run.jsonl"
    results = made(path, graphs.chance(), way, {"notes": []})
    assert len(set(map(str, results[0]["notes"]))) == 6
    found = assert_replays(path, graphs.chance())
    assert found.results == results


def test_a_fan_out_ends_in_the_recorded_order(tmp_path: Path, way: str) -> None:
    path, order, gates = tmp_path / "run.jsonl", [2, 0, 3, 1], [threading.Event() for _ in range(4)]
    gates[order[0]].set()

    def slow(number: int) -> str:
        assert gates[number].wait(10)
        following = order.index(number) + 1
        if following < len(order):
            gates[order[following]].set()
        return f"n{number}"

    modes = ["updates", "custom"]
    (parts,) = made(path, graphs.fanned(recorded(slow)), way, {"notes": []}, modes=modes)
    for _ in range(3):
        found = assert_replays(path, graphs.fanned(recorded(slow)))
        assert found.parts == [parts]


def test_a_question_and_a_retry_in_a_nested_graph_are_replayed(tmp_path: Path, way: str) -> None:
    path, asked = tmp_path / "run.jsonl", Counter()

    def outside(what: str) -> str:
        asked.calls.append(what)
        return what

    results = made(path, graphs.nested(outside), way, {"notes": []}, Command(resume="yes"))
    assert results[-1]["notes"][:2] == ["fetched", "yes"] or "yes" in results[-1]["notes"]
    found = assert_replays(path, graphs.nested(outside))
    assert asked.calls == ["fetched"]
    assert [str(each) for each in found.results] == [str(each) for each in results]
    assert found.calls == 2


def test_a_replay_runs_on_an_event_loop_too(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    made(path, graphs.chance(), "sync", {"notes": []})
    made(tmp_path / "async.jsonl", graphs.chance(), "async", {"notes": []})
    assert asyncio.run(areplay(path, graphs.chance())).calls == 1
    assert asyncio.run(areplay(tmp_path / "async.jsonl", graphs.chance())).calls == 1


def test_an_error_of_a_run_is_replayed(tmp_path: Path, way: str) -> None:
    path, counter = tmp_path / "run.jsonl", Counter()

    @recorded
    def failing(number: int) -> str:
        counter.calls.append(number)
        raise TimeoutError(f"no answer to {number}")

    with pytest.raises(TimeoutError, match="no answer to 0"):
        made(path, graphs.fanned(failing, width=1), way, {"notes": []})
    found = replay(path, graphs.fanned(failing, width=1))
    assert counter.calls == [0]
    assert isinstance(found.errors[0], TimeoutError) and str(found.errors[0]) == "no answer to 0"


def test_the_file_is_the_owners_alone_and_has_no_secret(tmp_path: Path) -> None:
    path, token = tmp_path / "run.jsonl", "sk-proj-" + "a1B2c3D4e5F6g7H8" * 3

    @recorded
    def leaking(number: int) -> dict[str, Any]:
        return {"text": f"my key is {token}", "password": "hunter2", "number": number}

    graph = graphs.fanned(leaking, width=1)
    made(path, graph, "sync", {"notes": []})
    text = path.read_text()
    assert token not in text and "hunter2" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(text.splitlines()[-1])["hidden"] >= 2
    assert assert_replays(path, graph).calls == 1


def test_a_run_that_is_not_recorded_is_as_it_was(tmp_path: Path) -> None:
    counter = Counter()
    graph = graphs.agent(counter)
    found = graph.invoke({"messages": []}, thread())
    assert found["messages"][-1].content == "The moon is why."
    assert counter.calls == ["tides"]
    assert not list(tmp_path.iterdir())
