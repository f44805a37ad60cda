"""A service for tests of protocols, in one event loop and memory, over the engine alone.

It has what protocols call, and nothing else of a server: runs begin at once, one at a time on a thread, and their logs
are lists. The judges and the end-to-end tests use the server's own service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from stategraph.server.service.port import (
    FIRST_PAGE,
    Assistant,
    Caller,
    ConflictError,
    LoggedEvent,
    NotFoundError,
    Page,
    RunRecord,
    RunRequest,
    Service,
    Thread,
)
from stategraph.types import Command

_SERDE = JsonPlusSerializer()
_LOGGED = ("messages", "updates", "custom")
_NAMES = {"cancelled": "interrupted", "dead": "error"}


@dataclass
class _Run:
    record: RunRecord
    request: RunRequest
    log: list[LoggedEvent] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None
    status: str = "pending"
    changed_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def becomes(self, status: str) -> None:
        self.status, self.changed_at = status, datetime.now(UTC)

    async def put(self, kind: str, data: Any) -> None:
        stored = _SERDE.loads_typed(_SERDE.dumps_typed(data))
        self.log.append(LoggedEvent(self.record.run_id, len(self.log) + 1, 1, kind, stored))
        async with self.news:
            self.news.notify_all()


class FakeService:
    """Serves graphs by name."""

    def __init__(self, graphs: Mapping[str, Any]) -> None:
        self._graphs = {name: graph.copy({"checkpointer": InMemorySaver()}) for name, graph in graphs.items()}
        self._threads: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._runs: dict[str, _Run] = {}
        self._deleted: set[str] = set()

    def service(self) -> Service:
        """Return the service of it."""
        anything: Any = self
        return Service(anything, anything, anything, _Threads(self), anything, anything)  # type: ignore[arg-type]

    # Graphs and assistants.

    def ids(self) -> list[str]:
        return list(self._graphs)

    @asynccontextmanager
    async def open(self, graph_id: str, config: Any = None, **options: Any) -> AsyncIterator[Any]:
        yield self._graphs[graph_id]

    async def search(self, caller: Caller, **options: Any) -> list[Assistant]:
        page = options.get("page", Page())
        return [self._assistant(name) for name in self._graphs][page.offset : page.offset + page.limit]

    def _assistant(self, name: str) -> Assistant:
        now = datetime.now(UTC)
        return Assistant(str(uuid5(NAMESPACE_URL, name)), name, {}, None, {}, name, f"The {name}.", 1, now, now)

    async def get(self, caller: Caller, name: str, thread_id: str | None = None) -> Any:
        """Return an assistant, or a run."""
        if name in self._runs and name not in self._deleted:
            run = self._runs[name]
            if self._owners.get(run.record.thread_id) != caller.identity or thread_id not in (
                None,
                run.record.thread_id,
            ):
                raise NotFoundError(f"There is no run '{name}'")
            return self._record(run)
        for each in self._graphs:
            if name in (each, self._assistant(each).assistant_id):
                return self._assistant(each)
        raise NotFoundError(f"There is no assistant or run '{name}'")

    # Runs.

    def _record(self, run: _Run) -> RunRecord:
        known = run.record
        return RunRecord(
            known.run_id, known.thread_id, known.assistant_id, _NAMES.get(run.status, run.status), known.created_at,  # type: ignore[arg-type]
            run.changed_at, known.metadata, known.kwargs, known.multitask_strategy,
        )  # fmt: skip

    async def create(self, caller: Caller, request: RunRequest) -> RunRecord:
        if request.run_id in self._runs:
            return self._record(self._runs[request.run_id])
        assistant = await self.get(caller, request.assistant_id)
        thread_id = request.thread_id or str(uuid4())
        if self._owners.setdefault(thread_id, caller.identity) != caller.identity:
            raise NotFoundError(f"There is no thread '{thread_id}'")
        self._threads[thread_id] = assistant.graph_id
        now = datetime.now(UTC)
        run_id = request.run_id or str(uuid4())
        kwargs = {
            "input": request.input,
            "command": request.command,
            "config": request.config,
            "context": request.context,
        }
        record = RunRecord(
            run_id, thread_id, assistant.assistant_id, "pending", now, now, request.metadata, kwargs, "enqueue"
        )
        run = self._runs[run_id] = _Run(record, request)
        before = [each.task for each in self._runs.values() if each is not run and each.record.thread_id == thread_id]
        run.task = asyncio.create_task(self._execute(run, [each for each in before if each is not None]))
        return record

    async def _execute(self, run: _Run, before: list[asyncio.Task[None]]) -> None:
        await asyncio.gather(*before, return_exceptions=True)
        request, thread_id = run.request, run.record.thread_id
        graph = self._graphs[self._threads[thread_id]]
        own = {**request.config.get("configurable", {}), "thread_id": thread_id, **(request.checkpoint or {})}
        config = {**request.config, "configurable": own}
        given = Command(**request.command) if request.command else request.input
        run.becomes("running")
        await run.put("run.attempt", {"attempt": 1, "reason": None})
        status, error, waits = "success", None, False
        modes = list(dict.fromkeys([*_LOGGED, *request.stream_modes]))
        try:
            stream = graph.astream(given, config, stream_mode=modes, subgraphs=True, context=request.context)
            async for ns, mode, data in stream:
                waits = waits or (mode == "updates" and "__interrupt__" in data)
                await run.put("|".join((mode, *ns)), data)
            status = "interrupted" if waits else "success"
        except asyncio.CancelledError:
            status = "cancelled"
        except Exception as failure:
            status, error = "error", type(failure).__name__
        run.becomes(status)
        await run.put("run.end", {"status": status, "error": error})

    async def last_seq(self, caller: Caller, run_id: str) -> int:
        await self.get(caller, run_id)
        return len(self._runs[run_id].log)

    async def events(self, caller: Caller, run_id: str, after_seq: int = 0) -> AsyncGenerator[LoggedEvent, None]:
        await self.get(caller, run_id)
        run = self._runs[run_id]
        while not (after_seq and run.log[after_seq - 1].type == "run.end"):
            async with run.news:
                while len(run.log) <= after_seq:
                    await run.news.wait()
            for each in run.log[after_seq:]:
                after_seq = each.seq
                yield each

    async def wait(self, caller: Caller, run_id: str) -> RunRecord:
        async for _ in self.events(caller, run_id):
            pass
        return self._record(self._runs[run_id])

    async def output(self, caller: Caller, run_id: str) -> Any:
        await self.wait(caller, run_id)
        return next(each.data for each in reversed(self._runs[run_id].log) if each.type == "values")

    async def outcome(self, caller: Caller, run_id: str) -> tuple[RunRecord, Any]:
        run = await self.wait(caller, run_id)
        return run, None if run.status == "error" else await self.output(caller, run_id)

    async def cancel(self, caller: Caller, run_id: str, *, action: str = "interrupt", wait: bool = False) -> None:
        await self.get(caller, run_id)
        run = self._runs[run_id]
        if run.status not in ("pending", "running"):
            raise ConflictError("The run has ended")
        assert run.task is not None
        run.task.cancel()
        if wait:
            await self.wait(caller, run_id)

    async def delete(self, caller: Caller, run_id: str) -> None:
        await self.get(caller, run_id)
        self._deleted.add(run_id)

    async def list(self, caller: Caller, thread_id: str, **options: Any) -> list[RunRecord]:
        mine = [each for each in self._runs.values() if each.record.thread_id == thread_id]
        return [self._record(each) for each in reversed(mine) if each.record.run_id not in self._deleted]


class _Threads:
    def __init__(self, fake: FakeService) -> None:
        self._fake = fake
        self._metadata: dict[str, dict[str, Any]] = {}

    def _graph(self, caller: Caller, thread_id: str) -> Any:
        if self._fake._owners.get(thread_id) != caller.identity:
            raise NotFoundError(f"There is no thread '{thread_id}'")
        return self._fake._graphs.get(self._fake._threads.get(thread_id, ""))

    async def create(self, caller: Caller, *, thread_id: str | None = None, **options: Any) -> Thread:
        found = thread_id or str(uuid4())
        if found in self._fake._owners and options.get("if_exists") != "do_nothing":
            raise ConflictError(f"The thread '{found}' is there")
        self._fake._owners.setdefault(found, caller.identity)
        self._metadata.setdefault(found, dict(options.get("metadata") or {}))
        return await self.get(caller, found)

    async def get(self, caller: Caller, thread_id: str) -> Thread:
        self._graph(caller, thread_id)
        now = datetime.now(UTC)
        return Thread(thread_id, now, now, None, self._metadata.get(thread_id, {}), {}, "idle", None, {})

    async def search(
        self, caller: Caller, *, metadata: Mapping[str, Any] | None = None, page: Page = FIRST_PAGE, **options: Any
    ) -> list[Thread]:
        mine = [each for each, owner in self._fake._owners.items() if owner == caller.identity]
        wanted = (metadata or {}).get("assistant_id")
        found = [
            each
            for each in mine
            if wanted is None or self._fake._assistant(self._fake._threads.get(each, "")).assistant_id == wanted
        ]
        return [await self.get(caller, each) for each in found[page.offset : page.offset + page.limit]]

    async def update(self, caller: Caller, thread_id: str, metadata: Mapping[str, Any]) -> Thread:
        self._graph(caller, thread_id)
        self._metadata.setdefault(thread_id, {}).update(metadata)
        return await self.get(caller, thread_id)

    async def delete(self, caller: Caller, thread_id: str) -> None:
        self._graph(caller, thread_id)
        del self._fake._owners[thread_id]

    async def state(self, caller: Caller, thread_id: str, checkpoint: Any = None, **options: Any) -> Any:
        graph = self._graph(caller, thread_id)
        if graph is None:
            raise NotFoundError(f"Nothing has run on the thread '{thread_id}'")
        return await graph.aget_state({"configurable": {"thread_id": thread_id, **(checkpoint or {})}})

    async def update_state(self, caller: Caller, thread_id: str, values: Any, **options: Any) -> Any:
        graph = self._graph(caller, thread_id)
        return await graph.aupdate_state({"configurable": {"thread_id": thread_id}}, values, options.get("as_node"))

    async def history(self, caller: Caller, thread_id: str, *, limit: int = 10, **options: Any) -> list[Any]:
        graph = self._graph(caller, thread_id)
        config = {"configurable": {"thread_id": thread_id}}
        return [each async for each in graph.aget_state_history(config, limit=limit)]
