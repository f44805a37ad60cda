"""What runs in a worker process stands below what called it: the trace goes along."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage

from stategraph import START, StateGraph
from stategraph.errors import TransferError
from stategraph.telemetry import Telemetry
from stategraph.workers import close_node_workers, configure_node_workers
from stategraph.workers.agents.runtime import MultiProcessRuntime
from tests.conftest import Driver
from tests.telemetry import worker_app
from tests.telemetry.spans_kit import Collected
from tests.workers.agents import agent

ASK = {"messages": [HumanMessage("hi", id="h1")]}


def far(file: Path) -> MultiProcessRuntime:
    """Runs in a worker process, whose spans go to a file."""
    return MultiProcessRuntime(
        backend="process",
        workers=1,
        allow=["tests.workers", "tests.telemetry"],
        preload=["tests.telemetry.worker_app"],
        environment={worker_app.FILE: str(file)},
        telemetry=Telemetry(workflow="far"),
    )


def spans_of(file: Path, collected: Collected) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The spans in a file, and the names of all spans by their ids, that of the host included."""
    spans = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    host = collected.named("host").context
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{host.trace_id:032x}"}
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    return spans, names | {f"0x{host.span_id:016x}": "host"}


def test_a_run_in_a_worker_process_is_measured_there_below_the_hosts_span(collected: Collected, tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"

    async def main() -> None:
        async with asyncio.timeout(90), far(file) as runtime:
            run = await runtime.create_run(
                run_id="r", agents=[agent(["", ["look", {}]], "Fine.", tools=[worker_app.look])]
            )
            with collected.tracer.start_as_current_span("host"):
                await run.process_stream(ASK)

    asyncio.run(main())
    spans, names = spans_of(file, collected)
    below = [(names[span["parent_id"]], span["name"]) for span in sorted(spans, key=lambda span: span["start_time"])]
    assert below == [
        ("host", "invoke_workflow far"),
        ("invoke_workflow far", "invoke_agent a"),
        ("invoke_agent a", "chat scripted"),
        ("invoke_agent a", "execute_tool look"),
        ("execute_tool look", "own"),
        ("invoke_agent a", "chat scripted"),
    ]
    assert (
        next(span for span in spans if span["name"] == "invoke_workflow far")["attributes"]["stategraph.run.queued"]
        >= 0
    )


def test_a_handoff_and_an_error_in_a_worker_process_are_in_one_tree(collected: Collected, tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"

    async def main() -> None:
        async with asyncio.timeout(90), far(file) as runtime:
            desk = agent(
                ["", ["fail", {}], ["nest", {}]],
                ["", ["lc_transfer_to_b", {}]],
                tools=[worker_app.fail, worker_app.nest],
            )
            other = agent("", "", "Fine.") | {"agent_id": "b"}
            run = await runtime.create_run(
                run_id="r", agents=[desk, other], edges=[{"from": "a", "to": "b", "edge_type": "handoff"}]
            )
            with collected.tracer.start_as_current_span("host"):
                await run.process_stream(ASK)

    asyncio.run(main())
    spans, names = spans_of(file, collected)
    below = {(names[span["parent_id"]], span["name"], span["attributes"].get("error.type")) for span in spans}
    assert below == {
        ("host", "invoke_workflow far", None),
        ("invoke_workflow far", "invoke_agent a", None),
        ("invoke_agent a", "chat scripted", None),
        ("invoke_agent a", "execute_tool fail", "LookupError"),
        ("invoke_agent a", "execute_tool nest", None),
        ("execute_tool nest", "invoke_workflow nested", None),
        ("invoke_agent a", "execute_tool lc_transfer_to_b", None),
        ("invoke_workflow far", "invoke_agent b", None),
        ("invoke_agent b", "chat scripted", None),
    }


def test_a_provider_of_this_process_cannot_be_sent_to_a_worker(collected: Collected) -> None:
    async def main() -> None:
        async with MultiProcessRuntime(backend="inline", workers=1, telemetry=collected.telemetry()) as runtime:
            await runtime.create_run(run_id="r", agents=[agent("Hi.")])

    with pytest.raises(TransferError, match="tracer_provider"):
        asyncio.run(main())


class Seen(TypedDict):
    seen: list[str]


@pytest.fixture
def node_workers() -> Iterator[None]:
    configure_node_workers(1, allow=["tests.telemetry"])
    yield
    close_node_workers()


def test_a_node_in_a_process_is_below_its_span(collected: Collected, driver: Driver, node_workers: None) -> None:
    graph: Any = StateGraph(Seen)
    graph.add_node("tells", worker_app.tells, executor="process").add_edge(START, "tells")
    handler = collected.telemetry(nodes=True).handler()

    process, trace_id, span_id = driver.invoke(graph.compile(), {"seen": []}, {"callbacks": [handler]})["seen"]

    assert process != str(os.getpid())
    node = collected.named("node tells").context
    assert (trace_id, span_id) == (f"{node.trace_id:x}", f"{node.span_id:x}")
