"""The names of the TypeScript package `@librechat/agents`, for hosts that are ported from it.

Aliases only: every class and function is `stategraph`'s, under the camelCase names as well as under its own. What takes
or gives an options object does so as a mapping with camelCase keys.
"""

import re as _re
from collections.abc import Mapping as _Mapping
from typing import Any as _Any

import stategraph as _own
from stategraph import (
    AbortController,
    AbortSignal,
    ChatModelStreamHandler,
    ContentTypes,
    GraphEvents,
    HookRegistry,
    ModelEndHandler,
    Providers,
    StepTypes,
    ToolEndHandler,
)
from stategraph import (
    ask_user_question as askUserQuestion,
)

__all__ = [
    "AbortController",
    "AbortSignal",
    "ChatModelStreamHandler",
    "ContentTypes",
    "Graph",
    "GraphEvents",
    "HandlerRegistry",
    "HookRegistry",
    "ModelEndHandler",
    "Providers",
    "Run",
    "StepTypes",
    "ToolEndHandler",
    "askUserQuestion",
    "composeEventHandlers",
    "createContentAggregator",
    "createHandlers",
    "formatAgentMessages",
]


def _camel(name: str) -> str:
    return _re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def _snake(name: str) -> str:
    return _re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _snake_keys(options: _Mapping[str, _Any] | None) -> dict[str, _Any]:
    return {_snake(key): value for key, value in (options or {}).items()}


def _with_aliases(cls: type) -> type:
    """Give every public name of a class its camelCase form too, unless the class has it already."""
    for name in [each for each in dir(cls) if "_" in each and not each.startswith("_")]:
        if not hasattr(cls, _camel(name)):
            setattr(cls, _camel(name), getattr(cls, name))
    return cls


class Run(_own.Run):
    """`stategraph.Run`."""

    @property
    def Graph(self) -> "Graph":
        """The run's graph."""
        return Graph(self.graph)

    async def processStream(self, inputs: _Any, config: _Any = None, streamOptions: _Any = None) -> _Any:
        """`process_stream`, with camelCase options."""
        return await self.process_stream(inputs, config, _options(streamOptions))

    async def resume(self, value: _Any, config: _Any = None, options: _Any = None) -> _Any:
        """`resume`, with camelCase options."""
        return await super().resume(value, config, _options(options))

    async def generateTitle(self, options: _Mapping[str, _Any]) -> _Any:
        """`generate_title`, its arguments as one mapping."""
        return await self.generate_title(**_snake_keys(options))

    def getInterrupt(self) -> "dict[str, _Any] | None":
        """`get_interrupt` as a mapping."""
        return next(iter(self.getInterrupts()), None)

    def getInterrupts(self) -> "list[dict[str, _Any]]":
        """`get_interrupts` as mappings."""
        found = self.get_interrupts()
        return [{_camel(name): getattr(each, name) for name in type(each).__slots__} for each in found]


_with_aliases(Run)


class Graph:
    """A run's `ExecutionGraph`.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: _own.ExecutionGraph) -> None:
        self._graph = graph

    def __getattr__(self, name: str) -> _Any:
        return getattr(self._graph, _snake(name))


@_with_aliases
class HandlerRegistry(_own.EventHandlerRegistry):
    """`stategraph.EventHandlerRegistry`."""


class _Aggregated(dict[str, _Any]):
    """Result of createContentAggregator: `contentParts`, `aggregateContent` and `stepMap`, as keys or attributes."""

    def __getattr__(self, name: str) -> _Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def createContentAggregator(contentParts: _Any = None) -> _Aggregated:
    """`create_content_aggregator`; `aggregateContent` takes `{"event": ..., "data": ...}`."""
    made = _own.create_content_aggregator(contentParts)
    return _Aggregated(
        contentParts=made.content_parts,
        aggregateContent=lambda row: made.aggregate_content(row["event"], row["data"]),
        stepMap=made.step_map,
    )


def createHandlers(*more: _Any) -> _Aggregated:
    """`create_handlers`: `contentParts`, `aggregateContent` and `handlers`."""
    made = _own.create_handlers(*more)
    return _Aggregated(
        contentParts=made.content_parts,
        aggregateContent=lambda row: made.aggregator.aggregate_content(row["event"], row["data"]),
        handlers=made.handlers,
    )


def formatAgentMessages(payload: _Any, indexTokenCountMap: _Any = None, tools: _Any = None) -> dict[str, _Any]:
    """`format_agent_messages` as a mapping; the summary is left out if there is none."""
    made = _own.format_agent_messages(payload, indexTokenCountMap, tools)
    found = {"messages": made.messages, "indexTokenCountMap": made.index_token_count_map, "summary": made.summary}
    return {key: value for key, value in found.items() if key != "summary" or value is not None}


def _options(given: _Mapping[str, _Any] | None) -> _Any:
    """Options of an execution, and the callbacks in them."""
    options = _snake_keys(given)
    if "callbacks" in options:
        options["callbacks"] = _snake_keys(options["callbacks"])
    return options


composeEventHandlers = _own.compose_event_handlers
