"""Inputs of an execution, converted from the host's form to the engine's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, cast
from uuid import UUID

from langchain_core.messages import AnyMessage, convert_to_messages
from langchain_core.runnables import RunnableConfig

from stategraph.agent.messages import encodable
from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError
from stategraph.run.abort import AbortSignal
from stategraph.run.events.listener import ClientCallbacks
from stategraph.types import Durability

_SPELLINGS = {"recursionLimit": "recursion_limit", "runName": "run_name", "maxConcurrency": "max_concurrency"}
#: Settings that hosts pass although they hold for every run here.
_IMPLIED = ("version", "streamMode", "stream_mode")
#: Settings that are not part of a RunnableConfig.
_OURS = ("signal", "durability", "context")
_DURABILITIES = ("exit", "async", "sync")
#: Places where a host may have meant `configurable.thread_id`.
_THREAD_KEYS = ("thread_id", "threadId")

Parts: TypeAlias = list[dict[str, Any]] | None
"""The content parts of a turn; None where the host does not want them."""


class ProcessOptions(TypedDict, total=False):
    """Options of one execution.

    Attributes:
        callbacks: Functions called in addition to the events.
        keep_content: Go on counting content indices where the execution before ended; its steps have to be there
            still, see `RunConfig.skip_cleanup`.
    """

    callbacks: ClientCallbacks
    keep_content: bool


def messages_of(inputs: object) -> list[AnyMessage]:
    """Return the input messages, each with an id that tells them from later ones.

    Args:
        inputs: `{"messages": [...]}`.

    Raises:
        ConfigurationError: It is something else.
    """
    given = inputs.get("messages") if isinstance(inputs, Mapping) else None
    if given is None:
        found = f"a value of type {type(inputs).__name__}"
        if isinstance(inputs, Mapping):
            found = f"a mapping with {', '.join(map(repr, inputs)) or 'nothing'}"
        raise ConfigurationError(f"A run starts from {{'messages': [...]}} or a Command; found {found}")
    messages = [_message(each, position) for position, each in enumerate(_several(given))]
    unique = environment.current().unique
    return [message if message.id else message.model_copy(update={"id": unique()}) for message in messages]


def counted(messages: Sequence[AnyMessage], known: Mapping[int, int] | None) -> dict[str, int]:
    """Return the tokens of input messages by their ids, of those by whose position the host knows them."""
    tokens = known or {}
    return {each.id: tokens[index] for index, each in enumerate(messages) if each.id and index in tokens}


def _encodable(message: AnyMessage) -> AnyMessage:
    """Make a message fit to be stored and sent: browsers may cut an emoji in two."""
    content = encodable.encodable_value(message.content)
    return message if content is message.content else message.model_copy(update={"content": content})


def _several(given: object) -> Sequence[object]:
    """Normalise to a list: a sequence stays, a single message, string or (role, text) pair is wrapped."""
    is_pair = isinstance(given, tuple) and len(given) == 2 and all(isinstance(each, str) for each in given)
    return given if isinstance(given, Sequence) and not isinstance(given, str) and not is_pair else [given]


def _message(given: Any, position: int) -> AnyMessage:
    try:
        (message,) = convert_to_messages([given])
    except (NotImplementedError, TypeError, ValueError) as error:
        why = str(error).partition("\nFor troubleshooting")[0]
        raise ConfigurationError(
            f"Message {position} of the input cannot be read: {why}. Expected a message of LangChain, a text, a pair "
            "such as ('user', 'hi'), or {'role': 'user', 'content': 'hi'}"
        ) from error
    return _encodable(cast("AnyMessage", message))


class HostConfig(TypedDict, total=False):
    """The config that a host gives an execution, checked; further keys are handed on to the engine.

    Attributes:
        configurable: Names the thread.
        durability: When the thread's state is stored.
        signal: Aborts the execution.
        context: For tools of the host, as the context of their `ToolRuntime`, and for the nodes of its graph.
    """

    configurable: Mapping[str, object] | None
    durability: Durability | None
    signal: object
    context: Any


def checked_config(config: object, *, stores: bool) -> HostConfig:
    """Validate a host's config; an empty one for None.

    Args:
        config: The host's config.
        stores: Whether the run has a checkpointer, so that it matters which thread is meant.

    Raises:
        ConfigurationError: It is no mapping, its durability is unknown, or its thread is named in the wrong place or by
            something that is no name: a name that is empty would be one thread for everybody.
    """
    given = _mapping(config, "config", "{'configurable': {'thread_id': ...}}")
    configurable = _mapping(given.get("configurable"), "configurable", "{'thread_id': ...}")
    durability = given.get("durability")
    if durability is not None and durability not in _DURABILITIES:
        raise ConfigurationError(f"'durability' is {durability!r}; expected one of {', '.join(_DURABILITIES)}")
    thread_id = configurable.get("thread_id")
    if thread_id == "" or isinstance(thread_id, bool) or not isinstance(thread_id, str | int | UUID | None):
        raise ConfigurationError(
            f"config['configurable']['thread_id'] is {thread_id!r:.60}; expected the name of the thread, a text that "
            "is not empty, or none: the thread then has the run's id"
        )
    if stores and thread_id is None:
        misplaced = [f"config[{key!r}]" for key in _THREAD_KEYS if key in given]
        misplaced += [f"config['configurable'][{key!r}]" for key in _THREAD_KEYS[1:] if key in configurable]
        if misplaced:
            raise ConfigurationError(
                f"The thread is named by {misplaced[0]}, which is not read; name it as "
                "config['configurable']['thread_id']"
            )
    return cast("HostConfig", given)


def checked_options(options: object, known: Iterable[str]) -> Mapping[str, object]:
    """Validate a host's options of one execution; none for None.

    Raises:
        ConfigurationError: They are no mapping, or one of them is unknown.
    """
    names = sorted(known)
    given = _in_python(_mapping(options, "options", f"a mapping with {' or '.join(names)}"))
    _check_names(given, names, "option of an execution")
    if "callbacks" in given:
        given["callbacks"] = _checked_callbacks(given["callbacks"])
    keeps = given.get("keep_content")
    if keeps is not None and not isinstance(keeps, bool):
        raise ConfigurationError(f"'keep_content' is {keeps!r:.60}; expected True or False")
    return given


def _checked_callbacks(given: object) -> Mapping[str, object]:
    names = sorted(ClientCallbacks.__annotations__)
    callbacks = _in_python(_mapping(given, "callbacks", f"a mapping with functions {', '.join(names)}"))
    _check_names(callbacks, names, "callback of an execution")
    for name, callback in callbacks.items():
        if callback is not None and not callable(callback):
            raise ConfigurationError(f"The callback '{name}' is of type {type(callback).__name__}; expected a function")
    return callbacks


def _check_names(given: Iterable[str], names: Sequence[str], what: str) -> None:
    for unknown in [key for key in given if key not in names]:
        near = difflib.get_close_matches(str(unknown), names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
        raise ConfigurationError(f"{unknown!r} is no {what}; {hint}")


def _in_python(given: Mapping[str, object]) -> dict[str, object]:
    """Convert a mapping to Python's spelling of its names; hosts may use TypeScript's."""
    return {re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", str(key)): value for key, value in given.items()}


def _mapping(given: object, what: str, expected: str) -> Mapping[str, object]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"'{what}' is a value of type {type(given).__name__}; expected {expected}")
    return given


def thread_of(config: HostConfig, run_id: str) -> object:
    """Return the thread that a host's config names, unchanged; the run's id if it names none."""
    thread_id = (config.get("configurable") or {}).get("thread_id")
    return run_id if thread_id is None else thread_id


def runnable_config(config: HostConfig, run_id: str) -> RunnableConfig:
    """Convert a host's config to the engine's. Without a `recursion_limit` the run is limited by its calls alone.

    Args:
        config: The host's, in either spelling.
        run_id: Names the thread if the host does not.
    """
    given = {_SPELLINGS.get(key, key): value for key, value in config.items() if key not in (*_IMPLIED, *_OURS)}
    configurable = {**(config.get("configurable") or {}), "thread_id": thread_of(config, run_id)}
    # To a graph, the run id of a thread's newest checkpoint means that this is the same run again, and it would not
    # look at what goes in.
    configurable.pop("run_id", None)
    return cast("RunnableConfig", {**given, "configurable": configurable})


def signal_of(config: HostConfig) -> AbortSignal | None:
    """Return the signal in a host's config.

    Raises:
        ConfigurationError: It is none.
    """
    signal = config.get("signal")
    if signal is None or isinstance(signal, AbortSignal):
        return signal
    raise ConfigurationError(
        f"'signal' has to be an AbortSignal, such as AbortController().signal; found {type(signal).__name__}"
    )
