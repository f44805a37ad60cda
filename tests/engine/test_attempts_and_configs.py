"""Attempts of tasks: what is left of one before it, whose a command is, what a step ends with, what nodes are told."""

from __future__ import annotations

import asyncio
import operator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph import interrupt
from stategraph.constants import START
from stategraph.core.task import Task
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.tasks import attempt
from stategraph.errors import GraphInterrupt, InvalidUpdateError, ParentCommand
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Interrupt, RetryPolicy, Send

if TYPE_CHECKING:
    from tests.conftest import Driver


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    n: int


THREAD: Any = {"configurable": {"thread_id": "t"}}


# -- trying again --------------------------------------------------------


AGAIN = RetryPolicy(initial_interval=0.0, max_attempts=3, jitter=False, retry_on=ValueError)


def flaky(times: int, tries: list[Any]) -> Any:
    def node(state: State, config: RunnableConfig) -> State:
        tries.append(config)
        if len(tries) <= times:
            raise ValueError(f"try {len(tries)}")
        return {"log": ["done"]}

    return node


def test_a_node_is_tried_again_with_nothing_of_the_attempt_before(driver: Driver) -> None:
    tries: list[Any] = []
    graph = StateGraph(State).add_node("a", flaky(2, tries), retry_policy=AGAIN).add_edge(START, "a").compile()
    assert driver.invoke(graph, {"log": []}) == {"log": ["done"]}
    assert len(tries) == 3
    assert len({id(config["metadata"]) for config in tries}) == 3
    assert [config["configurable"].get("__pregel_resuming") for config in tries] == [None, True, True]


def test_an_error_that_is_raised_after_all_names_the_task(driver: Driver) -> None:
    graph = StateGraph(State).add_node("a", flaky(9, []), retry_policy=AGAIN).add_edge(START, "a").compile()
    with pytest.raises(ValueError, match="try 3") as raised:
        driver.invoke(graph, {"log": []})
    (note,) = raised.value.__notes__
    assert note.startswith("During task with name 'a' and id '")


def test_trying_again_is_logged(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    graph = StateGraph(State).add_node("a", flaky(1, []), retry_policy=AGAIN).add_edge(START, "a").compile()
    with caplog.at_level("INFO"):
        driver.invoke(graph, {"log": []})
    (record,) = [record for record in caplog.records if record.name == attempt.__name__]
    assert record.getMessage() == "Retrying task a after 0.00 seconds (attempt 1) after ValueError try 1"
    assert record.exc_info is not None


# -- what a node may return ----------------------------------------------


@pytest.mark.parametrize("traced", [False, True], ids=["alone", "traced"])
def test_a_runnable_that_a_node_returns_is_run_in_its_place(driver: Driver, traced: bool) -> None:
    def node(state: State) -> Any:
        return RunnableLambda(lambda state: {"log": [f"{state['n']}"]})

    graph = StateGraph(State).add_node("a", node).add_edge(START, "a").compile()
    config: Any = {"callbacks": [BaseCallbackHandler()]} if traced else None
    assert driver.invoke(graph, {"n": 7}, config)["log"] == ["7"]


def test_an_async_node_needs_an_async_run() -> None:
    async def node(state: State) -> State:
        return {"log": ["a"]}

    graph = StateGraph(State).add_node("a", node).add_edge(START, "a").compile()
    with pytest.raises(TypeError, match="is async only: it cannot be called synchronously"):
        graph.invoke({"log": []})
    assert asyncio.run(graph.ainvoke({"log": []})) == {"log": ["a"]}


# -- commands ------------------------------------------------------------


@pytest.mark.parametrize("traced", [False, True], ids=["alone", "traced"])
def test_a_command_for_the_parent_goes_one_level_up_and_what_its_node_wrote_stays(driver: Driver, traced: bool) -> None:
    inner = StateGraph(State).add_node(
        "leave", lambda _: Command(graph=Command.PARENT, goto="b", update={"log": ["up"]})
    )
    middle = StateGraph(State).add_node("inner", inner.add_edge(START, "leave").compile())
    middle.add_node("b", lambda _: {"log": ["b of the middle"]}).add_edge(START, "inner")
    outer = StateGraph(State).add_node("middle", middle.compile()).add_node("b", lambda _: {"log": ["wrong b"]})
    graph = outer.add_edge(START, "middle").compile()
    config: Any = {"callbacks": [BaseCallbackHandler()]} if traced else None
    assert driver.invoke(graph, {"log": []}, config)["log"] == ["up", "b of the middle"]


def test_a_command_for_a_parent_that_there_is_not_is_refused(driver: Driver) -> None:
    graph = (
        StateGraph(State)
        .add_node("a", lambda _: Command(graph=Command.PARENT, goto="b"))
        .add_edge(START, "a")
        .compile()
    )
    with pytest.raises((InvalidUpdateError, ParentCommand)):
        driver.invoke(graph, {"log": []})


# -- the end of a step ---------------------------------------------------


def raised(error: BaseException) -> Any:
    """The outcome of a task that raised something."""
    return attempt.raised(Task("id", "n", None, (), (), "", 0, 0), [], error)


def test_a_failure_is_graver_than_a_question_and_the_first_one_counts() -> None:
    end = StepEnd()
    for ended in (
        GraphInterrupt((Interrupt("?", id="1"),)),
        asyncio.CancelledError(),
        ValueError("first"),
        KeyError("second"),
    ):
        end.add(raised(ended), "a")
    with pytest.raises(ValueError, match="first"):
        end.conclude([])


def test_the_questions_of_a_step_are_asked_together() -> None:
    end = StepEnd()
    end.add(raised(GraphInterrupt((Interrupt("a", id="1"),))), "a")
    end.add(raised(GraphInterrupt((Interrupt("b", id="2"), Interrupt("c", id="3")))), "a")
    end.add(raised(GraphInterrupt()), "a")
    with pytest.raises(GraphInterrupt) as asked:
        end.conclude([])
    assert [question.value for question in asked.value.args[0]] == ["a", "b", "c"]


def test_what_called_tasks_asked_is_asked_behind_it_in_the_order_of_their_paths_and_once() -> None:
    end = StepEnd()
    end.add(raised(GraphInterrupt((Interrupt("a", id="1"),))), "a")
    with pytest.raises(GraphInterrupt) as asked:
        end.conclude([("2", (Interrupt("c", id="3"), Interrupt("a", id="1"))), ("1", (Interrupt("b", id="2"),))])
    assert [question.value for question in asked.value.args[0]] == ["a", "b", "c"]


def test_what_called_tasks_asked_is_forgotten_when_their_caller_went_on() -> None:
    asked: Any = [("1", (Interrupt("b", id="2"),))]
    StepEnd().conclude(asked)
    assert asked == []


def test_a_command_for_a_graph_around_comes_after_the_others_have_finished_and_before_questions() -> None:
    end = StepEnd()
    end.add(raised(GraphInterrupt((Interrupt("?", id="1"),))), "a")
    end.add(raised(ParentCommand(Command(goto="x"))), "a")
    assert end.error is None
    with pytest.raises(ParentCommand):
        end.conclude([])


def test_a_step_in_which_nothing_happened_ends_quietly() -> None:
    end = StepEnd()
    end.add(raised(asyncio.CancelledError()), "a")
    end.conclude([])


# -- what nodes are told -------------------------------------------------


class Told(NamedTuple):
    """What a node found in its config."""

    tags: Any
    metadata: Any
    configurable: Any
    rest: Any


def listening(told: dict[str, Told]) -> Any:
    def node(state: Any, config: RunnableConfig) -> State:
        rest = {
            key: value for key, value in config.items() if key not in ("tags", "metadata", "configurable", "callbacks")
        }
        told[config["metadata"]["langgraph_node"]] = Told(
            config.get("tags"), dict(config["metadata"]), dict(config["configurable"]), rest
        )
        return {"log": ["x"]}

    return node


@pytest.mark.parametrize("traced", [False, True], ids=["alone", "traced"])
def test_a_node_is_told_where_it_runs_and_what_its_caller_said(driver: Driver, traced: bool) -> None:
    told: dict[str, Told] = {}
    builder = StateGraph(State).add_node("a", listening(told), metadata={"own": 1, "who": "node"})
    builder.add_node("b", listening(told)).add_edge(START, "a")
    builder.add_conditional_edges("a", lambda _: [Send("b", {"n": 1})], ["b"])
    graph = builder.compile(checkpointer=InMemorySaver())
    config: Any = {
        **THREAD,
        "tags": ["t"],
        "metadata": {"who": "caller", "more": 2},
        "recursion_limit": 9,
        **({"callbacks": [BaseCallbackHandler()]} if traced else {}),
    }
    driver.invoke(graph, {"log": []}, config)
    a, b = told["a"], told["b"]
    assert (a.metadata["who"], a.metadata["own"], a.metadata["more"]) == ("node", 1, 2)
    assert (b.metadata["who"], "own" in b.metadata) == ("caller", False)
    assert (a.metadata["langgraph_step"], b.metadata["langgraph_step"]) == (1, 2)
    assert a.metadata["langgraph_path"] == ("__pregel_pull", "a")
    assert b.metadata["langgraph_path"] == ("__pregel_push", 0, False)
    assert a.metadata["langgraph_triggers"] == ("branch:to:a",)
    for name, found in told.items():
        assert found.metadata["langgraph_checkpoint_ns"].startswith(f"{name}:")
        assert found.configurable["checkpoint_ns"] == found.metadata["langgraph_checkpoint_ns"]
        assert found.configurable["thread_id"] == "t"
        assert found.configurable["checkpoint_id"] is None
        assert "t" in found.tags
        assert found.rest["recursion_limit"] == 9
    steps = [state.config["configurable"]["checkpoint_id"] for state in driver.history(graph, THREAD)][::-1]
    assert a.configurable["checkpoint_map"] == {"": steps[1]}
    assert b.configurable["checkpoint_map"] == {"": steps[2]}


def test_a_node_is_not_told_what_nobody_said(driver: Driver) -> None:
    told: dict[str, Told] = {}
    graph = StateGraph(State).add_node("a", listening(told)).add_edge(START, "a").compile()
    driver.invoke(graph, {"log": []})
    assert told["a"].tags is None
    assert "recursion_limit" not in told["a"].rest
    assert "run_id" not in told["a"].rest
    assert "run_name" not in told["a"].rest
    assert told["a"].configurable["__pregel_checkpointer"] is None


def test_what_a_node_does_to_its_config_is_seen_by_no_other(driver: Driver) -> None:
    seen: list[Any] = []

    def meddle(state: State, config: RunnableConfig) -> State:
        seen.append(config["metadata"].get("mine"))
        config["metadata"]["mine"] = 1
        config["configurable"]["mine"] = 2
        return {"log": ["x"]}

    builder = StateGraph(State).add_node("a", meddle).add_node("b", meddle)
    graph = builder.add_edge(START, "a").add_edge("a", "b").compile()
    config: Any = {"metadata": {"given": 0}, "configurable": {"given": 0}}
    driver.invoke(graph, {"log": []}, config)
    driver.invoke(graph, {"log": []}, config)
    assert seen == [None] * 4
    assert config == {"metadata": {"given": 0}, "configurable": {"given": 0}}


def test_a_nested_graph_is_told_of_the_checkpoints_around_it(driver: Driver) -> None:
    told: dict[str, Told] = {}

    def ask(state: State, config: RunnableConfig) -> State:
        listening(told)(state, config)
        return {"log": [interrupt("?")]}

    inner = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile()
    graph = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    around = told["ask"].configurable["checkpoint_map"]
    state = driver.get_state(graph, THREAD, subgraphs=True)
    (task,) = state.tasks
    nested = task.state.config["configurable"]
    assert around == {
        "": state.config["configurable"]["checkpoint_id"],
        nested["checkpoint_ns"]: nested["checkpoint_id"],
    }
    assert told["ask"].metadata["langgraph_checkpoint_ns"].startswith(f"{nested['checkpoint_ns']}|ask:")
