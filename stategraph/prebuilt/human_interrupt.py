"""Questions of a graph to a person about an action, and answers, in the form that agent inboxes read."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict, deprecated

from stategraph.warnings import LangGraphDeprecatedSinceV10


@deprecated(
    "HumanInterruptConfig has been moved to `langchain.agents.interrupt`. Please update your import to "
    "`from langchain.agents.interrupt import HumanInterruptConfig`.",
    category=LangGraphDeprecatedSinceV10,
)
class HumanInterruptConfig(TypedDict):
    """The answers that are allowed.

    Attributes:
        allow_ignore: Whether the action may be skipped.
        allow_respond: Whether the answer may be a text.
        allow_edit: Whether the action may be changed.
        allow_accept: Whether the action may be approved.
    """

    allow_ignore: bool
    allow_respond: bool
    allow_edit: bool
    allow_accept: bool


@deprecated(
    "ActionRequest has been moved to `langchain.agents.interrupt`. Please update your import to "
    "`from langchain.agents.interrupt import ActionRequest`.",
    category=LangGraphDeprecatedSinceV10,
)
class ActionRequest(TypedDict):
    """The action in question.

    Attributes:
        action: Its name.
        args: Its arguments.
    """

    action: str
    args: dict[str, Any]


@deprecated(
    "HumanInterrupt has been moved to `langchain.agents.interrupt`. Please update your import to "
    "`from langchain.agents.interrupt import HumanInterrupt`.",
    category=LangGraphDeprecatedSinceV10,
)
class HumanInterrupt(TypedDict):
    """A question about an action. `interrupt` is given a list of them.

    Attributes:
        action_request: The action.
        config: The answers that are allowed.
        description: A text for the person, or None.
    """

    action_request: ActionRequest
    config: HumanInterruptConfig
    description: str | None


class HumanResponse(TypedDict):
    """The answer to a question about an action.

    Attributes:
        type: What the person decided.
        args: None for `accept` and `ignore`, a text for `response`, the changed action for `edit`.
    """

    type: Literal["accept", "ignore", "response", "edit"]
    args: str | ActionRequest | None
