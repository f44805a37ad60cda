"""What workers import in the tests: a provider whose spans go to a file, a tool and a node that tell where they run."""

from __future__ import annotations

import os
from typing import Any

from langchain_core.tools import tool
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from stategraph import START, StateGraph
from stategraph.agent.state import AgentState

FILE = "TESTS_TELEMETRY_FILE"


def export_to_file() -> None:
    """Make the global provider of this process, if the environment names a file for its spans."""
    if path := os.environ.get(FILE):
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115  open as long as the process
        exporter = ConsoleSpanExporter(out=file, formatter=lambda span: f"{span.to_json(indent=None)}\n")
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)


@tool
def look() -> str:
    """Look around."""
    with trace.get_tracer("program").start_as_current_span("own"):
        return "here"


@tool
async def fail() -> str:
    """Fail."""
    raise LookupError("no")


def _leaf(state: AgentState) -> dict[str, Any]:
    return {}


NESTED = StateGraph(AgentState).add_node("leaf", _leaf).add_edge(START, "leaf").compile(name="nested")


@tool
async def nest() -> str:
    """Invoke a graph."""
    await NESTED.ainvoke({"messages": []})
    return "nested"


def tells(state: dict[str, Any]) -> dict[str, Any]:
    """Return the ids of the current trace and span, in a process of its own."""
    here = trace.get_current_span().get_span_context()
    return {"seen": [str(os.getpid()), f"{here.trace_id:x}", f"{here.span_id:x}"]}


export_to_file()
