"""Ports of capabilities: how one is executed, and where some come from that change while a program runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.governance.actions import RunRef
from stategraph.governance.capability import Capability
from stategraph.governance.context import RuntimeSessionContext


@dataclass(frozen=True, slots=True)
class CapabilityCall:
    """A call of a capability that was let pass, as its executor is given it.

    Attributes:
        capability: The capability.
        arguments: Its arguments, as its input schema asks for them.
        call_id: The id of the call.
        run: The run.
        context: Who acts, with what.
        config: Of the task that makes the call, so that a nested graph pauses and resumes with it; None: outside of
            a graph.
    """

    capability: Capability
    arguments: Mapping[str, Any]
    call_id: str
    run: RunRef
    context: RuntimeSessionContext
    config: RunnableConfig | None = None


@dataclass(frozen=True, slots=True)
class CapabilityResult:
    """Result of an execution.

    Attributes:
        content: For the model: a text, or a list of content blocks.
        artifact: Data that is kept with it and not sent to the model.
    """

    content: Any
    artifact: Any = None


class CapabilityExecutor(Protocol):
    """Executes calls of a capability. It decides nothing: what it is given was authorized."""

    async def execute(self, call: CapabilityCall, /) -> CapabilityResult:
        """Execute a call.

        Raises:
            GraphBubbleUp: A nested graph waits for a person.
            Exception: The call failed.
        """

    def execute_sync(self, call: CapabilityCall, /) -> CapabilityResult:
        """Execute a call in a thread without an event loop; raises as `execute` does."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A capability and how it is executed.

    Attributes:
        capability: The capability. Where `described_elsewhere`, its version is replaced by that of the registry.
        executor: Executes it; None: the agent's own graph does, as with handoffs, and a registry only knows of it.
        described_elsewhere: Whether another party decides what it is, and may change it at any time, such as an MCP
            server: then what changes is a new version, in quarantine until a person releases it.
        parts: The digest of each part that the capability's digest covers, to say what changed.
    """

    capability: Capability
    executor: CapabilityExecutor | None
    described_elsewhere: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceListing:
    """Capabilities of a source at one moment.

    Attributes:
        offers: What there is.
        away: By source name, such as an MCP server's: why nothing of it can be used now.
        left_out: What the source has and nobody can use, with the reasons.
    """

    offers: tuple[Offer, ...]
    away: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


class CapabilitySource(Protocol):
    """Has capabilities that come and go while a program runs, such as those of MCP servers."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of its sources, `Capability.source` of what it offers."""

    async def listing(self) -> SourceListing:
        """Return what there is now; a source that cannot be asked costs its own capabilities and raises nothing."""
