"""Interface of everything that a step of a workflow calls: tools, agents, workflows, networks.

The input of a call is what the step says, or without that the result of the step before: any JSON, of which each makes
what it takes. An agent is told a text, a list of messages, or a mapping with `messages` or `text`; anything else as
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Final, Protocol, TypeAlias

from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables import Runnable

from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config.procedures import adrive, drive
from stategraph.resources.compile import expr
from stategraph.resources.compile.data import Data, Fields, Graph

_ANSWER: Final = frozenset({"text", "messages", "structured", "agents"})
"""The fields of the answer of an agent or a network."""


Services: TypeAlias = Fields
"""Objects that a program gave its runtime, by name."""


class Callee(Protocol):
    """Something that a step can call: a runnable, with what goes in and comes out of it."""

    @property
    def target(self) -> Runnable[Any, Any]:
        """The runnable that is invoked."""

    def prepared(self, given: Data, /) -> Data:
        """Return the input of a step as the target takes it."""

    def result(self, returned: Data, /) -> Data:
        """Return the result of the step, of what the target returned."""


class GraphCall:
    """A graph as something that a step can call, within the run of the step.

    Args:
        graph: The graph.

    Attributes:
        target: The same.
    """

    def __init__(self, graph: Graph) -> None:
        self.target = graph

    def prepared(self, given: Data, /) -> Data:
        """Return the input of a step as the graph takes it: here, as a conversation."""
        return {"messages": messages_of(given)}

    def result(self, returned: Data, /) -> Data:
        """Return the result of the step: here, the output of the graph."""
        return returned


@dataclass(frozen=True, slots=True)
class Invoke:
    """A request of a procedure: invoke a runnable.

    Attributes:
        target: The runnable.
        given: Its input.
    """

    target: Runnable[Any, Any]
    given: Data

    def in_thread(self) -> Data:
        """Return what it returns."""
        return self.target.invoke(self.given)

    def in_loop(self) -> Awaitable[Data]:
        """Return what it returns, async."""
        return self.target.ainvoke(self.given)


@dataclass(frozen=True, slots=True)
class InLoop:
    """A request of a procedure: await something. In a run without an event loop the answer is None.

    Attributes:
        function: Returns what to await.
    """

    function: Callable[[], Awaitable[Data]]

    def in_thread(self) -> Data:
        """Return None."""
        return None

    def in_loop(self) -> Awaitable[Data]:
        """Await it."""
        return self.function()


class Request(Protocol):
    """A request of a procedure."""

    def in_thread(self) -> Data:
        """Do it where nothing can be awaited."""

    def in_loop(self) -> Awaitable[Data]:
        """Do it in an event loop."""


Procedure: TypeAlias = Generator[Request, Any, Any]
"""The work of a node in one form for sync and async runs: it yields requests, and returns an update of the state."""


_IN_THREAD: Final = methodcaller("in_thread")
_IN_LOOP: Final = methodcaller("in_loop")


def node(procedure: Callable[[Any], Procedure], name: str) -> RunnableCallable:
    """Return a procedure as a node of a graph; the config of what it calls is that of the running task.

    Args:
        procedure: The work of the node, of the state.
        name: The node.
    """

    def run(state: Data) -> Data:
        return drive(procedure(state), _IN_THREAD)

    async def arun(state: Data) -> Data:
        return await adrive(procedure(state), _IN_LOOP)

    return RunnableCallable(run, arun, name=name, trace=False)


def messages_of(given: Data) -> list[BaseMessage]:
    """Return the input of an agent or a network as messages.

    Args:
        given: A text, messages, a mapping with `messages` or `text`, or other data.

    Raises:
        ValueError: It is None: there is nothing to ask.
    """
    if given is None:
        raise ValueError("There is nothing to ask: give the step an 'input', or the workflow an input")
    if isinstance(given, BaseMessage):
        return [given]
    if isinstance(given, str):
        return [HumanMessage(given)]
    if isinstance(given, Mapping):
        if isinstance(given.get("text"), str):  # what an agent has answered is told to the next as a text
            return [HumanMessage(given["text"])]
        if "messages" in given:
            return messages_of(given["messages"])
        if "role" in given and "content" in given:
            return list(convert_to_messages([dict(given)]))
    if _is_conversation(given):
        return list(convert_to_messages(list(given)))
    return [HumanMessage(json.dumps(expr.plain(given), ensure_ascii=False))]


def said(given: Data) -> Data:
    """Return what an agent or a network has answered, its typed output or its text; anything else as it is."""
    if isinstance(given, Mapping) and {"text", "messages"} <= set(given) <= _ANSWER:
        found = given.get("structured")
        return given["text"] if found is None else found
    return given


def _is_conversation(given: Data) -> bool:
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        return False
    return all(
        isinstance(each, BaseMessage)
        or (isinstance(each, Mapping) and "content" in each and ("role" in each or "type" in each))
        or (isinstance(each, tuple) and len(each) == 2)
        for each in given
    )
