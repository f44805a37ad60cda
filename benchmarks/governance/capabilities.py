"""Capabilities: a view of five hundred, built, reused and asked; the tools of one."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.governance.rows import Row, microseconds
from stategraph.governance.canonical import digest
from stategraph.governance.capabilities.port import Offer
from stategraph.governance.capability import Capability, CapabilityKind, capability_id
from stategraph.governance.context import AgentRef, CapabilitySelector, Principal, RuntimeSessionContext
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityGraph

NUMBER = 500


def offer(number: int) -> Offer:
    """Return a capability; those of functions and of servers share names in part, as they do elsewhere."""
    kind: CapabilityKind = "function" if number % 5 < 3 else "mcp"
    source, name = f"source{number % 10}", f"tool_{number // 2}"
    made = Capability(
        id=capability_id(kind, source, name, "1"),
        kind=kind,
        name=name,
        description="Do something.",
        input_schema={"type": "object", "properties": {"n": {"type": "integer"}}},
        version="1",
        source=source,
        digest=digest([source, name]),
    )
    return Offer(made, executor=None)


REGISTRY = Registry(*map(offer, range(NUMBER)))
CONTEXT = RuntimeSessionContext(
    Principal("acme", "ann"),
    AgentRef("desk"),
    "thread-1",
    capabilities=CapabilitySelector(("function:*", "mcp:source*"), exclude=("mcp:secret/*",)),
)


def build() -> None:
    """Build the view anew."""
    REGISTRY.views.by_request.clear()
    assert len(CapabilityGraph.build(REGISTRY, CONTEXT)) == NUMBER


def rows() -> list[Row]:
    """Return the rows."""
    view = CapabilityGraph.build(REGISTRY, CONTEXT)
    name = next(iter(view.names))

    def timed(call: Callable[[], object], calls: int = 1000) -> Callable[[int], float]:
        return lambda rounds: microseconds(call, rounds, calls=calls)

    return [
        Row(f"view of {NUMBER} capabilities, built", timed(build, 20), most=5000),
        Row("the same, reused", timed(lambda: CapabilityGraph.build(REGISTRY, CONTEXT)), most=20),
        Row(
            "a call resolved, with the digest that the model was shown",
            timed(lambda: CapabilityGraph.resolve(REGISTRY, CONTEXT, name, {}, view.digest)),
            most=20,
        ),
    ]
