"""The running config is a real dict wherever authors' code can read it, in Python or in C."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypedDict

import orjson
import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config, var_child_runnable_config
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import TypeAdapter

from stategraph import START, StateGraph
from stategraph.engine.config.context import get_config
from stategraph.graph.func import entrypoint, task
from stategraph.types import RetryPolicy

if TYPE_CHECKING:
    from tests.conftest import Driver


class Count(TypedDict, total=False):
    n: int


def one_node(node: Any, **options: Any) -> Any:
    return StateGraph(Count).add_node("node", node).add_edge(START, "node").compile(**options)


READERS: dict[str, Callable[[Any], Any]] = {
    "json": lambda config: json.loads(json.dumps(config, default=str)),
    "orjson": lambda config: orjson.loads(orjson.dumps(config, default=str)),
    "pydantic": lambda config: TypeAdapter(dict).validate_python(config),
    "unpacking": lambda config: dict(**config),
    "copying": copy.copy,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_code_in_c_reads_the_running_config(driver: Driver, read: Callable[[Any], Any]) -> None:
    seen: list[Any] = []

    def look(state: Any) -> Any:
        config: Any = var_child_runnable_config.get()
        assert type(config) is dict
        seen.append(read(config))

    async def alook(state: Any) -> Any:
        look(state)

    def routed(state: Any) -> str:
        look(state)
        return "b"

    @task
    def called() -> None:
        look(None)

    @entrypoint()
    def flow(_: Any) -> Any:
        called().result()
        look(None)

    node = alook if driver.name == "async" else look
    builder = StateGraph(Count).add_node("a", node).add_node("b", one_node(look)).add_edge(START, "a")
    driver.invoke(builder.add_conditional_edges("a", routed, ["b"]).compile(), {"n": 1}, {"tags": ["mine"]})
    driver.invoke(flow, 1, {"tags": ["mine"]})
    assert len(seen) == 5
    for config in seen:
        assert config["tags"] == ["mine"]
        assert config["metadata"]["langgraph_node"] in ("a", "node", "called", "flow")
        assert config["configurable"]["checkpoint_ns"]


def test_it_can_be_kept_and_is_what_it_was_when_the_attempt_began() -> None:
    contexts: list[Context] = []
    told: list[RunnableConfig] = []

    def late(state: Count) -> Count:
        contexts.append(copy_context())
        return {"n": state["n"] + 1}

    def early(state: Count) -> Count:
        told.append(get_config())
        return {"n": state["n"] + 1}

    builder = StateGraph(Count).add_node("late", late).add_node("early", early)
    graph = builder.add_edge(START, "late").add_edge("late", "early").compile(checkpointer=InMemorySaver())
    graph.invoke({"n": 0}, {"configurable": {"thread_id": "t"}}, durability="exit")
    config = contexts[0].run(get_config)
    assert config["metadata"]["langgraph_step"] == 1
    assert config["metadata"]["langgraph_node"] == "late"
    # Before the later task's, which began from another checkpoint.
    infos = [c["configurable"]["__pregel_runtime"].execution_info for c in (config, told[0])]
    assert infos[0].checkpoint_id < infos[1].checkpoint_id
    assert infos[0].checkpoint_ns.startswith("late:")


def test_a_retry_has_a_config_of_its_own_and_who_kept_the_first_has_that(driver: Driver) -> None:
    contexts: list[Context] = []

    def node(state: Count) -> Count:
        contexts.append(copy_context())
        if len(contexts) == 1:
            raise ConnectionError
        return {"n": 1}

    policy = RetryPolicy(initial_interval=0, jitter=False)
    builder = StateGraph(Count).add_node("node", node, retry_policy=policy).add_edge(START, "node")
    driver.invoke(builder.compile(), {"n": 0})
    attempts = [c.run(get_config)["configurable"]["__pregel_runtime"].execution_info.node_attempt for c in contexts]
    assert attempts == [1, 2]


def test_a_runnable_called_from_a_node_inherits_from_it(driver: Driver) -> None:
    seen = []

    def inner(value: int, config: RunnableConfig) -> int:
        seen.append(config)
        return value + 1

    graph = one_node(lambda state: {"n": RunnableLambda(inner).invoke(state["n"])})
    assert driver.invoke(graph, {"n": 1}, {"configurable": {"mine": 5}, "tags": ["x"]}) == {"n": 2}
    assert seen[0]["configurable"]["mine"] == 5
    assert seen[0]["tags"] == ["x"]
    assert seen[0]["metadata"]["langgraph_node"] == "node"
    assert seen[0]["callbacks"].inheritable_metadata["ls_integration"] == "langgraph"


def test_threads_that_ask_a_manager_at_once_get_the_same_lists() -> None:
    barrier = threading.Barrier(4)
    seen: list[Any] = []

    def node(state: Count) -> None:
        manager: Any = get_config()["callbacks"]

        def ask() -> Any:
            barrier.wait(10)
            return manager.tags, manager.metadata

        with ThreadPoolExecutor(4) as pool:
            seen.extend(future.result() for future in [pool.submit(ask) for _ in range(4)])

    one_node(node).invoke({"n": 1})
    assert len({(id(tags), id(metadata)) for tags, metadata in seen}) == 1


def test_a_manager_has_no_other_attributes_and_can_be_copied() -> None:
    def node(state: Count) -> None:
        manager: Any = get_config()["callbacks"]
        with pytest.raises(AttributeError, match="'nothing'"):
            _ = manager.nothing
        assert copy.copy(manager).tags == manager.tags == ["seq:step:1"]

    one_node(node).invoke({"n": 1})


def test_two_runs_at_once_have_their_own(driver: Driver) -> None:
    def node(state: Count) -> Any:
        assert ensure_config()["configurable"]["n"] == state["n"]
        return {"n": state["n"] + 1}

    graph = one_node(node)
    with ThreadPoolExecutor(8) as pool:
        configs: list[Any] = [{"configurable": {"n": n}} for n in range(64)]
        found = list(pool.map(lambda config: graph.invoke({"n": config["configurable"]["n"]}, config), configs))
    assert found == [{"n": n + 1} for n in range(64)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(graph.ainvoke({"n": n}, {"configurable": {"n": n}}) for n in range(64)))

    assert asyncio.run(all_at_once()) == found


def test_what_is_plain_in_it_can_be_pickled() -> None:
    def node(state: Count) -> None:
        metadata = get_config()["metadata"]
        assert pickle.loads(pickle.dumps(metadata)) == metadata

    one_node(node).invoke({"n": 1})
