"""Labels of information flow in a conversation: results carry those that the policy gave them.

They are kept with the messages, so they stay with what a model reads, in another process and in a later turn too. A
model is not shown them. What an agent writes to a subagent carries none: give that agent its own rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from langchain_core.messages import AnyMessage, ToolMessage

KEY: Final = "stategraph_labels"


def labels_of(messages: Iterable[AnyMessage]) -> frozenset[str]:
    """Return the labels of all that a model has read."""
    found = [message.additional_kwargs[KEY] for message in messages if KEY in message.additional_kwargs]
    return frozenset(label for labels in found for label in labels)


def labelled(message: ToolMessage, labels: frozenset[str]) -> ToolMessage:
    """Return a result with labels; the same one if there are none."""
    if not labels:
        return message
    return message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, KEY: sorted(labels)}})
