"""The body of a request for a run, checked, as a `RunRequest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from stategraph.server.service.port import InvalidError, RunRequest
from stategraph.server.service.runs.requests import MODES

#: Modes by the names of this API; `messages` and `messages-tuple` are two forms of one mode.
WIRE_MODES: Final = (*MODES, "messages-tuple")

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "multitask_strategy": ("reject", "rollback", "interrupt", "enqueue"),
    "if_not_exists": ("create", "reject"),
    "on_disconnect": ("cancel", "continue"),
    "on_completion": ("delete", "keep"),
    "durability": ("sync", "async", "exit"),
}

_KINDS: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "command": (dict, "an object"),
    "checkpoint": (dict, "an object"),
    "config": (dict, "an object"),
    "metadata": (dict, "an object"),
    "feedback_keys": (list, "a list of texts"),
    "webhook": (str, "an address"),
    "stream_subgraphs": (bool, "true or false"),
    "stream_resumable": (bool, "true or false"),
    "checkpoint_during": (bool, "true or false"),
    "after_seconds": ((int, float), "a number of seconds"),
    "run_id": (str, "a UUID"),
    "checkpoint_id": (str, "a text"),
}


def request_of(body: Any, thread_id: str | None) -> RunRequest:
    """Return what a body asks for.

    Args:
        body: The JSON of the request.
        thread_id: The thread in the path; None: a run without.

    Raises:
        InvalidError: Something is missing, or of a wrong type.
    """
    if not isinstance(body, dict):
        raise InvalidError(f"The body is a JSON {type(body).__name__}; expected an object with assistant_id")
    if not isinstance(assistant_id := body.get("assistant_id"), str):
        raise InvalidError(f"assistant_id is {assistant_id!r}; expected the id of an assistant, or of a graph")
    _check(body)
    place = body.get("checkpoint") or {}
    if body.get("checkpoint_id"):
        place = {**place, "checkpoint_id": body["checkpoint_id"]}
    durability = body.get("durability")
    if durability is None and body.get("checkpoint_during") is False:
        durability = "exit"
    options = {name: body[name] for name in _GIVEN if body.get(name) is not None}
    return RunRequest(
        assistant_id=assistant_id,
        thread_id=None if thread_id is None else uuid_of(thread_id),
        checkpoint=place or None,
        stream_modes=modes_of(body.get("stream_mode")),
        durability=durability,
        **options,
    )


_GIVEN: Final = (
    "input",
    "command",
    "config",
    "context",
    "metadata",
    "stream_subgraphs",
    "stream_resumable",
    "interrupt_before",
    "interrupt_after",
    "multitask_strategy",
    "if_not_exists",
    "on_completion",
    "on_disconnect",
    "after_seconds",
    "webhook",
    "feedback_keys",
    "run_id",
)


def uuid_of(text: str) -> str:
    """Return an id of a path.

    Raises:
        InvalidError: It is no UUID.
    """
    try:
        return str(UUID(text))
    except ValueError:
        raise InvalidError("badly formed hexadecimal UUID string") from None


def modes_of(given: Any) -> tuple[str, ...]:
    """Return stream modes.

    Raises:
        InvalidError: One of them is unknown.
    """
    modes = ["values"] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(modes, list) or any(mode not in WIRE_MODES for mode in modes):
        raise InvalidError(f"stream_mode is {given!r}; expected one or several of: {', '.join(WIRE_MODES)}")
    return tuple(dict.fromkeys(modes)) or ("values",)


def _check(body: Mapping[str, Any]) -> None:
    for name, choices in _CHOICES.items():
        if (value := body.get(name)) is not None and value not in choices:
            raise InvalidError(f"{name} is {value!r}; expected one of: {', '.join(choices)}")
    for name, (kind, expected) in _KINDS.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise InvalidError(f"{name} is {value!r}; expected {expected}")
    for name in ("interrupt_before", "interrupt_after"):
        _check_nodes(name, body.get(name))
    if (run_id := body.get("run_id")) is not None:
        uuid_of(run_id)


def _check_nodes(name: str, value: Any) -> None:
    is_list: Callable[[Any], bool] = lambda each: isinstance(each, list) and all(isinstance(one, str) for one in each)  # noqa: E731
    if value is not None and value != "*" and not is_list(value):
        raise InvalidError(f"{name} is {value!r}; expected names of nodes, or '*'")
