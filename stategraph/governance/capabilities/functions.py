"""Functions as capabilities: with the decorator `capability`, or as they are, and LangChain tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast, get_type_hints

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from stategraph.agent.invocation import injection
from stategraph.agent.tools.toolset import FunctionOrTool, made_tool
from stategraph.errors import ConfigurationError
from stategraph.governance.capabilities import digests
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult, Offer
from stategraph.governance.capabilities.traits import Traits, described
from stategraph.governance.capability import DEFAULT_TIMEOUT_S, Risk

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "__stategraph_capability__"


def capability(
    *,
    risk: Risk,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    version: str = "1",
    source: str | None = None,
    idempotent: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    effect_key: str | None = None,
) -> Callable[[F], F]:
    """Say what a function may do as a capability. The function itself stays as it is, to be called by other code.

    Give it to `offer`, or to a registry's `add` as `offer(function)`.

    Args:
        risk: What it may do at worst: `read`, `write`, `external` or `destructive`.
        name: The name for models; None: the function's.
        title: The name for people; None: the name.
        description: For models; None: the function's docstring.
        version: The version. Give code that does something else another one.
        source: Where it comes from; None: the function's module.
        idempotent: Whether repeating a call with the same arguments changes nothing more.
        timeout_s: Seconds until a call is stopped.
        effect_key: Names the effect of a call, such as `charge:{order_id}`; None: the call's id.

    Returns:
        A decorator, which raises `ConfigurationError` for what is a tool already.
    """
    traits = Traits(
        name=name,
        title=title,
        description=description,
        version=version,
        source=source,
        risk=risk,
        idempotent=idempotent,
        timeout_s=timeout_s,
        effect_key=effect_key,
    )

    def mark(function: F) -> F:
        if isinstance(function, BaseTool):
            raise ConfigurationError(
                f"The tool {function.name!r} cannot be marked: write @capability below @tool, or give Traits to offer"
            )
        setattr(function, _ATTRIBUTE, traits)
        return function

    return mark


def offer(given: FunctionOrTool, traits: Traits | None = None, *, in_place: bool = False) -> Offer:
    """Make a capability of a function or of a LangChain tool.

    Args:
        given: A function, sync or async, with a docstring and annotated parameters; or a tool.
        traits: What the host says of it; None: what the decorator `capability` says, and else the defaults of `Traits`.
        in_place: Whether the node of an agent or a `ToolNode` executes it, which may give it its state.

    Raises:
        ConfigurationError: A function cannot be made a tool, its name or version cannot be that of a capability, or it
            takes values from the graph and is not executed in place.
    """
    function = _function_of(given)
    said = traits or getattr(given, _ATTRIBUTE, None) or getattr(function, _ATTRIBUTE, None) or Traits()
    tool = made_tool(given, "a capability")
    name = said.name or tool.name
    if not in_place and injection.is_wanted(tool):
        raise ConfigurationError(
            f"The tool {name!r} takes values from the graph, such as its state or store, which a capability is not "
            "given: let an agent or a ToolNode execute it (in_place=True), or take them as arguments"
        )
    description = tool.description if said.description is None else said.description
    schema = _arguments(tool)
    output = _output(function)
    parts = {
        "name": name,
        "description": description,
        "input_schema": schema,
        "output_schema": output,
        "code": digests.of_code(function),
        "class": None if function is not None else f"{type(tool).__module__}.{type(tool).__qualname__}",
    }
    digest, each = digests.of_parts(parts)
    source = said.source or getattr(function, "__module__", None) or type(tool).__module__
    made = described(
        "function",
        source,
        name,
        said,
        digest,
        description=description,
        input_schema=schema,
        output_schema=output,
    )
    return Offer(made, None if in_place else ToolExecutor(tool), parts=each)


def _function_of(given: FunctionOrTool) -> Callable[..., Any] | None:
    """Return the function that is executed; None: a tool of a class of its own."""
    if not isinstance(given, BaseTool):
        return given
    if isinstance(given, StructuredTool):
        return given.coroutine or given.func
    function: Callable[..., Any] = type(given)._run
    return function


def _arguments(tool: BaseTool) -> dict[str, Any]:
    """Return the schema of what a model gives, without what is injected."""
    if isinstance(tool.args_schema, dict):
        return tool.args_schema
    shown = convert_to_openai_tool(tool)["function"]
    return cast("dict[str, Any]", shown.get("parameters") or {"type": "object", "properties": {}})


def _output(function: Callable[..., Any] | None) -> dict[str, Any] | None:
    """Return the schema of a function's result, where its annotation says more than a text."""
    if function is None:
        return None
    try:
        found = get_type_hints(inspect.unwrap(function)).get("return")
    except (NameError, TypeError):
        return None
    if found in (None, str, Any, type(None)):
        return None
    try:
        return TypeAdapter(found).json_schema()
    except (PydanticUserError, ValueError, TypeError):
        return None


class ToolExecutor:
    """Executes calls with a LangChain tool.

    Args:
        tool: The tool.
    """

    def __init__(self, tool: BaseTool) -> None:
        self.tool = tool

    async def execute(self, call: CapabilityCall) -> CapabilityResult:
        """Call the tool in an event loop."""
        return _result(await self.tool.ainvoke(self._input(call), call.config))

    def execute_sync(self, call: CapabilityCall) -> CapabilityResult:
        """Call the tool and wait."""
        return _result(self.tool.invoke(self._input(call), call.config))

    def _input(self, call: CapabilityCall) -> ToolCall:
        return ToolCall(name=self.tool.name, args=dict(call.arguments), id=call.call_id, type="tool_call")


def _result(output: Any) -> CapabilityResult:
    if not isinstance(output, ToolMessage):
        return CapabilityResult(output)
    if output.status == "error":  # the tool turned what it raised into words
        raise ToolException(str(output.content))
    return CapabilityResult(output.content, output.artifact)
