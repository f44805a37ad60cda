"""State that is a list of messages: its schema, its reducers, and writing to it from inside a node."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, cast

from langchain_core.messages import AnyMessage, BaseMessageChunk, MessageLikeRepresentation, convert_to_messages
from typing_extensions import TypedDict, deprecated

from stategraph.constants import CONF, CONFIG_KEY_SEND, REMOVE_ALL_MESSAGES
from stategraph.engine.checkpoints.message_delta import messages_delta_reducer
from stategraph.graph.reducers import Messages, add_messages
from stategraph.graph.state import StateGraph
from stategraph.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from langchain_core.callbacks import BaseCallbackHandler, Callbacks

__all__ = (
    "REMOVE_ALL_MESSAGES",
    "MessageGraph",
    "Messages",
    "MessagesState",
    "add_messages",
    "messages_delta_reducer",
    "push_message",
)


# A docstring would become the description in the JSON schemas of graphs.
class MessagesState(TypedDict):  # noqa: D101
    messages: Annotated[list[AnyMessage], add_messages]
    """A message list, the only key of this state. Derive from it to add keys."""


@deprecated("MessageGraph is deprecated: use StateGraph with MessagesState.", category=None)
class MessageGraph(StateGraph[Any, Any, Any, Any]):
    """A graph whose whole state is a message list: nodes get the list and return what to add to it.

    Deprecated: use a `StateGraph` with `MessagesState`.
    """

    def __init__(self) -> None:
        """Start an empty graph, with a deprecation warning."""
        warnings.warn(
            "MessageGraph is deprecated in LangGraph v1.0.0, to be removed in v2.0.0. "
            "Please use StateGraph with a `messages` key instead.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        super().__init__(cast("type[object]", Annotated[list[AnyMessage], add_messages]))


def push_message(
    message: MessageLikeRepresentation | BaseMessageChunk, *, state_key: str | None = "messages"
) -> AnyMessage:
    """Show a message in the ``messages`` stream now, and add it to the state when the node is done.

    Args:
        message: The message, or anything that converts to one. It needs an id.
        state_key: The state key to add it to. None adds it to no state.

    Returns:
        The message.

    Raises:
        ValueError: If the message has no id.
        RuntimeError: If no node is running here.
    """
    from stategraph.engine.config import context  # with the engine 450 ms; inside a node it is loaded

    config = context.get_config()
    pushed = convert_to_messages([message])[0]
    if pushed.id is None:
        raise ValueError("Message ID is required: without one, the stream and the state could not tell it apart.")
    metadata = config.get("metadata") or {}
    for handler in _handlers(config.get("callbacks")):
        show = getattr(handler, "push_message", None)
        if show is not None:
            show(pushed, metadata)
    if state_key:
        config[CONF][CONFIG_KEY_SEND]([(state_key, pushed)])
    return cast("AnyMessage", pushed)


def _handlers(callbacks: Callbacks) -> Iterable[BaseCallbackHandler]:
    from langchain_core.callbacks import BaseCallbackManager  # 100 ms; here because the engine has it

    if isinstance(callbacks, BaseCallbackManager):
        return callbacks.handlers
    return callbacks or ()
