"""What a host gives to an execution, read into what the engine takes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AnyMessage, convert_to_messages
from langchain_core.runnables import RunnableConfig

from stategraph.errors import ConfigurationError
from stategraph.run.abort import AbortSignal

#: Steps that a run may take if its host says nothing.
RECURSION_LIMIT = 50

_SPELLINGS = {"recursionLimit": "recursion_limit", "runName": "run_name", "maxConcurrency": "max_concurrency"}
#: What hosts pass along although it holds for every run here.
_IMPLIED = ("version", "streamMode", "stream_mode")
#: What is no part of a RunnableConfig.
_OURS = ("signal", "durability")


def messages_of(inputs: object) -> list[AnyMessage]:
    """The messages that go in, each with an id, so that what comes out can be told from them.

    Args:
        inputs: `{"messages": [...]}`.

    Raises:
        ConfigurationError: It is something else.
    """
    given = inputs.get("messages") if isinstance(inputs, Mapping) else None
    if given is None:
        found = f"a mapping with {sorted(inputs) or 'nothing'}" if isinstance(inputs, Mapping) else repr(type(inputs))
        raise ConfigurationError(f"A run starts from {{'messages': [...]}} or a Command; found {found}")
    messages = convert_to_messages(given if isinstance(given, Sequence) and not isinstance(given, str) else [given])
    return [
        message if message.id else message.model_copy(update={"id": str(uuid.uuid4())})
        for message in cast("list[AnyMessage]", messages)
    ]


def runnable_config(config: Mapping[str, Any], run_id: str) -> RunnableConfig:
    """A host's config as the engine takes it.

    Args:
        config: The host's, in either spelling.
        run_id: Names the thread if the host does not.
    """
    given = {_SPELLINGS.get(key, key): value for key, value in config.items() if key not in (*_IMPLIED, *_OURS)}
    configurable = dict(given.get("configurable") or {})
    # To a graph, the run id of a thread's newest checkpoint means that this is the same run again, and it would not
    # look at what goes in.
    configurable.pop("run_id", None)
    if configurable.get("thread_id") is None:
        configurable["thread_id"] = run_id
    return cast("RunnableConfig", {"recursion_limit": RECURSION_LIMIT, **given, "configurable": configurable})


def signal_of(config: Mapping[str, Any]) -> AbortSignal | None:
    """The signal in a host's config.

    Raises:
        ConfigurationError: It is none.
    """
    signal = config.get("signal")
    if signal is None or isinstance(signal, AbortSignal):
        return signal
    raise ConfigurationError(
        f"'signal' has to be an AbortSignal, such as AbortController().signal; found {type(signal).__name__}"
    )
