"""The conversation of a thread, read from what its saver stored, without the graph that wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.graphs import done
from stategraph.agent.state import INJECTED, AgentState
from stategraph.constants import END, INTERRUPT, START
from stategraph.core.channels.delta import DeltaChannel, snapshot_value
from stategraph.core.deltas import COUNTERS_KEY
from stategraph.engine.checkpoints.message_delta import messages_delta_reducer
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.graph.state import StateGraph
from stategraph.run.events.content_parts import content_parts
from stategraph.run.pauses import RunInterrupt
from stategraph.run.threads.port import ThreadIndex

MESSAGES = "messages"


class _DeltaState(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(messages_delta_reducer)]


@dataclass(frozen=True, slots=True)
class Saved:
    """A thread at one of its checkpoints.

    Attributes:
        root: The checkpoint.
        nested: The checkpoints of nested graphs that go on from it, and of lasting ones.
    """

    root: CheckpointTuple
    nested: Sequence[CheckpointTuple]

    @property
    def id(self) -> str:
        """The id of the checkpoint."""
        return self.root.checkpoint["id"]

    @property
    def has_deltas(self) -> bool:
        """True if a value is stored as the writes that made it."""
        return bool(cast("Mapping[str, Any]", self.root.metadata).get(COUNTERS_KEY))

    @property
    def is_of_agents(self) -> bool:
        """True if the state is that of a graph of agents."""
        known = {*AgentState.__annotations__}
        names = (
            name for name in self.root.checkpoint["channel_versions"] if not name.startswith(("_", "branch:", "join:"))
        )
        return known.issuperset(names) and MESSAGES in self.root.checkpoint["channel_versions"]

    def interrupts(self, thread_id: str) -> list[RunInterrupt]:
        """Return what the thread waits for."""
        asked = [
            each
            for _, channel, value in self.root.pending_writes or ()
            if channel == INTERRUPT
            for each in (value if isinstance(value, Sequence) else [value])
        ]
        return [RunInterrupt(each.id, thread_id, each.value, self.id, "") for each in asked]


def thread_config(thread_id: str, checkpoint_id: str | None = None, namespace: str | None = "") -> RunnableConfig:
    """Return a config that names a thread, or one of its checkpoints."""
    named = {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
    return {"configurable": {key: value for key, value in named.items() if value is not None}}


async def load(saver: Any, index: ThreadIndex, thread_id: str, checkpoint_id: str | None = None) -> Saved | None:
    """Load a thread.

    Args:
        saver: Its saver.
        index: Knows its namespaces.
        thread_id: The thread.
        checkpoint_id: One of its checkpoints; None: the newest.

    Returns:
        None if there is none.
    """
    root = await saver.aget_tuple(thread_config(thread_id, checkpoint_id))
    if root is None:
        return None
    at = root.checkpoint["id"]
    nested = []
    for namespace in await index.namespaces(thread_id, at):
        lasting = ":" not in namespace.rpartition("|")[2]
        # Savers hold a lock or a connection until the listing is closed.
        async with aclosing(saver.alist(thread_config(thread_id, namespace=namespace))) as listing:
            async for saved in listing:
                parent = (saved.metadata.get("parents") or {}).get("", "")
                if parent == at or (lasting and parent <= at):
                    nested.append(saved)
                    break
    return Saved(root, nested)


async def values_of(saver: Any, saved: Saved, thread_id: str) -> Mapping[str, Any]:
    """Return the values of a state, without the engine's own."""
    stored = saved.root.checkpoint["channel_values"]
    values = {name: snapshot_value(value) for name, value in stored.items() if not _is_internal(name)}
    if saved.has_deltas and MESSAGES in saved.root.checkpoint["channel_versions"]:
        compiled = graph(saver, _DeltaState)
        state = await compiled.aget_state(thread_config(thread_id, saved.id))
        values[MESSAGES] = state.values.get(MESSAGES, [])
    return values


def said(values: Mapping[str, Any], saved: Saved) -> list[AnyMessage]:
    """Return the conversation, with what agents have said in a step that has not ended."""
    known: dict[Any, AnyMessage] = {}
    states = [values, *(each.checkpoint["channel_values"] for each in saved.nested)]
    for state in states:
        messages = snapshot_value(state.get(MESSAGES))
        for message in messages if isinstance(messages, Sequence) else ():
            if isinstance(message, BaseMessage):
                known[message.id or id(message)] = cast("AnyMessage", message)
    return list(known.values())


def content(messages: Sequence[AnyMessage]) -> list[dict[str, Any]]:
    """Return a conversation as content parts, by turns: `{"role", "message_id", "content": [...]}`.

    Messages marked `isMeta` are for the model alone and left out, as context of hooks and the words around a handoff.
    """
    turns: list[dict[str, Any]] = []
    answer: list[AnyMessage] = []

    def end_answer() -> None:
        if answer:
            first = next((each for each in answer if isinstance(each, AIMessage)), answer[0])
            turns.append({"role": "assistant", "message_id": first.id, "content": content_parts(answer)})
            answer.clear()

    for message in messages:
        if message.additional_kwargs.get("isMeta"):
            continue
        if isinstance(message, AIMessage | ToolMessage):
            answer.append(message)
            continue
        end_answer()
        role = "user" if isinstance(message, HumanMessage) else "system"
        turn = {"role": role, "message_id": message.id, "content": _parts(message.content)}
        turns.append({**turn, INJECTED: True} if message.additional_kwargs.get(INJECTED) else turn)
    end_answer()
    return turns


def graph(saver: Any, state: Any = AgentState) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a graph that reads and writes states of agents, and does nothing.

    Args:
        saver: Keeps its threads.
        state: The schema.
    """
    builder = StateGraph(state)
    builder.add_node(done.NODE, _nothing)
    builder.add_edge(START, done.NODE)
    builder.add_edge(done.NODE, END)
    return builder.compile(checkpointer=saver)


def _nothing(_: Any) -> dict[str, Any]:
    return {}


def _parts(given: Any) -> list[Any]:
    if isinstance(given, str):
        return [{"type": "text", "text": given}]
    return [{"type": "text", "text": each} if isinstance(each, str) else dict(each) for each in given]


def _is_internal(name: str) -> bool:
    return name.startswith(("__", "branch:", "join:"))
