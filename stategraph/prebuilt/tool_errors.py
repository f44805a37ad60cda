"""Errors of tools: which of them a `ToolNode` turns into an answer for the model, and in which words.

The words are those of langgraph-prebuilt, as prompts and tests rely on them. What a handler of errors handles is read
from the annotation of its first parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.tools.base import ToolException
from pydantic import ValidationError

from stategraph.errors import GraphBubbleUp, is_invalid_resume

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

INVALID_TOOL_NAME_ERROR_TEMPLATE = "Error: {requested_tool} is not a valid tool, try one of [{available_tools}]."
TOOL_CALL_ERROR_TEMPLATE = "Error: {error}\n Please fix your mistakes."
TOOL_EXECUTION_ERROR_TEMPLATE = (
    "Error executing tool '{tool_name}' with kwargs {tool_kwargs} with error:\n {error}\n"
    " Please fix the error and try again."
)
TOOL_INVOCATION_ERROR_TEMPLATE = (
    "Error invoking tool '{tool_name}' with kwargs {tool_kwargs} with error:\n {error}\n"
    " Please fix the error and try again."
)

ErrorHandling: TypeAlias = bool | str | Callable[..., str] | type[Exception] | tuple[type[Exception], ...]
"""How a `ToolNode` handles errors: all of them or none, with a text, with a function, or those of some classes."""


class ToolInvocationError(ToolException):
    """The arguments that a model wrote do not fit the schema of a tool.

    Attributes:
        message: The error as it is told to the model.
        tool_name: The name of the tool.
        tool_kwargs: The arguments that the model wrote.
        source: What pydantic said.
        filtered_errors: What of that concerns arguments that the model fills; None for all.
    """

    def __init__(
        self,
        tool_name: str,
        source: ValidationError,
        tool_kwargs: dict[str, Any],
        filtered_errors: list[ErrorDetails] | None = None,
    ) -> None:
        """Describe the error.

        Args:
            tool_name: The name of the tool.
            source: What pydantic said.
            tool_kwargs: The arguments that the model wrote.
            filtered_errors: What of that concerns arguments that the model fills; None for all.
        """
        shown = str(source) if filtered_errors is None else "\n".join(map(_in_one_line, filtered_errors))
        self.message = TOOL_INVOCATION_ERROR_TEMPLATE.format(tool_name=tool_name, tool_kwargs=tool_kwargs, error=shown)
        self.tool_name = tool_name
        self.tool_kwargs = tool_kwargs
        self.source = source
        self.filtered_errors = filtered_errors
        super().__init__(self.message)


def _in_one_line(error: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, error.get('loc', ())))}: {error.get('msg', 'Unknown error')}"


def errors_of_model(error: ValidationError, injected: Collection[str]) -> list[ErrorDetails]:
    """Return what of an error concerns arguments that the model fills, without the values of others.

    Args:
        error: What pydantic said.
        injected: The parameters that are filled by the graph.
    """
    found = []
    for details in error.errors():
        if details["loc"] and details["loc"][0] not in injected:
            given = details.get("input")
            if isinstance(given, dict):
                details = {**details, "input": {key: given[key] for key in given if key not in injected}}
            found.append(details)
    return found


def only_invocation_errors(error: Exception) -> str:
    """Return the text of an error about arguments; raise any other. The default of `ToolNode`.

    Raises:
        Exception: The error, if it is another one.
    """
    if isinstance(error, ToolInvocationError):
        return error.message
    raise error


def handled_types(handler: Callable[..., str]) -> tuple[type[Exception], ...]:
    """Return the errors that a function is written for, by the annotation of its first parameter.

    Args:
        handler: The function.

    Returns:
        The classes; `Exception` alone if it does not say.

    Raises:
        ValueError: The annotation names something that is no exception.
    """
    parameters = [*inspect.signature(handler).parameters.values()]
    if not parameters:
        return (Exception,)
    is_method = parameters[0].name in ("self", "cls") and len(parameters) == 2
    hints, parameter = get_type_hints(handler), parameters[is_method]
    if parameter.name not in hints:
        return (Exception,)
    annotation = hints[parameter.name]
    if get_origin(annotation) in (Union, UnionType):
        kinds = get_args(annotation)
        if all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
            return kinds
        raise ValueError(
            "All types in the error handler error annotation must be Exception types. For example, "
            f"`def custom_handler(e: Union[ValueError, TypeError])`. Got '{parameter.annotation}' instead."
        )
    if isinstance(annotation, type) and issubclass(annotation, Exception):
        return (annotation,)
    raise ValueError(
        "Arbitrary types are not supported in the error handler signature. Please annotate the error with either a "
        "specific Exception type or a union of Exception types. For example, `def custom_handler(e: ValueError)` or "
        f"`def custom_handler(e: Union[ValueError, TypeError])`. Got '{annotation}' instead."
    )


def text_of(error: Exception, *, flag: ErrorHandling) -> str:
    """Return what a model is told about an error.

    Args:
        error: The error.
        flag: How the node handles errors.

    Raises:
        ValueError: The node was given something else.
    """
    if isinstance(flag, bool | tuple) or (isinstance(flag, type) and issubclass(flag, Exception)):
        return TOOL_CALL_ERROR_TEMPLATE.format(error=repr(error))
    if isinstance(flag, str):
        return flag
    if callable(flag):
        return cast("Callable[..., str]", flag)(error)
    raise ValueError(f"Got unexpected type of `handle_tool_error`. Expected bool, str or callable. Received: {flag}")


def answer(call: ToolCall, error: Exception, handling: ErrorHandling, *, of_wrapper: bool = False) -> ToolMessage:
    """Return the result of a call that failed.

    Args:
        call: The call.
        error: What it raised.
        handling: How the node handles errors.
        of_wrapper: Whether a wrapper raised it; the classes that `handling` names do not matter then.

    Raises:
        Exception: The error, if the node does not handle it: interrupts and answers that do not fit one never are.
    """
    # An answer that does not fit its question can be given again by a person, and by no model.
    if isinstance(error, GraphBubbleUp) or is_invalid_resume(error) or not handling:
        raise error
    if not of_wrapper and not isinstance(error, _classes(handling)):
        raise error
    return failed(call, text_of(error, flag=handling))


def _classes(handling: ErrorHandling) -> tuple[type[Exception], ...]:
    if isinstance(handling, type) and issubclass(handling, Exception):
        return (handling,)
    if isinstance(handling, tuple):
        return handling
    if callable(handling) and not isinstance(handling, type):
        return handled_types(handling)
    return (Exception,)


def no_such_tool(call: ToolCall, names: Collection[str]) -> ToolMessage:
    """Return the result of a call of a tool that the node does not have."""
    name = call["name"]
    return failed(call, INVALID_TOOL_NAME_ERROR_TEMPLATE.format(requested_tool=name, available_tools=", ".join(names)))


def failed(call: ToolCall, text: str) -> ToolMessage:
    """Return a result that tells an error."""
    return ToolMessage(content=text, name=call["name"], tool_call_id=call["id"], status="error")
