"""Graphs without a run: spans of graphs, nodes, models, and of the program itself, each below the right one."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM
from langchain_core.retrievers import BaseRetriever

from stategraph import START, Command, RetryPolicy, StateGraph, interrupt
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.tracing.graph_runs import GraphRunHandler, GraphSave
from stategraph.telemetry import names
from stategraph.telemetry.handler import TelemetryHandler
from stategraph.testing.chat_model import ScriptedChatModel
from tests.conftest import Driver
from tests.telemetry.spans_kit import Collected


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


MODEL = ScriptedChatModel(replies=["Hello."] * 100)


def own(collected: Collected, name: str) -> Any:
    return collected.tracer.start_as_current_span(name)


def parallel_graph(collected: Collected) -> Any:
    """Two nodes beside each other, then a nested graph as a node, then one that is called."""

    def leaf(state: State) -> Any:
        with own(collected, "own in leaf"):
            MODEL.invoke("hi")
        with own(collected, "own after the model"):
            return {"seen": ["leaf"]}

    inner = StateGraph(State).add_node("leaf", leaf).add_edge(START, "leaf").compile(name="inner")

    def node(name: str) -> Any:
        def run(state: State) -> Any:
            with own(collected, f"own in {name}"):
                pass
            for _ in MODEL.stream("hi"):
                break
            with own(collected, f"own after the stream in {name}"):
                return {"seen": [name]}

        return run

    def calls(state: State) -> Any:
        inner.invoke({"seen": []})
        with own(collected, "own after the graph"):
            return {}

    graph = StateGraph(State)
    graph.add_node("a", node("a")).add_node("b", node("b")).add_node("inner", inner).add_node("calls", calls)
    graph.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "inner").add_edge("inner", "calls")
    return graph.compile(name="outer")


INNER = [
    "  invoke_workflow inner",
    "    node leaf",
    "      own in leaf",
    "        chat scripted",
    "      own after the model",
]


def indented(lines: list[str], depth: int = 1) -> list[str]:
    return ["  " * depth + line for line in lines]


def of_node(name: str) -> list[str]:
    return [f"node {name}", f"  own in {name}", "  chat scripted", f"  own after the stream in {name}"]


def test_the_programs_spans_stand_below_those_of_their_nodes(collected: Collected, driver: Driver) -> None:
    handler = collected.telemetry(nodes=True).handler()
    with own(collected, "caller"):
        driver.invoke(parallel_graph(collected), {"seen": []}, {"callbacks": [handler]})
        with own(collected, "after"):
            pass

    lines = collected.tree()
    assert lines[:2] == ["caller", "  invoke_workflow outer"]
    beside = lines[2:10]
    assert sorted(beside) == sorted(indented([*of_node("a"), *of_node("b")], 2))
    assert lines[10:-1] == indented(["node inner", *INNER, "node calls", *INNER, "  own after the graph"], 2)
    assert lines[-1] == "  after"


def test_without_spans_of_nodes_they_stand_below_the_graph(collected: Collected, driver: Driver) -> None:
    driver.invoke(parallel_graph(collected), {"seen": []}, {"callbacks": [collected.telemetry().handler()]})

    lines = collected.tree()
    assert not [line for line in lines if line.strip().startswith("node")]
    assert "  own after the graph" in lines
    assert "    own in leaf" in lines
    assert lines.count("  invoke_workflow inner") == 2


def test_what_reads_a_stream_is_not_in_the_graph(collected: Collected) -> None:
    handler = collected.telemetry().handler()
    with own(collected, "caller"):
        for _ in parallel_graph(collected).stream({"seen": []}, {"callbacks": [handler]}):
            with own(collected, "reading"):
                pass
    assert {line for line in collected.tree() if "reading" in line} == {"  reading"}


def test_async_nodes_tasks_and_what_follows_an_awaited_model(collected: Collected) -> None:
    async def node(state: State) -> Any:
        await MODEL.ainvoke("hi")
        with own(collected, "own after the model"):
            pass

        async def task() -> None:
            with own(collected, "own in a task"):
                await asyncio.sleep(0)

        await asyncio.gather(task(), task())
        async for _ in MODEL.astream("hi"):
            pass
        with own(collected, "own after the stream"):
            return {}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile()

    async def main() -> None:
        with collected.telemetry(nodes=True).listening():
            await asyncio.gather(*(graph.ainvoke({"seen": []}) for _ in range(3)))
        await graph.ainvoke({"seen": []})  # nobody listens any more

    asyncio.run(main())
    one = [
        "chat scripted",
        "own after the model",
        "own in a task",
        "own in a task",
        "chat scripted",
        "own after the stream",
    ]
    measured = ["invoke_workflow", "  node node", *indented(one, 2)]
    assert collected.tree()[: 3 * len(measured)] == measured * 3
    assert collected.tree()[3 * len(measured) :] == [line for line in one if line.startswith("own")]


def test_pauses_are_no_errors_and_failures_are(collected: Collected, driver: Driver) -> None:
    def ask(state: State) -> Any:
        return {"seen": [interrupt("why?")]}

    def fail(state: State) -> Any:
        raise ValueError("a secret")

    graph = (
        StateGraph(State)
        .add_node("ask", ask)
        .add_node("fail", fail, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0, jitter=False))
    )
    compiled = graph.add_edge(START, "ask").add_edge("ask", "fail").compile(checkpointer=in_memory_saver())
    handler = collected.telemetry(nodes=True).handler()
    assert isinstance(handler, TelemetryHandler)
    config = {"callbacks": [handler], "configurable": {"thread_id": "t"}}
    driver.invoke(compiled, {"seen": []}, config)
    assert collected.tree() == ["invoke_workflow", "  node ask"]
    assert (collected.named("node ask").attributes or {})["stategraph.ended_by"] == "interrupt"
    collected.exporter.clear()

    with pytest.raises(ValueError, match="a secret"):
        driver.invoke(compiled, Command(resume="because"), config)

    lines = collected.tree()
    assert lines[:2] == ["invoke_workflow !ValueError", "  node ask"]
    assert set(lines[2:]) == {"  node fail !ValueError"}
    assert "a secret" not in " ".join(span.to_json() for span in collected.spans)
    assert not handler._runs
    assert not handler._graphs


def test_the_duration_of_saves_is_measured(collected: Collected, driver: Driver) -> None:
    graph = parallel_graph(collected)
    graph.checkpointer = in_memory_saver()
    config = {"callbacks": [collected.telemetry().handler()], "configurable": {"thread_id": "t"}}
    driver.invoke(graph, {"seen": []}, config, durability="sync")

    counts = {about[names.SAVE_OPERATION]: point.count for about, point in collected.points(names.SAVE_DURATION)}
    history = list(graph.get_state_history({"configurable": {"thread_id": "t"}}))
    assert counts["put"] >= len(history)
    assert counts["put_writes"] > 0


class _Notes(GraphRunHandler):
    def __init__(self) -> None:
        self.saves: list[GraphSave] = []

    def on_graph_save(self, save: GraphSave) -> None:
        self.saves.append(save)


def test_a_save_that_fails_is_told_with_its_error(driver: Driver) -> None:
    class Full(type(in_memory_saver())):  # type: ignore[misc]
        def put(self, *args: Any) -> Any:
            raise OSError("disk full")

        async def aput(self, *args: Any) -> Any:
            raise OSError("disk full")

    graph = StateGraph(State).add_node("n", lambda state: {}).add_edge(START, "n").compile(checkpointer=Full())
    notes = _Notes()
    with pytest.raises(OSError, match="disk full"):
        driver.invoke(graph, {"seen": []}, {"callbacks": [notes], "configurable": {"thread_id": "t"}})
    assert [type(save.error) for save in notes.saves if save.operation == "put"] == [OSError]
    assert all(save.duration_s >= 0 for save in notes.saves)


def test_other_handlers_hear_what_they_always_did(collected: Collected, driver: Driver) -> None:
    class Names(BaseCallbackHandler):
        def __init__(self) -> None:
            self.told: list[Any] = []

        def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
            self.told.append((kwargs["name"], kwargs["tags"], sorted(kwargs["metadata"])))

    graph = StateGraph(State).add_node("n", lambda state: {}).add_edge(START, "n").compile()
    alone, beside = Names(), Names()
    driver.invoke(graph, {"seen": []}, {"callbacks": [alone]})
    driver.invoke(graph, {"seen": []}, {"callbacks": [beside, collected.telemetry().handler()]})
    assert alone.told == beside.told
    assert alone.told


def test_a_handler_may_be_shared_by_threads(collected: Collected) -> None:
    from concurrent.futures import ThreadPoolExecutor

    handler = collected.telemetry(nodes=True).handler()
    graph = parallel_graph(collected)

    def call(_: int) -> Iterator[str]:
        with own(collected, "caller"):
            graph.invoke({"seen": []}, {"callbacks": [handler]})
        return iter(())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(8)))
    trees = "\n".join(collected.tree()).split("caller")[1:]
    assert len(trees) == 8
    assert all(tree.count("node leaf") == 2 and tree.count("chat scripted") == 4 for tree in trees)


@pytest.mark.parametrize("name", [None, "shopper"])
def test_a_graph_of_create_agent_is_an_agent(collected: Collected, driver: Driver, name: str | None) -> None:
    # What `langchain.agents.create_agent` puts into the config of its graphs.
    metadata = {"ls_integration": "langchain_create_agent", **({} if name is None else {"lc_agent_name": name})}
    graph = StateGraph(State).add_node("model", lambda state: MODEL.invoke("hi") and {}).add_edge(START, "model")
    compiled = graph.compile(name=name or "LangGraph").with_config(metadata=metadata)

    driver.invoke(compiled, {"seen": []}, {"callbacks": [collected.telemetry().handler()]})

    assert collected.tree() == [f"invoke_agent {name}" if name else "invoke_agent", "  chat scripted"]
    assert (collected.spans[0].attributes or {}).get("gen_ai.agent.name") == name


def test_graphs_of_another_engine_are_known_by_what_langchain_is_told(collected: Collected) -> None:
    handler = collected.telemetry(nodes=True).handler()
    graph, node, inner, other = uuid4(), uuid4(), uuid4(), uuid4()
    about: dict[str, Any] = {"ls_integration": "langgraph", "thread_id": "t"}
    handler.on_chain_start(None, {}, run_id=graph, name="theirs", metadata=about)
    handler.on_chain_start(
        None, {}, run_id=node, parent_run_id=graph, name="n", tags=["graph:step:1"], metadata={**about}
    )
    handler.on_chain_start(None, {}, run_id=inner, parent_run_id=node, name="RunnableLambda", metadata=about)
    handler.on_chain_start(None, {}, run_id=other, name="RunnableSequence")  # no graph, and in none
    for run_id in (other, inner, node, graph):
        handler.on_chain_end({}, run_id=run_id)

    assert collected.tree() == ["invoke_workflow theirs", "  node n"]
    assert (collected.named("node n").attributes or {})["stategraph.node.step"] == 1
    assert (collected.spans[0].attributes or {})["gen_ai.conversation.id"] == "t"


def test_retrievers_and_models_that_complete_texts(collected: Collected, driver: Driver) -> None:
    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            with own(collected, "own in the retriever"):
                return [Document("found")]

    completer = FakeListLLM(responses=["whole"])

    def node(state: State) -> Any:
        return {"seen": [Shelf().invoke("where?")[0].page_content, completer.invoke("half")]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile()
    handler = collected.telemetry(content=True).handler()
    assert driver.invoke(graph, {"seen": []}, {"callbacks": [handler]})["seen"] == ["found", "whole"]

    root, retrieval, _, completion = collected.spans
    assert [line.strip().split()[0] for line in collected.tree()] == [
        "invoke_workflow",
        "retrieval",
        "own",
        "text_completion",
    ]
    assert (retrieval.attributes or {})["gen_ai.retrieval.query.text"] == "where?"
    assert (completion.attributes or {})["gen_ai.operation.name"] == "text_completion"
    assert root.status.status_code.name == "UNSET"
