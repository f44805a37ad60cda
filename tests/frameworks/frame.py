"""An agent of a framework in processes of its own, as a user would start them, and the requests to it.

`served` runs `stategraph agents serve` with two instances that register in a directory; `Asking` asks through that
directory and a router.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from a2a.types import StreamResponse
from google.protobuf.json_format import MessageToDict

from stategraph.fleet import A2aTransport, AgentEndpoint, Directory, HealthChecks, Router, message
from stategraph.fleet.sources.database import DatabaseSource

ROOT = Path(__file__).resolve().parent.parent.parent
AGENTS = Path(__file__).with_name("agents")

START_S = 240.0
ANSWER_S = 60.0


class NotServedError(Exception):
    """The agent's processes did not start; the message has what they printed."""


@dataclass(frozen=True, slots=True)
class Served:
    """An agent that is served.

    Attributes:
        name: The agent.
        process: The command that serves it.
        log: What it and its processes print to standard error.
        store: The database of its directory.
        pids: By address, the processes.
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path
    store: str
    pids: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def replaced(self, url: str, instances: int = 2) -> None:
        """Wait until a process is gone, and there are as many as before."""
        async with self.changed:
            await self.changed.wait_for(lambda: url not in self.pids and len(self.pids) == instances)

    def printed(self) -> str:
        """Return the end of what was printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3_000:]


@contextlib.asynccontextmanager
async def served(
    framework: str,
    target: str,
    *,
    runtime: str,
    folder: Path,
    variables: Mapping[str, str],
    scratch: Path,
    instances: int = 2,
) -> AsyncGenerator[Served]:
    """Serve an agent for as long as the block runs.

    Raises:
        NotServedError: It does not start, or its processes do not end when they are told to.
    """
    store = f"sqlite:///{scratch / 'agents.db'}"
    log = scratch / "agent.log"
    command = [sys.executable, "-m", "stategraph", "agents", "serve", framework, target, "--name", f"{framework}-agent"]
    command += ["--runtime", runtime, "--folder", str(folder), "--instances", str(instances), "--register"]
    command += ["--store", store, "--drain", "5", "--json"]
    with log.open("wb") as printed:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **variables},
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=printed,
            start_new_session=True,
        )
    agent = Served(f"{framework}-agent", process, log, store)
    following: asyncio.Task[None] | None = None
    try:
        await _until_ready(agent, instances)
        following = asyncio.create_task(_follow(agent))
        yield agent
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(40):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            raise NotServedError(f"the command did not end within 40 s: {agent.printed()}") from None
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


async def _until_ready(agent: Served, instances: int) -> None:
    try:
        async with asyncio.timeout(START_S):
            while len(agent.pids) < instances:
                if not await _event(agent):
                    raise NotServedError(f"the agent cannot be served: {agent.printed()}")
    except TimeoutError:
        raise NotServedError(f"the agent was not ready within {START_S:g} s: {agent.printed()}") from None


async def _follow(agent: Served) -> None:
    while await _event(agent):
        pass


async def _event(agent: Served) -> bool:
    assert agent.process.stdout is not None
    line = await agent.process.stdout.readline()
    if line.startswith(b"{"):
        said = json.loads(line)
        if said.get("event") == "ready":
            agent.pids[said["url"]] = said["pid"]
        elif said.get("event") == "gone":
            agent.pids.pop(said["url"], None)
        async with agent.changed:
            agent.changed.notify_all()
    return bool(line)


@dataclass(slots=True)
class Heard:
    """What an agent answered.

    Attributes:
        state: How the task ended.
        text: The answer's text.
        pieces: In how many pieces it came.
        calls: Calls of tools, by name, with their arguments.
        results: Results of tools.
        problem: What was told with the last status.
        metadata: Of the last status.
        task_id: The task.
        context_id: The conversation.
    """

    state: str = ""
    text: str = ""
    pieces: int = 0
    calls: list[tuple[str, Any]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    problem: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    task_id: str = ""
    context_id: str = ""

    def take(self, event: StreamResponse) -> None:
        """Take an event of the stream."""
        said = MessageToDict(event)
        for kind in ("task", "statusUpdate", "artifactUpdate"):
            if kind in said:
                self.context_id = said[kind].get("contextId", self.context_id)
        if "task" in said:
            self.task_id = said["task"]["id"]
            self._status(said["task"])
        elif "artifactUpdate" in said:
            for part in said["artifactUpdate"]["artifact"].get("parts", ()):
                if part.get("text"):
                    self.text += part["text"]
                    self.pieces += 1
        elif "statusUpdate" in said:
            self._status(said["statusUpdate"])

    def _status(self, update: Mapping[str, Any]) -> None:
        self.state = update["status"]["state"].removeprefix("TASK_STATE_").lower()
        self.metadata = dict(update.get("metadata", {}))
        for part in update["status"].get("message", {}).get("parts", ()):
            kind = part.get("metadata", {}).get("stategraph.dev/part")
            if kind == "tool-call":
                self.calls.append((part["data"]["name"], part["data"]["arguments"]))
            elif kind == "tool-result":
                self.results.append(part["data"]["content"])
            elif "text" in part and self.state != "working":
                self.problem = part["text"]


class Asking:
    """Asks an agent through its directory and a router."""

    def __init__(self, agent: Served, directory: Directory, router: Router[Any, StreamResponse]) -> None:
        self.agent = agent
        self.directory = directory
        self.router = router
        self.http = httpx.AsyncClient(timeout=30)

    def stream(self, text: str, context_id: str, **options: Any) -> AsyncIterator[StreamResponse]:
        """Ask, and return the events."""
        request = message(text, context_id=context_id)
        return self.router.stream(request, agent=self.agent.name, key=context_id, **options)

    async def ask(self, text: str, context_id: str = "", **options: Any) -> Heard:
        """Ask, and return the answer."""
        heard = Heard()
        async with asyncio.timeout(ANSWER_S):
            async for event in self.stream(text, context_id, **options):
                heard.take(event)
        return heard

    def of(self, context_id: str) -> AgentEndpoint:
        """Return the endpoint to which a conversation sticks."""
        from stategraph.fleet.directory import Wanted

        return self.directory.pick(Wanted(self.agent.name, frozenset()), "sticky", key=context_id).endpoint

    async def cancel(self, endpoint: AgentEndpoint, task_id: str) -> str:
        """Cancel a task and return its state."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "CancelTask", "params": {"id": task_id}}
        answer = await self.http.post(endpoint.url, json=call, headers={"A2A-Version": "1.0"})
        return str(answer.json().get("result", answer.json()).get("status", answer.json()).get("state", answer.text))


@contextlib.asynccontextmanager
async def asking(agent: Served) -> AsyncGenerator[Asking]:
    """Ask an agent for as long as the block runs."""
    source = DatabaseSource.from_url(agent.store)
    async with (
        Directory(source, refresh_s=0.5) as directory,
        A2aTransport() as transport,
        HealthChecks(directory, transport.cards, every_s=5.0),
    ):
        asks = Asking(agent, directory, Router(directory, transport, strategy="sticky"))
        try:
            yield asks
        finally:
            await asks.http.aclose()
