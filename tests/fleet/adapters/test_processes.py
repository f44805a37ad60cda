"""Agents that `stategraph agents serve` runs as processes, asked through a directory and a router."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from stategraph.fleet.adapters.port import AdapterError
from stategraph.fleet.adapters.supervisor import Launch, Restarts, Supervisor
from tests.frameworks.frame import Heard, asking, served

pytestmark = pytest.mark.anyio

PROGRAM = """
    import asyncio

    from langchain_core.messages import AIMessage
    from langgraph.checkpoint.memory import InMemorySaver

    from stategraph import START, MessagesState, StateGraph

    print("a framework prints")


    async def talk(state: MessagesState):
        said = [each.content for each in state["messages"]]
        if said[-1] == "slowly":
            await asyncio.sleep(1.5)
        return {"messages": [AIMessage(" ".join(said))]}


    agent = StateGraph(MessagesState).add_node("talk", talk).add_edge(START, "talk").compile(InMemorySaver())
    """


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_graph_is_served_found_killed_replaced_and_drained(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(dedent(PROGRAM), encoding="utf-8")
    agent = served(
        "langgraph", "program:agent", runtime=sys.executable, folder=tmp_path, variables={}, scratch=tmp_path
    )
    async with agent as running, asking(running) as asks:
        assert (await asks.ask("one", "a")).text == "one"
        assert (await asks.ask("two", "a")).text == "one one two"
        endpoint = asks.of("a")
        os.kill(running.pids[endpoint.url], signal.SIGKILL)
        again = await asks.ask("three", "a", repeatable=True)
        assert again.state == "completed"
        async with asyncio.timeout(60):
            await running.replaced(endpoint.url)
        slow = Heard()
        async for event in asks.stream("slowly", "b"):
            if not slow.state:  # it has begun
                running.process.send_signal(signal.SIGTERM)
            slow.take(event)
        assert (slow.state, slow.text) == ("completed", "slowly")
        assert await asyncio.wait_for(running.process.wait(), 30) == 0
        await asks.directory.refresh()
        assert asks.directory.agents() == {}
    assert "a framework prints" in running.printed()


async def test_an_agent_that_cannot_be_served_is_not_tried_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stategraph", "agents", "serve", "custom", "no_such_module:agent"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    out, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (2, b"")
    assert b"'no_such_module:agent' cannot be imported: ModuleNotFoundError" in complaint
    assert b"The agent cannot be served; its process said why" in complaint


async def test_a_process_that_ends_too_often_ends_the_supervisor() -> None:
    told: list[tuple[str, object]] = []
    supervisor = Supervisor(
        Launch(command=[sys.executable, "-c", "import sys; sys.exit(7)"]),
        restarts=Restarts(1, 60.0),
        tell=lambda what, about: told.append((what, about)),
    )
    with pytest.raises(
        AdapterError, match="ended 2 times within 60 s; the last time: the process ended with exit code 7"
    ):
        await asyncio.wait_for(supervisor.run(), 60)
    assert told == [("ended", "the process ended with exit code 7; it starts again in 1 s")]


async def test_a_process_that_does_not_get_ready_is_ended() -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(600)"
    supervisor = Supervisor(Launch(command=[sys.executable, "-c", program]), restarts=Restarts(0, 60.0), start_s=0.5)
    with pytest.raises(AdapterError, match=r"the process was not ready within 0.5 s"):
        await asyncio.wait_for(supervisor.run(), 60)
