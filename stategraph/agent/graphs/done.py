"""The done node: the end of every turn, for any reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable

from stategraph.agent.context import context_state
from stategraph.agent.context.context_state import ContextState
from stategraph.agent.context.subagent import USAGE
from stategraph.agent.settings import usage
from stategraph.agent.state import AgentState, turn_of
from stategraph.engine.compile.functions import RunnableCallable

NODE = "done"


def node(agent_ids: Sequence[str]) -> Runnable[Any, Any]:
    """Return the node that ends the turns of some agents, sync and async: it is too short for a worker thread.

    Args:
        agent_ids: All agents of the graph.
    """
    done = after(agent_ids)

    async def adone(state: AgentState) -> dict[str, Any]:
        return done(state)

    return RunnableCallable(done, adone, name=NODE, trace=False)


def after(agent_ids: Sequence[str]) -> Callable[[AgentState], dict[str, Any]]:
    """Return a function for the node that ends the turns of some agents.

    Args:
        agent_ids: All agents of the graph.

    Returns:
        A function from the last state to an update: `usage`, over all calls of the turn, `halt_reason`, and earlier
        messages to remove for which every agent has a summary.
    """

    def done(state: AgentState) -> dict[str, Any]:
        messages = state["messages"]
        turn = turn_of(messages)
        update = {"usage": _total(turn), "halt_reason": state.get("halt_reason")}
        covered = [
            context_state.covered(messages, ContextState.of_agent(state, agent_id).summary) for agent_id in agent_ids
        ]
        # The message that leads the turn, and what came of it, are still to be read by the host.
        gone = messages[: min(*covered, max(0, len(messages) - len(turn) - 1))]
        removed = [RemoveMessage(id=each.id) for each in gone if each.id and not isinstance(each, SystemMessage)]
        return {**update, "messages": removed} if removed else update

    return done


def _total(messages: Sequence[AnyMessage]) -> UsageMetadata:
    total = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
    for message in messages:
        used = message.usage_metadata if isinstance(message, AIMessage) else message.additional_kwargs.get(USAGE)
        if used:
            one = usage.total_usage(used)
            total["input_tokens"] += one["input_tokens"]
            total["output_tokens"] += one["output_tokens"]
            total["total_tokens"] += one["total_tokens"]
    return total
