"""Arguments that a tool gets from the graph and not from the model, as tools written for LangGraph declare them.

| annotation of a parameter | filled with |
|---|---|
| `Annotated[..., InjectedState]`, `InjectedState("key")` | the state of the node, or one key of it |
| `Annotated[..., InjectedStore]` | the store of the graph |
| `ToolRuntime`, also with parameters | an instance: state, context, config, stream writer, store, id of the call, ... |

- The classes are those of `langgraph.prebuilt`. They are recognised by name and by their LangChain base, not imported.
- A tool's signature is looked at when it is called first, and remembered by the node.
- The id of the call (`InjectedToolCallId`) is LangChain's own, which fills it in itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.tools.base import get_all_basemodel_annotations
from pydantic import BaseModel

from stategraph.engine.config.runtime import Runtime

_MISSING = object()


@dataclass(frozen=True, slots=True)
class InjectionContext:
    """The values that can be injected.

    Attributes:
        state: The state that the node was given.
        config: The config that the tool is called with.
        runtime: The node's runtime.
        context: The context from the caller of the graph.
        tools: The agent's tools.
    """

    state: Any
    config: RunnableConfig
    runtime: Runtime[Any]
    context: Any
    tools: Sequence[BaseTool]


@dataclass(frozen=True, slots=True)
class Injection:
    """The parameters of a tool that are injected.

    Attributes:
        state: The key of the state for each parameter, None for all of it; and whether it may be missing.
        store: Parameters for the store.
        runtime: For each parameter the class to make.
    """

    state: Mapping[str, tuple[str | None, bool]]
    store: tuple[str, ...]
    runtime: Mapping[str, type]

    @classmethod
    def of(cls, tool: BaseTool) -> Injection | None:
        """Find out what a tool wants.

        Args:
            tool: The tool.

        Returns:
            What it wants; None if that is nothing.
        """
        state: dict[str, tuple[str | None, bool]] = {}
        store: list[str] = []
        runtime: dict[str, type] = {}
        defaults = _defaults(tool)
        for name, annotation in _annotations(tool).items():
            for part in _parts(annotation):
                kind = part if isinstance(part, type) else type(part)
                if _is_marker(kind, "InjectedState"):
                    state[name] = (getattr(part, "field", None), name in defaults)
                elif _is_marker(kind, "InjectedStore"):
                    store.append(name)
                elif isinstance(part, type) and is_dataclass(part) and _named(part, "ToolRuntime"):
                    runtime[name] = part
        return cls(state, tuple(store), runtime) if state or store or runtime else None

    def into(self, call: ToolCall, values: InjectionContext) -> dict[str, Any]:
        """Return the arguments of a call with those of the graph.

        Args:
            call: The call.
            values: The values to inject.

        Returns:
            New arguments.

        Raises:
            LookupError: The state does not have a key, or the graph no store.
        """
        given: dict[str, Any] = {}
        for name, (key, optional) in self.state.items():
            value = values.state if key is None else _at(values.state, key)
            if value is not _MISSING:
                given[name] = value
            elif not optional:
                raise LookupError(f"The tool '{call['name']}' wants '{key}' of the state, which has no such key")
        for name in self.store:
            if values.runtime.store is None:
                raise LookupError(
                    f"The tool '{call['name']}' wants a store for its parameter '{name}', and the graph was compiled "
                    "without one"
                )
            given[name] = values.runtime.store
        given |= {name: _make(kind, call, values) for name, kind in self.runtime.items()}
        # The model does not know of such a parameter, so a value from it never counts.
        hidden = {*self.state, *self.store, *self.runtime}
        return {**{name: value for name, value in call["args"].items() if name not in hidden}, **given}


def is_wanted(tool: BaseTool) -> bool:
    """Return whether any parameter of a tool is injected, by this package or by another."""
    for annotation in _annotations(tool).values():
        for part in _parts(annotation):
            kind = part if isinstance(part, type) else type(part)
            if kind is RunnableConfig or issubclass(kind, InjectedToolArg) or _named(kind, "_DirectlyInjectedToolArg"):
                return True
    return False


def _make(kind: type, call: ToolCall, values: InjectionContext) -> Any:
    """Return an instance of the runtime's class, with those fields that its version has."""
    there = {
        "state": values.state,
        "context": values.context,
        "config": values.config,
        "stream_writer": values.runtime.stream_writer,
        "tool_call_id": call["id"],
        "store": values.runtime.store,
        "tools": list(values.tools),
        "execution_info": values.runtime.execution_info,
        "server_info": values.runtime.server_info,
    }
    made: Any = kind
    return made(**{field.name: there[field.name] for field in fields(made) if field.name in there})


def _annotations(tool: BaseTool) -> dict[str, Any]:
    """Return the annotations of a tool's parameters, by its function and by its schema, which takes precedence."""
    schema = tool.args_schema
    known = get_all_basemodel_annotations(schema) if inspect.isclass(schema) and issubclass(schema, BaseModel) else {}
    return {**_hints(_function(tool)), **known}


def _function(tool: BaseTool) -> Any:
    return getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool._run


def _hints(function: Any) -> dict[str, Any]:
    """Annotations of a function; those that cannot be resolved as they stand."""
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return dict(getattr(function, "__annotations__", {}))


def _defaults(tool: BaseTool) -> set[str]:
    parameters = inspect.signature(_function(tool)).parameters.values()
    return {each.name for each in parameters if each.default is not inspect.Parameter.empty}


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the classes and markers of which an annotation consists."""
    origin = get_origin(annotation)
    if origin is Annotated or origin is Union or origin is UnionType:
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation if origin is None else origin


def _is_marker(kind: type, name: str) -> bool:
    return issubclass(kind, InjectedToolArg) and _named(kind, name)


def _named(kind: type, name: str) -> bool:
    return any(each.__name__ == name for each in kind.__mro__)


def _at(state: Any, key: str) -> Any:
    return state.get(key, _MISSING) if isinstance(state, Mapping) else getattr(state, key, _MISSING)
