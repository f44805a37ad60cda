"""MCPServers that are real ones, over their standard streams and over HTTP: they die, come back, and change."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stategraph.testing import call, reply
from tests.resources.sources.kit import DEADLINE_S, Models, called, eventually, running, said

pytestmark = pytest.mark.anyio

SECRET = """
---
apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: keys}
spec: {valueFrom: {env: TOKEN}}
---
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: variable}
spec: {mcp: {serverRef: numbers, tool: variable}}
---
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: pid}
spec: {mcp: {serverRef: numbers, tool: pid}}
"""

SPECIMEN = Path(__file__).with_name("mcp_specimen.py")

MORE = """
---
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: sum}
spec: {mcp: {serverRef: numbers, tool: add}, risk: read}
---
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: clerk}
spec: {instructions: Count., model: "openai:gpt", tools: [mcpservers/numbers]}
"""


def server(fields: str) -> str:
    return (
        "apiVersion: stategraph.dev/v1\nkind: MCPServer\nmetadata: {name: numbers}\n"
        f"spec: {{checkEvery: 50ms, connectTimeout: 20s, {fields}}}\n"
    )


def over_stdio(offered: Path, more: str = "") -> str:
    return server(f'command: "{sys.executable}", args: ["{SPECIMEN}", stdio, "0", "{offered}"]{more}')


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    """A file that names the tools of the server."""
    file = tmp_path / "tools"
    file.write_text("add pid die variable")
    return file


@asynccontextmanager
async def serving(offered: Path, port: int = 0) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Run a server over HTTP, and yield its process and port."""
    command = [sys.executable, str(SPECIMEN), "http", str(port), str(offered)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_tools_over_standard_streams_are_listed_and_called_and_nothing_is_compiled_anew(offered: Path) -> None:
    models = Models(agent__default__clerk=[reply("", call("add", {"a": 2, "b": 3})), "five"])
    declared = over_stdio(offered, ", allowTools: [add, pid]") + MORE
    async with running(declared, model_factory=models) as runtime:
        await runtime.wait("agent/clerk", "Ready", DEADLINE_S)
        agent = runtime.agent("clerk")
        known = runtime.compiled("mcpserver/numbers")
        status = (await runtime.get("mcpserver/numbers")).status
        assert (status["connected"], status["tools"]) == (True, ["add", "pid"])
        assert await called(runtime, "sum", a=1, b=2) == "3"
        answer = await agent.generate("2 + 3?")
        assert [each.text for each in answer.messages if each.type == "tool"] == ["5"]
        listed, again = known.sessions.listing, asyncio.Event()

        async def listing(*servers: str, **options: bool):
            found = await listed(*servers, **options)
            again.set()
            return found

        known.sessions.listing = listing
        async with asyncio.timeout(DEADLINE_S):
            await again.wait()
        await runtime.settled()
        assert runtime.compiled("mcpserver/numbers") is known
        assert runtime.agent("clerk") is agent


async def test_a_program_that_was_killed_is_started_again_with_its_secret(offered: Path) -> None:
    text = over_stdio(offered, ", envFrom: {KEY: {name: keys}}") + SECRET
    async with running(text, environment={"TOKEN": "hunter22", "PATH": os.environ["PATH"]}) as runtime:
        await runtime.wait("tool/pid", "Ready", DEADLINE_S)
        first = int(await called(runtime, "pid"))
        os.kill(first, signal.SIGKILL)

        async def works() -> int:
            try:
                return int(await called(runtime, "pid"))
            except Exception:
                return 0

        assert await eventually(works) != first
        await said(runtime, "mcpserver/numbers", "Ready", "True")
        assert await called(runtime, "variable", name="KEY") == "hunter22"
        assert "hunter22" not in repr(await runtime.list())


async def test_a_server_that_goes_is_degraded_as_is_what_vanished_until_it_is_back(offered: Path) -> None:
    async with serving(offered) as (process, port):
        url = f'url: "http://127.0.0.1:{port}/mcp"'
        strict = server(f"{url}, allowTools: [add]").replace("name: numbers", "name: strict")
        async with running(server(url) + "---\n" + strict + MORE) as runtime:
            await runtime.wait("agent/clerk", "Ready", DEADLINE_S)
            assert await called(runtime, "sum", a=1, b=2) == "3"
            process.kill()
            await process.wait()
            gone = await said(runtime, "mcpserver/numbers", "Degraded", "True")
            assert gone.reason == "NotConnected"
            assert "the server does not answer" in gone.message
            assert (await runtime.get("mcpserver/numbers")).status["phase"] == "Degraded"
            with pytest.raises(Exception, match="numbers"):
                await called(runtime, "sum", a=1, b=2)
            await asyncio.to_thread(offered.write_text, "pid")
            async with serving(offered, port) as (other, _):
                lost = await said(runtime, "tool/sum", "Degraded", "True")
                assert "has no tool 'add' that may be used; it has: pid" in lost.message
                assert (await said(runtime, "tool/sum", "ReferencesResolved", "False")).reason == "ToolNotFound"
                await said(runtime, "mcpserver/numbers", "Ready", "True")

                async def is_told() -> bool:
                    return (await runtime.get("mcpserver/strict")).condition("Degraded").reason == "ToolNotFound"

                await eventually(is_told)
                told = (await runtime.get("mcpserver/strict")).condition("Ready").message
                assert "spec.allowTools: the server has no tool 'add'; it has: pid" in told
                other.kill()
                await other.wait()
                await said(runtime, "mcpserver/numbers", "Ready", "False")
            await asyncio.to_thread(offered.write_text, "pid add")
            async with serving(offered, port):
                await said(runtime, "tool/sum", "Ready", "True")
                for name in ("numbers", "strict"):
                    await said(runtime, f"mcpserver/{name}", "Ready", "True")
                    assert (await said(runtime, f"mcpserver/{name}", "Degraded", "False")).reason == "AsDeclared"
                assert await called(runtime, "sum", a=3, b=4) == "7"


@pytest.mark.parametrize(
    ("fields", "type", "reason", "told"),
    [
        ("command: no-such-program", "Ready", "NotConnected", "no-such-program"),
        (f'command: "{sys.executable}", args: ["-c", "print(1)"]', "Ready", "NotConnected", "numbers"),
        ('url: "http://127.0.0.1:9/mcp"', "Ready", "NotConnected", "numbers"),
        ('command: "x", url: "http://127.0.0.1:9"', "Valid", "Invalid", "either a 'command' that is started, or a"),
        ('command: "x", envFrom: {KEY: {name: keys}}', "ReferencesResolved", "NotFound", "there is no secret"),
    ],
)
async def test_a_server_that_cannot_be_had_says_why(fields: str, type: str, reason: str, told: str) -> None:
    async with running(server(fields)) as runtime:
        found = (await runtime.get("mcpserver/numbers")).condition(type)
        assert (found.status, found.reason) == ("False", reason)
        assert told in found.message
