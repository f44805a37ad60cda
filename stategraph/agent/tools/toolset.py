"""Tools of an agent: which of them run here, and which of them the model is shown.

- With any tool definitions the host executes those, and of the tools only `graph_tools` run here. Without, all tools
  run here.
- A tool with deferred loading is shown once it is discovered. One that only code may call is never shown.
- A mapping among the tools describes one that the provider runs itself: it is shown, and runs nowhere here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool

from stategraph.agent.settings.inputs import AgentInputs, AgentTool, ToolDefinition
from stategraph.errors import ConfigurationError

FunctionOrTool: TypeAlias = BaseTool | Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ToolSet:
    """The tools of an agent.

    Attributes:
        local: Tools of this process by the name that the model calls them by.
        hosted: Names of the tools that the host executes.
        offers: Everything that the model may be told about, in order: the name, and the tool or its definition.
        registry: Definitions of tools by name.
    """

    local: Mapping[str, BaseTool]
    hosted: tuple[str, ...]
    offers: tuple[tuple[str, Any], ...]
    registry: Mapping[str, ToolDefinition]

    @classmethod
    def of(cls, inputs: AgentInputs, others: Collection[str] = ()) -> ToolSet:
        """Return the tools that a host gave an agent.

        Args:
            inputs: The agent.
            others: Names of tools that are not among these, and may have policies too.

        Raises:
            ConfigurationError: A policy is for a tool that there is not, two tools have the same name, or a function
                cannot be made a tool.
        """
        tools = _tools((*inputs.tools, *inputs.graph_tools), inputs.agent_id)
        definitions = _definitions(inputs.tool_definitions, tools, inputs.agent_id)
        registry = {**inputs.tool_registry, **definitions}
        host = definitions
        if definitions:
            # The registry describes tools of the host, some of which are shown only when they were discovered.
            known = {*tools, *inputs.tool_map, *definitions}
            host = definitions | {name: each for name, each in inputs.tool_registry.items() if name not in known}
        here = {name: tool for name, tool in tools.items() if isinstance(tool, BaseTool)} | inputs.tool_map
        unknown = sorted(set(inputs.tool_policies) - {*here, *host, *others})
        if unknown:
            known_names = ", ".join(sorted({*here, *host, *others})) or "none"
            raise ConfigurationError(
                f"Agent '{inputs.agent_id}': tool_policies names unknown {'tools' if len(unknown) > 1 else 'tool'} "
                f"{', '.join(map(repr, unknown))}. Its tools are: {known_names}"
            )
        return cls(here, tuple(host), (*host.items(), *tools.items()), registry)

    def shown(self, discovered: Collection[str]) -> list[Any]:
        """Return the tools that the model is shown.

        Args:
            discovered: Names of tools with deferred loading that are shown because they were found.
        """
        return [offer for name, offer in self.offers if self._is_shown(name, discovered)]

    def names_shown(self, discovered: Collection[str]) -> tuple[str, ...]:
        """Return the names of the host's tools that the model is shown."""
        return tuple(name for name in self.hosted if self._is_shown(name, discovered))

    @property
    def defers(self) -> bool:
        """True if there are tools to be discovered."""
        return any(name in self.registry and self.registry[name].defer_loading for name, _ in self.offers)

    def _is_shown(self, name: str, discovered: Collection[str]) -> bool:
        described = self.registry.get(name)
        if described is None:
            return True
        for_model = described.allowed_callers is None or "direct" in described.allowed_callers
        return for_model and (not described.defer_loading or name in discovered)


def _definitions(given: Sequence[ToolDefinition], tools: Mapping[str, Any], agent_id: str) -> dict[str, ToolDefinition]:
    definitions: dict[str, ToolDefinition] = {}
    for each in given:
        if each.name in tools or definitions.setdefault(each.name, each) != each:
            raise _twice(each.name, agent_id)
    return definitions


def _twice(name: str, agent_id: str) -> ConfigurationError:
    return ConfigurationError(
        f"Agent '{agent_id}' has two tools called '{name}', and a model could not tell them apart: rename one"
    )


def _tools(given: Sequence[AgentTool], agent_id: str) -> dict[str, Any]:
    tools: dict[str, Any] = {}
    for each in given:
        # LangChain takes a description of a tool as a dict only.
        made = dict(each) if isinstance(each, Mapping) else made_tool(each, f"agent '{agent_id}'")
        name = made.name if isinstance(made, BaseTool) else str(made.get("name") or made.get("type") or len(tools))
        if tools.setdefault(name, made) != made:
            raise _twice(name, agent_id)
    return tools


def made_tool(given: FunctionOrTool, owner: str) -> BaseTool:
    """Return a tool, made of a function if it is none.

    Args:
        given: The function or tool.
        owner: Whose it is, for an error.

    Raises:
        ConfigurationError: The function cannot be made a tool.
    """
    if isinstance(given, BaseTool):
        return given
    try:
        return as_tool(given)
    except (TypeError, ValueError) as error:
        name = getattr(given, "__qualname__", type(given).__name__)
        raise ConfigurationError(
            f"The function '{name}' of {owner} cannot be made a tool: {error} It needs a name, a docstring, "
            "and parameters with annotations; or give a LangChain tool"
        ) from error
