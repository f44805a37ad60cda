"""A node runs where an executor of the program's own takes it, and to the run it is a node like any other."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, Any, TypedDict, get_args

import pytest
from langchain_core.runnables import RunnableConfig

from stategraph import (
    END,
    START,
    Command,
    NodeTimeoutError,
    RetryPolicy,
    StateGraph,
    get_stream_writer,
    interrupt,
)
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.ports import NodeExecutor, NodeWork
from stategraph.engine.tasks import executors
from stategraph.errors import ConfigurationError
from stategraph.types import StreamWriter
from tests.conftest import Driver
from tests.engine import executor_contract
from tests.engine.executor_contract import CONTRACT, Clause

THREAD = {"configurable": {"thread_id": "t"}}


class State(TypedDict):
    seen: Annotated[list[Any], operator.add]


class OwnThreads:
    """Runs sync functions in threads of its own, and gives up waiting at the limit of the attempt."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="own")
        self.prepared: list[NodeWork] = []

    def prepare(self, work: NodeWork) -> _InOwnThread:
        if asyncio.iscoroutinefunction(work.function):
            raise ConfigurationError(f"Node '{work.name}' is a coroutine function, and a thread has no event loop")
        if work.timeout is not None and work.timeout.idle_timeout is not None:
            raise ConfigurationError(f"Node '{work.name}' has a limit for silence, which is not watched in a thread")
        self.prepared.append(work)
        return _InOwnThread(self.pool, work)


class _InOwnThread:
    def __init__(self, pool: ThreadPoolExecutor, work: NodeWork) -> None:
        self.pool, self.work = pool, work
        self.limit = work.timeout.run_timeout if work.timeout else None

    def _begun(self, state: Any, config: RunnableConfig) -> Future[Any]:
        return self.pool.submit(copy_context().run, self.work.runnable.invoke, state, config)

    def _late(self) -> NodeTimeoutError:
        return NodeTimeoutError(self.work.name, self.limit, kind="run", run_timeout=self.limit)

    def invoke(self, state: Any, config: RunnableConfig) -> Any:
        try:
            return self._begun(state, config).result(self.limit)
        except TimeoutError:
            raise self._late() from None

    async def ainvoke(self, state: Any, config: RunnableConfig) -> Any:
        try:
            async with asyncio.timeout(self.limit):
                return await asyncio.wrap_future(self._begun(state, config))
        except TimeoutError:
            raise self._late() from None


class Inline:
    """Runs nodes where they are called, and writes down which."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def prepare(self, work: NodeWork) -> Any:
        return self._Call(self.ran, work)

    class _Call:
        def __init__(self, ran: list[str], work: NodeWork) -> None:
            self.ran, self.work = ran, work

        def invoke(self, state: Any, config: RunnableConfig) -> Any:
            self.ran.append(self.work.name)
            return self.work.runnable.invoke(state, config)

        async def ainvoke(self, state: Any, config: RunnableConfig) -> Any:
            self.ran.append(self.work.name)
            return await self.work.runnable.ainvoke(state, config)


@pytest.fixture
def own() -> Iterator[OwnThreads]:
    made = OwnThreads()
    with made.pool:
        yield made


def graph_of(function: Any, executor: NodeExecutor | None, saver: Any = None, **options: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("node", function, executor=executor, **options)
    builder.add_edge(START, "node").add_edge("node", END)
    return builder.compile(checkpointer=saver)


def test_a_node_runs_where_its_executor_takes_it(driver: Driver, own: OwnThreads) -> None:
    graph = graph_of(lambda state: {"seen": [threading.current_thread().name]}, own)

    (name,) = driver.invoke(graph, {"seen": []})["seen"]

    assert name.startswith("own")
    assert [(work.name, work.timeout) for work in own.prepared] == [("node", None)]


def test_a_node_elsewhere_is_given_what_it_asks_for_and_its_writers_write(driver: Driver, own: OwnThreads) -> None:
    def node(state: State, config: RunnableConfig, writer: StreamWriter) -> State:
        writer("by argument")
        get_stream_writer()("by context")
        return {"seen": [config["configurable"]["thread_id"]]}

    def parts(executor: NodeExecutor | None) -> list[Any]:
        graph = graph_of(node, executor, in_memory_saver())
        return driver.stream(graph, {"seen": []}, THREAD, stream_mode=["custom", "updates"])

    assert (
        parts(own)
        == parts(None)
        == [
            ("custom", "by argument"),
            ("custom", "by context"),
            ("updates", {"node": {"seen": ["t"]}}),
        ]
    )


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
def test_an_executor_of_a_program_s_own_keeps_the_contract(clause: Clause, driver: Driver, own: OwnThreads) -> None:
    clause(own, driver)


class Boundless(Inline):
    """Runs nodes as long as they take, whatever their limits."""

    class _Call(Inline._Call):
        def invoke(self, state: Any, config: RunnableConfig) -> Any:
            executor_contract.released.set()
            return super().invoke(state, config)

        async def ainvoke(self, state: Any, config: RunnableConfig) -> Any:
            executor_contract.released.set()
            return await super().ainvoke(state, config)


def test_an_executor_that_keeps_no_limits_breaks_the_contract_in_these_clauses_alone(driver: Driver) -> None:
    broken = set()
    for clause in CONTRACT:
        try:
            clause(Boundless(), driver)
        except (AssertionError, pytest.fail.Exception):
            broken.add(clause)
    assert broken == {clause for clause in CONTRACT if "_limit_" in clause.__name__}
    assert len(broken) == 3


def test_limits_of_all_nodes_reach_the_executors_of_those_without_their_own(driver: Driver, own: OwnThreads) -> None:
    builder = StateGraph(State)
    builder.add_node("bare", lambda state: {"seen": ["bare"]}, executor=own)
    builder.add_node("strict", lambda state: {"seen": ["strict"]}, executor=own, timeout=7)
    builder.add_edge(START, "bare").add_edge("bare", "strict")
    builder.set_node_defaults(timeout=5)
    graph = builder.compile()
    assert driver.invoke(graph, {"seen": []}) == {"seen": ["bare", "strict"]}
    limits = [(work.name, work.timeout.run_timeout if work.timeout else None) for work in own.prepared]
    assert limits == [("bare", None), ("strict", 7.0), ("bare", 5.0)]
    assert driver.invoke(builder.set_node_defaults(retry_policy=RetryPolicy()).compile(), {"seen": []})["seen"]
    assert len(own.prepared) == 4


def test_nodes_elsewhere_run_at_the_same_time_and_may_command(driver: Driver, own: OwnThreads) -> None:
    both = threading.Barrier(2, timeout=60)

    def meets(state: State) -> Command[Any]:
        both.wait()
        return Command(update={"seen": ["met"]}, goto="after")

    builder = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, meets, executor=own, destinations=("after",))
        builder.add_edge(START, name)
    builder.add_node("after", lambda state: {"seen": ["after"]})

    assert driver.invoke(builder.compile(), {"seen": []}) == {"seen": ["met", "met", "after"]}


def test_the_names_that_type_checkers_know_are_those_of_executors_that_are_there() -> None:
    assert {*get_args(executors.ExecutorName)} == {*executors._NAMED}
    for name in get_args(executors.ExecutorName):
        assert graph_of(executor_contract.counts, name).nodes["node"]


def test_an_executor_may_take_coroutine_functions() -> None:
    async def node(state: State) -> State:
        await asyncio.sleep(0)
        return {"seen": ["awaited"]}

    inline = Inline()
    result = asyncio.run(graph_of(node, inline).ainvoke({"seen": []}))

    assert (result, inline.ran) == ({"seen": ["awaited"]}, ["node"])


def test_a_graph_that_a_node_elsewhere_calls_is_inspected_like_any_other(driver: Driver, own: OwnThreads) -> None:
    inner = graph_of(lambda state: {"seen": [interrupt("inside")]}, None)

    def calls(state: State) -> State:
        return {"seen": [inner.invoke({"seen": []})["seen"]]}

    graph = graph_of(calls, own, in_memory_saver())
    driver.invoke(graph, {"seen": []}, THREAD)

    (task,) = driver.get_state(graph, THREAD, subgraphs=True).tasks
    assert task.state.next == ("node",)
    assert driver.invoke(graph, Command(resume="yes"), THREAD) == {"seen": [["yes"]]}


async def _awaited(state: State) -> State:
    return state


@pytest.mark.parametrize(
    ("executor", "node", "why"),
    [
        (OwnThreads, _awaited, "is a coroutine function, and a thread has no event loop"),
        (
            OwnThreads,
            graph_of(_awaited, None),
            "is a graph .*CompiledStateGraph.* give the executor to the nodes inside",
        ),
        (
            lambda: ThreadPoolExecutor(1),
            lambda state: state,
            "executor <concurrent.*; expected 'process', an object",
        ),
    ],
)
def test_what_an_executor_cannot_run_is_refused_when_it_is_added(
    executor: Callable[[], Any], node: Any, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"Node 'node' (has the )?{why}"):
        graph_of(node, executor())


def named_node(state: State) -> State:
    return {"seen": ["named"]}


def test_an_executor_may_be_given_by_its_name() -> None:
    node = executors.executed(named_node, "process", "n", None)
    assert node.get_name() == "n"
    assert node.stands_for is not None
    for wrong in ("thread", 5, {"process"}):
        with pytest.raises(ConfigurationError, match=r"Node 'n' has the executor .*expected 'process', an object with"):
            executors.executed(named_node, wrong, "n", None)  # type: ignore[arg-type]
