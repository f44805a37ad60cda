"""A replay ends as its recording did: cancelled, left by its reader, or with an error that is what it was."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.store.memory import InMemoryStore

from stategraph import START, StateGraph
from stategraph.replay import RecordingError, ReplayMismatch, areplay, assert_replays, codec, record, recorded, replay
from stategraph.replay.asking import Ask
from stategraph.replay.record_tape import RecordTape
from stategraph.replay.stores import TapedStore
from tests.replay.graphs import Notes

PATIENCE_S = 30


def one_node(work: Any) -> Any:
    return (
        StateGraph(Notes)
        .add_node("first", lambda state: {"notes": [0]})
        .add_node("work", work)
        .add_edge(START, "first")
        .add_edge("first", "work")
        .compile()
    )


def waiting(begun: asyncio.Event, *, marked: bool) -> Any:
    async def wait(what: str) -> str:
        begun.set()
        await asyncio.get_running_loop().create_future()
        return what

    outside = recorded(wait, name="wait") if marked else wait

    async def work(state: Notes) -> Notes:
        return {"notes": [await outside("a")]}

    return one_node(work)


@pytest.mark.parametrize("marked", [True, False], ids=["in a call to the outside", "in a wait of its own"])
@pytest.mark.parametrize("method", ["ainvoke", "astream"])
def test_a_call_that_its_caller_cancelled_is_cancelled_in_the_replay(tmp_path: Path, method: str, marked: bool) -> None:
    path = tmp_path / "run.jsonl"

    async def run() -> None:
        begun = asyncio.Event()
        async with record(path, waiting(begun, marked=marked)) as recorder:

            async def call() -> Any:
                if method == "ainvoke":
                    return await recorder.ainvoke({"notes": []})
                return [part async for part in recorder.astream({"notes": []}, stream_mode=["updates", "tasks"])]

            task = asyncio.ensure_future(call())
            await begun.wait()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
        async with asyncio.timeout(PATIENCE_S):
            found = await areplay(path, waiting(asyncio.Event(), marked=marked))
        assert isinstance(found.errors[0], asyncio.CancelledError) and found.is_whole

    asyncio.run(run())


def test_a_stream_that_its_reader_left_ends_there_in_the_replay(tmp_path: Path) -> None:
    graph = one_node(lambda state: {"notes": [1]})
    with record(tmp_path / "sync.jsonl", graph) as recorder:
        parts: Any = recorder.stream({"notes": []}, stream_mode="updates")
        first = next(parts)
        parts.close()
    assert assert_replays(tmp_path / "sync.jsonl", graph).parts == [[first]]

    async def run() -> None:
        async with (
            record(tmp_path / "async.jsonl", graph) as recorder,
            aclosing(recorder.astream({"notes": []}, stream_mode="updates")) as parts,  # type: ignore[type-var]
        ):
            assert await anext(parts) == first
        assert (await areplay(tmp_path / "async.jsonl", graph)).parts == [[first]]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("invoke", "stream", "was called as a whole in the recording"),
        ("stream", "invoke", "was streamed in the recording"),
    ],
)
def test_a_model_that_is_streamed_now_or_no_more_is_told(tmp_path: Path, before: str, now: str, told: str) -> None:
    def graph(way: str) -> Any:
        model = recorded(GenericFakeChatModel(messages=iter([AIMessage("hello world")])))

        def work(state: Notes) -> Notes:
            if way == "invoke":
                return {"notes": [model.invoke("a").content]}
            return {"notes": ["".join(str(each.content) for each in model.stream("a"))]}

        return one_node(work)

    with record(tmp_path / "run.jsonl", graph(before)) as recorder:
        recorder.invoke({"notes": []})
    with pytest.raises(ReplayMismatch, match=told) as caught:
        replay(tmp_path / "run.jsonl", graph(now))
    assert caught.value.node == "work"


class Unavailable(OSError):
    def __init__(self, code: int, text: str, extra: str) -> None:
        super().__init__(code, text)
        self.extra = extra


@pytest.mark.parametrize(
    "error",
    [
        Unavailable(2, "away", "x"),
        OSError(2, "away", "file"),
        StopIteration(5),
        SystemExit(3),
        KeyError("k"),
        UnicodeDecodeError("utf8", b"a", 0, 1, "reason"),
        ImportError("none", name="module"),
        ExceptionGroup("several", [ValueError(1)]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_exception_comes_back_as_it_was(error: BaseException) -> None:
    again = codec.decode(codec.error(error))
    assert type(again) is type(error) and repr(again) == repr(error) and str(again) == str(error)
    for name in ("errno", "strerror", "filename", "extra", "value", "code", "start", "reason", "name", "message"):
        assert getattr(again, name, None) == getattr(error, name, None), name


def test_a_value_that_holds_itself_is_refused_by_name(tmp_path: Path) -> None:
    @recorded
    def circle() -> list[Any]:
        made: list[Any] = []
        made.append(made)
        return made

    told = r"circle' returned cannot be recorded: a value of type list holds itself"
    graph = one_node(lambda state: {"notes": circle()})
    with record(tmp_path / "run.jsonl", graph) as recorder, pytest.raises(RecordingError, match=told):
        recorder.invoke({"notes": []})


def test_a_stream_that_is_left_closes_what_it_comes_from() -> None:
    closed: list[str] = []

    async def apieces() -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            closed.append("async")

    lines: list[Any] = []
    tape = RecordTape(lines.append, itertools.count(1))
    ask = Ask("model", "m", lambda: None)
    kept = apieces()

    async def run() -> None:
        async with aclosing(tape.astream(ask, lambda: kept)) as parts:  # type: ignore[type-var]
            assert await anext(parts) == 0
        assert closed == ["async"]

    asyncio.run(run())


class Searching(InMemoryStore):
    def near(self, text: str) -> str:
        return f"near {text}"


def test_a_store_of_ones_own_keeps_its_methods_while_it_is_recorded() -> None:
    assert TapedStore(Searching()).near("a") == "near a"
    with pytest.raises(RecordingError, match=r"asks the store for 'near'.*@recorded"):
        TapedStore(None).near("a")
    assert not hasattr(TapedStore(None), "_private")
