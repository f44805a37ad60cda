"""Tools: functions, operations of HTTP APIs, agents and workflows, as LangChain tools and as what a step calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from stategraph import import_paths
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.agent.tools.toolset import made_tool
from stategraph.resources.compile import calls, expr
from stategraph.resources.compile.calls import Callee, Invoke
from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.compile.workflows.plan import retry_policy
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.tool import ToolSpec
from stategraph.resources.places import Path

_QUESTION: Object = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "What is asked, with all that is needed to answer."}},
    "required": ["input"],
}


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """A tool, ready for agents and steps.

    Attributes:
        tool: The tool.
        spec: What was declared; None for a tool that a program registered.
        policy: Its time limit and retries; None: none.
    """

    tool: BaseTool
    spec: ToolSpec | None = None
    policy: ToolPolicy | None = field(default=None)

    @property
    def risk(self) -> str:
        """The risk that a Tool declares."""
        return "write" if self.spec is None else self.spec.risk

    def named(self, name: str) -> BaseTool:
        """Return the tool under another name for models."""
        made = model_name(name)
        return self.tool if self.tool.name == made else self.tool.model_copy(update={"name": made})

    @property
    def target(self) -> BaseTool:
        """The tool, as a step invokes it."""
        return self.tool

    def result(self, returned: Data, /) -> Data:
        """Return the result of a step: what the tool returned."""
        return returned

    def prepared(self, given: Data, /) -> Object:
        """Return arguments; what is no mapping is the only argument of a tool that has one."""
        names, given = list(self.tool.args), calls.said(given)
        if isinstance(given, Mapping) and (set(given) <= set(names) or len(names) != 1):
            return {str(key): value for key, value in given.items()}
        if len(names) == 1:
            return {names[0]: given}
        if given is None and not names:
            return {}
        raise ValueError(
            f"The tool {self.tool.name!r} was given a value of type {type(given).__name__}; expected a mapping with "
            f"{', '.join(names) or 'no arguments'}: give the step an 'input'"
        )


def model_name(name: str) -> str:
    """Return a name that model providers accept: letters, digits, `_` and `-`, at most 64."""
    return "".join(each if each.isascii() and (each.isalnum() or each in "_-") else "_" for each in name)[:64]


def imported(path: str, allow: Sequence[str], field_path: Path) -> Data:
    """Import a function that a manifest names.

    Args:
        path: `package.module:attribute`.
        allow: Prefixes of the modules that may be named, such as `app.`.
        field_path: The field that names it.

    Raises:
        InvalidResource: Its module is under none of the prefixes, or there is no such function.
    """
    module = path.partition(":")[0]
    if not any(module == each.rstrip(".") or module.startswith(each.rstrip(".") + ".") for each in allow):
        known = ", ".join(allow) or "none"
        raise InvalidResource(
            f"code of the module {module!r} may not be named by manifests; allowed prefixes: {known} "
            "(the runtime's `allow`, or --allow)",
            path=field_path,
            reason="ModuleNotAllowed",
        )
    try:
        return import_paths.imported(path, "The function")
    except ValueError as error:
        raise InvalidResource(str(error), path=field_path, reason="FunctionNotFound") from None


def of_function(name: str, function: Data, spec: ToolSpec) -> ToolPlan:
    """Return a tool that is a function, or already one of LangChain's.

    Raises:
        InvalidResource: It cannot be made a tool.
    """
    try:
        tool = made_tool(function, f"the tool '{name}'")
    except ValueError as error:
        raise InvalidResource(str(error), path=("spec", "function"), reason="NotATool") from None
    return finished(name, tool, spec)


def of_callee(name: str, callee: Callee, spec: ToolSpec, description: str) -> ToolPlan:
    """Return a tool that asks an agent or a network, or executes a workflow.

    Args:
        name: Its name.
        callee: What it calls.
        spec: What was declared.
        description: What that is good for, if the tool does not say.
    """
    return finished(name, asking(name, callee, spec.description or description, spec.input_schema), spec)


def asking(name: str, callee: Callee, description: str, schema: Fields | None = None) -> BaseTool:
    """Return a tool that calls something that steps can call, too.

    Args:
        name: Its name for models.
        callee: What it calls.
        description: What that is good for.
        schema: The JSON Schema of its arguments; None: a text `input`.
    """
    plain = schema is None

    def request(given: Fields) -> Invoke:
        return Invoke(callee.target, callee.prepared(given["input"] if plain else given))

    def call(**given: Any) -> str:
        return _told(callee.result(request(given).in_thread()))

    async def acall(**given: Any) -> str:
        return _told(callee.result(await request(given).in_loop()))

    return StructuredTool(
        name=model_name(name),
        description=description,
        args_schema=dict(schema or _QUESTION),
        func=call,
        coroutine=acall,
    )


def _told(result: Data) -> str:
    """Return a result as a model reads it: the text of an answer, and anything else as JSON."""
    if isinstance(result, Mapping) and isinstance(result.get("text"), str):
        return str(result["text"])
    return result if isinstance(result, str) else json.dumps(expr.plain(result), ensure_ascii=False)


def finished(name: str, tool: BaseTool, spec: ToolSpec) -> ToolPlan:
    """Return a tool with the name, description, arguments and limits that a Tool declares."""
    changes: Object = {"name": model_name(name)}
    if spec.description is not None:
        changes["description"] = spec.description
    if spec.input_schema is not None:
        changes["args_schema"] = spec.input_schema
    retry = () if spec.retry is None else retry_policy(spec.retry)
    limited = spec.timeout is not None or spec.retry is not None
    policy = ToolPolicy(timeout_s=spec.timeout, retry=retry) if limited else None
    return ToolPlan(tool.model_copy(update=changes), spec, policy)


def registered(tools: Fields, names: Sequence[str]) -> BaseTool | None:
    """Return a tool that the program registered under one of several ids; None if there is none.

    Args:
        tools: Functions and tools by their ids.
        names: Ids in the order in which they are looked for.
    """
    found = next((name for name in names if name in tools), None)
    return None if found is None else made_tool(tools[found], f"the registered tool '{found}'")


Registered = Mapping[str, Callable[..., Any] | BaseTool]
