"""What a thread that was cut off, or waits, shows of itself; and that what has finished does not run again."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import AnyValue, BinaryOperatorAggregate, EphemeralValue, LastValue, Topic, UntrackedValue
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import NodeBuilder, Pregel
from pydantic import BaseModel, ValidationError

from stategraph import START, Command, InvalidUpdateError, Send, StateGraph, interrupt
from tests.conftest import Driver

THREAD = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: str
    client: Annotated[str, UntrackedValue]


def ask(state: Any) -> Any:
    return {"answer": interrupt("sure?")}


WHAT_A_TASK_WRITES = {
    "an untracked value": {"client": "x"},
    "nothing": None,
    "an empty update": {},
    "a goto": Command(goto="end"),
    "a goto and an untracked value": Command(goto="end", update={"client": "x"}),
    "a value and an untracked value": {"log": ["charged"], "client": "x"},
}


@pytest.mark.parametrize("written", WHAT_A_TASK_WRITES.values(), ids=WHAT_A_TASK_WRITES)
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_finished_task_does_not_run_again_when_its_neighbour_is_answered(
    driver: Driver, durability: str, written: Any
) -> None:
    charged: list[str] = []

    def charge(state: Any) -> Any:
        charged.append("charged")
        return written

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("charge", charge, destinations=("end",))
    builder.add_node("end", lambda state: {"log": ["end"]})
    builder.add_edge(START, "ask")
    builder.add_edge(START, "charge")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD, durability=durability)
    assert driver.get_state(graph, THREAD).next == ("ask",)

    result = driver.invoke(graph, Command(resume="yes"), THREAD, durability=durability)

    assert charged == ["charged"]
    assert result["answer"] == "yes"


def test_an_answered_task_that_writes_an_untracked_value_is_finished(driver: Driver) -> None:
    ran: list[str] = []

    def asks_and_charges(state: Any) -> Any:
        interrupt("sure?")
        ran.append("charged")
        return {"client": "x"}

    def fails_once(state: Any) -> Any:
        if len(ran) == 1:
            ran.append("failed")
            raise ConnectionError("away")
        return {"log": ["done"]}

    builder = StateGraph(State)
    builder.add_node("a_asks", asks_and_charges)
    builder.add_node("b_fails", fails_once)
    builder.add_edge(START, "a_asks")
    builder.add_edge("a_asks", "b_fails")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    with pytest.raises(ConnectionError):
        driver.invoke(graph, Command(resume="yes"), THREAD)

    assert driver.invoke(graph, None, THREAD)["log"] == ["done"]
    assert ran == ["charged", "failed"]


class Cut(InMemorySaver):
    """Loses its connection before it stores the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step: int | None = step

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        if metadata["step"] == self.step:
            raise OSError("the connection is gone")
        return super().put(config, checkpoint, metadata, new_versions)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        return self.put(config, checkpoint, metadata, new_versions)


def chain(saver: Any) -> Any:
    builder = StateGraph(State)
    for before, name in ((START, "a"), ("a", "b")):
        builder.add_node(name, lambda state, name=name: {"log": [name]})
        builder.add_edge(before, name)
    return builder.compile(checkpointer=saver)


def has_work_left(driver: Driver, graph: Any, config: Any) -> bool:
    if driver.name == "sync":
        return bool(graph.has_work_left(config))
    return bool(asyncio.run(graph.ahas_work_left(config)))


def cut_at(driver: Driver, step: int) -> Any:
    saver = Cut(step)
    graph = chain(saver)
    with pytest.raises(OSError, match="connection is gone"):
        driver.invoke(graph, {"log": ["in"]}, THREAD, durability="sync")
    saver.step = None
    return graph


def test_a_thread_cut_between_a_step_and_its_checkpoint_shows_what_comes_next(driver: Driver) -> None:
    graph = cut_at(driver, 1)

    state = driver.get_state(graph, THREAD)

    assert state.next == ("b",)
    assert state.values["log"] == ["in", "a"]
    assert [(task.name, task.result) for task in state.tasks] == [("a", {"log": ["a"]})]
    assert has_work_left(driver, graph, THREAD)
    assert driver.invoke(graph, None, THREAD)["log"] == ["in", "a", "b"]
    assert driver.get_state(graph, THREAD).next == ()
    assert not has_work_left(driver, graph, THREAD)


def test_looking_at_a_cut_thread_changes_nothing(driver: Driver) -> None:
    graph = cut_at(driver, 1)

    assert driver.get_state(graph, THREAD) == driver.get_state(graph, THREAD)
    assert driver.history(graph, THREAD) == driver.history(graph, THREAD)


def test_a_thread_cut_before_its_last_checkpoint_has_work_left_though_no_node_is_next(driver: Driver) -> None:
    graph = cut_at(driver, 2)

    assert driver.get_state(graph, THREAD).next == ()
    assert has_work_left(driver, graph, THREAD)
    assert driver.invoke(graph, None, THREAD)["log"] == ["in", "a", "b"]
    assert not has_work_left(driver, graph, THREAD)


def test_a_recorded_goto_shows_what_comes_next(driver: Driver) -> None:
    saver = Cut(3)
    graph = chain(saver)
    saver.step = None
    driver.invoke(graph, {"log": []}, THREAD)
    saver.step = 3
    with pytest.raises(OSError, match="connection is gone"):
        driver.invoke(graph, Command(goto="b"), THREAD, durability="sync")
    saver.step = None

    # `b` has run: its step waits for its checkpoint, and nothing comes after it.
    assert driver.get_state(graph, THREAD).next == ()
    assert has_work_left(driver, graph, THREAD) is True


@pytest.mark.parametrize("goto", ["failing", Send("failing", {})], ids=["by name", "by a packet in its place"])
def test_a_recorded_goto_leaves_the_tasks_and_questions_of_the_checkpoint_as_they_were(
    driver: Driver, goto: Any
) -> None:
    def failing(state: Any) -> Any:
        raise RuntimeError("down")

    builder = StateGraph(State).add_node("ask", ask).add_node("failing", failing)
    builder.add_conditional_edges(START, lambda state: [Send("ask", {})], ["ask"])
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    before = driver.get_state(graph, THREAD)

    with pytest.raises(RuntimeError, match="down"):
        driver.invoke(graph, Command(goto=goto), THREAD)

    state = driver.get_state(graph, THREAD)
    assert "failing" in state.next
    assert [(task.id, task.interrupts) for task in state.tasks] == [(t.id, t.interrupts) for t in before.tasks]
    assert state.interrupts == before.interrupts
    assert driver.history(graph, THREAD)[0].next == ("ask",)


def test_an_unknown_thread_and_a_waiting_one_say_whether_they_have_work_left(driver: Driver) -> None:
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    assert not has_work_left(driver, graph, THREAD)
    driver.invoke(graph, {"log": []}, THREAD)
    state = driver.get_state(graph, THREAD)

    assert has_work_left(driver, graph, THREAD)
    assert has_work_left(driver, graph, state.config)

    driver.invoke(graph, Command(resume="yes"), THREAD)
    assert not has_work_left(driver, graph, THREAD)
    assert not has_work_left(driver, graph, state.config)


def test_values_that_live_for_one_step_are_no_part_of_a_waiting_step_s_state(driver: Driver) -> None:
    class Fleeting(TypedDict, total=False):
        plain: str
        eph: Annotated[str, EphemeralValue]
        loud: Annotated[str, EphemeralValue(str, guard=False)]
        anyv: Annotated[str, AnyValue]
        top: Annotated[list[str], Topic(str)]
        kept: Annotated[list[str], Topic(str, accumulate=True)]

    written = {"plain": "p", "eph": "e", "loud": "l", "anyv": "a", "top": ["t"], "kept": ["k"]}
    builder = StateGraph(Fleeting)
    builder.add_node("done", lambda state: written)
    builder.add_node("ask", ask)
    builder.add_edge(START, "done")
    builder.add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"plain": "0"}, THREAD)

    assert driver.get_state(graph, THREAD).values == {"plain": "p", "kept": ["k"]}


def test_what_only_starts_nodes_of_channels_is_no_part_of_a_waiting_step_s_state(driver: Driver) -> None:
    graph = Pregel(
        nodes={
            "done": NodeBuilder().subscribe_only("in").do(str.upper).write_to("signal", "kept"),
            "ask": NodeBuilder().subscribe_only("in").do(lambda text: interrupt(text)).write_to("kept"),
            "next": NodeBuilder().subscribe_to("signal", read=False).do(len).write_to("kept"),
        },
        channels={"in": EphemeralValue(str), "signal": EphemeralValue(str, guard=False), "kept": LastValue(str)},
        input_channels="in",
        output_channels="kept",
        checkpointer=InMemorySaver(),
    )
    driver.invoke(graph, "go", THREAD)

    state = driver.get_state(graph, THREAD)
    assert (state.values, state.next) == ({"kept": "GO"}, ("ask",))


def test_new_input_drops_every_node_that_was_due_also_one_that_the_last_step_did_not_start(driver: Driver) -> None:
    # `waits` is due, as its channel has a value from the beginning, but no write ever starts it.
    def ends(text: str) -> None:
        return None

    graph = Pregel(
        nodes={
            "ends": NodeBuilder().subscribe_only("in").do(ends),
            "waits": NodeBuilder().subscribe_only("total").do(ends),
        },
        channels={"in": LastValue(str), "total": BinaryOperatorAggregate(int, operator.add)},
        input_channels="in",
        output_channels="in",
        checkpointer=InMemorySaver(),
        interrupt_before_nodes=["ends"],
    )
    driver.invoke(graph, "first", THREAD)
    assert driver.get_state(graph, THREAD).next == ("ends", "waits")

    driver.invoke(graph, "second", THREAD)
    assert driver.get_state(graph, THREAD).next == ("ends",)


def test_a_thread_whose_command_led_to_refused_updates_can_still_be_looked_at(driver: Driver) -> None:
    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"log": ["first"]})
    builder.add_node("writes", lambda state: {"answer": "mine"})
    builder.add_edge(START, "first")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    twice = Command(goto=[Send("writes", {}), Send("writes", {})])
    with pytest.raises(InvalidUpdateError):
        driver.invoke(graph, twice, THREAD)

    state = driver.get_state(graph, THREAD)
    assert (state.values, state.next) == ({"log": ["first"]}, ())
    assert has_work_left(driver, graph, THREAD)
    with pytest.raises(InvalidUpdateError):
        driver.invoke(graph, None, THREAD)


class Strict(BaseModel):
    log: Annotated[list[str], operator.add] = []
    word: str = ""


def test_a_thread_whose_command_left_a_state_that_does_not_fit_its_schema_can_still_be_looked_at(
    driver: Driver,
) -> None:
    builder = StateGraph(Strict).add_node("says", lambda state: {"log": [state.word]}).add_edge(START, "says")
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["says"])
    driver.invoke(graph, {"log": []}, THREAD)
    with pytest.raises(ValidationError):
        driver.invoke(graph, Command(update={"word": None}), THREAD)

    state = driver.get_state(graph, THREAD)
    assert (state.values["word"], state.next) == (None, ("says",))
    assert has_work_left(driver, graph, THREAD)
    with pytest.raises(ValidationError):
        driver.invoke(graph, None, THREAD)


@pytest.mark.parametrize("durability", [None, "sync", "async", "exit"])
def test_a_node_that_is_due_without_a_write_runs_when_a_step_changes_nothing_and_only_once(
    driver: Driver, durability: Any
) -> None:
    ran: list[str] = []

    def starts(text: str) -> None:
        ran.append("starts")

    def due(total: list[str]) -> None:
        ran.append("due")

    graph = Pregel(
        nodes={
            "starts": NodeBuilder().subscribe_only("in").do(starts),
            "due": NodeBuilder().subscribe_only("total").do(due),
        },
        channels={"in": EphemeralValue(str), "total": BinaryOperatorAggregate(list, operator.add)},
        input_channels="in",
        output_channels="in",
        checkpointer=InMemorySaver() if durability else None,
    )
    options = {"durability": durability} if durability else {}
    driver.invoke(graph, "go", THREAD, **options)
    assert ran == ["starts", "due"]

    driver.invoke(graph, "go", THREAD, **options)
    assert ran == ["starts", "due", "starts", *([] if durability else ["due"])]


def refuse(value: str, update: str) -> str:
    if update == "bad":
        raise ValueError("refused")
    return update


class Refusing(TypedDict, total=False):
    answer: str
    checked: Annotated[str, refuse]


def test_a_command_that_is_refused_leaves_nothing_behind_at_exit(driver: Driver) -> None:
    builder = StateGraph(Refusing)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"checked": "good"}, THREAD)
    with pytest.raises(ValueError, match="refused"):
        driver.invoke(graph, Command(resume="no", update={"checked": "bad"}), THREAD, durability="exit")

    state = driver.get_state(graph, THREAD)
    assert (state.values["checked"], state.next, len(state.interrupts)) == ("good", ("ask",), 1)
    assert driver.invoke(graph, Command(resume="yes"), THREAD)["answer"] == "yes"


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_thread_whose_recorded_command_is_refused_has_work_left(driver: Driver, durability: str) -> None:
    builder = StateGraph(Refusing).add_node("ask", ask).add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"checked": "good"}, THREAD)
    for command in (Command(resume="no", update={"checked": "bad"}), None):
        with pytest.raises(ValueError, match="refused"):
            driver.invoke(graph, command, THREAD, durability=durability)
        assert has_work_left(driver, graph, THREAD)


def test_a_history_shows_what_was_asked_though_it_is_answered_and_where_the_graphs_inside_are_stored(
    driver: Driver,
) -> None:
    inner = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile()
    graph = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    driver.invoke(graph, Command(resume="yes"), THREAD)

    _, asked, _ = driver.history(graph, THREAD)

    (task,) = asked.tasks
    assert [question.value for question in asked.interrupts] == ["sure?"]
    assert task.state["configurable"]["checkpoint_ns"] == f"inner:{task.id}"
