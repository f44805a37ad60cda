"""The account of threads: functions, nested graphs, commands, failures, fan-outs, forks, updates, what is not known."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, Migration, Send, StateGraph, interrupt
from stategraph.engine.config.hidden import HIDDEN
from stategraph.engine.state.account import asking
from stategraph.engine.state.account.explanation import Explanation
from stategraph.engine.state.account.facts import TaskAccount
from stategraph.errors import ConfigurationError, InvalidUpdateError
from stategraph.graph.func import entrypoint, task
from stategraph.savers import SqliteSaver
from stategraph.scheduling import quorum
from stategraph.types import RetryPolicy

THREAD: Any = {"configurable": {"thread_id": "1"}}
SCHEDULINGS: list[Any] = ["barrier", "dataflow"]


class State(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]
    api_key: str
    asked: str


def noting(name: str) -> Any:
    return lambda state: {"notes": [name]}


def asking_for(question: str) -> Any:
    return lambda state: {"asked": interrupt(question)}


def answering(answer: str) -> Any:
    return lambda state: {"asked": answer}


def first_of(state: State) -> Any:
    return {"notes": [state["notes"][0]]}


def failing(state: State) -> Any:
    raise ValueError("no connection")


def tasks_of(explanation: Explanation, node: str) -> list[TaskAccount]:
    return [each for each in explanation.tasks() if each.node == node]


def ways_of(explanation: Explanation, node: str) -> list[tuple[str, str, str]]:
    return [(each.way, each.node, each.via) for task in tasks_of(explanation, node) for each in task.sources()]


@task
def double(number: int) -> int:
    return 2 * number


@task
def triple(number: int) -> int:
    return double(number).result() + number


def test_an_entrypoint_is_told_with_the_functions_that_it_called() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def work(number: int) -> Any:
        found = [triple(each).result() for each in range(number)]
        return found, interrupt("Is that right?")

    work.invoke(2, THREAD)
    explanation = work.explain("1")
    (asking_task,) = explanation.upcoming
    assert (asking_task.node, asking_task.status) == ("work", "asks")
    assert [(call.node, call.status) for call in asking_task.calls] == [("triple", "ended")] * 2
    assert [call.node for call in asking_task.calls[0].calls] == ["double"]
    assert asking_task.calls[1].writes[0].value == "3"
    assert explanation.node("work").status == "waits"
    assert 'it asked "Is that right?"' in str(explanation)
    work.invoke(Command(resume="yes"), THREAD)
    assert work.explain("1").node("work").status == "ran"
    ((_, change),) = work.explain("1").changes("__end__")
    assert change.writers[0].node == "work"


def nested() -> Any:
    inner = StateGraph(State).add_node("look", noting("look"))
    inner.add_node("ask", asking_for("Refund?")).add_edge(START, "look").add_edge("look", "ask")

    def choose(state: State) -> Command[Literal["left", "middle"]]:
        return Command(goto="middle", update={"api_key": "sk-123456"})

    def route(state: State) -> Literal["left", "right"]:
        return "left"

    builder = StateGraph(State).add_node("choose", choose).add_node("middle", inner.compile())
    builder.add_node("left", noting("left")).add_node("right", noting("right"))
    return builder.add_edge(START, "choose").add_conditional_edges("middle", route)


def test_nested_graphs_commands_and_routers_are_told(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(f"{tmp_path}/threads.db") as saver:
        graph = nested().compile(saver)
        graph.invoke({"notes": []}, THREAD)
        waiting = graph.explain(THREAD)
        inside = waiting.upcoming[0].inside
        assert inside is not None
        assert inside.node("ask").status == "waits"
        assert inside.node("look").status == "ran"
        below = graph.explain(graph.get_state(THREAD).tasks[0].state)
        assert below.verdicts == inside.verdicts
        assert ways_of(waiting, "middle") == [("command", "choose", "Command")]
        assert [(reason.kind, reason.node) for reason in waiting.node("right").reasons] == [("not_run", "middle")]
        graph.invoke(Command(resume="yes"), THREAD)
        done = graph.explain(THREAD)
    assert ways_of(done, "left") == [("router", "middle", "route")]
    (reason,) = done.node("right").reasons
    assert (reason.kind, reason.node, reason.others, reason.text) == ("elsewhere", "middle", ("left",), "route")
    assert "right did not run: route of middle led to left instead" in str(done)
    assert done.is_over
    drawn = done.svg(graph.get_graph(xray=True))
    assert 'class="node taken" data-node="middle:ask"' in drawn
    assert 'class="node" data-node="right"' in drawn


def test_secrets_are_hidden_and_long_values_cut() -> None:
    graph = nested().compile(InMemorySaver())
    graph.invoke({"notes": [f"postgresql://me:hunter22@host {'x' * 900}"]}, THREAD)
    text = str(graph.explain(THREAD)) + str(graph.explain(THREAD).to_json())
    assert "sk-123456" not in text
    assert "hunter22" not in text
    assert HIDDEN in text
    assert "x" * 200 not in text
    assert "Refund" not in str(graph.explain(THREAD, redact=lambda told: told.replace("Refund", "***")))


@pytest.mark.parametrize("scheduling", SCHEDULINGS)
def test_a_failure_is_told_with_its_handler_and_its_rules(scheduling: Any) -> None:
    builder = StateGraph(State)
    retry = RetryPolicy(max_attempts=2, initial_interval=0.0, jitter=False, retry_on=ValueError)
    builder.add_node("handled", failing, error_handler=noting("instead"))
    builder.add_node("worse", failing, retry_policy=retry).add_node("after", noting("after"))
    builder.add_edge(START, "handled").add_edge("handled", "after")
    builder.add_edge("handled", "worse").add_edge(START, "worse")
    graph = builder.compile(InMemorySaver(), scheduling=scheduling)
    with pytest.raises(ValueError, match="no connection"):
        graph.invoke({"notes": []}, THREAD)
    explanation = graph.explain(THREAD)
    (reason,) = explanation.node("worse").reasons
    assert reason.kind == "failed"
    assert "no connection" in reason.text
    assert "up to 2 attempts" in reason.text
    assert [each.status for each in tasks_of(explanation, "handled")] == ["handled"]
    assert [(each.kind, each.text) for each in explanation.node("after").reasons] == [("not_run", "handled")]


@pytest.mark.parametrize("scheduling", SCHEDULINGS)
def test_a_branch_that_was_given_up_is_told(scheduling: Any) -> None:
    builder = StateGraph(State).add_node("a", noting("a")).add_node("b", noting("b")).add_node("c", failing)
    builder.add_edge(START, ["a", "b", "c"], policy=quorum(2))
    graph = builder.compile(InMemorySaver(), scheduling=scheduling)
    graph.invoke({"notes": []}, THREAD)
    explanation = graph.explain(THREAD)
    assert [reason.kind for reason in explanation.node("c").reasons] == ["given_up"]
    assert "fan-out policy quorum(2)" in tasks_of(explanation, "a")[0].policy


def test_packets_and_joins_name_who_sent_them_and_who_is_missing() -> None:
    builder = StateGraph(State).add_node("plan", noting("plan")).add_node("work", noting("work"))
    builder.add_node("other", asking_for("Go on?")).add_node("end", noting("end"))
    builder.add_edge(START, "plan").add_edge("plan", "other").add_edge(["plan", "other"], "end")
    builder.add_conditional_edges("plan", lambda state: [Send("work", {}), Send("work", {})], ["work"])
    graph = builder.compile(InMemorySaver())
    graph.invoke({"notes": []}, THREAD)
    explanation = graph.explain(THREAD)
    assert [way[:2] for way in ways_of(explanation, "work")] == [("send", "plan")] * 2
    (reason,) = explanation.node("end").reasons
    assert (reason.kind, reason.others, reason.missing) == ("join_waits", ("plan",), ("other",))
    graph.invoke(Command(resume="yes"), THREAD)
    assert ways_of(graph.explain(THREAD), "end") == [("join", "plan", ""), ("join", "other", "")]


def test_what_waits_for_a_barrier_is_told_and_starts_at_once_without_one() -> None:
    def built(scheduling: Any) -> Explanation:
        builder = StateGraph(State).add_node("fast", noting("fast")).add_node("behind", noting("behind"))
        builder.add_node("slow", asking_for("?"))
        builder.add_edge(START, "fast").add_edge(START, "slow").add_edge("fast", "behind")
        graph = builder.compile(InMemorySaver(), scheduling=scheduling)
        graph.invoke({"notes": []}, THREAD)
        return graph.explain(THREAD)

    (reason,) = built("barrier").node("behind").reasons
    assert (reason.kind, reason.others, reason.missing) == ("barrier", ("fast",), ("slow",))
    assert built("dataflow").node("behind").status == "ran"


def test_updates_that_are_refused_are_told_as_the_error_says_it() -> None:
    builder = StateGraph(State).add_node("a", answering("a")).add_node("b", answering("b"))
    graph = builder.add_edge(START, "a").add_edge(START, "b").compile(InMemorySaver())
    with pytest.raises(InvalidUpdateError) as raised:
        graph.invoke({"notes": []}, THREAD)
    (reason,) = graph.explain(THREAD).node("a").reasons
    assert reason.kind == "refused"
    assert str(raised.value).partition("\n")[0] in reason.text


def test_updates_from_outside_forks_and_steps_that_are_not_stored_are_told() -> None:
    builder = StateGraph(State).add_node("a", noting("a")).add_node("b", noting("b"))
    graph = builder.add_edge(START, "a").add_edge("a", "b").compile(InMemorySaver())
    graph.invoke({"notes": []}, THREAD)
    before_b = next(each for each in graph.get_state_history(THREAD) if each.next == ("b",))
    graph.update_state(before_b.config, {"notes": ["u"]}, as_node="a")
    explanation = graph.explain(THREAD)
    assert ways_of(explanation, "b") == [("update", "", "")]
    assert explanation.node("b").status == "waits"
    ((_, _), (_, _), (_, change)) = explanation.changes("notes")
    assert [(writer.way, writer.value) for writer in change.writers] == [("update", "")]  # the thread had moved on
    graph.update_state(THREAD, {"notes": ["v"]}, as_node="a")
    assert [(writer.way, writer.value) for writer in graph.explain(THREAD).changes("notes")[-1][1].writers] == [
        ("update", '["v"]')
    ]
    found = graph.diff(before_b.config, THREAD)
    assert (found.shared, found.parting and found.parting.kind) == (
        before_b.config["configurable"]["checkpoint_id"],
        "ends",
    )
    assert [(each.path, each.new) for each in found.differences] == [("notes[1]", '"u"'), ("notes[2]", '"v"')]
    graph.invoke({"notes": []}, {"configurable": {"thread_id": "2"}}, durability="exit")
    stored = graph.explain("2")
    assert [verdict.status for verdict in stored.verdicts] == ["ran", "ran"]
    assert 'durability="exit"' in str(stored)


def test_an_update_that_may_be_any_of_several_records_is_not_given_to_one_of_them() -> None:
    builder = StateGraph(State).add_node("fast", noting("fast")).add_node("behind", noting("behind"))
    builder.add_node("ask", asking_for("Go on?")).add_node("end", noting("end"))
    builder.add_edge(START, "fast").add_edge(START, "ask").add_edge("fast", "behind").add_edge(["behind", "ask"], "end")
    graph = builder.compile(InMemorySaver(), scheduling="dataflow")
    graph.invoke({"notes": []}, THREAD)
    graph.update_state(THREAD, {"notes": ["u"]}, as_node="ask")
    explanation = graph.explain(THREAD)
    assert explanation.steps[-1].tasks == ()
    assert [(writer.node, writer.way) for writer in explanation.changes("notes")[-1][1].writers] == [("", "update")]


def test_versions_pauses_and_threads_without_a_checkpoint_are_told() -> None:
    saver = InMemorySaver()

    def built(name: str, **options: Any) -> Any:
        return StateGraph(State).add_node(name, noting(name)).add_edge(START, name).compile(saver, **options)

    built("ask", version="1", interrupt_before=["ask"]).invoke({"notes": []}, THREAD)
    graph = built(
        "approve", version="2", migrations=[Migration("1", "2", nodes={"ask": "approve"})], interrupt_before=["approve"]
    )
    explanation = graph.explain(THREAD)
    assert [step.version for step in explanation.steps] == ["1", "1"]
    assert explanation.version == "2"
    assert [reason.kind for reason in explanation.node("approve").reasons] == ["pauses_before"]
    nothing = graph.explain("nobody's")
    assert "nothing is stored" in str(nothing)
    assert nothing.node("approve").status == "did not run"
    with pytest.raises(KeyError, match="the nodes are: approve"):
        nothing.node("aprove")
    with pytest.raises(ConfigurationError, match="names no thread"):
        graph.explain({"configurable": {}})
    with pytest.raises(ConfigurationError, match="above 0"):
        graph.explain("1", steps=0)
    with pytest.raises(ValueError, match="Nothing is stored"):
        graph.diff("1", "nobody's")


@pytest.mark.anyio
async def test_a_thread_of_a_pinned_version_is_explained_by_the_graph_that_began_it() -> None:
    saver = InMemorySaver()
    asking_node = StateGraph(State).add_node("old", asking_for("Go on?")).add_edge(START, "old")
    old = asking_node.compile(saver, version="1")
    old.invoke({"notes": []}, THREAD)
    new = StateGraph(State).add_node("new", noting("new")).add_edge(START, "new")
    graph = new.compile(saver, version="2", migrations=[Migration("1", "2")], pinned={"1": old})
    assert graph.explain("1").node("old").status == "waits"
    assert (await graph.aexplain(THREAD)).version == "1"
    graph.invoke({"notes": []}, {"configurable": {"thread_id": "2"}})
    assert graph.explain("2").node("new").status == "ran"


def test_two_threads_part_where_something_else_is_written_or_runs() -> None:
    def route(state: State) -> Literal["left", "right"]:
        return "left" if "left" in state["notes"] else "right"

    builder = StateGraph(State).add_node("a", first_of)
    builder.add_node("left", noting("l")).add_node("right", noting("r"))
    builder.add_edge(START, "a").add_conditional_edges("a", route)
    graph = builder.compile(InMemorySaver())
    for thread, word in (("1", "left"), ("2", "right"), ("3", "left")):
        graph.invoke({"notes": [word]}, {"configurable": {"thread_id": thread}})
    found = graph.diff("1", "2")
    assert found.parting is not None
    assert (found.parting.kind, found.parting.step, found.parting.channels) == ("writes", 1, ("a.notes",))
    assert [(each.node, each.one, each.other) for each in found.nodes] == [("left", 1, 0), ("right", 0, 1)]
    assert "left ran once in the one, not at all in the other." in str(found)
    assert graph.diff("1", "3").is_same
    assert graph.diff("1", "3").to_json()["one"]["thread_id"] == "1"


@pytest.mark.anyio
async def test_async_callers_are_told_the_same() -> None:
    graph = nested().compile(InMemorySaver())
    await graph.ainvoke({"notes": []}, THREAD)
    assert await graph.aexplain(THREAD) == graph.explain(THREAD)
    assert await graph.adiff("1", "1") == graph.diff("1", "1")
    alone = await asking.aexplain_stored(graph.checkpointer, "1")
    assert alone.unknown
    assert {each.node for each in alone.verdicts if each.status == "ran"} == {"choose"}
    assert alone.node("middle").status == "waits"
