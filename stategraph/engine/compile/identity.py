"""The identity of a compiled graph: the name that programs import it by, and a digest of its plan.

Rules
-----
* The digest says whether a thread that one process left can be gone on with by another: it covers what stored state and
  the order of steps depend on (nodes, their triggers, what they read and write, routes, channels with their types and
  reducers, nested graphs) and nothing else. A node's code, names in traces, policies, savers and breakpoints may change
  without it.
* It is the same in every process: nothing of it depends on memory addresses or on the seed of hashes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol

from stategraph.core.channels.base import BaseChannel
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.compile.write import ChannelWrite, ChannelWriteEntry

SCRIPTS: Final = ("__main__", "__mp_main__")
"""Names of the module that was started as a script: no other process can import it."""

_FORMAT: Final = 1
"""Part of every digest: to be raised when the same graph gets another one."""

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


class Plan(Protocol):
    """The parts of a graph that a digest is made of."""

    nodes: dict[str, PregelNode]
    channels: dict[str, Any]
    input_channels: Any
    output_channels: Any


def digest_of(plan: Plan) -> str:
    """Return the SHA-256 of a graph's plan, as 64 hexadecimal digits."""
    described = {
        "format": _FORMAT,
        "nodes": {name: _node(node) for name, node in plan.nodes.items()},
        "channels": {name: _channel(channel) for name, channel in plan.channels.items()},
        "input": _described(plan.input_channels),
        "output": _described(plan.output_channels),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _node(node: PregelNode) -> dict[str, Any]:
    return {
        "triggers": sorted(node.triggers),
        "reads": node.channels if isinstance(node.channels, str) else sorted(node.channels),
        "writes": sorted(set(_writes(node))),
        "error handler": node.error_handler_node,
        "graphs": [getattr(graph, "digest", _described(type(graph))) for graph in node.subgraphs],
    }


def _writes(node: PregelNode) -> Iterator[str]:
    """Yield the channels that a node's writers name."""
    for writer in node.writers:
        if isinstance(writer, ChannelWrite):
            yield from (entry.channel for entry in writer.writes if isinstance(entry, ChannelWriteEntry))
        yield from (str(channel) for channel, *_ in ChannelWrite.get_static_writes(writer) or ())


def _channel(channel: object) -> Any:
    if not isinstance(channel, BaseChannel):
        return _described(channel)
    names = (name for cls in type(channel).__mro__ for name in vars(cls).get("declared", ()))
    declared = {name: _described(getattr(channel, name)) for name in names if hasattr(channel, name)}
    return [_described(type(channel)), declared]


def _described(value: object) -> Any:
    """Return a part of a plan as data that is the same in every process."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case types.GenericAlias():
            return _ADDRESS.sub("", repr(value))
        case type() | types.FunctionType() | types.BuiltinFunctionType() | types.MethodType():
            return f"{value.__module__}.{value.__qualname__}"
        case partial():
            return ["partial", _described(value.func), _described(value.args), _described(value.keywords)]
        case Mapping():
            return {str(key): _described(each) for key, each in value.items()}
        case list() | tuple():
            return [_described(each) for each in value]
        case set() | frozenset():
            return sorted(json.dumps(_described(each)) for each in value)
    if hasattr(value, "__origin__") or type(value).__module__ in ("typing", "types"):
        return _ADDRESS.sub("", repr(value))
    return _described(type(value))


def import_path_of(value: object, likely: Iterable[str] = ()) -> str | None:
    """Find the name under which a loaded module holds an object.

    Args:
        value: The object.
        likely: Modules to look into first.

    Returns:
        `package.module:attribute`, or None if no module that others can import holds it.
    """
    loaded = sorted(name for name in list(sys.modules) if name not in SCRIPTS)
    for name in dict.fromkeys((*likely, *loaded)):
        module = sys.modules.get(name)
        if name in SCRIPTS or not isinstance(module, types.ModuleType):
            continue
        for attribute, held in list(vars(module).items()):
            if held is value:
                return f"{name}:{attribute}"
    return None


def modules_of(nodes: Iterable[PregelNode]) -> Iterator[str]:
    """Yield the modules that the work of nodes is defined in."""
    for node in nodes:
        work = next((each for name in ("func", "afunc") if (each := getattr(node.bound, name, None))), node.bound)
        module = getattr(work, "__module__", None)
        if isinstance(module, str):
            yield module
