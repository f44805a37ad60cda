"""Upkeep of both databases: pruning, sizes, space given back, and from one form to the other."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver as TheirSqlite
from typing_extensions import TypedDict

from stategraph import END, START, StateGraph, interrupt
from stategraph.core.channels import DeltaChannel
from stategraph.errors import ConfigurationError
from stategraph.savers import SqliteSaver
from stategraph.savers.compact import known
from stategraph.savers.upkeep.rules import Keep
from stategraph.types import Command, Send
from tests.savers.drivers import at, checkpoint, put

Opener = Callable[..., Any]


@pytest.fixture(params=["sqlite", "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens this project's saver on the test's database, in a form."""
    if request.param == "sqlite":
        return lambda mode=None: SqliteSaver.from_conn_string(str(tmp_path / "savers.db"), mode=mode)
    address = request.getfixturevalue("postgres")
    from stategraph.savers import PostgresSaver

    return lambda mode=None: PostgresSaver.from_conn_string(address, mode=mode)


@pytest.fixture
def theirs(opener: Opener, request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens their saver on the same database."""
    if request.node.callspec.params["opener"] == "sqlite":
        return lambda: TheirSqlite.from_conn_string(str(tmp_path / "savers.db"))
    from langgraph.checkpoint.postgres import PostgresSaver

    address = request.getfixturevalue("postgres")
    return lambda: PostgresSaver.from_conn_string(address)


@pytest.fixture(params=["compact", "plain"])
def saver(opener: Opener, request: pytest.FixtureRequest) -> Iterator[Any]:
    with opener(request.param) as found:
        found.setup()
        yield found


def seen(found: Any) -> tuple[Any, ...]:
    return found.config, found.checkpoint, found.metadata, found.parent_config, found.pending_writes


def everything(saver: Any, thread: str) -> list[tuple[Any, ...]]:
    return [seen(each) for each in saver.list({"configurable": {"thread_id": thread}})]


def chain(saver: Any, thread: str, length: int, parent: str | None = None) -> list[str]:
    """Store checkpoints after each other, each with one message more; returns their ids, the oldest first."""
    ids: list[str] = []
    for number in range(length):
        parent = put(saver, thread, parent, messages=[HumanMessage(f"{n}" + "x" * 200) for n in range(number + 1)])
        saver.put_writes(at(thread, parent), [("messages", [HumanMessage(f"{number}" + "x" * 200)])], "task")
        ids.append(parent)
    return ids


# Pruning.


def test_a_thread_keeps_its_last_checkpoints_with_all_they_need(saver: Any) -> None:
    ids = chain(saver, "t", 10)
    other = everything(saver, "other") if chain(saver, "other", 3) else []
    before = {each[0]["configurable"]["checkpoint_id"]: each for each in everything(saver, "t")}
    (pruned,) = saver.prune(["t"], keep_last=3)
    assert (pruned.thread_id, pruned.checkpoints, pruned.left.checkpoints) == ("t", 7, 3)
    assert pruned.bytes > 0
    left = everything(saver, "t")
    assert [each[0]["configurable"]["checkpoint_id"] for each in left] == ids[:-4:-1]
    for each in left:
        expected = before[each[0]["configurable"]["checkpoint_id"]]
        assert each[1:3] == expected[1:3]
        assert each[4] == expected[4]
    assert left[-1][3] is None  # it begins where the ones before it are gone
    assert everything(saver, "other") == other
    # What is saved next is built upon what is left.
    put(saver, "t", ids[-1], messages=[HumanMessage("new" + "y" * 200)])
    assert saver.get_tuple(at("t")).checkpoint["channel_values"]["messages"][0].content.startswith("new")


def test_pruning_all_threads_takes_each_of_them(saver: Any) -> None:
    for name in ("a", "b", "c"):
        chain(saver, name, 4)
    assert {each.thread_id: each.checkpoints for each in saver.prune(keep_last=1)} == {"a": 3, "b": 3, "c": 3}
    assert [len(everything(saver, name)) for name in "abc"] == [1, 1, 1]


def test_forks_and_questions_stay(saver: Any) -> None:
    trunk = chain(saver, "t", 5)
    branch = chain(saver, "t", 4, parent=trunk[1])
    asked = put(saver, "t", trunk[0], n=1)
    saver.put_writes(at("t", asked), [("__interrupt__", ["really?"])], "task")
    saver.prune(["t"], keep_last=2)
    left = {each[0]["configurable"]["checkpoint_id"] for each in everything(saver, "t")}
    assert left == {*trunk[-2:], *branch[-2:], asked, trunk[0]}
    assert saver.get_tuple(at("t", asked)).pending_writes == [("task", "__interrupt__", ["really?"])]


def test_old_branches_go_and_the_newest_and_those_that_wait_stay(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = chain(saver, "t", 3)
    old = chain(saver, "t", 2, parent=trunk[0])
    asked = put(saver, "t", trunk[0], n=1)
    saver.put_writes(at("t", asked), [("__interrupt__", ["really?"])], "task")
    newest = put(saver, "t", trunk[2], n=2)
    assert saver.prune(["t"], max_age_s=3600)[0].checkpoints == 0
    monkeypatch.setattr("stategraph.savers.upkeep.saver.time.time", lambda: 4e9)
    assert saver.prune(["t"], max_age_s=3600)[0].checkpoints == len(old)
    left = {each[0]["configurable"]["checkpoint_id"] for each in everything(saver, "t")}
    assert left == {*trunk, asked, newest}


def test_a_thread_is_pruned_until_it_fits(saver: Any) -> None:
    chain(saver, "t", 16)
    full = saver.size().threads[0].bytes
    (pruned,) = saver.prune(["t"], max_bytes=full // 2)
    assert 1 <= pruned.left.checkpoints < 16
    assert pruned.left.bytes <= full // 2 or pruned.left.checkpoints == 1
    (pruned,) = saver.prune(["t"], max_bytes=0)
    assert pruned.left.checkpoints == 1  # the newest one stays, whatever it takes


def test_checkpoints_of_a_nested_graph_go_with_the_one_that_called_it(saver: Any) -> None:
    ids = chain(saver, "t", 3)
    for number, root in enumerate(ids):
        made = checkpoint(n=[number])
        parents = {"parents": {"": root}, "step": 0}
        saver.put(at("t", None, f"node:{number}"), made, parents, made["channel_versions"])
        chain_of_lasting = checkpoint(m=[number])
        saver.put(at("t", None, "lasting"), chain_of_lasting, parents, chain_of_lasting["channel_versions"])
    saver.prune(["t"], keep_last=1)
    left = sorted(each[0]["configurable"]["checkpoint_ns"] for each in everything(saver, "t"))
    assert left == ["", "lasting", "lasting", "lasting", "node:2"]  # each of a lasting graph's is a branch here


def reduce_messages(value: list[AnyMessage], writes: list[Any]) -> list[AnyMessage]:
    return [*value, *(each for write in writes for each in write)]


class Delta(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(reduce_messages, snapshot_frequency=5)]


def test_values_of_delta_channels_can_be_read_after_pruning(saver: Any) -> None:
    builder = StateGraph(Delta).add_node("n", lambda state: {"messages": [AIMessage(f"a{len(state['messages'])}")]})
    graph = builder.add_edge(START, "n").add_edge("n", END).compile(checkpointer=saver)
    thread: Any = {"configurable": {"thread_id": "t"}}
    for turn in range(9):
        graph.invoke({"messages": [HumanMessage(f"h{turn}")]}, thread)
    before = [each.content for each in graph.get_state(thread).values["messages"]]
    history = {each.config["configurable"]["checkpoint_id"]: each.values for each in graph.get_state_history(thread)}
    pruned = saver.prune(["t"], keep_last=1)[0]
    assert pruned.checkpoints > 5
    assert [each.content for each in graph.get_state(thread).values["messages"]] == before
    newest = graph.get_state(thread)
    assert history[newest.config["configurable"]["checkpoint_id"]] == newest.values
    graph.invoke({"messages": [HumanMessage("more")]}, thread)
    assert len(graph.get_state(thread).values["messages"]) == len(before) + 2


def test_a_run_that_waits_is_answered_after_pruning(saver: Any) -> None:
    class State(TypedDict):
        said: Annotated[list[str], lambda a, b: a + b]

    def ask(state: State) -> Any:
        return {"said": [interrupt("name?")]}

    builder = StateGraph(State).add_node("talk", lambda state: {"said": ["hello"]}).add_node("ask", ask)
    graph = builder.add_edge(START, "talk").add_edge("talk", "ask").compile(checkpointer=saver)
    thread: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"said": ["hi"]}, thread)
    assert saver.prune(keep_last=1)[0].checkpoints >= 1
    assert graph.invoke(Command(resume="Ada"), thread) == {"said": ["hi", "hello", "Ada"]}


def test_pruning_beside_a_thread_that_is_written_to_loses_nothing(opener: Opener) -> None:
    stop = threading.Event()
    with opener("compact") as saver, opener("compact") as other:
        saver.setup()
        put(saver, "t", messages=["start" * 60])

        def prune() -> None:
            while not stop.is_set():
                other.prune(["t"], keep_last=2)

        pruning = threading.Thread(target=prune)
        pruning.start()
        try:
            parent, messages = None, []
            for number in range(40):
                messages = [*messages, f"{number}" * 150]
                parent = put(saver, "t", parent, messages=messages)
                assert saver.get_tuple(at("t", parent)).checkpoint["channel_values"]["messages"] == messages
        finally:
            stop.set()
            pruning.join()
    with opener("compact") as fresh:
        assert fresh.get_tuple(at("t")).checkpoint["channel_values"]["messages"] == messages


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"keep_last": 0}, "at least 1; found 0"),
        ({"max_age_s": -1.0}, "max_age_s is at least 0"),
        ({"max_bytes": -5}, "max_bytes is at least 0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, numbers: Any, message: str) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "a.db")) as saver:
        with pytest.raises(ConfigurationError, match=message):
            saver.prune(["t"], **numbers)
        with pytest.raises(ValueError, match="Unknown prune strategy"):
            saver.prune(["t"], strategy="newest")
        with pytest.raises(TypeError, match=r"write \['t'\]"):
            saver.prune("t")
    with pytest.raises(ConfigurationError, match="keep_last, max_age_s or max_bytes"):
        Keep()


@pytest.mark.parametrize("thread_ids", [(), (None,)])
def test_pruning_all_threads_without_a_limit_deletes_nothing(saver: Any, thread_ids: tuple[None, ...]) -> None:
    chain(saver, "a", 3)
    with pytest.raises(ConfigurationError, match="give keep_last, max_age_s or max_bytes, or name threads"):
        saver.prune(*thread_ids)
    assert len(everything(saver, "a")) == 3
    saver.prune(["a"])
    assert len(everything(saver, "a")) == 1


def test_a_strategy_of_langgraphs_interface_is_taken(saver: Any) -> None:
    chain(saver, "a", 3)
    chain(saver, "b", 3)
    saver.prune(["a"], strategy="keep_latest")
    saver.prune(["b"], strategy="delete")
    assert len(everything(saver, "a")) == 1
    assert everything(saver, "b") == []


# Sizes and space.


def test_sizes_are_of_what_is_stored(saver: Any) -> None:
    chain(saver, "small", 2)
    chain(saver, "large", 12)
    found = saver.size()
    assert found.form == saver_mode(saver)
    assert [each.thread_id for each in found.threads] == ["large", "small"]
    assert [each.checkpoints for each in found.threads] == [12, 2]
    assert [each.writes for each in found.threads] == [12, 2]
    assert found.bytes >= sum(each.bytes for each in found.threads) / 4
    text = 12 * 200
    assert found.threads[0].bytes > text
    if found.form == "compact":
        assert found.threads[0].bytes < 5 * text + 12 * 400


def saver_mode(saver: Any) -> str:
    mode: str = saver.mode if isinstance(saver, SqliteSaver) else saver._shared.form.mode
    return mode


def test_space_is_given_back(opener: Opener, request: pytest.FixtureRequest) -> None:
    with opener("plain") as saver:
        saver.setup()
        chain(saver, "t", 60)
        full = saver.size().bytes
        saver.delete_thread("t")
        saver.vacuum()
        assert saver.size().bytes < full
        put(saver, "t", n=1)
        assert saver.get_tuple(at("t")) is not None


# From one form to the other.


def value(chance: random.Random, depth: int = 2) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: chance.choice(
            [None, True, False, 1, -5, 2.5, "", "text", "\u00fc" * 40, "long " * chance.randrange(200)]
        ),
        lambda: chance.randbytes(chance.randrange(300)),
        lambda: (1, ("a", 2)),
        lambda: {3, 4},
        lambda: HumanMessage("h" * chance.randrange(400), id=f"h{chance.randrange(5)}"),
        lambda: AIMessage("", tool_calls=[{"name": "t", "args": {"q": "w" * 120}, "id": f"c{chance.randrange(9)}"}]),
        lambda: Send("node", {"messages": [HumanMessage("s" * 200)], "n": chance.randrange(9)}),
    ]
    if depth:
        kinds.append(lambda: [value(chance, depth - 1) for _ in range(chance.randrange(8))])
        kinds.append(lambda: {f"k{n}": value(chance, depth - 1) for n in range(chance.randrange(5))})
    return chance.choice(kinds)()


def a_random_thread(saver: Any, thread: str, chance: random.Random) -> None:
    """A thread with appends, edits, forks, questions, errors and a nested graph."""
    line: list[tuple[str | None, list[Any], dict[str, Any]]] = [(None, [], {})]
    for step in range(chance.randrange(1, 9)):
        parent, before, kept = chance.choice(line[-3:])
        messages = [*before, *(value(chance, 1) for _ in range(chance.randrange(4)))]
        if messages and chance.random() < 0.3:
            del messages[chance.randrange(len(messages))]
        extra = {**kept, chance.choice("abc"): value(chance)}
        made = checkpoint(messages=messages, **extra)
        made["versions_seen"] = {"node": dict(made["channel_versions"])}
        metadata = {"source": "loop", "step": step, "parents": {}, "note": "x" * chance.randrange(60)}
        saver.put(at(thread, parent), made, metadata, made["channel_versions"])
        for task in range(chance.randrange(3)):
            writes = [("messages", value(chance)), (chance.choice("abc"), value(chance)), ("messages", value(chance))]
            saver.put_writes(at(thread, made["id"]), writes, f"{chance.choice('zyx')}{task}", f"~{9 - task}")
        if chance.random() < 0.3:
            saver.put_writes(at(thread, made["id"]), [("__interrupt__", [value(chance)])], "asks")
        if chance.random() < 0.3:
            inner = checkpoint(messages=messages[-2:], n=step)
            saver.put(at(thread, None, f"sub:{step}"), inner, {"parents": {"": made["id"]}}, inner["channel_versions"])
        line.append((made["id"], messages, extra))


@pytest.mark.parametrize("first", ["plain", "compact"])
def test_a_hundred_random_threads_there_and_back_are_equal(opener: Opener, theirs: Opener, first: str) -> None:
    other = "compact" if first == "plain" else "plain"
    names = [f"thread {number}" for number in range(100)]
    with opener(first) as saver:
        saver.setup()
        for number, name in enumerate(names):
            a_random_thread(saver, name, random.Random(number))
        before = {name: everything(saver, name) for name in names}
        assert saver.convert(other) > 300
        assert saver.convert(other) == 0
        assert {name: everything(saver, name) for name in names} == before
        put(saver, names[0], None, messages=["new" * 100])
        saver.delete_thread(names[0])
    with opener() as saver:
        assert saver.size().form == other
        assert {name: everything(saver, name) for name in names[1:]} == {name: before[name] for name in names[1:]}
        assert saver.convert(first) > 300
        assert {name: everything(saver, name) for name in names[1:]} == {name: before[name] for name in names[1:]}
        if first == "compact":
            saver.convert("plain")
    with theirs() as saver:
        # Back on plain tables: their saver opens them, and reads the same.
        found = {name: [seen(each) for each in saver.list({"configurable": {"thread_id": name}})] for name in names[1:]}
        assert {name: [each[0] for each in several] for name, several in found.items()} == {
            name: [each[0] for each in before[name]] for name in names[1:]
        }
        for name in names[1:]:
            for theirs_, ours in zip(found[name], before[name], strict=True):
                assert theirs_[1]["channel_values"].keys() == ours[1]["channel_values"].keys()
                assert [each[:2] for each in theirs_[4]] == [each[:2] for each in ours[4]]


def test_plain_tables_are_those_of_their_savers_again(opener: Opener, tmp_path: Path, request: Any) -> None:
    with opener("compact") as saver:
        saver.setup()
        chain(saver, "t", 3)
        saver.convert("plain")
        assert saver.size().form == "plain"
        put(saver, "u", n=[1])
        assert saver.size().form == "plain"
    if request.node.callspec.params["opener"] == "sqlite":
        import sqlite3

        with closing(sqlite3.connect(tmp_path / "savers.db")) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            columns = [row[1] for row in connection.execute("PRAGMA table_info(checkpoints)")]
        assert tables == {"checkpoints", "writes"}
        assert "refs" not in columns


def test_an_unknown_form_is_refused(saver: Any) -> None:
    with pytest.raises(ConfigurationError, match="'compact' or 'plain'; found 'small'"):
        saver.convert("small")


def test_async_savers_have_the_same_upkeep(opener: Opener, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from stategraph.savers import AsyncPostgresSaver, AsyncSqliteSaver

    async def scenario() -> None:
        if request.node.callspec.params["opener"] == "sqlite":
            opening: Any = AsyncSqliteSaver.from_conn_string(str(tmp_path / "savers.db"))
        else:
            opening = AsyncPostgresSaver.from_conn_string(request.getfixturevalue("postgres"))
        async with opening as saver:
            await saver.setup()
            parent = None
            for number in range(4):
                made = checkpoint(messages=["m" * 200] * number)
                await saver.aput(at("t", parent), made, {}, made["channel_versions"])
                parent = made["id"]
            assert (await saver.aprune(keep_last=2))[0].checkpoints == 2
            assert (await saver.asize()).threads[0].checkpoints == 2
            assert await saver.aconvert("plain") == 2
            await saver.avacuum()
            assert (await saver.aget_tuple(at("t"))).checkpoint["channel_values"]["messages"] == ["m" * 200] * 3

    asyncio.run(scenario())


def test_a_thread_that_passes_a_size_is_told_once(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stategraph.savers.compact.known.LARGE", 8_000)
    with opener("compact") as saver:
        saver.setup()
        chain(saver, "small", 2)
        chain(saver, "large", 12)
    told = [record.getMessage() for record in caplog.records if "has passed" in record.getMessage()]
    assert len(told) == 1
    assert "'large'" in told[0]
    assert "stategraph store prune" in told[0]


def test_what_is_remembered_of_warnings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "LARGE", 0)
    monkeypatch.setattr(known, "_MOST_TOLD", 3)
    threads = known.KnownThreads(10**6)
    for number in range(10):
        threads.keep(str(number), known.Known())
    assert list(threads._told) == ["7", "8", "9"]
