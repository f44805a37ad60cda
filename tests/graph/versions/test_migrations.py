"""Threads of an earlier version of a graph that a later one goes on with, as langchain-ai/langgraphjs#2608 asks for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, ConfigurationError, GraphVersionError, Migration, Send, StateGraph
from stategraph import interrupt as ask
from stategraph.savers import SqliteSaver
from tests import sqlite
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Old(TypedDict, total=False):
    name: str
    log: Annotated[list[str], operator.add]


class New(TypedDict, total=False):
    first: str
    last: str
    log: Annotated[list[str], operator.add]


def split(values: dict[str, Any]) -> dict[str, Any]:
    first, last = values.pop("name").split()
    return {**values, "first": first, "last": last}


def twice(state: Any) -> Any:
    return {"log": [f"{ask('sure?')}, {ask('really?')}"]}


def old_graph(saver: Any, **options: Any) -> Any:
    builder = StateGraph(Old)
    builder.add_node("ask", twice)
    builder.add_node("side", lambda state: {"log": ["side"]})
    builder.add_node("end", lambda state: {"log": ["old end"]})
    builder.add_edge(START, "ask").add_edge(START, "side").add_edge(["ask", "side"], "end")
    return builder.compile(saver, version="1", **options)


RENAMED = {"ask": "confirm", "side": "other", "end": "finish"}


def new_graph(saver: Any, migration: Migration | None = None, **options: Any) -> Any:
    builder = StateGraph(New)
    builder.add_node("confirm", twice)
    builder.add_node("other", lambda state: {"log": ["ran again"]})
    builder.add_node("finish", lambda state: {"log": [f"bye {state['first']}"]})
    builder.add_edge(START, "confirm").add_edge(START, "other").add_edge(["confirm", "other"], "finish")
    migrations = [migration or Migration("1", "2", state=split, nodes=RENAMED)]
    return builder.compile(saver, version="2", migrations=migrations, **options)


@pytest.fixture(params=["memory", "sqlite"])
def saver(request: pytest.FixtureRequest, driver: Driver) -> Any:
    if request.param == "memory":
        return InMemorySaver()
    if driver.name == "async":
        pytest.skip("the saver is sync")
    return SqliteSaver(sqlite.connection())


def test_a_thread_goes_on_where_it_waits_with_other_names_and_another_state(driver: Driver, saver: Any) -> None:
    """What was finished is not run again, and answers by the ids that people were shown are taken."""
    old = old_graph(saver)
    shown = driver.invoke(old, {"name": "Ada Lovelace"}, THREAD)["__interrupt__"][0]
    graph = new_graph(saver)
    seen = driver.get_state(graph, THREAD)
    assert seen.next == ("confirm",)
    assert [each.id for each in seen.interrupts] == [shown.id]
    assert seen.values == {"first": "Ada", "last": "Lovelace", "log": ["side"]}
    asked = driver.invoke(graph, Command(resume={shown.id: "yes"}), THREAD)["__interrupt__"][0]
    assert asked.value == "really?"
    # In another process, which knows the thread from the saver alone.
    ended = driver.invoke(new_graph(saver), Command(resume="very"), THREAD)
    assert ended == {"first": "Ada", "last": "Lovelace", "log": ["yes, very", "side", "bye Ada"]}
    assert driver.get_state(graph, THREAD).metadata["graph_version"] == "2"
    # The next turn reads what was stored, and migrates nothing.
    unmigrated = new_graph(saver, Migration("1", "2", state=lambda values: 1 / 0))  # type: ignore[arg-type,return-value]
    assert driver.get_state(unmigrated, THREAD).values == ended


def test_nothing_is_stored_until_a_run_or_an_edit_does(driver: Driver, saver: Any) -> None:
    driver.invoke(old_graph(saver), {"name": "Ada Lovelace"}, THREAD)
    before = driver.get_state(old_graph(saver), THREAD)
    graph = new_graph(saver)
    driver.get_state(graph, THREAD), driver.history(graph, THREAD)
    assert driver.get_state(old_graph(saver), THREAD) == before
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="other")
    after = driver.get_state(graph, THREAD)
    assert after.metadata["graph_version"] == "2"
    assert (after.values["first"], after.values["log"][-1]) == ("Ada", "edited")


def test_the_history_shows_each_state_as_the_graph_of_today_would_have_it(driver: Driver, saver: Any) -> None:
    driver.invoke(old_graph(saver), {"name": "Ada Lovelace"}, THREAD)
    graph = new_graph(saver)
    driver.invoke(graph, Command(resume="yes"), THREAD)
    states = driver.history(graph, THREAD)
    assert [each.values.get("first") for each in states] == ["Ada", None]
    assert states[0].next == ("confirm", "other")


def test_an_idle_thread_is_migrated_by_its_next_turn(driver: Driver, saver: Any) -> None:
    old = old_graph(saver)
    driver.invoke(old, {"name": "Ada Lovelace"}, THREAD)
    driver.invoke(old, Command(resume="a"), THREAD)
    driver.invoke(old, Command(resume="b"), THREAD)
    paused = driver.invoke(new_graph(saver), {"log": ["again"]}, THREAD)
    assert paused["first"] == "Ada"
    assert paused["log"] == ["a, b", "side", "old end", "again", "ran again"]


def test_a_fork_of_an_earlier_state_is_migrated(driver: Driver, saver: Any) -> None:
    old = old_graph(saver)
    driver.invoke(old, {"name": "Ada Lovelace"}, THREAD)
    waiting = driver.get_state(old, THREAD).config
    driver.invoke(old, Command(resume="a"), THREAD)
    driver.invoke(old, Command(resume="b"), THREAD)
    graph = new_graph(saver)
    forked = driver.invoke(graph, None, waiting)
    assert forked["first"] == "Ada"
    assert [each.value for each in forked["__interrupt__"]] == ["sure?"]
    assert driver.get_state(graph, THREAD).metadata["graph_version"] == "2"


# -- what waits ----------------------------------------------------------------


def test_packets_that_wait_get_other_nodes_and_other_payloads(driver: Driver, saver: Any) -> None:
    def make(work: Callable[[Any], Any], name: str, **options: Any) -> Any:
        builder = StateGraph(Old).add_node("plan", lambda state: {"log": ["planned"]}).add_node(name, work)
        builder.add_edge(START, "plan")
        builder.add_conditional_edges("plan", lambda state: [Send(name, n) for n in (1, 2, 3)], [name])
        return builder.compile(saver, **options)

    def work(n: Any) -> Any:
        return {"log": [f"{n}:{ask(n)}"]} if n == 2 else {"log": [str(n)]}

    driver.invoke(make(work, "work", version="1"), {}, THREAD)

    def later(value: Any) -> Any:
        assert value == {"n": 2}, "only the one that waits runs"
        return {"log": [f"{value['n']}:{ask('later')}"]}

    migration = Migration("1", "2", nodes={"work": "later"}, sent=lambda node, n: {"n": n})
    graph = make(later, "later", version="2", migrations=[migration])
    assert driver.get_state(graph, THREAD).next == ("later",)
    assert driver.invoke(graph, Command(resume="ok"), THREAD)["log"] == ["planned", "1", "2:ok", "3"]


def test_what_tasks_of_an_open_step_have_written_is_migrated(driver: Driver, saver: Any) -> None:
    class Renamed(TypedDict, total=False):
        trace: Annotated[list[str], operator.add]

    def make(schema: Any, key: str, **options: Any) -> Any:
        builder = StateGraph(schema).add_node("wait", lambda state: {key: [ask("?")]})
        builder.add_node("done", lambda state: {key: ["done"]})
        return builder.add_edge(START, "wait").add_edge(START, "done").compile(saver, **options)

    driver.invoke(make(Old, "log", version="1"), {"log": ["in"]}, THREAD)
    migration = Migration(
        "1",
        "2",
        keys={"log": "trace", "name": None},
        updates=lambda update: {k: [*v, "moved"] for k, v in update.items()},
    )
    graph = make(Renamed, "trace", version="2", migrations=[migration])
    assert driver.invoke(graph, Command(resume="yes"), THREAD) == {"trace": ["in", "done", "moved", "yes"]}


def test_what_waits_for_a_removed_node_is_dropped(driver: Driver, saver: Any) -> None:
    driver.invoke(old_graph(saver), {"name": "Ada Lovelace"}, THREAD)
    builder = StateGraph(Old).add_node("other", lambda state: {"log": ["other"]}).add_edge(START, "other")
    migration = Migration("1", "2", nodes={"ask": END, "side": "other", "end": END})
    graph = builder.compile(saver, version="2", migrations=[migration])
    seen = driver.get_state(graph, THREAD)
    assert (seen.next, seen.interrupts) == ((), ())
    assert driver.invoke(graph, None, THREAD)["log"] == ["side"]


def test_two_nodes_that_become_one_cannot_both_wait(driver: Driver, saver: Any) -> None:
    def make(*names: str, **options: Any) -> Any:
        builder = StateGraph(Old)
        for name in names:
            builder.add_node(name, lambda state: {"log": [ask("?")]}).add_edge(START, name)
        return builder.compile(saver, **options)

    driver.invoke(make("a", "b", version="1"), {}, THREAD)
    graph = make("c", version="2", migrations=[Migration("1", "2", nodes={"a": "c", "b": "c"})])
    with pytest.raises(GraphVersionError, match=r"'a', 'b' have become the node 'c'.*'t'"):
        driver.invoke(graph, Command(resume="x"), THREAD)


def test_a_nested_graph_goes_on_in_a_renamed_node(driver: Driver, saver: Any) -> None:
    def inner(**options: Any) -> Any:
        builder = StateGraph(Old).add_node("first", lambda state: {"log": ["first"]})
        builder.add_node("ask", lambda state: {"log": [ask("?")]})
        return builder.add_edge(START, "first").add_edge("first", "ask").compile(**options)

    def outer(name: str, **options: Any) -> Any:
        builder = StateGraph(Old).add_node(name, inner()).add_edge(START, name)
        return builder.compile(saver, **options)

    driver.invoke(outer("inside", version="1"), {"log": []}, THREAD)
    graph = outer("within", version="2", migrations=[Migration("1", "2", nodes={"inside": "within"})])
    below = driver.get_state(graph, THREAD, subgraphs=True).tasks[0].state
    assert below.values["log"] == ["first"]
    assert driver.invoke(graph, Command(resume="ok"), THREAD)["log"] == ["first", "ok"]


# -- chains and their errors ---------------------------------------------------


def test_a_chain_goes_from_any_version_also_from_threads_without_one(driver: Driver) -> None:
    """LangGraph's threads, stored before there were versions, are of the version at which the chain begins."""
    saver = InMemorySaver()

    def make(**options: Any) -> Any:
        return StateGraph(Old).add_node("a", lambda state: {}).add_edge(START, "a").compile(saver, **options)

    steps = [Migration(str(n), str(n + 1), state=lambda v, n=n: {**v, "log": [*v["log"], str(n)]}) for n in (1, 2, 3)]
    for version in (None, "1", "2", "3"):
        config = {"configurable": {"thread_id": str(version)}}
        driver.invoke(make(version=version), {"log": ["in"]}, config)
        graph = make(version="4", migrations=reversed(steps))
        expected = ["in", *"123"[0 if version is None else int(version) - 1 :]]
        assert driver.get_state(graph, config).values["log"] == expected
        assert driver.invoke(graph, {"log": []}, config)["log"] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"migrations": [Migration("1", "2")]}, "pass `version`"),
        ({"version": ""}, "expected a text"),
        ({"version": "3", "migrations": [Migration("1", "2")]}, "do not lead to version '3': '1' to '2'"),
        (
            {"version": "2", "migrations": [Migration("1", "2"), Migration("0", "2")]},
            "Two migrations lead to version '2'",
        ),
        ({"version": "2", "migrations": [Migration("1", "2"), Migration("2", "1")]}, "back to itself"),
        ({"version": "2", "migrations": [("1", "2")]}, "expected stategraph.Migration"),
    ],
)
def test_migrations_that_are_no_chain_are_refused(options: dict[str, Any], message: str) -> None:
    builder = StateGraph(Old).add_node("a", lambda state: {}).add_edge(START, "a")
    with pytest.raises(ConfigurationError, match=message):
        builder.compile(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"before": "1", "after": "1"}, "to itself"),
        ({"before": "1", "after": "2", "nodes": {START: "a"}}, "renames START"),
    ],
)
def test_a_migration_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Migration(**options)


def test_a_thread_of_an_unknown_version_is_refused_and_stays_as_it_is(driver: Driver, saver: Any) -> None:
    driver.invoke(new_graph(saver), {"first": "Ada", "last": "L"}, THREAD)
    with pytest.raises(GraphVersionError, match=r"Thread 't' was stored by version '2'.*This is version '1'"):
        driver.invoke(old_graph(saver), Command(resume="yes"), THREAD)
    assert driver.invoke(new_graph(saver), Command(resume="yes"), THREAD)["__interrupt__"][0].value == "really?"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda values: {"first": values["nme"]}, "from version '1' to '2' failed: KeyError: 'nme'"),
        (lambda values: None, "`state` returned a NoneType"),
        (lambda values: {**values, "frist": "Ada"}, "'frist'"),
        (lambda values: {**values, "branch:to:confirm": 1}, "expected keys of the state"),
    ],
)
def test_a_migration_that_fails_changes_nothing(driver: Driver, saver: Any, state: Any, message: str) -> None:
    driver.invoke(old_graph(saver), {"name": "Ada Lovelace"}, THREAD)
    with pytest.raises(GraphVersionError, match=message):
        driver.invoke(new_graph(saver, Migration("1", "2", state=state, nodes=RENAMED)), Command(resume="x"), THREAD)
    assert driver.invoke(new_graph(saver), Command(resume="yes"), THREAD)["__interrupt__"][0].value == "really?"


def test_a_migration_may_change_what_it_is_given_in_place(driver: Driver, saver: Any) -> None:
    driver.invoke(old_graph(saver), {"name": "Ada Lovelace", "log": ["x"]}, THREAD)

    def in_place(values: dict[str, Any]) -> dict[str, Any]:
        values["log"].append("moved")
        return split(values)

    graph = new_graph(saver, Migration("1", "2", state=in_place, nodes=RENAMED))
    driver.invoke(graph, Command(resume="a"), THREAD)
    driver.invoke(graph, Command(resume="b"), THREAD)
    assert driver.get_state(new_graph(saver), THREAD).values["log"] == ["x", "moved", "a, b", "side", "bye Ada"]


def test_lists_that_are_stored_as_deltas_are_left_alone(driver: Driver) -> None:
    from stategraph import MessagesState

    class Chat(MessagesState, total=False):
        name: str

    saver = InMemorySaver()
    builder = StateGraph(Chat).add_node("a", lambda state: {"messages": ["hello"]}).add_edge(START, "a")
    driver.invoke(builder.compile(saver, version="1", delta_messages=True), {"messages": ["hi"], "name": "x"}, THREAD)

    def make(**changes: Any) -> Any:
        migrations = [Migration("1", "2", **changes)]
        return builder.compile(saver, version="2", migrations=migrations, delta_messages=True)

    with pytest.raises(GraphVersionError, match="'messages', whose value is stored as its changes"):
        driver.get_state(make(keys={"messages": "chat"}), THREAD)
    with pytest.raises(GraphVersionError, match="'messages', whose value is stored as its changes"):
        driver.get_state(make(state=lambda values: {"messages": []}), THREAD)
    kept = driver.invoke(make(state=lambda values: values), {"messages": ["again"]}, THREAD)
    assert [each.content for each in kept["messages"]] == ["hi", "hello", "again", "hello"]


def test_what_a_later_version_has_written_behind_an_earlier_checkpoint_is_not_migrated_again(
    driver: Driver, saver: Any
) -> None:
    """A process of the later version dies in the middle of a step; the next one migrates what the first has left."""
    driver.invoke(old_graph(saver), {"name": "Ada Lovelace"}, THREAD)
    marked = Migration(
        "1", "2", state=split, nodes=RENAMED, updates=lambda update: {k: [f"moved {v[0]}"] for k, v in update.items()}
    )

    def graph(fails: bool) -> Any:
        builder = StateGraph(New)
        builder.add_node("confirm", twice).add_node("finish", lambda state: {"log": ["end"]})
        builder.add_node("other", lambda state: {"log": ["ran again"]})
        builder.add_edge(START, "confirm").add_edge(START, "other").add_edge(["confirm", "other"], "finish")
        return builder.compile(saver, version="2", migrations=[marked], interrupt_before=["finish"] if fails else None)

    driver.invoke(graph(True), Command(resume="a"), THREAD)
    for config in (THREAD, driver.get_state(graph(True), THREAD).config):
        assert driver.get_state(graph(False), config).tasks[1].result == {"log": ["moved side"]}
    driver.update_state(graph(True), THREAD, {"log": ["edited"]}, as_node="confirm")
    before = driver.history(graph(True), THREAD)[1]
    assert [task.result for task in before.tasks] == [{"log": ["edited"]}, {"log": ["moved side"]}]
    with pytest.raises(GraphVersionError, match="stored by version '2'"):
        driver.get_state(old_graph(saver), before.config)


def test_a_graph_without_a_version_stores_what_it_always_has(driver: Driver) -> None:
    saver = InMemorySaver()
    driver.invoke(StateGraph(Old).add_node("a", lambda s: {}).add_edge(START, "a").compile(saver), {"log": []}, THREAD)
    assert all("graph_version" not in each.metadata for each in saver.list(THREAD))


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability_stores_the_migrated_state(driver: Driver, saver: Any, durability: Any) -> None:
    driver.invoke(old_graph(saver), {"name": "Ada Lovelace"}, THREAD, durability=durability)
    graph = new_graph(saver)
    driver.invoke(graph, Command(resume="a"), THREAD, durability=durability)
    driver.invoke(graph, Command(resume="b"), THREAD, durability=durability)
    values = driver.get_state(new_graph(saver, Migration("1", "2")), THREAD).values
    assert values == {"first": "Ada", "last": "Lovelace", "log": ["a, b", "side", "bye Ada"]}


# -- at any point, as if the graph had always been the new one ------------------


class Crashed(Exception):
    """Stands for the end of a process."""


def layered(
    layers: list[list[str]], names: Callable[[str], str], key: str, crash_at: str | None, **options: Any
) -> Any:
    """Build a graph of layers, each of which waits for the one before; kinds of nodes: `log`, `ask`."""

    class State(TypedDict, total=False):
        log: Annotated[list[str], operator.add]
        trace: Annotated[list[str], operator.add]

    def node(label: str, kind: str) -> Callable[[Any], Any]:
        def run(state: Any) -> Any:
            if label == crash_at:
                raise Crashed
            return {key: [f"{label}:{ask(label)}" if kind == "ask" else label]}

        return run

    builder, before = StateGraph(State), None
    for depth, kinds in enumerate(layers):
        labels = [f"n{depth}{index}" for index in range(len(kinds))]
        for label, kind in zip(labels, kinds, strict=True):
            builder.add_node(names(label), node(label, kind))
            if before is None:
                builder.add_edge(START, names(label))
            else:
                builder.add_edge(
                    [names(each) for each in before] if len(before) > 1 else names(before[0]), names(label)
                )
        before = labels
    return builder.compile(**options)


def answered(graph: Any, first: Any, most: int) -> Any:
    """Run a thread until it has ended or was answered so often; answers are by id, so that their order is no matter."""
    given = first
    for _ in range(most):
        result = graph.invoke(given, THREAD)
        waiting = result.get("__interrupt__")
        if not waiting:
            return result
        given = Command(resume={each.id: f"answer to {each.value}" for each in waiting})
    return given


@settings(max_examples=60)
@given(
    layers=st.lists(st.lists(st.sampled_from(["log", "ask"]), min_size=1, max_size=3), min_size=1, max_size=3),
    pauses=st.integers(0, 3),
    crash=st.one_of(st.none(), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    swaps=st.booleans(),
)
def test_a_migration_at_any_point_leads_where_the_later_graph_alone_would(
    layers: list[list[str]], pauses: int, crash: tuple[int, int] | None, swaps: bool
) -> None:
    """The model: a run of the later graph from the start. Names are new, or those of the old graph in other places."""
    labels = [f"n{depth}{index}" for depth, kinds in enumerate(layers) for index in range(len(kinds))]
    renamed = dict(zip(labels, [*labels[1:], labels[0]] if swaps else [f"new_{each}" for each in labels], strict=True))
    if swaps and len(labels) == 1:
        renamed = {labels[0]: "other"}
    alone = layered(layers, renamed.__getitem__, "trace", None, checkpointer=InMemorySaver())
    expected = answered(alone, {"trace": ["in"]}, 10)

    saver = InMemorySaver()
    crash_at = None if crash is None else f"n{crash[0]}{crash[1]}"
    old = layered(layers, lambda label: label, "log", crash_at, checkpointer=saver, version="1")
    left: Any = None
    try:
        left = answered(old, {"log": ["in"]}, pauses + 1)
    except Crashed:
        pass
    migration = Migration("1", "2", nodes=renamed, keys={"log": "trace"})
    new = layered(layers, renamed.__getitem__, "trace", None, checkpointer=saver, version="2", migrations=[migration])
    if isinstance(left, dict):
        ended = new.get_state(THREAD).values
    else:
        waiting = new.get_state(THREAD).interrupts
        given = Command(resume={each.id: f"answer to {each.value}" for each in waiting}) if waiting else None
        ended = answered(new, given, 10)
    # Within a step, updates are applied in the order of nodes' names, which the migration has changed.
    assert sorted(ended["trace"]) == sorted(expected["trace"])
