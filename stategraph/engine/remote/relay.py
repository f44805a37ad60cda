"""Chunks for a caller of `stream`, made from the stream of a server.

The rules for one part of the stream, in this order:

1. A command for the parent graph leaves as `ParentCommand`, also when commands were not requested.
2. The surrounding graph's stream gets the part if it listens to that mode.
3. Below another graph, an interrupt leaves as `GraphInterrupt`: the outermost graph shows it. `updates` are therefore
   always asked for, because they carry interrupts. An error leaves as `RemoteException`.
4. Tokens that messages of an update tell of count for the limits of the surrounding run; each message once.
5. The caller gets what it asked for. Parts of subgraphs that were asked for on behalf of the surrounding graph alone
   are held back, except messages: a server sends a message once, under the namespace in which it first saw it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph_sdk.schema import StreamMode as WireMode
from langgraph_sdk.schema import StreamPart

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_STREAM,
    INTERRUPT,
    NS_SEP,
)
from stategraph.engine.compile.protocol import StreamProtocol
from stategraph.engine.config.limits import GraphLimits
from stategraph.engine.config.runtime import adopt_runtime
from stategraph.engine.remote import wire
from stategraph.engine.streams.modes import MODES
from stategraph.errors import GraphInterrupt, ParentCommand
from stategraph.stream_parts import StreamMode
from stategraph.types import Command

_BY_WIRE_NAME: Final = {mode.sent_as: mode.name for mode in MODES.values() if mode.sent_as}


class RemoteException(Exception):
    """A graph failed on its server. The argument is what the server says about it."""


@dataclass(frozen=True, slots=True)
class Modes:
    """Stream modes of a request: those sent to the server, and the receivers of each.

    Attributes:
        sent: Modes to ask the server for.
        wanted: Modes that the caller asked for.
        single: Whether the caller named one mode rather than a list: it then gets bare payloads.
        listener: The stream of the surrounding graph, if it wants to hear of this one.
    """

    sent: tuple[WireMode, ...]
    wanted: tuple[str, ...]
    single: bool
    listener: StreamProtocol | None


def choose_modes(stream_mode: StreamMode | list[StreamMode] | None, config: RunnableConfig | None) -> Modes:
    """Work out the modes of a run.

    Args:
        stream_mode: What the caller asked for; None and empty mean `updates`.
        config: The caller's config, which holds the stream of the surrounding graph.

    Returns:
        The modes.
    """
    asked: list[str] = [stream_mode] if isinstance(stream_mode, str) else list(stream_mode or ())
    listener: StreamProtocol | None = ((config or {}).get(CONF) or {}).get(CONFIG_KEY_STREAM)
    single = not stream_mode or isinstance(stream_mode, str)
    asked = asked or ["updates"]
    needed = [*asked, *sorted(listener.modes if listener else ()), "updates"]
    # "events" are a mode of the server that no graph has.
    sent = dict.fromkeys(MODES[mode].sent_as or mode if mode in MODES else mode for mode in needed if mode != "events")
    wanted = tuple(_BY_WIRE_NAME.get(mode, mode) for mode in asked)
    return Modes(cast(tuple[WireMode, ...], tuple(sent)), wanted, single, listener)


@dataclass(frozen=True, slots=True)
class Relay:
    """Takes the parts of one run's stream.

    Attributes:
        modes: The modes and their receivers.
        caller_ns: Namespace of the task that runs this graph; empty outside of graphs.
        subgraphs: Whether the caller wants subgraphs, and namespaces with them.
        parts: Whether the caller wants typed parts, as version 2 of the stream has them.
        limits: Those of the surrounding run, if it has any.
    """

    modes: Modes
    caller_ns: tuple[str, ...]
    subgraphs: bool
    parts: bool
    limits: GraphLimits | None = None

    @classmethod
    def of(cls, modes: Modes, config: RunnableConfig | None, *, subgraphs: bool, version: str) -> Relay:
        """Make the relay of a run from its caller's config."""
        conf = (config or {}).get(CONF) or {}
        outer = conf.get(CONFIG_KEY_CHECKPOINT_NS)
        control = adopt_runtime(conf.get(CONFIG_KEY_RUNTIME)).control
        limits = control if isinstance(control, GraphLimits) else None
        return cls(modes, tuple(outer.split(NS_SEP)) if outer else (), subgraphs, version == "v2", limits)

    def take(self, part: StreamPart) -> tuple[Any, ...]:
        """Process one part of the stream.

        Args:
            part: What the server sent.

        Returns:
            What the caller gets of it: one chunk or none.

        Raises:
            ParentCommand: A node sent a command to the graph around this one.
            GraphInterrupt: The graph waits for answers, and it runs below another.
            RemoteException: The graph failed.
        """
        mode, *inner = part.event.split(NS_SEP)
        data: Any = part.data
        if mode == "command" and data.get("graph") == Command.PARENT:
            raise ParentCommand(Command(**data))
        ns = (*self.caller_ns, *inner)
        listener = self.modes.listener
        if listener is not None and mode in listener.modes:
            listener.__call__((ns, mode, data))
        self._count(mode, data)
        if self.caller_ns and mode.startswith("updates") and isinstance(data, dict) and INTERRUPT in data:
            raise GraphInterrupt(list(wire.interrupts_of(data[INTERRUPT])))
        if mode.startswith("error"):
            raise RemoteException(data)
        if mode not in self.modes.wanted or (inner and not self.subgraphs and mode != "messages"):
            return ()
        if mode == "messages":
            part = part._replace(data=cast(Any, tuple(data)))
        return (self._shape(part, mode, ns),)

    def _count(self, mode: str, data: object) -> None:
        if self.limits is not None and mode.startswith("updates"):
            for message_id, tokens in _tokens_in(data):
                self.limits.count_elsewhere(message_id, tokens)

    def _shape(self, part: StreamPart, mode: str, ns: tuple[str, ...]) -> Any:
        if self.parts:
            return _typed_part(mode, ns, part.data)
        if self.subgraphs:
            return (ns, part.data) if self.modes.single else (ns, mode, part.data)
        return part.data if self.modes.single else part


def _tokens_in(data: object) -> Iterator[tuple[str, int]]:
    """Yield the ids of the messages of models in an update, with the tokens that they tell of."""
    if isinstance(data, list):
        for each in data:
            yield from _tokens_in(each)
    elif isinstance(data, dict):
        usage, message_id = data.get("usage_metadata"), data.get("id")
        if isinstance(usage, dict) and isinstance(message_id, str):
            tokens = usage.get("total_tokens")
            if isinstance(tokens, int):
                yield message_id, tokens
            return
        for each in data.values():
            yield from _tokens_in(each)


def _typed_part(mode: str, ns: tuple[str, ...], data: object) -> dict[str, object]:
    waiting: Any = ()
    if mode == "values" and isinstance(data, dict) and INTERRUPT in data:
        waiting = data[INTERRUPT]
        data = {key: value for key, value in data.items() if key != INTERRUPT}
    return {"type": mode, "ns": ns, "data": data, "interrupts": wire.interrupts_of(waiting)}
