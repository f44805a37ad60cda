"""User interface messages: components that a node shows in a front end, kept in the state like chat messages.

A UI message is a dict, because front ends in other languages read it. It travels twice: at once, through the
``custom`` stream, and as an update of a state key whose reducer is `ui_message_reducer`.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from langchain_core.messages import AnyMessage
from typing_extensions import TypedDict

from stategraph.constants import CONF, CONFIG_KEY_SEND
from stategraph.engine.config import context, environment

__all__ = (
    "AnyUIMessage",
    "RemoveUIMessage",
    "UIMessage",
    "delete_ui_message",
    "push_ui_message",
    "ui_message_reducer",
)


class UIMessage(TypedDict):
    """Show a component, or change the one with this id."""

    type: Literal["ui"]
    id: str
    name: str
    props: dict[str, Any]
    metadata: dict[str, Any]
    """Metadata: whether it merges into the existing component, the run that made it, the message it belongs to."""


class RemoveUIMessage(TypedDict):
    """Remove the component with this id."""

    type: Literal["remove-ui"]
    id: str


AnyUIMessage = UIMessage | RemoveUIMessage
"""A UI message, as it is sent to the front end and taken by the reducer."""


def push_ui_message(
    name: str,
    props: dict[str, Any],
    *,
    id: str | None = None,  # None makes a new one
    metadata: dict[str, Any] | None = None,
    message: AnyMessage | None = None,
    state_key: str | None = "ui",  # None keeps it out of the state
    merge: bool = False,
) -> UIMessage:
    """Show a component in the front end.

    Args:
        name: The component.
        props: Its properties.
        id: The component's id; None makes a new one.
        metadata: Added to what the message says about itself (the run's id, tags and name).
        message: A chat message that the component belongs to; its id goes into the metadata.
        state_key: The state key to keep the component in. None keeps it in no state.
        merge: Whether ``props`` are added to those of the component with this id, instead of replacing them.

    Returns:
        The UI message that was sent.

    Raises:
        RuntimeError: If no node is running here.
    """
    config = context.get_config()
    about: dict[str, Any] = {
        "merge": merge,
        "run_id": config.get("run_id"),
        "tags": config.get("tags"),
        "name": config.get("run_name"),
    }
    about.update(metadata or {})
    if belongs_to := _id_of(message):
        about["message_id"] = belongs_to
    shown = UIMessage(type="ui", id=id or environment.current().unique(), name=name, props=props, metadata=about)
    _send(shown, state_key)
    return shown


def delete_ui_message(id: str, *, state_key: str = "ui") -> RemoveUIMessage:
    """Remove a component from the front end and from the state.

    Args:
        id: The component's id.
        state_key: The state key it is kept in.

    Returns:
        The removal that was sent.

    Raises:
        RuntimeError: If no node is running here.
    """
    removal = RemoveUIMessage(type="remove-ui", id=id)
    _send(removal, state_key)
    return removal


def ui_message_reducer(
    left: list[AnyUIMessage] | AnyUIMessage,
    right: list[AnyUIMessage] | AnyUIMessage,
) -> list[AnyUIMessage]:
    """Merge UI messages by id.

    Args:
        left: The components so far.
        right: The components to show, change or remove. A message whose metadata says ``merge`` adds its properties to
            those of the component with the same id.

    Returns:
        A new list without removals in it.

    Raises:
        ValueError: If a removal names an id that is not there.
    """
    merged: list[AnyUIMessage] = list(left) if isinstance(left, list) else [left]
    positions = {message.get("id"): at for at, message in enumerate(merged)}
    removed: set[str | None] = set()
    for message in right if isinstance(right, list) else [right]:
        message_id = message.get("id")
        at = positions.get(message_id)
        if message.get("type") == "remove-ui":
            if at is None:
                raise ValueError(f"Attempting to delete an UI message with an ID that doesn't exist ('{message_id}')")
            removed.add(message_id)
        elif at is None:
            positions[message_id] = len(merged)
            merged.append(message)
        else:
            merged[at] = _changed(cast("UIMessage", merged[at]), cast("UIMessage", message))
            removed.discard(message_id)
    return [message for message in merged if message.get("id") not in removed]


def _changed(shown: UIMessage, change: UIMessage) -> UIMessage:
    if not change.get("metadata", {}).get("merge", False):
        return change
    return {**change, "props": {**shown["props"], **change["props"]}}


def _id_of(message: object) -> object:
    if isinstance(message, dict):
        return message.get("id")
    return getattr(message, "id", None)


def _send(message: AnyUIMessage, state_key: str | None) -> None:
    context.get_stream_writer()(message)
    if state_key:
        context.get_config()[CONF][CONFIG_KEY_SEND]([(state_key, message)])
