"""No side door: while an agent of any kind runs, whatever leaves the process is part of an action that has begun.

The hook below hears every socket that connects, every process that is started and every file that is opened for
writing, and notes those that no action covers. What the engine and the log write is known by where it goes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent

from stategraph.engine.checkpoints.memory import in_memory_saver
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


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield stack.enter_context(world(tmp_path))


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        number = server.getsockname()[1]
        yield number
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
ALL = {("socket.connect", "connect"), ("subprocess.Popen", "start"), ("open", "write")}
THREAD: Any = {"configurable": {"thread_id": "t"}}


async def of_agents(made: World, doors: Doors, executor: Any) -> None:
    agent = {
        "agent_id": "a",
        "model": ScriptedChatModel(replies=[ANSWER, "Done."]),
        "tools": [tool(each) for each in doors.functions],
    }
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {"agents": [agent], "compile_options": {"checkpointer": in_memory_saver()}},
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
    agents = pytest.importorskip("langchain.agents", reason="langchain is in the environment of `make traps`")
    agent = agents.create_agent(
        ScriptedChatModel(replies=[ANSWER, "Done."]),
        [tool(each) for each in doors.functions],
        middleware=[action_middleware(executor)],
        checkpointer=InMemorySaver(),
    )
    async with Session(session()).active("run-1", "t"):
        await agent.ainvoke({"messages": [("user", "go")]}, THREAD)


KINDS = [of_agents, of_tool_nodes, of_langchain]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_leaves_the_process_is_part_of_an_action_that_has_begun(made: World, port: int, kind: Any) -> None:
    doors = Doors(made.folder, port)
    executor = made.executor(None, registry=doors.registry())
    with watching(made) as watch:
        asyncio.run(kind(made, doors, executor))
    assert watch.bare == []
    assert set(watch.covered) == ALL
    assert made.log.types.count("action.started") == 3
    assert set(made.log.durable) == {each.id for each in made.log.of("action.started")}


@pytest.mark.parametrize("door", range(3))
def test_a_planted_direct_call_is_caught(made: World, port: int, door: int) -> None:
    doors = Doors(made.folder, port)
    name, args = WANTED[door]

    def planted(state: MessagesState) -> dict[str, Any]:
        """Call a tool past the executor."""
        return {"messages": [ToolMessage(getattr(doors, name)(**args), tool_call_id="1")]}

    gate = ToolCallGate(made.executor(None, registry=doors.registry()))
    builder = StateGraph(MessagesState)
    tools = [tool(each) for each in doors.functions]
    builder.add_node("tools", ToolNode(tools, wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap))
    builder.add_node("planted", planted)
    builder.add_edge(START, "tools").add_edge("tools", "planted").add_edge("planted", END)
    calls = [{"name": each, "args": given, "id": f"call_{each}", "type": "tool_call"} for each, given in WANTED]
    with watching(made) as watch, Session(session()).active_sync("run-1", "t"):
        builder.compile().invoke({"messages": [HumanMessage("go"), AIMessage("", tool_calls=calls)]}, THREAD)
    assert set(watch.covered) == ALL
    assert watch.bare == [{"connect": "socket.connect", "start": "subprocess.Popen", "write": "open"}[name]]
