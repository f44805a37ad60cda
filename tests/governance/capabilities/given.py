"""Capabilities, contexts and a recording executor that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables.config import ensure_config

from stategraph.governance import canonical
from stategraph.governance.actions import ActionOutcome, ActionRequest
from stategraph.governance.audit.event import AuditEvent
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult, Offer, SourceListing
from stategraph.governance.capability import Capability, capability_id
from stategraph.governance.context import AgentRef, CapabilitySelector, Principal, RuntimeSessionContext
from stategraph.governance.errors import CapabilityDenied
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityGraph


def context(*include: str, tenant: str = "acme", **more: Any) -> RuntimeSessionContext:
    selector = CapabilitySelector(include or ("*",), **more)
    return RuntimeSessionContext(Principal(tenant, "ann"), AgentRef("desk"), "thread-1", capabilities=selector)


class Echo:
    """Returns the arguments."""

    async def execute(self, call: CapabilityCall) -> CapabilityResult:
        return self.execute_sync(call)

    def execute_sync(self, call: CapabilityCall) -> CapabilityResult:
        return CapabilityResult(dict(call.arguments))


def offered(key: str, version: str = "1", *, description: str = "Does it.", **more: Any) -> Offer:
    """Return an offer of `kind:source/name`."""
    kind, _, rest = key.partition(":")
    source, _, name = rest.partition("/")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    made = Capability(
        id=capability_id(kind, source, name, version),  # type: ignore[arg-type]
        kind=kind,  # type: ignore[arg-type]
        name=name.replace("/", "_"),
        description=description,
        input_schema=schema,
        version=version,
        source=source,
        digest=canonical.digest([name, description, schema]),
        **more,
    )
    parts = {"name": canonical.digest(name), "description": canonical.digest(description)}
    return Offer(made, Echo(), described_elsewhere=kind == "mcp", parts=parts)


class Source:
    """A source whose capabilities a test changes."""

    def __init__(self, *names: str) -> None:
        self.sources = names
        self.offers: list[Offer] = []
        self.away: dict[str, str] = {}

    async def listing(self) -> SourceListing:
        return SourceListing(tuple(each for each in self.offers if each.capability.source not in self.away), self.away)


class Log:
    """Keeps audit events, or fails."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.error: Exception | None = None

    async def record(self, event: AuditEvent, *, durable: bool = False) -> None:
        self.record_sync(event)

    def record_sync(self, event: AuditEvent, *, durable: bool = False) -> None:
        if self.error is not None:
            raise self.error
        self.events.append(event)


class Acting:
    """An executor of actions that resolves and executes, and nothing more."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.requests: list[ActionRequest] = []

    def _call(self, request: ActionRequest) -> tuple[Any, CapabilityCall]:
        self.requests.append(request)
        found = CapabilityGraph.resolve(
            self.registry, request.context, request.capability, request.arguments, request.view_digest
        )
        config = ensure_config()
        call = CapabilityCall(found.capability, found.arguments, request.call_id, request.run, request.context, config)
        return self.registry.executor(found.capability), call

    async def act(self, request: ActionRequest) -> ActionOutcome:
        try:
            executor, call = self._call(request)
            return _outcome(await executor.execute(call))
        except CapabilityDenied as denied:
            return ActionOutcome("rejected", str(denied), denied.reason)

    def act_sync(self, request: ActionRequest) -> ActionOutcome:
        try:
            executor, call = self._call(request)
            return _outcome(executor.execute_sync(call))
        except CapabilityDenied as denied:
            return ActionOutcome("rejected", str(denied), denied.reason)


def _outcome(result: CapabilityResult) -> ActionOutcome:
    content = result.content
    return ActionOutcome("completed", str(content) if isinstance(content, Mapping) else content)
