"""An agent's output type, with how its models are asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stategraph.agent.output.output_type import OutputType
from stategraph.agent.settings.inputs import ToolDefinition

Mode: TypeAlias = Literal["native", "tool", "prompt", "text"]
"""How a model is asked: by its provider's mode for JSON schemas, a tool, a prompt; or not, as any text will do."""


@dataclass(frozen=True, slots=True)
class AgentOutput:
    """The output that an agent has to give.

    Attributes:
        type: Its type.
        retries: How often the model is told that an answer does not fit.
        modes: How each of the agent's models is asked, in the order in which they are tried.
    """

    type: OutputType
    retries: int
    modes: tuple[Mode, ...]

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        """The tools that take the output; none if no model is asked by tools."""
        return [each.definition for each in self.type.members] if "tool" in self.modes else []

    @property
    def tool_names(self) -> Sequence[str]:
        """Their names."""
        return list(self.type.by_tool) if "tool" in self.modes else []

    @property
    def is_json(self) -> bool:
        """True if a model is asked for JSON as text."""
        return "native" in self.modes or "prompt" in self.modes
