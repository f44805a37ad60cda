"""What every executor of nodes has to do: one suite, run by each of them.

A clause is given an executor, as `add_node` takes it, and a driver; it fails by an exception. The nodes are functions
of this module, so that another process can import them. `test_executors.py` runs the clauses on an executor of a
program's own, and shows that one which breaks the contract does not pass; `tests/workers/test_nodes.py` runs them on
the executors that come with the package.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import pytest
from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from stategraph import (
    START,
    Command,
    NodeError,
    NodeTimeoutError,
    RetryPolicy,
    StateGraph,
    StreamWriter,
    TimeoutPolicy,
    get_stream_writer,
    interrupt,
)
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError
from tests.conftest import Driver

Clause: TypeAlias = Callable[[Any, Driver], None]
CONTRACT: list[Clause] = []

THREAD: Any = {"configurable": {"thread_id": "t"}}

#: Ends the nodes that wait, where they are threads of this process.
released = threading.Event()


def clause(function: Clause) -> Clause:
    CONTRACT.append(function)
    return function


class State(TypedDict):
    seen: Annotated[list[Any], operator.add]


def graph_of(function: Any, executor: Any, **options: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("node", function, executor=executor, **options)
    return builder.add_edge(START, "node").compile(checkpointer=in_memory_saver())


# The nodes.


def counts(state: State) -> State:
    return {"seen": [len(state["seen"])]}


def writes(state: State, config: RunnableConfig, writer: StreamWriter) -> State:
    writer("by argument")
    get_stream_writer()("by context")
    return {"seen": [config["configurable"]["thread_id"]]}


def asks(state: State) -> State:
    return {"seen": [interrupt("one"), interrupt("two")]}


def fails(state: State) -> State:
    raise ConnectionError("no line")


def goes_on(state: State) -> Command[Any]:
    return Command(update={"seen": ["went on"]}, goto="after")


def waits(state: State) -> State:
    released.wait(60)
    return {"seen": ["too late"]}


def rescue(state: State, error: NodeError) -> State:
    return {"seen": [f"{type(error.error).__name__} in {error.node}: {error.error}"]}


# The clauses.


@clause
def brings_the_state_there_and_what_the_function_returns_back(executor: Any, driver: Driver) -> None:
    assert driver.invoke(graph_of(counts, executor), {"seen": ["a", "b"]}, THREAD) == {"seen": ["a", "b", 2]}


@clause
def gives_what_the_function_asks_for_and_shows_what_it_writes_in_order(executor: Any, driver: Driver) -> None:
    graph = graph_of(writes, executor)
    parts = driver.stream(graph, {"seen": []}, THREAD, stream_mode=["custom", "updates"])
    written = [("custom", "by argument"), ("custom", "by context")]
    assert parts == [*written, ("updates", {"node": {"seen": ["t"]}})]


@clause
def lets_a_function_wait_for_answers_in_their_order(executor: Any, driver: Driver) -> None:
    graph = graph_of(asks, executor)
    first = driver.invoke(graph, {"seen": []}, THREAD)
    second = driver.invoke(graph, Command(resume="a"), THREAD)
    last = driver.invoke(graph, Command(resume="b"), THREAD)
    assert [each.value for each in (*first["__interrupt__"], *second["__interrupt__"])] == ["one", "two"]
    assert last == {"seen": ["a", "b"]}


@clause
def raises_what_the_function_raises_at_every_attempt(executor: Any, driver: Driver) -> None:
    tried: list[BaseException] = []

    def again(error: Exception) -> bool:
        tried.append(error)
        return True

    retry = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=3, retry_on=again)
    graph = graph_of(fails, executor, retry_policy=retry, error_handler=rescue)
    assert driver.invoke(graph, {"seen": []}, THREAD) == {"seen": ["ConnectionError in node: no line"]}
    assert [str(each) for each in tried] == ["no line"] * 3


@clause
def runs_nodes_of_one_step_that_command_what_comes_next(executor: Any, driver: Driver) -> None:
    builder = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, goes_on, executor=executor, destinations=("after",))
        builder.add_edge(START, name)
    builder.add_node("after", counts, executor=executor)
    assert driver.invoke(builder.compile(), {"seen": []}) == {"seen": ["went on", "went on", 2]}


def is_limited(executor: Any, driver: Driver, kind: str, own: Any, of_all: Any = None) -> None:
    """Check that a node which takes too long is ended at a limit of 0.2 seconds, or refused for it."""
    released.clear()
    builder = StateGraph(State).set_node_defaults(timeout=of_all)
    try:
        builder.add_node("node", waits, executor=executor, timeout=own)
        graph: Any = builder.add_edge(START, "node").compile()
    except ConfigurationError:
        return
    try:
        with pytest.raises(NodeTimeoutError) as late:
            driver.invoke(graph, {"seen": []})
    finally:
        released.set()
    assert (late.value.node, late.value.kind, late.value.timeout) == ("node", kind, 0.2)


@clause
def ends_an_attempt_at_its_limit_or_refuses_the_node(executor: Any, driver: Driver) -> None:
    is_limited(executor, driver, "run", 0.2)


@clause
def ends_an_attempt_at_the_limit_that_all_nodes_have_or_refuses_the_node(executor: Any, driver: Driver) -> None:
    is_limited(executor, driver, "run", None, 0.2)


@clause
def ends_an_attempt_at_a_limit_for_silence_or_refuses_the_node(executor: Any, driver: Driver) -> None:
    is_limited(executor, driver, "idle", TimeoutPolicy(idle_timeout=0.2))
