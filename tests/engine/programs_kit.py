"""Programs drawn as data: layers of nodes, each with edges from earlier layers, some subgraphs, fan-outs or questions.

The same data builds the graph with synchronous and with asynchronous nodes, in this process or in another one.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, Send, StateGraph, interrupt
from stategraph.testing import stable

Kind = Literal["plain", "fan", "ask", "sub"]
THREAD = {"configurable": {"thread_id": "t"}}


def later(old: str, new: str) -> str:
    return max(old, new)


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]
    last: Annotated[str, later]


class Item(TypedDict):
    item: int


@dataclass(frozen=True)
class NodeSpec:
    """One node: what it does and which earlier nodes lead to it (none: the start)."""

    name: str
    kind: Kind
    sources: tuple[str, ...]
    joins: bool
    """Whether it waits for all sources, or runs after each."""


Spec = tuple[NodeSpec, ...]


@st.composite
def specs(draw: st.DrawFn, kinds: tuple[Kind, ...] = ("plain", "fan", "ask", "sub")) -> Spec:
    nodes: list[NodeSpec] = []
    for layer in range(draw(st.integers(1, 3))):
        earlier = [node.name for node in nodes]
        for place in range(draw(st.integers(1, 3))):
            sources = draw(st.sets(st.sampled_from(earlier), min_size=1, max_size=2)) if earlier else set()
            nodes.append(
                NodeSpec(f"n{layer}{place}", draw(st.sampled_from(kinds)), tuple(sorted(sources)), draw(st.booleans()))
            )
    return tuple(nodes)


class World:
    """What nodes do to the outside: it outlives runs and crashes.

    Attributes:
        delays_s: How long a node takes, in virtual time.
        executed: The task of every start of a node's body, in order.
    """

    def __init__(self, delays_s: Mapping[str, float] | None = None) -> None:
        self.delays_s = delays_s or {}
        self.executed: list[str] = []

    def enter(self, config: RunnableConfig) -> None:
        self.executed.append(config["metadata"]["langgraph_checkpoint_ns"].rpartition(":")[2])


def update(name: str) -> State:
    return {"log": [name], "total": len(name), "last": name}


def result(spec: NodeSpec) -> Any:
    match spec.kind:
        case "fan":
            return Command(update=update(spec.name), goto=[Send("worker", {"item": n}) for n in range(3)])
        case "ask":
            first = interrupt(f"{spec.name}: first?")
            second = interrupt(f"{spec.name}: second, after {first}?")
            return update(f"{spec.name}={first}{second}")
        case _:
            return update(spec.name)


def body(spec: NodeSpec, world: World, *, asynchronous: bool) -> Any:
    def node(state: State, config: RunnableConfig) -> Any:
        world.enter(config)
        return result(spec)

    async def anode(state: State, config: RunnableConfig) -> Any:
        world.enter(config)
        await asyncio.sleep(world.delays_s.get(spec.name, 0))
        return result(spec)

    return anode if asynchronous else node


def worker(world: World, *, asynchronous: bool) -> Any:
    def node(item: Item, config: RunnableConfig) -> State:
        world.enter(config)
        return update(f"w{item['item']}")

    async def anode(item: Item, config: RunnableConfig) -> State:
        world.enter(config)
        await asyncio.sleep(world.delays_s.get(f"w{item['item']}", 0))
        return update(f"w{item['item']}")

    return anode if asynchronous else node


def build(spec: Spec, world: World, saver: Any = None, *, asynchronous: bool = False) -> Any:
    builder = StateGraph(State)
    for node in spec:
        action = body(node, world, asynchronous=asynchronous)
        if node.kind == "sub":
            inner = StateGraph(State)
            inner.add_sequence(
                [(f"{node.name}a", action), (f"{node.name}b", body(node, world, asynchronous=asynchronous))]
            )
            inner.add_edge(START, f"{node.name}a")
            compiled = inner.compile()

            def enclosed(state: State, graph: Any = compiled) -> State:
                return graph.invoke({"last": ""})

            async def aenclosed(state: State, graph: Any = compiled) -> State:
                return await graph.ainvoke({"last": ""})

            action = aenclosed if asynchronous else enclosed
        builder.add_node(node.name, action)
        if not node.sources:
            builder.add_edge(START, node.name)
        elif node.joins:
            builder.add_edge(list(node.sources), node.name)
        else:
            for source in node.sources:
                builder.add_edge(source, node.name)
    builder.add_node("worker", worker(world, asynchronous=asynchronous))
    return builder.compile(checkpointer=saver)


def unnumbered(version: Any) -> Any:
    """A channel version without the random part that a saver may add."""
    return int(version.partition(".")[0]) if isinstance(version, str) else version


def stored(saver: InMemorySaver) -> list[Any]:
    """Every checkpoint of the thread in a form that two runs share, newest first."""
    plain = []
    for kept in saver.list(THREAD):
        checkpoint = dict(kept.checkpoint)
        checkpoint["channel_versions"] = {k: unnumbered(v) for k, v in checkpoint["channel_versions"].items()}
        checkpoint["versions_seen"] = {
            node: {k: unnumbered(v) for k, v in seen.items()} for node, seen in checkpoint["versions_seen"].items()
        }
        checkpoint["updated_channels"] = sorted(checkpoint.get("updated_channels") or ())
        metadata = {k: kept.metadata.get(k) for k in ("source", "step")}
        plain.append(
            {"checkpoint": checkpoint, "metadata": metadata, "ns": kept.config["configurable"]["checkpoint_ns"]}
        )
    return stable(plain)


def answers(snapshot: Any) -> dict[str, str]:
    return {waiting.id: waiting.value[-2] for waiting in snapshot.interrupts}


def invoke(graph: Any, given: Any, asynchronous: bool) -> None:
    if asynchronous:
        asyncio.run(graph.ainvoke(given, THREAD, durability="sync"))
    else:
        graph.invoke(given, THREAD, durability="sync")


def to_the_end(graph: Any) -> Any:
    """Run a thread and answer whatever it asks."""
    given: Any = new_input()
    for _ in range(50):
        invoke(graph, given, asynchronous=False)
        snapshot = graph.get_state(THREAD)
        if not snapshot.next:
            return snapshot.values
        given = Command(resume=answers(snapshot))
    raise AssertionError("the thread does not come to an end")


async def to_the_end_async(graph: Any) -> Any:
    given: Any = new_input()
    for _ in range(50):
        await graph.ainvoke(given, THREAD, durability="sync")
        snapshot = await graph.aget_state(THREAD)
        if not snapshot.next:
            return snapshot.values
        given = Command(resume=answers(snapshot))
    raise AssertionError("the thread does not come to an end")


def new_input() -> State:
    return {"log": [], "total": 0, "last": ""}
