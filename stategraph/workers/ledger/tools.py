"""Effects of tools that are there already, such as those of MCP servers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import PrivateAttr

from stategraph.errors import ConfigurationError
from stategraph.workers.ledger.effects import effect
from stategraph.workers.ledger.records import OnDoubt

_NEEDED_BY_TOOL = ("config", "run_manager")


class EffectTool(BaseTool):
    """A tool whose calls happen once; `effect_tool` makes it."""

    _call: Callable[..., Any] = PrivateAttr()
    _acall: Callable[..., Any] = PrivateAttr()

    # The parameters are those of the tool, whatever their names: hence nothing else is named here.

    def _run(self, /, **arguments: object) -> object:
        return self._call(**arguments)

    async def _arun(self, /, **arguments: object) -> object:
        return await self._acall(**arguments)


def effect_tool(
    tool: BaseTool,
    *,
    key: str | Callable[[Any], str],
    on_doubt: OnDoubt = "interrupt",
    refused: tuple[type[Exception], ...] = (),
    not_sent: tuple[type[Exception], ...] = (),
) -> BaseTool:
    """Make a tool one whose effect happens once; see `effect`.

    A server of MCP is told the idempotency id and the key in the `_meta` of the call.

    Args:
        tool: The tool; it is not changed.
        key: Names the effect: text, or a function of the call's arguments, given as attributes.
        on_doubt: What to do if it is unknown whether an earlier call has acted.
        refused: Errors that say that the destination refused.
        not_sent: Errors that say that nothing was sent.

    Returns:
        A tool with the same name and parameters.

    Raises:
        ConfigurationError: The tool is of a kind that has to be given the run's config or callbacks.
    """
    once = effect(key=key, on_doubt=on_doubt, refused=refused, not_sent=not_sent)
    if isinstance(tool, StructuredTool):
        wrapped: dict[str, Any] = {"func": None, "coroutine": None}
        if tool.func is not None and not (tool.coroutine is not None and inspect.iscoroutinefunction(on_doubt)):
            wrapped["func"] = once(tool.func)
        if tool.coroutine is not None:
            wrapped["coroutine"] = once(tool.coroutine)
        return tool.model_copy(update=wrapped)
    needed = [name for name in _NEEDED_BY_TOOL if name in inspect.signature(tool._run).parameters]
    if needed:
        raise ConfigurationError(
            f"The tool '{tool.name}' is a {type(tool).__name__} that is given its {needed[0]}: put @effect on the "
            "function that does the work"
        )
    made = EffectTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.args_schema,
        metadata=tool.metadata,
        tags=tool.tags,
        return_direct=tool.return_direct,
        response_format=tool.response_format,
        handle_tool_error=tool.handle_tool_error,
    )

    def call(**arguments: Any) -> Any:
        return tool._run(**arguments)

    async def acall(**arguments: object) -> Any:
        return await tool._arun(**arguments)

    def refuse(**arguments: object) -> Any:
        raise ConfigurationError(f"The on_doubt of the tool '{tool.name}' is async: call the tool with ainvoke")

    made._call = refuse if inspect.iscoroutinefunction(on_doubt) else once(call)
    made._acall = once(acall)
    return made
