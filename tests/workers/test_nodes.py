"""Nodes on workers: they are nodes like any other, run at the same time, and can be stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from langchain_core.messages import AIMessageChunk

from stategraph import END, START, Command, NodeError, NodeTimeoutError, RetryPolicy, StateGraph, TimeoutPolicy
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.tasks.executors import ExecutorName
from stategraph.errors import ConfigurationError, TransferError, WorkerError
from stategraph.workers import close_node_workers, configure_node_workers
from tests.conftest import Driver
from tests.engine.executor_contract import CONTRACT, Clause
from tests.workers import nodes
from tests.workers.nodes import State
from tests.workers.test_process import is_there

THREAD = {"configurable": {"thread_id": "t"}}


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    configure_node_workers(2, allow=["tests.workers", "tests.engine"])
    yield
    close_node_workers()


def graph_of(*functions: Any, saver: Any = None, **options: Any) -> Any:
    """A graph of nodes that run one after the other, on workers."""
    builder = StateGraph(State)
    before = START
    for function in functions:
        builder.add_node(function.__name__, function, executor="process", **options)
        builder.add_edge(before, function.__name__)
        before = function.__name__
    builder.add_edge(before, END)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("name", get_args(ExecutorName))
def test_the_executors_that_have_names_keep_the_contract(name: str, clause: Clause, driver: Driver) -> None:
    clause(name, driver)


def test_a_node_runs_in_another_process(driver: Driver) -> None:
    result = driver.invoke(graph_of(nodes.doubles), {"number": 4, "seen": []})

    assert result["number"] == 8
    assert result["seen"] != [os.getpid()]


def test_a_node_is_given_what_it_asks_for_and_writes_to_the_custom_stream(driver: Driver) -> None:
    builder = StateGraph(State, context_schema=dict)
    builder.add_node("node", nodes.asks_for_everything, executor="process")
    builder.add_edge(START, "node")
    graph = builder.compile(checkpointer=in_memory_saver())
    config = {**THREAD, "metadata": {"mine": "yes"}}

    parts = driver.stream(graph, {"seen": []}, config, context={"tenant": "acme"}, stream_mode=["custom", "updates"])

    assert parts == [
        ("custom", {"from": "writer"}),
        ("custom", {"from": "get_stream_writer"}),
        ("updates", {"node": {"seen": ["t", "yes", {"tenant": "acme"}, "t", 1]}}),
    ]


def test_a_model_in_a_node_on_a_worker_streams_its_tokens(driver: Driver) -> None:
    here = StateGraph(State)
    here.add_node("talks", nodes.talks)
    here.add_edge(START, "talks")

    def gist(parts: list[Any]) -> list[Any]:
        keys = ("langgraph_node", "langgraph_step", "ls_model_type")
        return [(type(each), each.content, [about.get(key) for key in keys]) for each, about in parts]

    there = driver.stream(graph_of(nodes.talks), {"seen": []}, stream_mode="messages")

    assert [each.content for each, _ in there][:2] == ["Hello ", "there."]
    assert isinstance(there[0][0], AIMessageChunk)
    assert gist(there) == gist(driver.stream(here.compile(), {"seen": []}, stream_mode="messages"))


def test_a_node_on_a_worker_waits_for_answers_in_their_order(driver: Driver) -> None:
    graph = graph_of(nodes.asks_a_person, saver=in_memory_saver())

    first = driver.invoke(graph, {"seen": []}, THREAD)
    second = driver.invoke(graph, Command(resume="a"), THREAD)
    (waiting,) = second["__interrupt__"]
    last = driver.invoke(graph, Command(resume={waiting.id: "b"}), THREAD)

    assert [each.value for each in first["__interrupt__"]] == [{"question": "one"}]
    assert waiting.value == {"question": "two"}
    assert last["seen"][:2] == ["a", "b"]
    assert "__interrupt__" not in last


def test_a_node_on_a_worker_may_command(driver: Driver) -> None:
    builder = StateGraph(State)
    builder.add_node("goes_on", nodes.goes_on, executor="process", destinations=("target",))
    builder.add_node("target", lambda state: {"seen": ["target"]})
    builder.add_edge(START, "goes_on")

    assert driver.invoke(builder.compile(), {"seen": []})["seen"] == ["went on", "target"]


def test_nodes_on_workers_run_at_the_same_time(driver: Driver, tmp_path: Path) -> None:
    builder = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, nodes.meets, executor="process", timeout=60)
        builder.add_edge(START, name)
    graph = builder.compile()

    assert driver.invoke(graph, {"path": str(tmp_path), "seen": []})["seen"] == ["met", "met"]


def test_a_node_that_loops_for_ever_is_stopped_at_its_limit_and_its_error_handler_goes_on(
    driver: Driver, tmp_path: Path
) -> None:
    def rescue(state: State, error: NodeError) -> State:
        assert isinstance(error.error, NodeTimeoutError)
        return {"seen": [f"{error.node}: {error.error.kind} {error.error.timeout}"]}

    graph = graph_of(nodes.loops_for_ever, timeout=0.3, error_handler=rescue)

    result = driver.invoke(graph, {"path": str(tmp_path / "pid"), "seen": []})

    assert result["seen"] == ["loops_for_ever: run 0.3"]
    _until_gone(tmp_path / "pid")


def test_a_node_whose_run_is_cancelled_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "pid"

    async def main() -> None:
        work = asyncio.ensure_future(graph_of(nodes.waits).ainvoke({"path": str(path), "seen": []}))
        async with asyncio.timeout(60):
            while not (path.exists() and path.read_text()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.wait((work,))
        assert work.cancelled()

    asyncio.run(main())
    _until_gone(path)


def test_a_node_is_tried_again_after_its_worker_died(driver: Driver, tmp_path: Path) -> None:
    retry = RetryPolicy(initial_interval=0.001, jitter=False)
    graph = graph_of(nodes.dies_once, retry_policy=retry)

    assert driver.invoke(graph, {"path": str(tmp_path / "mark"), "seen": []})["seen"] == ["survived"]


def test_a_worker_that_dies_is_named_with_its_node(driver: Driver, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"Worker 'process-\d+' .*SIGKILL.* while it held job 'dies_once/"):
        driver.invoke(graph_of(nodes.dies_once), {"path": str(tmp_path / "mark"), "seen": []})


def test_retries_apply_to_what_a_node_raises_on_a_worker(driver: Driver, tmp_path: Path) -> None:
    retry = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ConnectionError)
    graph = graph_of(nodes.fails_once, retry_policy=retry)

    assert driver.invoke(graph, {"path": str(tmp_path / "mark"), "seen": []})["seen"] == ["worked"]


def test_an_error_of_a_node_on_a_worker_is_its_own_and_shows_where_it_arose(driver: Driver) -> None:
    with pytest.raises(LookupError, match="no 3") as caught:
        driver.invoke(graph_of(nodes.fails), {"number": 3, "seen": []})

    notes = "\n".join(caught.value.__notes__)
    assert "In worker 'process-" in notes and "in fails" in notes
    assert "During task with name 'fails'" in notes


def test_values_that_cannot_be_sent_are_named(driver: Driver) -> None:
    with pytest.raises(TransferError, match=r"The result of job 'returns.* type lock at \['seen'\]\[0\]"):
        driver.invoke(graph_of(nodes.returns_what_cannot_be_sent), {"seen": []})
    with pytest.raises(
        TransferError, match=r"The state of node 'doubles' cannot .* type object at \['state'\]\['number'\]"
    ):
        driver.invoke(graph_of(nodes.doubles), {"number": object(), "seen": []})


def test_functions_that_cannot_be_sent_are_refused_when_they_are_added() -> None:
    def inner(state: State) -> State:
        return state

    async def later(state: State) -> State:
        return state

    def stores(state, store):  # type: ignore[no-untyped-def]
        return state

    refused: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (inner, {}, TransferError, "node 'n' cannot be sent .* 'inner' is defined inside the function"),
        (lambda state: state, {}, TransferError, "it is a lambda"),
        (
            later,
            {},
            ConfigurationError,
            "Node 'n' is a coroutine function, and executor='process' is for sync functions",
        ),
        (stores, {}, ConfigurationError, "Node 'n' asks for 'store', which stays"),
        (graph_of(nodes.doubles), {}, ConfigurationError, "a value of type CompiledStateGraph"),
        (nodes.doubles, {"timeout": TimeoutPolicy(idle_timeout=1)}, ConfigurationError, "limit for silence"),
    ]
    for function, options, kind, why in refused:
        with pytest.raises(kind, match=why):
            StateGraph(State).add_node("n", function, executor="process", **options)
    with pytest.raises(ConfigurationError, match="executor 'gpu'; expected 'process', an object with"):
        StateGraph(State).add_node("n", nodes.doubles, executor="gpu")  # type: ignore[call-overload]


def test_workers_are_configured_before_they_start() -> None:
    graph_of(nodes.doubles).invoke({"number": 1, "seen": []})

    with pytest.raises(ConfigurationError, match=r"close_node_workers\(\)"):
        configure_node_workers(1)


def _until_gone(path: Path) -> None:
    async def wait() -> None:
        async with asyncio.timeout(30):
            while is_there(int(path.read_text())):  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)

    asyncio.run(wait())
