"""The chain of three nodes in other engines, each written as its documentation does it, and as quick as it can be.

A function here returns two: a coroutine function that runs the chain once and returns how many nodes ran, and the sync
one, or None where the engine has none. What is made anew for each run is what the engine asks to be made anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

AsyncRun = Callable[[int], Awaitable[int]]
SyncRun = Callable[[int], int]
NAMES = ("first", "second", "third")


def pydantic_graph() -> tuple[AsyncRun, SyncRun | None]:
    """pydantic-graph: a graph of steps with a state."""
    from pydantic_graph import GraphBuilder, StepContext

    @dataclass
    class State:
        numbers: list[int] = field(default_factory=list)

    builder: Any = GraphBuilder(state_type=State, output_type=int)

    async def step(context: Any) -> int:
        context.state.numbers.append(len(context.state.numbers))
        return len(context.state.numbers)

    step.__annotations__["context"] = StepContext[State, None, Any]
    steps = [builder.step(step, node_id=name) for name in NAMES]
    way = (builder.start_node, *steps, builder.end_node)
    edges = [builder.edge_from(here).to(there) for here, there in pairwise(way)]
    builder.add(*edges)
    graph = builder.build()

    async def run(_: int) -> int:
        return int(await graph.run(state=State()))

    return run, None


def llama_index_workflows() -> tuple[AsyncRun, SyncRun | None]:
    """llama-index-workflows: three steps, each of which waits for the event of the one before."""
    from workflows import Workflow, step
    from workflows.events import Event, StartEvent, StopEvent

    class First(Event):
        numbers: list[int]

    class Second(Event):
        numbers: list[int]

    class Chain(Workflow):
        @step
        async def first(self, event: StartEvent) -> First:
            return First(numbers=[0])

        @step
        async def second(self, event: First) -> Second:
            return Second(numbers=[*event.numbers, 1])

        @step
        async def third(self, event: Second) -> StopEvent:
            return StopEvent(result=[*event.numbers, 2])

    chain = Chain(timeout=None)

    async def run(_: int) -> int:
        return len(await chain.run())

    return run, None


def burr() -> tuple[AsyncRun, SyncRun | None]:
    """burr: three actions; each run has an application of its own, on one graph."""
    from burr.core import ApplicationBuilder, GraphBuilder, State, action

    def made(is_async: bool) -> Any:
        if is_async:

            @action(reads=["numbers"], writes=["numbers"])
            async def node(state: State) -> State:
                return state.update(numbers=[*state["numbers"], len(state["numbers"])])
        else:

            @action(reads=["numbers"], writes=["numbers"])
            def node(state: State) -> State:
                return state.update(numbers=[*state["numbers"], len(state["numbers"])])

        graph = GraphBuilder().with_actions(**dict.fromkeys(NAMES, node))
        return graph.with_transitions(*pairwise(NAMES)).build()

    graphs = {is_async: made(is_async) for is_async in (True, False)}

    def application(is_async: bool) -> Any:
        return ApplicationBuilder().with_graph(graphs[is_async]).with_entrypoint("first").with_state(numbers=[])

    async def run(_: int) -> int:
        found = await (await application(True).abuild()).arun(halt_after=["third"])
        return len(found[2]["numbers"])

    return run, lambda _: len(application(False).build().run(halt_after=["third"])[2]["numbers"])


def neograph_engine() -> tuple[AsyncRun, SyncRun | None]:
    """neograph-engine: C++ with Python nodes."""
    import neograph_engine as ng

    @ng.node("add")  # type: ignore[untyped-decorator]
    def add(state: Any) -> Any:
        return [ng.ChannelWrite("numbers", [len(state.get("numbers") or ())])]

    nodes = (ng.START_NODE, *NAMES, ng.END_NODE)
    definition = {
        "schema_version": ng.TOPOLOGY_SCHEMA_VERSION,
        "name": "chain",
        "channels": {"numbers": {"reducer": "append"}},
        "nodes": {name: {"type": "add"} for name in NAMES},
        "edges": [{"from": a, "to": b} for a, b in pairwise(nodes)],
    }
    engine = ng.GraphEngine.compile(definition, ng.NodeContext())

    def config(number: int) -> Any:
        return ng.RunConfig(thread_id=str(number), input={})

    def count(result: Any) -> int:
        return len(result.output["channels"]["numbers"]["value"])

    async def run(number: int) -> int:
        return count(await engine.run_async(config(number)))

    return run, lambda number: count(engine.run(config(number)))


def agentcore_graph() -> tuple[AsyncRun, SyncRun | None]:
    """agentcore-graph: C++ with Python nodes, and the builder of LangGraph."""
    from agentcore.graph import END, START, StateGraph

    def node(state: Any, _config: Any = None) -> Any:
        return {"count": (state.get("count") or 0) + 1}

    builder = StateGraph(dict)
    for before, name in zip((START, *NAMES), NAMES, strict=False):
        builder.add_node(name, node)
        builder.add_edge(before, name)
    builder.add_edge(NAMES[-1], END)
    graph = builder.compile()

    async def run(_: int) -> int:
        return int((await graph.ainvoke({"count": 0}))["count"])

    return run, lambda _: int(graph.invoke({"count": 0})["count"])


PEERS: dict[str, Callable[[], tuple[AsyncRun, SyncRun | None]]] = {
    "pydantic-graph": pydantic_graph,
    "llama-index-workflows": llama_index_workflows,
    "burr": burr,
    "neograph-engine": neograph_engine,
    "agentcore-graph": agentcore_graph,
}

warnings.filterwarnings("ignore", category=DeprecationWarning)
