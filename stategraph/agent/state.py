"""The state that agents share, and how concurrent agents write it.

- `messages` is the conversation. The other keys are an agent's own book-keeping and never reach a model.
- Agents that run side by side write at the same time, so every key has a reducer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata

from stategraph.core.channels import ChangedAggregate
from stategraph.graph.message import add_messages

INJECTED = "injected"
"""Marks a message that was put into the conversation while an agent worked, or before its turn."""

_MARKS = (INJECTED, "isMeta", "source")


def _newest(_before: Any, after: Any) -> Any:
    return after


def _unless_none(before: Any, after: Any) -> Any:
    """Keep the reason if the update is None: agents that run in parallel with the one that ends the turn write None."""
    return before if after is None else after


def _latest_memory(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the memory with the higher count: one listener serves all agents of a run, so it contains the other."""
    if before is None or after is None:
        return after or before
    return after if after.get("count", 0) >= before.get("count", 0) else before


def _latest_of_each(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Merge context states, keeping the latest of each agent.

    An agent's own graph returns the other agents' as they were when it began.
    """
    latest = dict(before or {})
    for agent_id, context_state in (after or {}).items():
        if context_state["writes"] >= latest.get(agent_id, context_state)["writes"]:
            latest[agent_id] = context_state
    return latest


def _newer_of_each(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Merge as `_latest_of_each`, but return the very value before if nothing is newer."""
    known = {} if before is None else before
    newer = {
        agent_id: stored
        for agent_id, stored in (after or {}).items()
        if agent_id not in known or stored["writes"] > known[agent_id]["writes"]
    }
    return {**known, **newer} if newer or before is None else before


# An agent's own graph returns all keys it has, also those that it has not changed.
_COUNTS = ChangedAggregate(dict[str, dict[str, Any]] | None, _newer_of_each)  # type: ignore[arg-type]


class AgentState(TypedDict):
    """The state of a graph of agents.

    Attributes:
        messages: The conversation.
        halt_reason: Why a turn ended early; None while it goes on and after a natural end. To take it back, write
            `Overwrite(None)`.
        halted_at: The newest message when a gate ended a turn: its reason is of this turn, even without an answer.
        active_agent: The agent of a sticky graph whose model was called last; the next turn begins with it.
        usage: Tokens of the turn, written by the done node.
        memory: State of a listener, so that it can continue in another process.
        windows: State of each agent's context, see `stategraph.agent.context.context_state`.
        counts_1, counts_2, counts_3: Parts of it, see `stategraph.agent.context.kept_counts`.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    halt_reason: NotRequired[Annotated[str | None, _unless_none]]
    active_agent: NotRequired[Annotated[str | None, _newest]]
    halted_at: NotRequired[Annotated[str | None, _newest]]
    usage: NotRequired[Annotated[UsageMetadata, _newest]]
    memory: NotRequired[Annotated[dict[str, Any] | None, _latest_memory]]
    windows: NotRequired[Annotated[dict[str, dict[str, Any]] | None, _latest_of_each]]
    counts_1: NotRequired[Annotated[dict[str, dict[str, Any]] | None, _COUNTS]]
    counts_2: NotRequired[Annotated[dict[str, dict[str, Any]] | None, _COUNTS]]
    counts_3: NotRequired[Annotated[dict[str, dict[str, Any]] | None, _COUNTS]]


class AgentInput(TypedDict):
    """The part of the state that callers may give who are not the run's host: the new messages.

    Attributes:
        messages: The new messages.
    """

    messages: Annotated[list[AnyMessage], add_messages]


def is_synthetic(message: AnyMessage) -> bool:
    """Return whether a human message was added by the engine or the host, and not written by a person."""
    marks = message.additional_kwargs
    return isinstance(message, HumanMessage) and any(marks.get(mark) for mark in _MARKS)


def turn_of(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Return the messages after the turn's input: a message that a person wrote, and what the host added to it."""
    start = len(messages)
    while start and (not isinstance(messages[start - 1], HumanMessage) or is_synthetic(messages[start - 1])):
        start -= 1
    while start and start < len(messages) and is_synthetic(messages[start]):
        start += 1
    return messages[start:]


def was_halted(state: AgentState) -> bool:
    """Return whether an agent has ended this turn. A reason left by an earlier turn does not count."""
    messages, halted_at = state["messages"], state.get("halted_at")
    if not state.get("halt_reason"):
        return False
    return bool(turn_of(messages)) or (halted_at is not None and bool(messages) and messages[-1].id == halted_at)
