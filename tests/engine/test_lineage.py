"""A graph and those inside it that keep histories of their own agree after a crash between their saves."""

from __future__ import annotations

import asyncio
import operator
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, RetryPolicy, StateGraph, interrupt
from stategraph.engine.config.environment import SYSTEM
from stategraph.engine.runs import lineage
from tests.conftest import Driver
from tests.engine import nested_kit as kit
from tests.properties import examples

SAVES = 157
"""How many a conversation makes that stores each step."""

Save = tuple[str, tuple[Any, ...]]


@dataclass
class Tape:
    """What a conversation stored, in order.

    Attributes:
        saves: The saver's methods, and what they were called with.
        begins: How many had been stored when each run began.
        values: The graph's values in the end.
    """

    saves: list[Save] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def run_of(self, number: int) -> int:
        """Return how many saves had been made when the run began that made the one with a number."""
        return max(begin for begin in self.begins if begin <= number)


class Recording(InMemorySaver):
    """Remembers what was stored."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def put(self, *args: Any) -> Any:
        self.tape.saves.append(("put", args))
        return super().put(*args)

    def put_writes(self, *args: Any) -> None:
        self.tape.saves.append(("put_writes", args))
        super().put_writes(*args)


def recorded(durability: str) -> Tape:
    tape = Tape()
    graph = kit.build(Recording(tape))
    invoke = graph.invoke

    def noted(*args: Any, **kwargs: Any) -> Any:
        tape.begins.append(len(tape.saves))
        return invoke(*args, **kwargs)

    graph.invoke = noted
    tape.values = kit.converse(graph, durability)
    return tape


def is_outermost(save: Save) -> bool:
    return save[1][0]["configurable"]["checkpoint_ns"] == ""  # type: ignore[no-any-return]


def finished(saves: list[Save], durability: str, asynchronous: bool) -> dict[str, Any]:
    """Store what a process left behind, and bring the conversation to its end; returns the values."""
    saver = InMemorySaver()
    for name, args in saves:
        getattr(saver, name)(*args)
    graph = kit.build(saver, asynchronous=asynchronous)
    return asyncio.run(kit.aconverse(graph, durability)) if asynchronous else kit.converse(graph, durability)


@pytest.fixture(scope="module")
def tapes() -> dict[str, Tape]:
    return {durability: recorded(durability) for durability in ("sync", "exit")}


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_conversation_that_is_cut_after_any_save_ends_as_if_it_had_not_been_cut(
    tapes: dict[str, Tape], durability: str
) -> None:
    tape = tapes[durability]
    for kept in range(len(tape.saves)):
        assert finished(tape.saves[:kept], durability, asynchronous=kept % 2 == 1) == tape.values, f"after {kept} saves"


@examples(60)
@given(kept=st.integers(1, SAVES), behind=st.integers(0, 6), asynchronous=st.booleans())
def test_a_conversation_whose_outermost_graph_is_stored_late_ends_as_if_it_had_not_been_cut(
    tapes: dict[str, Tape], kept: int, behind: int, asynchronous: bool
) -> None:
    tape = tapes["sync"]
    assert len(tape.saves) == SAVES
    outermost = [number for number in range(tape.run_of(kept - 1), kept) if is_outermost(tape.saves[number])]
    late = outermost[max(0, len(outermost) - behind) :]
    left = [save for number, save in enumerate(tape.saves[:kept]) if number not in late]
    assert finished(left, "async", asynchronous) == tape.values


class Counted(TypedDict, total=False):
    seen: Annotated[list[str], operator.add]
    said: str


class Dying(InMemorySaver):
    """Stores nothing more of the outermost graph when it is told that the process is dying."""

    dying = False
    listed = 0

    def put(self, config: Any, *args: Any) -> Any:
        if self.dying and config["configurable"]["checkpoint_ns"] == "":
            raise ConnectionError("the process dies")
        return super().put(config, *args)

    def list(self, *args: Any, **kwargs: Any) -> Any:
        self.listed += 1
        return super().list(*args, **kwargs)


def keeping(*nodes: Any, **options: Any) -> Any:
    """Make a graph with a history of its own that notes what it is told."""
    builder = StateGraph(Counted)
    builder.add_sequence(nodes or [("note", lambda state: {"seen": [state["said"]]})])
    builder.add_edge(START, nodes[0][0] if nodes else "note")
    return builder.compile(checkpointer=True, **options)


def around(node: Any, saver: Any, **options: Any) -> Any:
    """Make a graph that calls another one in its second node."""
    builder = StateGraph(kit.Passing)
    builder.add_node("first", lambda state: {})
    builder.add_node("inner", node)
    builder.add_edge(START, "first")
    builder.add_edge("first", "inner")
    return builder.compile(checkpointer=saver, **options)


def calls(graph: Any, **address: Any) -> Any:
    """Make a node that tells a graph what it is told; the address says where, unless it is in the node's own place."""

    def inner(state: kit.Passing, config: RunnableConfig) -> kit.Passing:
        conf = {**config["configurable"], **address}
        graph.invoke({"said": state["said"]}, {**config, "configurable": conf} if address else None)
        return {}

    return inner


def seen(graph: Any, thread: dict[str, Any] = kit.THREAD, ns: str = "inner") -> list[str]:
    """Return what the graph with the history has noted."""
    config = {"configurable": {**thread["configurable"], "checkpoint_ns": ns}}
    found = graph.checkpointer.get_tuple(config)
    return list(found.checkpoint["channel_values"].get("seen", ()))


def crashed(driver: Driver, graph: Any, said: str, durability: str = "exit") -> None:
    """Run a turn whose process dies when the outer graph is to be stored."""
    graph.checkpointer.dying = True
    with pytest.raises(ConnectionError):
        driver.invoke(graph, {"said": said}, kit.THREAD, durability=durability)
    graph.checkpointer.dying = False


def test_nothing_is_searched_for_unless_a_checkpoint_is_lost(driver: Driver, caplog: Any) -> None:
    graph = around(calls(keeping()), Dying())
    for said in ("one", "two"):
        driver.invoke(graph, {"said": said}, kit.THREAD)
    assert graph.checkpointer.listed == 0
    assert caplog.messages == []


def test_a_lost_checkpoint_is_passed_over_with_a_warning_that_names_it(driver: Driver, caplog: Any) -> None:
    graph = around(calls(keeping()), Dying())
    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability="exit")
    crashed(driver, graph, "lost")
    assert seen(graph) == ["one", "lost"]
    lost = graph.checkpointer.get_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": "inner"}})

    driver.invoke(graph, {"said": "two"}, kit.THREAD, durability="exit")

    assert seen(graph) == ["one", "two"]
    (warning,) = [message for message in caplog.messages if "'inner'" in message]
    assert lost.checkpoint["id"] in warning and lost.parent_config["configurable"]["checkpoint_id"] in warning


def test_any_number_of_lost_checkpoints_is_passed_over(driver: Driver) -> None:
    graph = around(calls(keeping(*[(f"n{n}", lambda state: {"seen": [state["said"]]}) for n in range(40)])), Dying())
    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability="exit")
    graph.checkpointer.dying = True
    with pytest.raises(ConnectionError):
        driver.invoke(graph, {"said": "lost"}, kit.THREAD, durability="exit")
    graph.checkpointer.dying = False
    for _ in range(2):
        crashed(driver, graph, "lost")

    driver.invoke(graph, {"said": "two"}, kit.THREAD, durability="exit")

    assert seen(graph) == ["one"] * 40 + ["two"] * 40


def test_the_search_for_a_checkpoint_ends_at_the_newest_that_is_not_lost(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "_PAGE", 2)
    graph = around(calls(keeping()), Dying())
    for said in ("one", "two", "three"):
        driver.invoke(graph, {"said": said}, kit.THREAD, durability="exit")
    for _ in range(3):
        crashed(driver, graph, "lost")

    graph.checkpointer.listed = 0
    driver.invoke(graph, {"said": "four"}, kit.THREAD, durability="exit")

    assert seen(graph) == ["one", "two", "three", "four"]
    assert graph.checkpointer.listed == 2


def test_a_graph_whose_whole_history_is_lost_starts_from_the_beginning(driver: Driver) -> None:
    graph = around(calls(keeping()), Dying())
    crashed(driver, graph, "lost")

    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability="exit")

    assert seen(graph) == ["one"]


def test_a_checkpoint_that_an_edit_made_is_never_lost(driver: Driver) -> None:
    graph = around(keeping(), Dying())
    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability="exit")
    crashed(driver, graph, "lost")
    inner = {"configurable": {"thread_id": "t", "checkpoint_ns": "inner"}}
    driver.update_state(graph, inner, {"seen": ["edited"]}, as_node="note")

    driver.invoke(graph, {"said": "two"}, kit.THREAD, durability="exit")

    assert seen(graph)[-2:] == ["edited", "two"]


def test_a_checkpoint_that_names_none_of_an_outer_graph_is_not_lost(driver: Driver) -> None:
    graph = around(calls(keeping()), Dying())
    crashed(driver, graph, "kept")
    saver = InMemorySaver()
    for found in reversed([*graph.checkpointer.list(kit.THREAD)]):
        metadata = {key: value for key, value in found.metadata.items() if key != "parents"}
        config = {"configurable": {**found.config["configurable"], "checkpoint_id": None}}
        saver.put(config, found.checkpoint, metadata, found.checkpoint["channel_versions"])
    graph = around(calls(keeping()), saver)

    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability="exit")

    assert seen(graph) == ["kept", "one"]


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_graph_keeps_its_history_through_a_loop_of_a_graph_that_is_itself_nested(
    driver: Driver, caplog: Any, durability: Any
) -> None:
    told: list[int] = []

    def inner(state: Counted) -> dict[str, Any]:
        told.append(len(state["seen"]))
        return {}

    nested = StateGraph(Counted).add_node("inner", inner).add_edge(START, "inner").compile(checkpointer=True)
    looping = StateGraph(Counted).add_node("nested", nested).add_edge(START, "nested")
    looping.add_conditional_edges("nested", lambda state: "nested" if len(told) < 4 else "__end__")
    loop = looping.compile()
    outer = StateGraph(Counted).add_node("loop", lambda state: loop.invoke({"seen": ["x"]}) and {})
    graph = outer.add_edge(START, "loop").compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"seen": []}, kit.THREAD, durability=durability)
    assert told == [1, 3, 8, 21]  # what it remembers, and what it is given
    assert not caplog.records


def test_a_graph_that_is_called_with_a_thread_of_its_own_keeps_what_other_threads_told_it(driver: Driver) -> None:
    shared = {"configurable": {"thread_id": "shared"}}
    graph = around(calls(keeping(), thread_id="shared"), InMemorySaver())
    first, second = ({"configurable": {"thread_id": name}} for name in "ab")
    driver.invoke(graph, {"said": "a1"}, first)
    driver.invoke(graph, {"said": "b1"}, second)
    driver.invoke(graph, {"said": "a2"}, first)
    assert seen(graph, shared) == ["a1", "b1", "a2"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_graph_that_had_not_begun_when_the_step_was_left_takes_its_input(driver: Driver, durability: Any) -> None:
    graph = around(calls(keeping()), InMemorySaver())
    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability=durability)
    driver.invoke(graph, {"said": "two"}, kit.THREAD, durability=durability, interrupt_before=["inner"])
    driver.invoke(graph, None, kit.THREAD, durability=durability)
    assert seen(graph) == ["one", "two"]


def test_a_graph_that_had_not_begun_in_the_attempt_before_takes_its_input(driver: Driver) -> None:
    failures = ["one", "two"]

    def inner(state: Counted) -> Counted:
        if state["said"] in failures:
            failures.remove(state["said"])
            raise ConnectionError
        told.invoke({"said": state["said"]})
        return {}

    told = keeping()
    builder = StateGraph(Counted)
    builder.add_node("inner", inner, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    builder.add_edge(START, "inner")
    graph = builder.compile(checkpointer=InMemorySaver())
    for said in ("one", "two"):
        driver.invoke(graph, {"said": said}, kit.THREAD)
    assert seen(graph) == ["one", "two"]


def test_a_graph_that_had_begun_goes_on_where_it_was(driver: Driver) -> None:
    def fail_once(state: Counted) -> Counted:
        if failing:
            failing.clear()
            raise ConnectionError
        return {"seen": ["went on"]}

    failing: list[str] = []
    told = keeping(("note", lambda state: {"seen": [state["said"]]}), ("fail", fail_once))
    graph = around(calls(told), InMemorySaver())
    driver.invoke(graph, {"said": "one"}, kit.THREAD)
    failing.append("two")
    with pytest.raises(ConnectionError):
        driver.invoke(graph, {"said": "two"}, kit.THREAD)
    driver.invoke(graph, None, kit.THREAD)
    assert seen(graph) == ["one", "went on", "two", "went on"]


def test_ids_sort_around_the_moments_between_them() -> None:
    ids = SYSTEM.ids
    for _ in range(1_000):
        before, between, after = ids.checkpoint_id(1), ids.boundary(), ids.checkpoint_id(1)
        assert before < between < after


def nesting() -> Any:
    """Make a graph with a history that notes what it is told, and tells another one with a history."""
    return keeping(("note", lambda state: {"seen": [state["said"]]}), ("deep", calls(keeping())))


def test_graphs_below_one_that_is_called_with_a_thread_of_its_own_agree_with_that_one(driver: Driver) -> None:
    graph = around(calls(nesting(), thread_id="shared"), InMemorySaver())
    for said, name in (("a1", "a"), ("b1", "b"), ("a2", "a")):
        driver.invoke(graph, {"said": said}, {"configurable": {"thread_id": name}})
    assert seen(graph, {"configurable": {"thread_id": "shared"}}, "inner|deep") == ["a1", "b1", "a2"]


def test_a_graph_below_one_that_stores_nothing_agrees_with_the_one_around_that(driver: Driver) -> None:
    builder = StateGraph(kit.Passing)
    builder.add_node("between", calls(keeping()))
    builder.add_edge(START, "between")
    graph = around(builder.compile(checkpointer=False), Dying())
    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability="exit")
    crashed(driver, graph, "lost")
    driver.invoke(graph, {"said": "two"}, kit.THREAD, durability="exit")
    assert seen(graph, ns="inner|between") == ["one", "two"]


def asking_first(inner: Any, saver: Any) -> Any:
    """Make a graph that asks before it calls another one."""
    builder = StateGraph(kit.Passing)
    builder.add_node("first", lambda state: {"said": f"{state['said']} {interrupt('sure?')}"})
    builder.add_node("inner", inner)
    builder.add_edge(START, "first")
    builder.add_edge("first", "inner")
    return builder.compile(checkpointer=saver)


def test_an_answer_at_the_newest_checkpoint_passes_over_what_is_lost(driver: Driver) -> None:
    graph = asking_first(calls(keeping()), Dying())
    driver.invoke(graph, {"said": "one"}, kit.THREAD, durability="exit")
    asked = driver.get_state(graph, kit.THREAD).config
    graph.checkpointer.dying = True
    with pytest.raises(ConnectionError):
        driver.invoke(graph, Command(resume="lost"), asked, durability="exit")
    graph.checkpointer.dying = False
    assert seen(graph) == ["one lost"]

    driver.invoke(graph, Command(resume="yes"), asked, durability="exit")

    assert seen(graph) == ["one yes"]


def test_an_answer_at_an_earlier_checkpoint_leaves_nested_graphs_as_they_are(driver: Driver) -> None:
    graph = asking_first(nesting(), InMemorySaver())
    driver.invoke(graph, {"said": "one"}, kit.THREAD)
    asked = driver.get_state(graph, kit.THREAD).config
    driver.invoke(graph, Command(resume="yes"), kit.THREAD)
    driver.invoke(graph, {"said": "two"}, kit.THREAD)
    driver.invoke(graph, Command(resume="yes"), kit.THREAD)

    driver.invoke(graph, Command(resume="yes"), asked)

    for ns in ("inner", "inner|deep"):
        assert seen(graph, ns=ns) == ["one yes", "two yes", "one yes"]


def test_a_graph_that_asked_goes_on_behind_an_edit_of_the_one_around_it(driver: Driver) -> None:
    told = keeping(("note", lambda state: {"seen": [state["said"]]}), ("ask", lambda _: {"seen": [interrupt("sure?")]}))
    graph = around(calls(told), InMemorySaver())
    driver.invoke(graph, {"said": "one"}, kit.THREAD)
    driver.update_state(graph, kit.THREAD, {"said": "edited"}, as_node="first")

    driver.invoke(graph, Command(resume="yes"), kit.THREAD)

    assert seen(graph) == ["one", "yes"]


def test_a_graph_whose_checkpoints_name_no_outer_one_goes_on_when_it_is_answered(driver: Driver) -> None:
    told = keeping(("note", lambda state: {"seen": [state["said"]]}), ("ask", lambda _: {"seen": [interrupt("sure?")]}))
    saver = InMemorySaver()
    graph = around(calls(told), saver)
    driver.invoke(graph, {"said": "one"}, kit.THREAD)
    for found in list(saver.list({"configurable": {"thread_id": "t", "checkpoint_ns": "inner"}})):
        metadata = {key: value for key, value in found.metadata.items() if key != "parents"}
        saver.put(found.parent_config or found.config, found.checkpoint, metadata, {})

    driver.invoke(graph, Command(resume="yes"), kit.THREAD)

    assert seen(graph) == ["one", "yes"]


def test_ids_follow_a_moment_even_if_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    between = SYSTEM.ids.boundary()
    monkeypatch.setattr(time, "time_ns", lambda: now - 1_000_000_000)
    assert SYSTEM.ids.checkpoint_id(1) > between


def saved(parents: Any, source: str = "loop") -> CheckpointTuple:
    """Make a checkpoint of a nested graph that names those of the graphs around it."""
    return CheckpointTuple({}, {"id": "99"}, {"source": source, "parents": parents})  # type: ignore[typeddict-item]


OUTER = lineage.Lineage(None, "7", "", "05", False, "09")
INNER = lineage.Lineage(OUTER, "7", "inner", "15", False, "19")


@pytest.mark.parametrize(
    ("run", "parents", "lost"),
    [
        (OUTER, {"": "07"}, True),
        (OUTER, {"": "05"}, False),
        (OUTER, {"": "09"}, False),
        (OUTER, {"": "04"}, False),
        (OUTER, {"": "10"}, False),
        (OUTER, {"other": "07"}, False),
        (OUTER, {}, False),
        (OUTER, None, False),
        (INNER, {"": "05", "inner": "15"}, False),
        (INNER, {"": "07", "inner": "15"}, True),
        (INNER, {"": "05", "inner": "17"}, True),
        (INNER, {"": "07"}, True),
        (INNER, {"inner": "07"}, False),
    ],
)
def test_a_checkpoint_is_lost_if_one_around_it_was_made_after_the_start_of_its_run_and_before_this_run(
    run: lineage.Lineage, parents: Any, lost: bool
) -> None:
    assert run.lost(saved(parents)) is lost
    assert run.lost(saved(parents, "update")) is False


@pytest.mark.parametrize(
    ("edited", "parents", "begun"),
    [
        (False, {"": "05"}, True),
        (False, {"": "04"}, False),
        (False, {"other": "05"}, False),
        (False, {}, True),
        (False, None, True),
        (True, {"": "04"}, True),
    ],
)
def test_a_nested_graph_has_begun_if_the_graph_around_it_stands_where_it_did(
    edited: bool, parents: Any, begun: bool
) -> None:
    assert OUTER._replace(edited=edited).has_begun(saved(parents), {"": "05", "other": "04"}) is begun


@pytest.mark.parametrize(
    ("around", "thread_id", "agrees"), [(OUTER, "7", True), (OUTER, 7, True), (OUTER, "8", False), (None, "7", False)]
)
def test_a_nested_graph_agrees_with_the_one_around_it_in_the_same_thread(
    around: lineage.Lineage | None, thread_id: Any, agrees: bool
) -> None:
    assert lineage.shared(around, {"configurable": {"thread_id": thread_id}}) is (around if agrees else None)
