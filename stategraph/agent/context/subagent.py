"""Agents as tools: what an agent's model is offered to have another agent work on a task.

- The subagent is told the task, and nothing of the conversation; the caller gets the text of its last answer.
- All subagents of an agent are the types of one tool, `subagent`, except those that are tools of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolCall

from stategraph.agent.settings.inputs import ToolDefinition

TOOL = "subagent"
"""The tool that has one of several subagents work on a task."""

TASK = "description"
TYPE = "subagent_type"

USAGE = "subagent_usage"
"""Mark of a result: the tokens that the subagent has used, with its own subagents."""

_PURPOSE = (
    "Have another agent work on a task and return its answer. It works on its own: it sees nothing of this "
    "conversation, and only its last answer comes back."
)
_TASK = "The whole task, with everything that the agent needs to know: it is told nothing else."


class UnknownSubagentError(LookupError):
    """A call names no task, or a type of subagent that there is not."""


class SubagentTurnsError(Exception):
    """The model of a subagent has been called as often as `max_turns` says, and has given no last answer."""


@dataclass(frozen=True, slots=True)
class Subagent:
    """An agent that is called as a tool.

    Attributes:
        type: Its name for the model that chooses it.
        description: What it is good at.
        agent: The agent.
        graph: Its graph, compiled.
        max_turns: How often its model may be called.
    """

    type: str
    description: str
    agent: Any
    graph: Any
    max_turns: int


@dataclass(frozen=True, slots=True)
class SubagentTool:
    """A tool that has a subagent work on a task.

    Attributes:
        name: The tool's name.
        subagents: Those that it may call, by type.
        chooses: Whether the caller names the type; else there is one.
    """

    name: str
    subagents: Mapping[str, Subagent]
    chooses: bool = True

    @property
    def definition(self) -> ToolDefinition:
        """The tool as models are offered it."""
        properties: dict[str, Any] = {TASK: {"type": "string", "description": _TASK}}
        if not self.chooses:
            (only,) = self.subagents.values()
            schema = {"type": "object", "properties": properties, "required": [TASK]}
            return ToolDefinition(name=self.name, description=only.description, parameters=schema)
        kinds = "\n".join(f"- {each.type}: {each.description}" for each in self.subagents.values())
        properties[TYPE] = {"type": "string", "enum": list(self.subagents), "description": "The agent to call."}
        schema = {"type": "object", "properties": properties, "required": [TASK, TYPE]}
        return ToolDefinition(name=self.name, description=f"{_PURPOSE}\n\nAgents:\n{kinds}", parameters=schema)

    def chosen(self, call: ToolCall) -> tuple[Subagent, str]:
        """Return the subagent that a call asks for, and its task.

        Raises:
            UnknownSubagentError: The call does not say which or what.
        """
        task, named = call["args"].get(TASK), call["args"].get(TYPE)
        if not self.chooses:
            named = next(iter(self.subagents))
        if not isinstance(task, str) or not task.strip():
            raise UnknownSubagentError(f"'{TASK}' is missing: say what the agent is to do")
        subagent = self.subagents.get(named) if isinstance(named, str) else None
        if subagent is None:
            raise UnknownSubagentError(f"'{TYPE}' is {named!r}; expected one of {', '.join(self.subagents)}")
        return subagent, task
