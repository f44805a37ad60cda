"""Handlers that most hosts want, ready made."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.messages.ai import UsageMetadata

from stategraph.run.events.content import CONTENT_EVENTS, ContentAggregator, Part
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.events.handler_registry import Handler, compose_event_handlers

_log = logging.getLogger(__name__)


class ModelEndHandler:
    """Collects the usage that providers report, for `on_chat_model_end`.

    Attributes:
        collected_usage: The reported usage, in order; the list that was given.
    """

    def __init__(self, collected_usage: list[UsageMetadata] | None = None) -> None:
        self.collected_usage: list[UsageMetadata] = [] if collected_usage is None else collected_usage

    def handle(self, event: str, data: Any, metadata: Mapping[str, object] | None, graph: object, /) -> None:
        """Note the usage of one call, if the provider reported it."""
        usage = data["output"].usage_metadata
        if usage is not None:
            self.collected_usage.append(usage)


class ToolEndHandler:
    """Gives tool results to a function, for `on_tool_end`; what it raises is logged and goes no further.

    Args:
        callback: Called with `{"input": ..., "output": ToolMessage}` and the metadata; may be async.
    """

    def __init__(self, callback: Callable[[Any, Mapping[str, object] | None], Awaitable[None] | None]) -> None:
        self._callback = callback

    async def handle(self, event: str, data: Any, metadata: Mapping[str, object] | None, graph: object, /) -> None:
        """Pass one result on; a tool that returned a Command has none."""
        if not isinstance(data["output"], ToolMessage):
            return
        try:
            answer = self._callback(data, metadata)
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            _log.exception("The callback for the result of tool '%s' failed", data["output"].name)


class ChatModelStreamHandler:
    """Stands where hosts of older versions registered the handler that made steps of chunks; a run does that itself."""

    def handle(self, event: str, data: Any, metadata: Mapping[str, object] | None, graph: object, /) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class ContentHandlers:
    """Handlers that put the content of an answer together.

    Attributes:
        handlers: For a run's `custom_handlers`.
        aggregator: The aggregator that they fill.
        collected_usage: The usage that providers reported, call by call.
    """

    handlers: Mapping[str, Handler]
    aggregator: ContentAggregator = field(repr=False)
    collected_usage: list[UsageMetadata]

    @property
    def content_parts(self) -> list[Part | None]:
        """The parts so far, with None where a step has no content: a live list."""
        return self.aggregator.content_parts


def create_handlers(*more: Mapping[str, Handler]) -> ContentHandlers:
    """Handlers that aggregate content and collect usage.

    Args:
        *more: Handlers of the host, called after these for the same events.

    Returns:
        The handlers and what they collect.
    """
    aggregator, usage = ContentAggregator(), ModelEndHandler()

    def aggregate(event: str, data: Any, metadata: Mapping[str, object] | None, graph: object) -> None:
        aggregator.aggregate_content(event, data)

    own: dict[str, Handler] = dict.fromkeys(CONTENT_EVENTS, aggregate)
    own[GraphEvents.CHAT_MODEL_END] = usage
    return ContentHandlers(compose_event_handlers(own, *more), aggregator, usage.collected_usage)
