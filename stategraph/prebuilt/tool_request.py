"""A tool call on its way to the tool, as wrappers of `ToolNode` see and change it."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from typing_extensions import TypedDict, Unpack

from stategraph.prebuilt.injection import AnyToolRuntime, ToolRuntime
from stategraph.types import Command


class ToolCallRequestOverrides(TypedDict, total=False):
    """The attributes of a request that `ToolCallRequest.override` replaces."""

    tool_call: ToolCall
    tool: BaseTool
    state: Any


@dataclass(init=False)
class ToolCallRequest:
    """A call that is about to be executed.

    Attributes:
        tool_call: Its name, arguments and id, as the model wrote them.
        tool: The tool; None if the node has none of that name. A wrapper may put one in its place, or answer itself.
        state: The state of the graph.
        runtime: The values of the run that the tool may be given.
    """

    tool_call: ToolCall
    tool: BaseTool | None
    state: Any
    runtime: AnyToolRuntime

    def __init__(self, tool_call: ToolCall, tool: BaseTool | None, state: Any, runtime: AnyToolRuntime) -> None:
        # Not by `__setattr__`, which warns and costs more than the rest of a request.
        vars(self).update(tool_call=tool_call, tool=tool, state=state, runtime=runtime)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; one that is there already with a warning, as `override` is to be used for that."""
        if name in vars(self):
            warnings.warn(
                f"Setting attribute '{name}' on ToolCallRequest is deprecated. "
                "Use the override() method instead to create a new instance with modified values.",
                DeprecationWarning,
                stacklevel=2,
            )
        object.__setattr__(self, name, value)

    def override(self, **overrides: Unpack[ToolCallRequestOverrides]) -> ToolCallRequest:
        """Copy the request with some attributes replaced.

        Args:
            **overrides: `tool_call`, `tool`, `state`. A new state is also that of `runtime`, so that the tool gets it
                however it asks for it.

        Returns:
            A new request; this one stays as it is.
        """
        request = replace(self, **overrides)
        # Outside of a graph, and in tests of wrappers, the runtime may be anything.
        if "state" in overrides and isinstance(request.runtime, ToolRuntime):
            request = replace(request, runtime=replace(request.runtime, state=request.state))
        return request


AnyCommand: TypeAlias = Command[Any]

ToolCallWrapper: TypeAlias = Callable[
    [ToolCallRequest, Callable[[ToolCallRequest], ToolMessage | AnyCommand]], ToolMessage | AnyCommand
]
"""A function around the execution of a call: of the request and of a function that executes one.

It may execute the request never, once or several times, also changed, and returns the result of the call.
"""

AsyncToolCallWrapper: TypeAlias = Callable[
    [ToolCallRequest, Callable[[ToolCallRequest], Awaitable[ToolMessage | AnyCommand]]],
    Awaitable[ToolMessage | AnyCommand],
]
"""The same for async runs."""


class ToolCallWithContext(TypedDict):
    """A call that is sent to a `ToolNode` together with the state that its tool may see.

    Attributes:
        tool_call: The call.
        state: The state.
    """

    tool_call: ToolCall
    __type: Literal["tool_call_with_context"]
    state: Any


WITH_CONTEXT = "tool_call_with_context"
"""The value of `__type` in a `ToolCallWithContext`."""
