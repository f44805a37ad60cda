"""Runs under the names of the TypeScript package: `stategraph`'s classes, with camelCase names beside their own.

What takes or gives an options object does so as a mapping with camelCase keys.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import stategraph
from stategraph import ask_user_question
from stategraph.constants import MISSING
from stategraph.run.questions import ASK_USER_QUESTION

from .constants import ASK_USER_QUESTION_ID_PATTERN, MAX_ASK_USER_QUESTIONS

__all__ = [
    "Graph",
    "HandlerRegistry",
    "Run",
    "askUserQuestions",
    "createContentAggregator",
    "createHandlers",
    "createMetadataAggregator",
    "isAskUserQuestionsInterrupt",
]


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _snake_keys(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {_snake(key): value for key, value in (options or {}).items()}


def _with_aliases(cls: type) -> type:
    """Give every public name of a class its camelCase form too, unless the class has it already."""
    for name in [each for each in dir(cls) if "_" in each and not each.startswith("_")]:
        if not hasattr(cls, _camel(name)):
            setattr(cls, _camel(name), getattr(cls, name))
    return cls


class Run(stategraph.Run):
    """`stategraph.Run`."""

    @property
    def Graph(self) -> "Graph":
        """The run's graph."""
        return Graph(self.graph)

    async def processStream(self, inputs: Any, config: Any = None, streamOptions: Any = None) -> Any:
        """`process_stream`, with camelCase options."""
        return await self.process_stream(inputs, config, _options(streamOptions))

    async def resume(self, value: Any = MISSING, config: Any = None, options: Any = None) -> Any:
        """`resume`, with camelCase options."""
        return await super().resume(value, config, _options(options))

    async def generateTitle(self, options: Mapping[str, Any]) -> Any:
        """`generate_title`, its arguments as one mapping."""
        return await self.generate_title(**_snake_keys(options))

    def getInterrupt(self) -> "dict[str, Any] | None":
        """`get_interrupt` as a mapping."""
        return next(iter(self.getInterrupts()), None)

    def getInterrupts(self) -> "list[dict[str, Any]]":
        """`get_interrupts` as mappings."""
        found = self.get_interrupts()
        return [{_camel(name): getattr(each, name) for name in type(each).__slots__} for each in found]


_with_aliases(Run)


class Graph:
    """A run's `ExecutionGraph`.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: stategraph.ExecutionGraph) -> None:
        self._graph = graph

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, _snake(name))


@_with_aliases
class HandlerRegistry(stategraph.EventHandlerRegistry):
    """`stategraph.EventHandlerRegistry`."""


class _Aggregated(dict[str, Any]):
    """Result of createContentAggregator: `contentParts`, `aggregateContent` and `stepMap`, as keys or attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def createContentAggregator(contentParts: Any = None) -> _Aggregated:
    """`create_content_aggregator`; `aggregateContent` takes `{"event": ..., "data": ...}`."""
    made = stategraph.create_content_aggregator(contentParts)
    return _Aggregated(
        contentParts=made.content_parts,
        aggregateContent=lambda row: made.aggregate_content(row["event"], row["data"]),
        stepMap=made.step_map,
    )


def createHandlers(*more: Any) -> _Aggregated:
    """`create_handlers`: `contentParts`, `aggregateContent` and `handlers`."""
    made = stategraph.create_handlers(*more)
    return _Aggregated(
        contentParts=made.content_parts,
        aggregateContent=lambda row: made.aggregator.aggregate_content(row["event"], row["data"]),
        handlers=made.handlers,
    )


def _options(given: Mapping[str, Any] | None) -> Any:
    """Options of an execution, and the callbacks in them."""
    options = _snake_keys(given)
    if "callbacks" in options:
        options["callbacks"] = _snake_keys(options["callbacks"])
    return options


# Questions and metadata.


def askUserQuestions(questions: Any, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`ask_user_question` with several questions: their answers by id."""
    asked = questions.get("questions") if isinstance(questions, Mapping) else questions
    if not isinstance(asked, Sequence) or isinstance(asked, str):
        raise ValueError(
            f"askUserQuestions was given a value of type {type(asked).__name__}; expected a list of questions, or a "
            "mapping with it as 'questions'"
        )
    return ask_user_question(list(asked), tool_call_id=(options or {}).get("toolCallId"))


def isAskUserQuestionsInterrupt(payload: Any) -> bool:
    """Return whether what a run waits for is an answer to several questions."""
    asked = (
        payload.get("questions") if isinstance(payload, Mapping) and payload.get("type") == ASK_USER_QUESTION else None
    )
    if not isinstance(asked, Sequence) or isinstance(asked, str) or not 1 <= len(asked) <= MAX_ASK_USER_QUESTIONS:
        return False
    ids = [
        each.get("id") if isinstance(each, Mapping) and isinstance(each.get("question"), str) else None
        for each in asked
    ]
    named = all(isinstance(each, str) and re.match(ASK_USER_QUESTION_ID_PATTERN, each) for each in ids)
    return named and len(set(ids)) == len(ids)


def createMetadataAggregator(collected: list[Any] | None = None) -> _Aggregated:
    """Make a callback `handleLLMEnd` that collects the `response_metadata` of answers in `collected`."""
    found: list[Any] = [] if collected is None else collected

    def handleLLMEnd(output: Any, *_: Any) -> None:
        generations = getattr(output, "generations", None) or [[]]
        message = getattr(next(iter(generations[-1]), None), "message", None)
        if message is not None and message.response_metadata:
            found.append(message.response_metadata)

    return _Aggregated(handleLLMEnd=handleLLMEnd, collected=found)
