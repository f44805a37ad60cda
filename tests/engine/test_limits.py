"""Limits of a run with a way out: the state so far, a question, or an error.

What langchain-ai/langgraph#148 and #5548 ask for: the work of a run that reaches its limit is not lost, and its caller
can tell that it was one.
"""

from __future__ import annotations

import asyncio
import operator
import pickle
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import (
    END,
    START,
    Command,
    ConfigurationError,
    GraphLimitError,
    GraphLimits,
    GraphRecursionError,
    InvalidAnswerError,
    LimitReached,
    StateGraph,
    interrupt,
)
from stategraph.testing import FakeClock, ScriptedChatModel, reply
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    done: Annotated[list[int], operator.add]


def looping(saver: Any = None, work: Any = None, rounds: int = 6) -> Any:
    """Return a graph that goes round some times."""

    def count(state: Any) -> Any:
        return {"done": [len(state["done"])]}

    builder = StateGraph(State).add_node("work", work or count).add_edge(START, "work")
    builder.add_conditional_edges("work", lambda state: "work" if len(state["done"]) < rounds else END)
    return builder.compile(saver)


def around(inner: Any, saver: Any = None) -> Any:
    builder = StateGraph(State).add_node("inside", inner).add_node("beside", lambda state: {"done": [100]})
    return builder.add_edge(START, "inside").add_edge(START, "beside").compile(saver)


def test_the_state_so_far_is_returned_and_the_caller_can_tell(driver: Driver) -> None:
    limits = GraphLimits(steps=3, on_limit="return_partial")
    assert driver.invoke(looping(), {"done": []}, control=limits) == {"done": [0, 1, 2]}
    assert limits.reached == LimitReached("steps", 3, 3)
    enough = GraphLimits(steps=6, on_limit="return_partial")
    assert driver.invoke(looping(), {"done": []}, control=enough)["done"] == [*range(6)]
    assert enough.reached is None


def test_a_partial_result_is_stored_and_gone_on_with(driver: Driver) -> None:
    graph = looping(InMemorySaver())
    limits = GraphLimits(steps=3, on_limit="return_partial")
    chunks = driver.stream(graph, {"done": []}, THREAD, stream_mode="updates", control=limits)
    assert chunks == [{"work": {"done": [n]}} for n in range(3)]
    assert driver.get_state(graph, THREAD).next == ("work",)
    assert driver.invoke(graph, None, THREAD)["done"] == [*range(6)]


def test_steps_raise_as_ever_unless_something_else_is_asked_for(driver: Driver) -> None:
    with pytest.raises(GraphRecursionError, match="Recursion limit of 3 reached"):
        driver.invoke(looping(), {"done": []}, control=GraphLimits(steps=3))
    with pytest.raises(GraphRecursionError, match="Recursion limit of 3 reached"):
        driver.invoke(looping(), {"done": []}, {"recursion_limit": 3})


def test_a_config_with_a_recursion_limit_is_enough(driver: Driver) -> None:
    limits = GraphLimits(on_limit="return_partial")
    assert driver.invoke(looping(), {"done": []}, {"recursion_limit": 2}, control=limits)["done"] == [0, 1]
    assert limits.reached is not None


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("by_id", [True, False])
def test_a_question_is_asked_and_the_run_goes_on_with_a_higher_limit(
    driver: Driver, durability: Any, by_id: bool
) -> None:
    graph = looping(InMemorySaver())
    limits = GraphLimits(steps=3, on_limit="interrupt")
    result = driver.invoke(graph, {"done": []}, THREAD, control=limits, durability=durability)
    (question,) = result["__interrupt__"]
    assert question.value == {"type": "limit_reached", "limit": "steps", "allowed": 3, "used": 3, "nested": False}
    state = driver.get_state(graph, THREAD)
    assert [each.id for each in state.interrupts] == [question.id]
    assert state.next == ("work",)
    answer: Any = {"type": "raise", "to": 5}
    again = GraphLimits(steps=3, on_limit="interrupt")
    resume = Command(resume={question.id: answer} if by_id else answer)
    result = driver.invoke(graph, resume, THREAD, control=again, durability=durability)
    assert result["done"] == [*range(5)]
    assert again.reached == LimitReached("steps", 5, 5)
    ended = driver.invoke(graph, Command(resume={"type": "end"}), THREAD, control=GraphLimits(on_limit="interrupt"))
    assert ended == {"done": [*range(5)]}
    last = driver.invoke(graph, Command(resume=answer | {"to": 9}), THREAD, control=GraphLimits(on_limit="interrupt"))
    assert last == {"done": [*range(6)]}


def test_the_question_is_streamed(driver: Driver) -> None:
    graph = looping(InMemorySaver())
    limits = GraphLimits(steps=1, on_limit="interrupt")
    *_, last = driver.stream(graph, {"done": []}, THREAD, stream_mode="updates", control=limits)
    assert last["__interrupt__"][0].value["limit"] == "steps"


def test_no_task_gets_the_answer_to_the_question_of_a_limit(driver: Driver) -> None:
    """The node that is next asks something itself, which gets its own answer."""

    def work(state: Any) -> Any:
        return {"done": [interrupt("which?")]} if len(state["done"]) == 2 else {"done": [0]}

    graph = looping(InMemorySaver(), work)
    driver.invoke(graph, {"done": []}, THREAD, control=GraphLimits(steps=2, on_limit="interrupt"))
    result = driver.invoke(
        graph, Command(resume={"type": "raise", "to": 9}), THREAD, control=GraphLimits(on_limit="interrupt")
    )
    assert [each.value for each in result["__interrupt__"]] == ["which?"]
    assert driver.invoke(graph, Command(resume=7), THREAD)["done"] == [0, 0, 7, 0, 0, 0]


def test_a_run_that_goes_on_without_an_answer_has_its_own_limits(driver: Driver) -> None:
    graph = looping(InMemorySaver())
    driver.invoke(graph, {"done": []}, THREAD, control=GraphLimits(steps=2, on_limit="interrupt"))
    assert driver.invoke(graph, None, THREAD)["done"] == [*range(6)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"type": "raise", "to": 2}, "above 2"),
        ({"type": "raise"}, "expected"),
        ({"type": "raise", "to": True}, "expected"),
    ],
)
def test_an_answer_that_makes_no_sense_can_be_given_again(driver: Driver, answer: Any, message: str) -> None:
    graph = looping(InMemorySaver())
    driver.invoke(graph, {"done": []}, THREAD, control=GraphLimits(steps=2, on_limit="interrupt"))
    with pytest.raises(InvalidAnswerError, match=message):
        driver.invoke(graph, Command(resume=answer), THREAD, control=GraphLimits(on_limit="interrupt"))
    with pytest.raises(ConfigurationError, match="pass control=GraphLimits"):
        driver.invoke(graph, Command(resume={"type": "raise", "to": 9}), THREAD)
    assert len(driver.get_state(graph, THREAD).interrupts) == 1


# -- graphs inside of others ---------------------------------------------------


def test_a_graph_inside_of_another_stops_the_whole_run(driver: Driver) -> None:
    graph = around(looping(), InMemorySaver())
    limits = GraphLimits(steps=3, on_limit="return_partial")
    assert driver.invoke(graph, {"done": []}, THREAD, control=limits) == {"done": [100]}
    assert limits.reached == LimitReached("steps", 3, 3, nested=True)
    state = driver.get_state(graph, THREAD, subgraphs=True)
    (inside,) = (task.state.values for task in state.tasks if task.name == "inside")
    assert inside == {"done": [0, 1, 2]}
    assert driver.invoke(graph, None, THREAD)["done"] == [100, *range(6)]


def test_a_question_of_a_graph_inside_is_asked_and_answered_outside(driver: Driver) -> None:
    graph = around(looping(rounds=12), InMemorySaver())
    driver.invoke(graph, {"done": []}, THREAD, control=GraphLimits(steps=3, on_limit="interrupt"))
    (question,) = driver.get_state(graph, THREAD).interrupts
    assert question.value["nested"]
    answer = Command(resume={question.id: {"type": "raise", "to": 20}})
    ended = driver.invoke(graph, answer, THREAD, control=GraphLimits(steps=3, on_limit="interrupt"))
    assert ended == {"done": [100, *range(12)]}


def test_an_error_leaves_the_whole_run_to_go_on_with(driver: Driver) -> None:
    clock = FakeClock()

    def work(state: Any) -> Any:
        clock.advance(10)
        return {"done": [len(state["done"])]}

    graph = around(looping(None, work), InMemorySaver())
    with clock.for_runs(), pytest.raises(GraphLimitError, match="The run has used 30 of 25 seconds") as raised:
        driver.invoke(graph, {"done": []}, THREAD, control=GraphLimits(seconds=25))
    assert pickle.loads(pickle.dumps(raised.value)).reached == raised.value.reached
    assert driver.invoke(graph, None, THREAD)["done"] == [100, *range(6)]


# -- time and tokens -----------------------------------------------------------


def test_time_is_that_of_the_runs_clock(driver: Driver) -> None:
    clock = FakeClock()

    def work(state: Any) -> Any:
        clock.advance(10)
        return {"done": [len(state["done"])]}

    graph, limits = looping(InMemorySaver(), work), GraphLimits(seconds=25, on_limit="interrupt")
    with clock.for_runs():
        result = driver.invoke(graph, {"done": []}, THREAD, control=limits)
        assert result["done"] == [0, 1, 2]
        assert limits.reached == LimitReached("seconds", 25, 30)
        more = GraphLimits(seconds=25, on_limit="interrupt")
        result = driver.invoke(graph, Command(resume={"type": "raise", "to": 45}), THREAD, control=more)
        assert (result["done"], more.reached) == ([0, 1, 2, 3, 4], LimitReached("seconds", 15, 20))


def test_tokens_are_those_that_models_report(driver: Driver) -> None:
    model = ScriptedChatModel(replies=[reply("hm", usage=(100, 20)) for _ in range(9)])

    def think(state: Any) -> Any:
        model.invoke("go on")
        return {"done": [len(state["done"])]}

    async def athink(state: Any) -> Any:
        await model.ainvoke("go on")
        return {"done": [len(state["done"])]}

    graph = around(looping(None, athink if driver.name == "async" else think))
    limits = GraphLimits(tokens=300, on_limit="return_partial")
    assert driver.invoke(graph, {"done": []}, control=limits) == {"done": [100]}
    assert limits.reached == LimitReached("tokens", 300, 360)


def test_a_run_that_is_drained_is_drained_whatever_its_limits(driver: Driver) -> None:
    from stategraph import GraphDrained

    limits = GraphLimits(steps=3, on_limit="return_partial")
    limits.request_drain("sigterm")
    with pytest.raises(GraphDrained, match="sigterm"):
        driver.invoke(looping(), {"done": []}, control=limits)


# -- what is refused -----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0; expected a whole number above 0"),
        ({"tokens": 1.5}, "tokens is 1.5"),
        ({"seconds": float("nan")}, "seconds is nan; expected a number above 0"),
        ({"steps": True}, "steps is True"),
        ({"on_limit": "stop"}, "expected 'raise', 'return_partial' or 'interrupt'"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        GraphLimits(**options)


def test_a_question_needs_a_place_to_wait(driver: Driver) -> None:
    with pytest.raises(ConfigurationError, match='on_limit="interrupt" needs a checkpointer'):
        driver.invoke(looping(), {"done": []}, control=GraphLimits(on_limit="interrupt"))
    used = GraphLimits(steps=9)
    driver.invoke(looping(), {"done": []}, control=used)
    with pytest.raises(ConfigurationError, match="make new ones for each"):
        driver.invoke(looping(), {"done": []}, control=used)


# -- any limits and answers lead where no limit would ----------------------------


@settings(max_examples=80)
@given(
    rounds=st.integers(1, 12),
    first=st.integers(1, 6),
    more=st.lists(st.integers(1, 5), min_size=12, max_size=12),
    nested=st.booleans(),
    is_async=st.booleans(),
    durability=st.sampled_from(["sync", "async", "exit"]),
)
def test_a_run_that_is_asked_again_and_again_does_each_round_once(
    rounds: int, first: int, more: list[int], nested: bool, is_async: bool, durability: Any
) -> None:
    """The model: the rounds in order, however often a limit stopped between them."""
    ran: list[int] = []

    def work(state: Any) -> Any:
        ran.append(len(state["done"]))
        return {"done": [len(state["done"])]}

    saver = InMemorySaver()
    inner = looping(None if nested else saver, work, rounds)
    graph = StateGraph(State).add_node("in", inner).add_edge(START, "in").compile(saver) if nested else inner

    def run(given: Any) -> Any:
        options: Any = {"control": GraphLimits(steps=first, on_limit="interrupt"), "durability": durability}
        if is_async:
            return asyncio.run(graph.ainvoke(given, THREAD, **options))
        return graph.invoke(given, THREAD, **options)

    result = run({"done": []})
    for extra in more:
        if not result.get("__interrupt__"):
            break
        before, (question,) = len(ran), result["__interrupt__"]
        result = run(Command(resume={question.id: {"type": "raise", "to": question.value["used"] + extra}}))
        if not nested:
            assert len(ran) - before <= extra
    assert result == {"done": [*range(rounds)]}
    assert ran == [*range(rounds)]
