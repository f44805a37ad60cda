"""Recovery of a run that was cut off, so that the next one can start from its messages.

- An answer that was cut off keeps its text and says so; calls that were being written are left out of it.
- Every call of a whole answer has a result, if need be one that says that it did not finish: providers refuse a
  history in which one is missing.
- A thread with a checkpointer is brought to the same state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.graphs import done
from stategraph.agent.messages import history
from stategraph.agent.messages.truncation import text_of
from stategraph.errors import ConfigurationError
from stategraph.graph.compiled import CompiledStateGraph

#: Key under which an incomplete message gives the reason.
INCOMPLETE = "incomplete"


def remains(produced: Sequence[AnyMessage], partial: Iterable[Sequence[AIMessage]], reason: str) -> list[AnyMessage]:
    """Return the messages that remain of a run that was cut off.

    Args:
        produced: The complete messages.
        partial: Pieces of the answers that were being written.
        reason: Why it was cut off, in a word.

    Returns:
        Messages that every provider accepts.
    """
    cut = []
    for pieces in partial:
        text = "".join(text_of(piece.content) for piece in pieces)
        if text:
            message_id = next((piece.id for piece in pieces if piece.id), None)
            cut.append(AIMessage(content=text, id=message_id, additional_kwargs={INCOMPLETE: reason}))
    return list(history.repair([*produced, *cut]))


async def check_history(compiled: CompiledStateGraph[Any, Any, Any, Any], thread: RunnableConfig) -> None:
    """Check that a turn without messages has a conversation to go on from.

    Providers refuse a call without any message, and those that take one answer to nothing.

    Args:
        compiled: The run's graph.
        thread: The thread.

    Raises:
        ConfigurationError: Its thread has no messages, or is not kept.
    """
    known = (await compiled.aget_state(thread)).values.get("messages") if compiled.checkpointer else None
    if not known:
        raise ConfigurationError(
            "The input has no messages, and there is no conversation before it on the thread: a model has nothing to "
            "answer. For an agent that speaks first, say so in a message, such as ('user', 'Greet me')"
        )


async def commit(
    compiled: CompiledStateGraph[Any, Any, Any, Any],
    config: RunnableConfig,
    messages: Sequence[AnyMessage],
    active_agent: str | None = None,
) -> None:
    """Bring a thread to the state that a cut-off run leaves, as if its turn had ended there.

    Args:
        compiled: The run's graph, which has a checkpointer.
        config: The thread.
        messages: The input and the messages after it.
        active_agent: The agent that spoke last, to begin the next turn; None: as the thread has it.
    """
    thread: RunnableConfig = {"configurable": {"thread_id": (config.get("configurable") or {})["thread_id"]}}
    state = await compiled.aget_state(thread)
    if state.next:
        # Messages of agents that ended in a step in which another did not were shown, but are lost with that step: the
        # state by its id is the one without it.
        state = await compiled.aget_state(state.config)
    known = {message.id for message in (state.values or {}).get("messages", ())}
    missing = [message for message in messages if message.id is None or message.id not in known]
    if missing or state.next:
        update: dict[str, Any] = {} if active_agent is None else {"active_agent": active_agent}
        await compiled.aupdate_state(thread, {**update, "messages": missing}, as_node=done.NODE)
