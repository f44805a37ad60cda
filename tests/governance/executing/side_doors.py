"""Run agents of every kind, and say of all that leaves the process whether it is part of an action that has begun.

    python -m tests.governance.executing.side_doors

The hook below hears every socket that connects, every process that is started and every file that is opened for
writing, and notes those that no action covers. What the engine and the log write is known by where it goes. A hook
stays for the life of its process: hence this is a program of its own. It prints a line of JSON for each kind.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent

from stategraph.agent.settings.inputs import AgentInputs, GraphEdge, SubagentConfig
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.governance.capabilities.agents import tools_of
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.executor import current_action
from stategraph.governance.gates.agents import ActionGate
from stategraph.governance.gates.middleware import action_middleware
from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.executing.kit import World, session, world

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Watch:
    """What left the process while it was on.

    Attributes:
        folder: Only files in it count: others are the interpreter's own.
        covered: What an action covered, as (event, the capability's name).
        bare: What none did.
    """

    def __init__(self) -> None:
        self.folder: str | None = None
        self.covered: list[tuple[str, str]] = []
        self.bare: list[str] = []
        self.log: Any = None

    def hear(self, event: str, args: Any) -> None:
        if self.folder is None or event not in ("socket.connect", "subprocess.Popen", "open"):
            return
        if event == "open":
            path, mode, flags = args
            is_ours = isinstance(path, str | os.PathLike) and str(path).startswith(f"{self.folder}/out")
            if not is_ours or not (set(mode or "") & set("wax+") or (flags or 0) & WRITING):
                return
        elif event == "socket.connect" and not isinstance(args[1], tuple):
            return  # a pipe of an event loop
        current = current_action()
        started = set() if current is None else {each.call_id for each in self.log.of("action.started")}
        if current is not None and current.request.call_id in started:
            self.covered.append((event, current.capability.name))
        else:
            self.bare.append(event)


WATCH = Watch()
sys.addaudithook(WATCH.hear)


@contextmanager
def watching(made: World) -> Iterator[Watch]:
    WATCH.covered, WATCH.bare, WATCH.log = [], [], made.log
    WATCH.folder = str(made.folder)
    try:
        yield WATCH
    finally:
        WATCH.folder = None


@contextmanager
def listening() -> Iterator[int]:
    """Have somebody listen on a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                server.accept()[0].close()

        thread = threading.Thread(target=accept)
        thread.start()
        number = server.getsockname()[1]
        try:
            yield number
        finally:
            over.set()
            socket.create_connection(("127.0.0.1", number), 60).close()
            thread.join(60)


class Doors:
    """Tools that leave the process in each way."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def connect(self, host: str) -> str:
        """Connect somewhere."""
        socket.create_connection((host, self.port), 60).close()
        return "connected"

    def start(self, code: str) -> str:
        """Start a process."""
        return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60).stdout

    def write(self, text: str) -> str:
        """Write a file."""
        (self.folder / "out").write_text(text)
        return "written"

    @property
    def functions(self) -> list[Any]:
        return [self.connect, self.start, self.write]

    def registry(self) -> Registry:
        return Registry(
            *(offer(each, Traits(source="doors", risk="external"), in_place=True) for each in self.functions)
        )


WANTED = (("connect", {"host": "127.0.0.1"}), ("start", {"code": "print(1)"}), ("write", {"text": "x"}))
ANSWER = script.reply("", *(script.call(name, args, id=f"call_{name}") for name, args in WANTED))
THREAD: Any = {"configurable": {"thread_id": "t"}}


async def of_agents(made: World, doors: Doors, executor: Any) -> None:
    agent = {
        "agent_id": "a",
        "model": ScriptedChatModel(replies=[ANSWER, "Done."]),
        "tools": [tool(each) for each in doors.functions],
    }
    await played({"agents": [agent]}, executor)


async def of_agents_as_tools(made: World, doors: Doors, executor: Any) -> None:
    """An agent has another one work, which acts."""
    worker = AgentInputs(
        agent_id="worker",
        model=ScriptedChatModel(replies=[ANSWER, "Did it."]),
        tools=[tool(each) for each in doors.functions],
    )
    call = script.call("subagent", {"subagent_type": "worker", "description": "do it"}, id="call_sub")
    config = SubagentConfig(type="worker", description="Works.", agent_inputs=worker)
    planner = AgentInputs(
        agent_id="planner",
        model=ScriptedChatModel(replies=[script.reply("", call), "Done."]),
        subagent_configs=[config],
    )
    executor.registry.add(*tools_of([planner]))
    await played({"agents": [planner]}, executor)


async def of_handoffs(made: World, doors: Doors, executor: Any) -> None:
    """An agent hands over to another one, which acts."""
    call = script.call("lc_transfer_to_worker", {}, id="call_over")
    first = AgentInputs(agent_id="first", model=ScriptedChatModel(replies=[script.reply("", call)]))
    worker = AgentInputs(
        agent_id="worker",
        model=ScriptedChatModel(replies=[ANSWER, "Done."]),
        tools=[tool(each) for each in doors.functions],
    )
    edges = [{"from": "first", "to": "worker", "edge_type": "handoff"}]
    offers = tools_of([first, worker], [GraphEdge.model_validate(each) for each in edges])
    known = [each for each in offers if each.capability.kind == "agent"]
    executor.registry.add(*known)
    await played({"type": "multi-agent", "agents": [first, worker], "edges": edges}, executor)


async def played(config: dict[str, Any], executor: Any) -> None:
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {**config, "compile_options": {"checkpointer": in_memory_saver()}},
            "tool_gates": [ActionGate(executor)],
            "session": Session(session()),
        }
    )
    await run.process_stream({"messages": [("user", "go")]}, THREAD)


async def of_tool_nodes(made: World, doors: Doors, executor: Any) -> None:
    gate = ToolCallGate(executor)
    node = ToolNode([tool(each) for each in doors.functions], wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap)
    agent = create_react_agent(
        ScriptedChatModel(replies=[ANSWER, "Done."]), node, checkpointer=InMemorySaver(), version="v1"
    )
    async with Session(session()).active("run-1", "t"):
        await agent.ainvoke({"messages": [("user", "go")]}, THREAD)


async def of_langchain(made: World, doors: Doors, executor: Any) -> None:
    from langchain import agents

    agent = agents.create_agent(
        ScriptedChatModel(replies=[ANSWER, "Done."]),
        [tool(each) for each in doors.functions],
        middleware=[action_middleware(executor)],
        checkpointer=InMemorySaver(),
    )
    async with Session(session()).active("run-1", "t"):
        await agent.ainvoke({"messages": [("user", "go")]}, THREAD)


def planted(made: World, doors: Doors, executor: Any, door: int) -> None:
    """Run a graph in which a node calls a tool past the executor."""
    name, args = WANTED[door]

    def past(state: MessagesState) -> dict[str, Any]:
        return {"messages": [ToolMessage(getattr(doors, name)(**args), tool_call_id="1")]}

    gate = ToolCallGate(executor)
    builder = StateGraph(MessagesState)
    tools = [tool(each) for each in doors.functions]
    builder.add_node("tools", ToolNode(tools, wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap))
    builder.add_node("past", past)
    builder.add_edge(START, "tools").add_edge("tools", "past").add_edge("past", END)
    calls = [{"name": each, "args": given, "id": f"call_{each}", "type": "tool_call"} for each, given in WANTED]
    with Session(session()).active_sync("run-1", "t"):
        builder.compile().invoke({"messages": [HumanMessage("go"), AIMessage("", tool_calls=calls)]}, THREAD)


KINDS = {each.__name__: each for each in (of_agents, of_agents_as_tools, of_handoffs, of_tool_nodes, of_langchain)}


def seen(kind: str) -> dict[str, Any]:
    """Run one kind, and say what was seen."""
    with tempfile.TemporaryDirectory() as name, world(Path(name)) as made, listening() as port:
        doors = Doors(made.folder, port)
        executor = made.executor(None, registry=doors.registry())
        with watching(made) as watch:
            if kind.startswith("planted"):
                planted(made, doors, executor, int(kind[-1]))
            else:
                asyncio.run(KINDS[kind](made, doors, executor))
        ids = {f"call_{tool_name}" for tool_name, _ in WANTED}
        risky = [each.id for each in made.log.of("action.started") if each.call_id in ids]
        return {
            "kind": kind,
            "covered": sorted(set(watch.covered)),
            "bare": watch.bare,
            "started": len(risky),
            "durable": set(risky) <= set(made.log.durable),
        }


def main() -> None:
    warnings.simplefilter("ignore")
    for kind in [*KINDS, "planted 0", "planted 1", "planted 2"]:
        if kind == "of_langchain" and importlib.util.find_spec("langchain") is None:
            print(json.dumps({"kind": kind, "left_out": "langchain is not installed"}), flush=True)
        else:
            print(json.dumps(seen(kind)), flush=True)


if __name__ == "__main__":
    main()
