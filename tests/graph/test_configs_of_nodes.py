"""What nodes, tasks, error handlers and what they call are told about where they run."""

import re
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import START
from stategraph.engine.config.context import get_config
from stategraph.engine.config.runtime import get_runtime
from stategraph.errors import NodeError
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import RetryPolicy

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


class Seen(TypedDict, total=False):
    seen: Any


class Listener(BaseCallbackHandler):
    """Notes the tags and metadata of each run that starts."""

    def __init__(self) -> None:
        self.heard: list[tuple[set[str], dict[str, Any]]] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> None:
        self.heard.append((set(told["tags"] or ()), told["metadata"] or {}))


def one_node(node: Any, **options: Any) -> Any:
    return StateGraph(Seen).add_node("node", node, **options).add_edge(START, "node").compile()


def names_of(namespaces: Any) -> list[str]:
    return sorted(re.sub(r":[0-9a-f-]{36}", "", ns) for ns in namespaces)


def test_a_task_is_told_what_its_entrypoint_has_kept(driver: Any) -> None:
    @task
    def kept() -> Any:
        return get_runtime().previous

    @entrypoint(checkpointer=InMemorySaver())
    def flow(value: str) -> Any:
        return entrypoint.final(value=kept().result(), save=value)

    assert [driver.invoke(flow, value, THREAD) for value in ("one", "two", "three")] == [None, "one", "two"]


def test_a_task_of_a_task_knows_the_checkpoints_of_all_graphs_and_tasks_around_it(driver: Any) -> None:
    graph = one_node(lambda state: {"seen": 1})
    maps = []

    @task
    def inner() -> Any:
        maps.append(names_of(get_config()["configurable"]["checkpoint_map"]))
        return graph.invoke({})

    @task
    def outer() -> Any:
        maps.append(names_of(get_config()["configurable"]["checkpoint_map"]))
        return inner().result()

    saver = InMemorySaver()

    @entrypoint(checkpointer=saver)
    def flow(_: Any) -> Any:
        return outer().result()

    driver.invoke(flow, "x", THREAD)
    assert maps == [["", "flow"], ["", "flow", "flow|outer"]]
    stored = [t for t in saver.list(THREAD) if "inner" in t.config["configurable"]["checkpoint_ns"]]
    assert stored
    for found in stored:
        assert names_of(found.metadata["parents"]) == ["", "flow", "flow|outer"]


def test_a_graph_within_an_error_handler_is_told_of_the_failure(driver: Any) -> None:
    def report(state: Seen, error: NodeError) -> Seen:
        return {"seen": (error.node, str(error.error))}

    reporter = one_node(report)

    def fails(state: Seen) -> Seen:
        raise ValueError("boom")

    builder = StateGraph(Seen).add_node("fails", fails, error_handler=lambda state: reporter.invoke({}))
    assert driver.invoke(builder.add_edge(START, "fails").compile(), {}, {}) == {"seen": ("fails", "boom")}


@pytest.mark.parametrize("mode", ["updates", "tasks", "debug"])
def test_an_attempt_starts_with_a_config_that_the_one_before_has_not_changed(mode: str) -> None:
    seen = []

    def node(state: Seen, config: RunnableConfig) -> Seen:
        seen.append((config["metadata"].get("mine"), config["configurable"].get("mine"), config.get("tags")))
        config["metadata"]["mine"] = config["configurable"]["mine"] = 1
        config["tags"] = ["mine"]
        if len(seen) == 1:
            raise ConnectionError
        return {}

    graph = one_node(node, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    list(graph.stream({}, stream_mode=mode))
    assert seen == [(None, None, None)] * 2


def test_a_handler_that_a_node_attaches_is_told_whose_runs_it_hears(driver: Any) -> None:
    listener = Listener()

    def start(config: RunnableConfig) -> Any:
        own = config["callbacks"].copy()  # type: ignore[union-attr]
        own.add_handler(listener)
        RunnableLambda(len).invoke("x", {"callbacks": own})
        own.add_tags(["mine"])
        return own.on_chain_start({"name": "x"}, "x")

    def node(state: Seen, config: RunnableConfig) -> Seen:
        start(config)
        return {}

    async def anode(state: Seen, config: RunnableConfig) -> Seen:
        await start(config)
        return {}

    graph = one_node(node if driver.name == "sync" else anode)
    driver.invoke(graph, {}, {"tags": ["T"], "metadata": {"M": 1}})
    called, started = listener.heard
    assert called[0] == {"T", "seq:step:1"}
    assert started[0] == {"T", "seq:step:1", "mine"}
    for _, metadata in listener.heard:
        assert metadata["M"] == 1
        assert (metadata["langgraph_node"], metadata["ls_integration"]) == ("node", "langgraph")


def test_what_a_node_adds_to_its_manager_is_its_own() -> None:
    tags = []

    def node(state: Seen, config: RunnableConfig) -> Seen:
        manager: Any = config["callbacks"]
        tags.append(list(manager.tags))
        manager.add_tags(["mine"])
        manager.add_metadata({"mine": 1})
        return {}

    builder = StateGraph(Seen).add_node("a", node).add_node("b", node).add_edge(START, "a").add_edge("a", "b")
    builder.compile().invoke({})
    assert tags == [["seq:step:1"]] * 2


def test_a_graph_called_with_a_thread_of_its_own_has_that_thread_in_its_metadata(driver: Any) -> None:
    places = []

    def look(state: Seen, config: RunnableConfig) -> None:
        named = ("thread_id", "checkpoint_ns", "checkpoint_id")
        places.append({key: config["metadata"][key] for key in named if key in config["metadata"]})

    inner = StateGraph(Seen).add_node("look", look).add_edge(START, "look").compile(checkpointer=InMemorySaver())

    def call(state: Seen) -> None:
        inner.invoke({}, {"configurable": {"thread_id": "inner"}})
        inner.invoke({}, {"configurable": {"thread_id": "inner"}, "metadata": {"thread_id": "as given"}})

    outer = StateGraph(Seen).add_node("call", call).add_edge(START, "call").compile(checkpointer=InMemorySaver())
    driver.invoke(outer, {"seen": 0}, {"configurable": {"thread_id": "outer", "graph_id": "kept"}})
    assert places == [{"thread_id": "inner"}, {"thread_id": "as given"}]
