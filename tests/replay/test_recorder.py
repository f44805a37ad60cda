"""A recorder ends for good, takes one call after the other, and touches no file but its own."""

from __future__ import annotations

import asyncio
import contextvars
import os
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, StateGraph
from stategraph.replay import RecordingError, areplay, assert_replays, codec, now, record, recorded, recording, update
from tests.replay.graphs import Notes, thread


def one_node(work: Any, saver: Any = None) -> Any:
    return StateGraph(Notes).add_node("work", work).add_edge(START, "work").compile(saver)


def test_nothing_is_written_into_another_file_after_the_end(tmp_path: Path) -> None:
    late: list[contextvars.Context] = []

    def work(state: Notes) -> Notes:
        late.append(contextvars.copy_context())
        return {"notes": [1]}

    with record(tmp_path / "run.jsonl", one_node(work)) as recorder:
        recorder.invoke({"notes": []})
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)  # gets the number that the recording had
    try:
        late[0].run(now)
        with pytest.raises(RecordingError, match="has ended"):
            recorder.invoke({"notes": []})
        recorder.__exit__()
        assert os.fstat(other).st_size == 0
    finally:
        os.close(other)


def test_a_recorder_that_cannot_begin_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(graph: Any) -> None:
        raise TypeError("no description")

    monkeypatch.setattr(recording, "described", failing)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with pytest.raises(TypeError, match="no description"):
        record(tmp_path / "run.jsonl", one_node(lambda state: {"notes": [1]}))
    assert not before or len(os.listdir("/proc/self/fd")) == len(before)


def test_a_second_call_at_once_is_refused_and_the_first_is_whole(tmp_path: Path) -> None:
    gate = asyncio.Event()

    @recorded
    async def ask(what: str) -> str:
        await gate.wait()
        return what

    async def work(state: Notes) -> Notes:
        return {"notes": [await ask("a")]}

    path, graph = tmp_path / "run.jsonl", one_node(work)

    async def run() -> None:
        async with record(path, graph) as recorder:
            first = asyncio.ensure_future(recorder.ainvoke({"notes": []}))
            await asyncio.sleep(0)
            with pytest.raises(RecordingError, match="Another call through this recorder is under way"):
                await recorder.ainvoke({"notes": []})
            gate.set()
            await first
        assert (await areplay(path, graph)).calls == 1

    asyncio.run(run())


def test_a_call_beside_a_stream_that_was_left_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    graph = one_node(lambda state: {"notes": [1]})
    with record(tmp_path / "run.jsonl", graph) as recorder:
        parts: Any = recorder.stream({"notes": []})
        next(parts)
        with pytest.raises(RecordingError, match="read its stream to the end or close it"):
            recorder.invoke({"notes": []})
        parts.close()
        assert recorder.invoke({"notes": []}) == {"notes": [1]}


def test_an_update_uses_neither_the_graphs_saver_nor_a_file_of_somebody_else(tmp_path: Path) -> None:
    path, saver = tmp_path / "run.jsonl", InMemorySaver()
    with record(path, one_node(lambda state: {"notes": [1]})) as recorder:
        recorder.invoke({"notes": []}, thread())
    own = tmp_path / "run.jsonl.new"
    own.write_text("mine")
    graph = one_node(lambda state: {"notes": [2]}, saver)
    assert update(path, graph) == 1
    assert own.read_text() == "mine" and not list(saver.list(None))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["run.jsonl", "run.jsonl.new"]
    assert assert_replays(path, graph).calls == 1


@pytest.mark.parametrize("name", ["stategraph.replay:Recorder", "stategraph:Fleet", "tests.replay.test_recorder:codec"])
def test_a_class_is_looked_up_where_it_was_made_and_no_module_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stategraph
    import stategraph.replay

    def imported(wanted: str) -> type:
        raise AssertionError(f"asked for {wanted}")

    for module in (stategraph, stategraph.replay):
        monkeypatch.setattr(module, "__getattr__", imported)
        monkeypatch.delitem(vars(module), name.partition(":")[2], raising=False)
    with pytest.raises(RecordingError, match="is not loaded"):
        codec.decode({"$": "object", "class": name, "fields": {}})
