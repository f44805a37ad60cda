"""Checkpoints that cannot be read are one error, whoever reads them, and other errors stay what they are."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from typing_extensions import TypedDict

from stategraph.constants import START
from stategraph.core.channels.barrier import NamedBarrierValue
from stategraph.engine.checkpoints import damage
from stategraph.errors import ConfigurationError, DamagedCheckpointError
from stategraph.graph.state import StateGraph

if TYPE_CHECKING:
    from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "lost"}}


class State(TypedDict, total=False):
    n: int
    note: str


def build(saver: Any) -> Any:
    builder = StateGraph(State).add_node("a", lambda _: {"n": 1}).add_node("b", lambda _: {"note": "x"})
    builder.add_node("c", lambda _: None).add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "c")
    return builder.compile(checkpointer=saver)


class Tampering(InMemorySaver):
    """Changes the checkpoints that it returns."""

    change: Callable[[Any], None] | None = None

    def get_tuple(self, config: Any) -> Any:
        return self._changed(super().get_tuple(config))

    def list(self, *args: Any, **options: Any) -> Any:
        return [self._changed(saved) for saved in super().list(*args, **options)]

    async def alist(self, *args: Any, **options: Any) -> Any:
        for saved in self.list(*args, **options):
            yield saved

    def _changed(self, saved: Any) -> Any:
        if saved is not None and self.change is not None:
            self.change(saved.checkpoint)
        return saved


def reads(driver: Driver, graph: Any) -> list[Callable[[], Any]]:
    return [
        lambda: driver.get_state(graph, THREAD),
        lambda: driver.history(graph, THREAD),
        lambda: driver.invoke(graph, {"n": 0}, THREAD),
        lambda: driver.stream(graph, None, THREAD),
        lambda: driver.update_state(graph, THREAD, {"n": 2}, as_node="a"),
        lambda: graph.has_work_left(THREAD),
        lambda: asyncio.run(graph.ahas_work_left(THREAD)),
    ]


@pytest.mark.parametrize(
    ("change", "words", "channel"),
    [
        (lambda c: c.pop("channel_versions"), "It has no 'channel_versions'", None),
        (
            lambda c: c.update(versions_seen=["a"]),
            r"Its 'versions_seen' is \['a'\]; expected a value of type dict",
            None,
        ),
        (lambda c: c.update(channel_values=None), "Its 'channel_values' is None; expected", None),
        (lambda c: c.update(v=99), "Its format is version 99; this release knows versions up to 4", None),
        (lambda c: c.update(v="x"), "Its 'v' is 'x'", None),
    ],
)
def test_a_damaged_checkpoint_is_one_error_for_all_who_read_it(
    driver: Driver, change: Any, words: str, channel: str | None
) -> None:
    saver = Tampering()
    graph = build(saver)
    driver.invoke(graph, {"n": 0}, THREAD)
    checkpoint_id = driver.get_state(graph, THREAD).config["configurable"]["checkpoint_id"]
    saver.change = change
    for read in reads(driver, graph):
        with pytest.raises(DamagedCheckpointError, match=f"of thread 'lost' cannot be read.*{words}") as caught:
            read()
        assert caught.value.thread_id == "lost"
        assert caught.value.checkpoint_id == checkpoint_id
        assert f"Checkpoint '{checkpoint_id}'" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words", "channel"),
    [
        (lambda c: c["channel_values"].update({"join:a+b:c": 5}), "its value, of type int, is refused", "join:a+b:c"),
        (lambda c: c["channel_versions"].update(note=7), "its version 7 cannot be compared with", "note"),
        (lambda c: c["versions_seen"].update({"__start__": 3}), "What node '__start__' has seen is 3", None),
        (lambda c: c["channel_versions"].update(note=[1]), r"its version is \[1\]; expected a number", "note"),
    ],
)
def test_a_damaged_channel_is_named_when_a_run_needs_it(
    driver: Driver, change: Any, words: str, channel: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = NamedBarrierValue.from_checkpoint

    def refusing(self: Any, checkpoint: Any) -> Any:
        if checkpoint == 5:
            raise TypeError("no set")
        return original(self, checkpoint)

    monkeypatch.setattr(NamedBarrierValue, "from_checkpoint", refusing)
    saver = Tampering()
    graph = build(saver)
    driver.invoke(graph, {"n": 0}, THREAD)
    saver.change = change
    with pytest.raises(DamagedCheckpointError, match=f"cannot be read.*{words}") as caught:
        driver.invoke(graph, {"n": 1}, THREAD)
    assert caught.value.channel == channel
    assert isinstance(caught.value.__cause__, (TypeError, AttributeError))


def test_a_value_that_does_not_decode_is_told_with_its_cause(driver: Driver) -> None:
    saver = InMemorySaver()
    graph = build(saver)
    driver.invoke(graph, {"n": 0}, THREAD)
    for key, (kind, stored) in saver.blobs.items():
        saver.blobs[key] = (kind, stored[:0] if kind == "msgpack" else stored)
    for read in reads(driver, graph):
        with pytest.raises(
            DamagedCheckpointError, match=r"The latest checkpoint of thread 'lost'|Checkpoint '"
        ) as caught:
            read()
        assert isinstance(caught.value.__cause__, ValueError)


@contextmanager
def sqlite_saver(path: Path) -> Any:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        yield SqliteSaver(connection)
    finally:
        connection.close()


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    path.write_bytes(b"this was a photograph" * 100)
    with sqlite_saver(path) as saver:
        graph = build(saver)
        for call in (lambda: graph.get_state(THREAD), lambda: graph.invoke({"n": 0}, THREAD)):
            with pytest.raises(DamagedCheckpointError, match="file is not a database") as caught:
                call()
            assert type(caught.value.__cause__) is sqlite3.DatabaseError


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("gone"),
        sqlite3.OperationalError("locked"),
        TimeoutError("slow"),
        NotImplementedError("no such method"),
    ],
)
def test_an_error_of_the_connection_is_passed_on(driver: Driver, error: Exception) -> None:
    class Failing(InMemorySaver):
        def get_tuple(self, config: Any) -> Any:
            raise error

    with pytest.raises(type(error)) as caught:
        driver.get_state(build(Failing()), THREAD)
    assert caught.value is error


def test_an_error_of_a_node_or_an_input_is_not_blamed_on_the_checkpoint(driver: Driver) -> None:
    graph = build(InMemorySaver())
    driver.invoke(graph, {"n": 0}, THREAD)
    with pytest.raises(Exception, match="what is expected is a dict") as caught:
        driver.invoke(graph, 5, THREAD)
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_the_error_survives_pickling() -> None:
    error = DamagedCheckpointError("no", thread_id="1", checkpoint_id="2", checkpoint_ns="a", channel="n")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.thread_id, copy.channel) == ("no", "1", "n")


def test_a_place_in_the_history_that_is_no_config_is_not_the_stores_fault(driver):
    graph = StateGraph(dict).add_node("node", lambda state: state).add_edge(START, "node")
    app = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    driver.invoke(app, {"a": 1}, config)
    with pytest.raises(KeyError, match="configurable"):
        history = app.get_state_history if driver.name == "sync" else app.aget_state_history
        place = {"checkpoint_id": "x"}
        list(history(config, before=place)) if driver.name == "sync" else asyncio.run(
            anext(history(config, before=place))
        )


class Replacing(InMemorySaver):
    """Returns something else in place of each checkpoint."""

    checkpoint: Any = None

    def get_tuple(self, config: Any) -> Any:
        saved = super().get_tuple(config)
        return saved if saved is None or self.checkpoint is None else saved._replace(checkpoint=self.checkpoint)


def test_a_checkpoint_that_is_no_dict_is_named_by_its_address(driver: Driver) -> None:
    saver = Replacing()
    graph = build(saver)
    driver.invoke(graph, {"n": 0}, THREAD)
    place = driver.get_state(graph, THREAD).config
    saver.checkpoint = ["no", "dict"]
    with pytest.raises(DamagedCheckpointError, match="It is a value of type list; expected a dict") as caught:
        driver.get_state(graph, THREAD)
    assert caught.value.checkpoint_id == place["configurable"]["checkpoint_id"]


def test_a_checkpoint_that_was_asked_for_by_its_id_is_named_by_it(driver: Driver) -> None:
    saver = InMemorySaver()
    graph = build(saver)
    driver.invoke(graph, {"n": 0}, THREAD)
    place = driver.get_state(graph, THREAD).config
    for key, (kind, stored) in saver.blobs.items():
        saver.blobs[key] = (kind, stored[:0] if kind == "msgpack" else stored)
    with pytest.raises(DamagedCheckpointError, match="Continue from an earlier checkpoint") as caught:
        driver.get_state(graph, place)
    checkpoint_id = place["configurable"]["checkpoint_id"]
    assert caught.value.checkpoint_id == checkpoint_id
    assert str(caught.value).startswith(f"Checkpoint '{checkpoint_id}' of thread 'lost' cannot be read. The saver")


@pytest.mark.parametrize(
    ("config", "error", "told"),
    [
        ({"configurable": {"thread_id": "lost"}}, ValueError("x"), True),
        ({"configurable": {"thread_id": "lost"}}, NotImplementedError("Unknown serialization type: x"), True),
        ({"configurable": {"thread_id": "lost"}}, NotImplementedError("no such method"), False),
        ({"configurable": {"thread_id": "lost"}}, RuntimeError("Unknown serialization type: x"), False),
        ({"configurable": {"thread_id": "lost"}}, ValueError(), True),
        ({"configurable": {"thread_id": "lost"}}, ValueError("no active connection"), False),
        ({"configurable": {"thread_id": "lost"}}, DamagedCheckpointError("known", thread_id="lost"), False),
        ({"configurable": {"thread_id": "lost"}}, ConfigurationError("The mode of a saver is ..."), False),
        ({"configurable": {"other": "key"}}, ValueError("x"), False),
        ({"configurable": {}}, ValueError("x"), False),
        ({}, ValueError("x"), False),
        (None, ValueError("x"), False),
    ],
)
def test_an_error_of_a_read_is_damage_if_it_is_about_the_data_of_a_thread(
    config: Any, error: Exception, told: bool
) -> None:
    found = damage.of_read(config, error)
    if not told:
        assert found is error
        return
    assert isinstance(found, DamagedCheckpointError)
    assert found.__cause__ is error
    assert (found.thread_id, found.checkpoint_id, found.checkpoint_ns) == ("lost", None, "")
    assert str(found).startswith(
        f"The latest checkpoint of thread 'lost' cannot be read. The saver raised {type(error).__name__}: {error}."
    )


@pytest.mark.parametrize("read", [False, True])
def test_a_saver_that_was_closed_is_not_taken_for_a_damaged_thread(read: bool, tmp_path: Path) -> None:
    async def closed() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
            graph = build(saver)
            await graph.ainvoke({"n": 0}, THREAD)
        await (graph.aget_state(THREAD) if read else graph.ainvoke({"n": 0}, THREAD))

    with pytest.raises(ValueError, match=r"no active connection|Connection closed") as caught:
        asyncio.run(closed())
    assert type(caught.value) is ValueError


def test_damage_of_a_subgraphs_checkpoint_says_where_the_subgraph_is() -> None:
    config = {"configurable": {"thread_id": "lost", "checkpoint_ns": "outer:1", "checkpoint_id": "c"}}
    found = damage.of_read(config, ValueError("x"))
    assert isinstance(found, DamagedCheckpointError)
    assert "Checkpoint 'c' of thread 'lost', of the subgraph at 'outer:1', cannot be read." in str(found)
    assert (found.checkpoint_ns, found.checkpoint_id) == ("outer:1", "c")


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("mine")])
def test_an_error_of_a_graphs_code_is_its_own_while_the_checkpoint_is_sound(error: Exception) -> None:
    saver = InMemorySaver()
    graph = build(saver)
    graph.invoke({"n": 0}, THREAD)
    for saved in (saver.get_tuple(THREAD), None):
        with pytest.raises(type(error)) as caught, damage.using(saved, graph.program):
            raise error
        assert caught.value is error


def test_a_checkpoint_whose_address_has_no_id_is_named_by_its_own() -> None:
    graph = build(InMemorySaver())
    saved = CheckpointTuple({"configurable": {"thread_id": "lost"}}, {"id": "c9", "v": 99}, {}, None, None)  # type: ignore[typeddict-item]
    words = "Checkpoint 'c9' of thread 'lost' cannot be read"
    with pytest.raises(DamagedCheckpointError, match=words) as caught, damage.using(saved, graph.program):
        raise AssertionError("it was used")
    assert caught.value.checkpoint_id == "c9"
    with damage.using(None, graph.program):
        pass
