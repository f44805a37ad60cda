"""Logged events of a run to facts that every chat protocol can tell.

`Projection` takes the events of a run in the order of their numbers and returns facts: text, tool calls, results,
steps, state, interrupts, the end. Each protocol has an encoder that turns facts into its own events. The package knows
no protocol, no HTTP and no database: the same events give the same facts, whoever reads them and however often.
"""

from stategraph.server.projection.facts import (
    Custom,
    Fact,
    GraphFinished,
    GraphStarted,
    Interrupted,
    MessageDiscarded,
    MessageEnded,
    MessageStarted,
    Place,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    StateUpdated,
    StateValues,
    StepFinished,
    StepStarted,
    TextDelta,
    ToolApproval,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from stategraph.server.projection.projection import Projection

__all__ = (
    "Custom",
    "Fact",
    "GraphFinished",
    "GraphStarted",
    "Interrupted",
    "MessageDiscarded",
    "MessageEnded",
    "MessageStarted",
    "Place",
    "Projection",
    "ReasoningDelta",
    "RunEnded",
    "RunStarted",
    "StateUpdated",
    "StateValues",
    "StepFinished",
    "StepStarted",
    "TextDelta",
    "ToolApproval",
    "ToolCallDelta",
    "ToolCallEnded",
    "ToolCallStarted",
    "ToolResult",
    "Usage",
)
