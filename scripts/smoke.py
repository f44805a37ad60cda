"""Use an installed stategraph in an environment that holds the core's dependencies alone.

    .venv-empty-3.11/bin/python -I scripts/smoke.py requirements/core.txt

Rules:

* The environment has the pinned packages and stategraph, nothing else.
* Every public name can be imported, or the error says which extra to install.
* Every module can be imported, but for those that need the package of an extra.
* A graph pauses and goes on from a SQLite file, an agent streams, LangGraph is stood for, the command works.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypedDict

import stategraph

EXTRAS = {
    "casbin": ("casbin",),
    "cedar": ("cedarpy",),
    "cli": ("rich",),
    "console": ("textual",),
    "dev": ("starlette", "uvicorn"),
    "governance": ("cel_expr_python", "cryptography", "rfc8785"),
    "jsonschema": ("jsonschema", "referencing"),
    "kubernetes": ("kopf", "kubernetes"),
    "libsql": ("libsql",),
    "mcp": ("mcp", "mcp_types"),
    "nats": ("nats",),
    "otel": ("opentelemetry",),
    "postgres": ("langgraph.checkpoint.postgres", "psycopg", "psycopg_pool"),
    "prices": ("genai_prices",),
    "prometheus": ("prometheus_client",),
    "remote": ("langgraph_sdk",),
    "resources": ("cel_expr_python", "croniter"),
    "server": ("a2a", "ag_ui", "croniter", "grpc", "jwt"),
}
"""Packages that come with an extra only. The others add nothing that our modules import."""

OPTIONAL = {package for packages in EXTRAS.values() for package in packages}

PROVIDERS = {"langchain_openai", "pytest"}
"""Packages that programs choose, which ours adapts where they are installed: of a model's provider, for tests."""


def main() -> None:
    print(f"smoke: {environment(Path(sys.argv[1]))}")
    print(f"smoke: {names()}")
    print(f"smoke: {modules()}")
    print(f"smoke: {features()}")
    graph()
    asyncio.run(agent())
    drop_in()
    commands()
    print("smoke: a graph that pauses, an agent, a LangGraph program and the command work")


def environment(pins: Path) -> str:
    """Compare what is installed with the pins. A pin for other systems or versions may be missing."""
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", pins.read_text(encoding="utf-8"), re.MULTILINE))
    held = {normal(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    assert held.pop("stategraph") == stategraph.__version__
    assert {name: version for name, version in held.items() if pinned.get(name) != version} == {}
    for package in OPTIONAL:
        assert importlib.util.find_spec(package) is None, f"{package} is installed"
    assert "site-packages" in str(stategraph.__file__)
    return f"{len(held)} packages beside stategraph {stategraph.__version__} on Python {sys.version.split()[0]}"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names() -> str:
    """Import every public name."""
    count = 0
    for module in public():
        for name in module.__all__:
            try:
                getattr(module, name)
            except ImportError as error:
                assert re.search(r"pip install 'stategraph\[\w+\]'", str(error)), f"{module.__name__}.{name}: {error}"
            count += 1
    return f"all {count} public names are there, or name their extra"


def public() -> Iterator[ModuleType]:
    for path in (
        "stategraph",
        "stategraph.savers",
        "stategraph.testing",
        "stategraph.workers",
        "stategraph.agent.mcp",
        "stategraph.resources",
    ):
        yield importlib.import_module(path)
    yield importlib.import_module("stategraph.telemetry")


def modules() -> str:
    """Import every module; only the package of an extra may be missing."""
    count, missing = 0, []
    for found in pkgutil.walk_packages(stategraph.__path__, "stategraph.", onerror=lambda name: None):
        if found.name.endswith("__main__"):
            continue
        count += 1
        try:
            importlib.import_module(found.name)
        except ImportError as error:
            needed = f"{getattr(error, 'name', None)}."
            known = needed.startswith(tuple(f"{package}." for package in OPTIONAL | PROVIDERS))
            assert known or "stategraph[" in str(error), f"{found.name}: {error!r}"
            missing.append(found.name)
    return f"{count - len(missing)} of {count} modules need no extra"


def features() -> str:
    """Ask for something of each extra; the error names it."""
    from stategraph import AgentInputs, AgentRuntime
    from stategraph.agent.mcp import McpSessions, StdioServer
    from stategraph.savers.urls import saver_at
    from stategraph.telemetry import Telemetry
    from stategraph.testing import ScriptedChatModel
    from stategraph.workers import NatsPool

    async def typed() -> None:
        model = ScriptedChatModel(replies=["{}"])
        schema = {"title": "Out", "type": "object", "properties": {}}
        async with AgentRuntime() as runtime:
            await runtime.create_run(run_id="1", agents=[AgentInputs(agent_id="a", model=model, output_type=schema)])

    async def tools() -> None:
        async with McpSessions({"clock": StdioServer(command=sys.executable)}) as sessions:
            await sessions.tools()

    async def traced() -> None:
        Telemetry().handler()

    async def stored() -> None:
        async with saver_at("postgresql://localhost/none"):
            pass

    async def sent() -> None:
        async with NatsPool("nats://127.0.0.1:1"):
            pass

    async def remote() -> None:
        importlib.import_module("stategraph.engine.remote.graph")

    asked = {"jsonschema": typed, "mcp": tools, "nats": sent, "otel": traced, "postgres": stored, "remote": remote}
    for extra, ask in asked.items():
        try:
            asyncio.run(ask())
        except ImportError as error:
            assert f"pip install 'stategraph[{extra}]'" in str(error), f"{extra}: {error}"
        else:
            raise AssertionError(f"{extra}: no error without its packages")
    return f"{', '.join(asked)}: the error names the extra"


def graph() -> None:
    from stategraph import END, START, Command, StateGraph, interrupt
    from stategraph.savers import SqliteSaver

    class State(TypedDict, total=False):
        answer: str

    def ask(state: State) -> State:
        return {"answer": interrupt("Go on?")}

    builder = StateGraph(State).add_node(ask).add_edge(START, "ask").add_edge("ask", END)
    config = {"configurable": {"thread_id": "1"}}
    for given in ({}, Command(resume="yes")):
        with SqliteSaver.from_conn_string("smoke.db") as saver:
            done = builder.compile(checkpointer=saver).invoke(given, config)
    assert done == {"answer": "yes"}, done


async def agent() -> None:
    from stategraph import AgentInputs, AgentRuntime
    from stategraph.testing import ScriptedChatModel, call, reply

    def clock(city: str) -> str:
        """Tell the time."""
        return f"noon in {city}"

    model = ScriptedChatModel(replies=[reply(call("clock", city="Rome")), "It is noon."])
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="1", agents=[AgentInputs(agent_id="a", model=model, tools=[clock])])
        runtime.start(run, {"messages": [("user", "What time is it?")]})
        events = [event.event async for event in runtime.attach("1")]
    assert "on_message_delta" in events and "on_run_step_completed" in events, events


def drop_in() -> None:
    graphs = importlib.import_module("langgraph.graph")
    assert graphs.StateGraph is stategraph.StateGraph
    importlib.import_module("langgraph.prebuilt").ToolNode  # noqa: B018 - that it is there is the test


def commands() -> None:
    command = Path(sys.executable).with_name("stategraph")
    for arguments in (["--version"], ["--help"], ["doctor"]):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout, (arguments, done.returncode, done.stdout, done.stderr)


if __name__ == "__main__":
    main()
