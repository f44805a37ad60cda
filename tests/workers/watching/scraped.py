"""Processes as they are deployed, and everything that they show to Prometheus."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stategraph.fleet import AgentEndpoint, Directory, StaticSource
from stategraph.fleet.metrics import RouterMetrics
from stategraph.governance.metrics import instruments

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "0123456789abcdef0123456789"
LIMIT_S = 90.0

#: A graph whose model reports tokens, and fails when it is told to.
PROGRAM = """
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from stategraph.testing import Failure, Reply, ScriptedChatModel, Text, Usage


class State(TypedDict):
    messages: Annotated[list[Any], add_messages]


async def answer(state: State) -> dict[str, Any]:
    fails = state["messages"][-1].text == "fail"
    told = Failure(500, "away") if fails else Reply([Text("Hello.")], usage=Usage(10, 5))
    model = ScriptedChatModel(replies=[told])
    return {"messages": [await model.ainvoke(state["messages"])]}


graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
"""

Series = Mapping[str, frozenset[str]]
"""Names of series with the names of the labels that they have."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def get(port: int, path: str, body: object = None) -> tuple[int, str]:
    """Ask a process of this machine; status 0: nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


@contextmanager
def process(folder: Path, *words: str, probes: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command of stategraph for a block; its probes say when it has started."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STATEGRAPH_", "OTEL_"))}
    variables = {"STATEGRAPH_RUNTIME": "1", "STATEGRAPH_STORE": f"sqlite:///{folder / 'runs.db'}", **environment}
    command = [sys.executable, "-m", "stategraph", *words, "--probes", f"127.0.0.1:{probes}"]
    with (folder / f"{words[0]}.log").open("w") as log:
        found = subprocess.Popen(
            command, cwd=folder, env={**kept, "PYTHONPATH": str(ROOT), **variables}, stdout=log, stderr=log, text=True
        )
    try:
        until = time.monotonic() + LIMIT_S
        while get(probes, "/ready")[0] != 200:
            text = (folder / f"{words[0]}.log").read_text()
            assert found.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.1)
        yield found
    finally:
        if found.poll() is None:
            found.send_signal(signal.SIGTERM)
            try:
                found.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                found.kill()
                found.wait()


def program(folder: Path) -> None:
    """Write a program for the processes."""
    (folder / "graphs.py").write_text(PROGRAM)
    (folder / "langgraph.json").write_text('{"graphs": {"agent": "./graphs.py:graph"}, "dependencies": ["."]}')


def of_processes(folder: Path) -> str:
    """Return what a server that executes nothing and a worker show after a few runs."""
    program(folder)
    http_port, of_server, of_worker = free_port(), free_port(), free_port()
    exporter = {"OTEL_METRICS_EXPORTER": "prometheus"}
    serve = ("serve", "--port", str(http_port), "--capacity", "0", "--config", "langgraph.json")
    work = ("worker", "--config", "langgraph.json")
    with ExitStack() as stack:
        stack.enter_context(process(folder, *serve, probes=of_server, STATEGRAPH_TOKEN=TOKEN, **exporter))
        stack.enter_context(process(folder, *work, probes=of_worker, **exporter))
        for said in ("Hi", "fail"):
            asked = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": said}]}}
            get(http_port, "/runs/wait", asked)
        later = {"assistant_id": "agent", "input": {"messages": []}, "after_seconds": 3600}
        assert get(http_port, "/threads", {})[0] == 200
        assert get(http_port, "/runs", later)[0] == 200
        until = time.monotonic() + LIMIT_S
        while 'stategraph_runs{state="scheduled"} 1' not in get(of_worker, "/metrics")[1]:
            assert time.monotonic() < until
            time.sleep(0.1)
        return get(of_server, "/metrics")[1] + get(of_worker, "/metrics")[1]


def of_router() -> str:
    """Return what a program with a router shows."""

    async def route() -> str:
        reader = PrometheusMetricReader()
        provider = MeterProvider([reader])
        metrics = RouterMetrics(provider)
        endpoint = AgentEndpoint(agent="research", url="http://127.0.0.1:1/a2a/research")
        async with Directory(StaticSource([endpoint])) as directory:
            metrics.observe(directory)
            metrics.answered(endpoint, 0.1)
            metrics.failed(endpoint, "away", opened=True)
            metrics.sent_again(endpoint)
            text = generate_latest(REGISTRY).decode()
        provider.shutdown()
        return text

    return asyncio.run(route())


def series_of(text: str) -> Series:
    """Return the series of a text, each with its labels."""
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return {name: frozenset(labels) for name, labels in found.items()}


def of_governance() -> Series:
    """Return the series of governed actions, which `tests/governance/test_metrics.py` holds against what is shown."""
    return {name: frozenset({"unit", *each.attributes}) for each in instruments.ALL for name in each.prometheus}


_WORDS = frozenset(
    {"sum", "max", "min", "count", "rate", "increase", "delta", "deriv", "histogram_quantile", "time", "vector"}
    | {"by", "and", "or", "unless", "offset"}
)


def unknown(expr: str, known: Series) -> list[str]:
    """Return the names of series and labels in an expression that there are not."""
    text = re.sub(r"\$__\w+", "5m", expr)
    wrong = []
    labels = {"instance", "job"}
    bare = re.sub(r'"[^"]*"', '""', text)
    grouped = re.findall(r"\bby \(([^)]*)\)", bare)
    for name, selector in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?", re.sub(r"\bby \([^)]*\)", "", bare)):
        if name in _WORDS or re.fullmatch(r"e\d+|[smhd]", name):
            continue
        if name not in known:
            wrong.append(name)
            continue
        labels |= known[name]
        for label in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector):
            if label not in known[name] | {"instance", "job"}:
                wrong.append(f"{label} of {name}")
    wrong += [label.strip() for each in grouped for label in each.split(",") if label.strip() not in labels]
    return wrong
