"""Functions that make graphs, each time that one is needed.

A function may be async, return a graph or a context manager of one, and take the config, the server's runtime (as
`langgraph_sdk.runtime` has it), or both: by the annotation of a parameter, or by its name.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_type_hints

from stategraph.errors import ConfigurationError, MissingPackageError

Kind: TypeAlias = Literal["config", "runtime"]


@dataclass(frozen=True, slots=True)
class Need:
    """The purpose of a graph.

    Attributes:
        access: `threads.create_run`, `threads.update`, `threads.read`, `assistants.read`.
        config: The config of the run, or of what reads the thread.
        context: The context of the run; None: it has none, or is no run.
        user: Who asks; None: nobody is known.
        store: The server's store.
    """

    access: str
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Any = None
    user: Any = None
    store: Any = None


class Factory:
    """A function that makes a graph.

    Args:
        make: The function.
        name: Its path, for errors.

    Raises:
        ConfigurationError: It needs arguments that are not known.
    """

    def __init__(self, make: Callable[..., Any], name: str) -> None:
        self._make = make
        self._name = name
        self._takes = _arguments(make, name)

    @asynccontextmanager
    async def open(self, need: Need) -> AsyncIterator[Any]:
        """Make a graph for a block.

        Raises:
            MissingPackageError: It takes the runtime, and `langgraph-sdk` is not installed.
            Exception: What the function raised.
        """
        made = self._make(**{name: self._argument(kind, need) for name, kind in self._takes.items()})
        if inspect.isawaitable(made):
            made = await made
        if hasattr(made, "__aenter__"):
            async with made as graph:
                yield graph
        elif hasattr(made, "__enter__"):
            with made as graph:
                yield graph
        else:
            yield made

    def _argument(self, kind: Kind, need: Need) -> Any:
        return dict(need.config) if kind == "config" else runtime_of(need)


def runtime_of(need: Need) -> Any:
    """Return what functions are given as the server's runtime.

    Raises:
        MissingPackageError: `langgraph-sdk` is not installed.
    """
    try:
        from langgraph_sdk import runtime  # an extra
    except ImportError as error:
        raise MissingPackageError("langgraph-sdk", "A function that takes the server's runtime") from error
    about: dict[str, Any] = {"access_context": need.access, "user": need.user, "store": need.store}
    if need.access == "threads.create_run":
        return runtime._ExecutionRuntime(**about, context=need.context)
    return runtime._ReadRuntime(**about)


def _arguments(make: Callable[..., Any], name: str) -> dict[str, Kind]:
    """Return what a function takes, by the names of its parameters."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:  # of a function without a signature, which is written in C
        return {}
    try:
        hints = get_type_hints(make)
    except Exception:  # annotations that name what is there for type checkers only
        hints = {}
    needed = [each for each in parameters if each.default is each.empty and each.kind not in _SEVERAL]
    kinds = {each.name: _kind(each.name, hints.get(each.name, each.annotation)) for each in parameters}
    if len(needed) == 1 and kinds[needed[0].name] is None:
        kinds[needed[0].name] = "config"
    if unknown := [each.name for each in needed if kinds[each.name] is None]:
        raise ConfigurationError(
            f"The graph {name!r} is a function that needs {', '.join(unknown)}; a function that makes a graph takes "
            "nothing, 'config: RunnableConfig', 'runtime: ServerRuntime', or both"
        )
    return {parameter: kind for parameter, kind in kinds.items() if kind is not None}


_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _kind(name: str, hint: Any) -> Kind | None:
    said = hint if isinstance(hint, str) else f"{getattr(hint, '__name__', '')} {hint}"
    if "RunnableConfig" in said:
        return "config"
    if "Runtime" in said:
        return "runtime"
    return {"config": "config", "runtime": "runtime"}.get(name)  # type: ignore[return-value]
