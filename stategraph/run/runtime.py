"""State that outlives a run: the models, MCP sessions, saver and store that runs share, and the running runs.

While it is open a runtime belongs to one event loop, as the connections of its models and servers do. Once it is closed
it makes and starts no runs, and those that it made end with AbortError. It may be opened again, in another event loop
too, as where each request has its own loop; models and sessions are then created again.

A backend opens one `AgentRuntime` at its start and closes it at its end. `create_run` is the one call for a turn; it is
there as a function too, for callers that share nothing.

Importing this module, making a runtime and opening it load neither LangChain nor the engine, unless the runtime is
given settings beside `runs_kept`: the first run does (0.5 s of processor time). A server that
would rather pay at its start imports `stategraph.Run` there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from stategraph.errors import AbortError, ConfigurationError
from stategraph.run import background_loop
from stategraph.run.abort import RUNTIME_CLOSED, AbortSignal
from stategraph.run.events.handler_registry import Handler, compose_event_handlers
from stategraph.run.loop_affinity import LoopAffinity
from stategraph.run.ports import EventLog, EventLogFactory, RunDirectory, RunEvent
from stategraph.run.recent_runs import RecentRuns
from stategraph.types import Command

if TYPE_CHECKING:  # they need LangChain
    from langchain_core.messages import BaseMessage
    from langchain_core.tools import BaseTool

    from stategraph.agent.mcp import McpServer, McpSessions
    from stategraph.agent.ports import ModelRegistry, ToolSource
    from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
    from stategraph.agent.tools.tool_sources import ToolSources
    from stategraph.run.config import RunConfig
    from stategraph.run.run import ProcessOptions, Run
    from stategraph.run.threads.port import ThreadIndex
    from stategraph.run.threads.sync_threads import SyncThreads
    from stategraph.run.threads.threads import Threads

_log = logging.getLogger(__name__)

#: Default for how many runs a runtime knows by their ids. Each keeps its events, one to two megabytes
#: for an answer of a thousand tokens.
RUNS_KEPT = 128


async def create_run(
    *,
    run_id: str,
    agents: Sequence[AgentInputs | Mapping[str, object]] = (),
    graph: Any = None,
    edges: Sequence[GraphEdge | Mapping[str, object]] = (),
    custom_handlers: Mapping[str, Handler] | None = None,
    signal: AbortSignal | None = None,
    token_counter: Callable[[BaseMessage], int] | None = None,
    index_token_count_map: Mapping[int, int] | None = None,
    checkpointer: Any = None,
    store: Any = None,
    models: ModelRegistry | None = None,
    **settings: Any,
) -> Run:
    """Make a run: the one call that a chat backend makes for a turn.

    Args:
        run_id: The run's name; a chat backend takes the id of the answer's message.
        agents: The agents; several, or any edge, make a graph of agents.
        graph: In place of agents, a compiled graph, its import path, or a function that returns it, see
            `RunConfig.graph`.
        edges: The ways between them.
        custom_handlers: Handlers by the name of their event.
        signal: Aborts the run.
        token_counter: Counts the tokens of a message; None: one for the model's name if counts are needed.
        index_token_count_map: Tokens of the input's messages by position, as the host knows them.
        checkpointer: Keeps the thread's state; None: the host sends the history with every turn.
        store: Long-term memory for the tools of agents; None: none.
        models: Resolves the models of agents; None: models of the run's own.
        **settings: Other fields of `RunConfig`.

    Returns:
        The run, not started.

    Raises:
        ConfigurationError: The configuration makes no sense.
        MissingPackageError: A model's package is not installed.
    """
    given = {
        "run_id": run_id,
        "agents": agents,
        "graph": graph,
        "edges": edges,
        "custom_handlers": custom_handlers,
        "signal": signal,
        "token_counter": token_counter,
        "index_token_count_map": index_token_count_map,
        "checkpointer": checkpointer,
        "store": store,
    }
    from stategraph.run.run import Run  # see the module's docstring
    from stategraph.run.runtime_settings import RunKeywords

    return await Run.create(RunKeywords.of({**given, **settings}).config(), models=models)


@dataclass(frozen=True, slots=True)
class RuntimeStatistics:
    """The contents of a runtime.

    Attributes:
        models: How many models it keeps, to be used again.
        runs_kept: How many runs it knows.
        runs_going: How many of them have not ended.
    """

    models: int
    runs_kept: int
    runs_going: int


class AgentRuntime:
    """Shared by all runs of a process. An async context manager; `with` opens it for callers that cannot await.

    Attributes:
        runs: The runs by their ids.

    Args:
        checkpointer: Keeps threads: a saver, or the address of a database, such as `sqlite:///threads.db` or
            `postgresql://...`, whose saver is open as long as the runtime is; None: they are not kept.
        store: Long-term memory; None: none.
        models: Resolves the models of agents; None: the providers known here, whose models are kept.
        mcp_servers: Servers whose tools agents may have, by name; or the sessions with them, to be opened here, if they
            have settings of their own.
        tool_sources: Further sources of tools, open as long as the runtime is, see `ToolSource`.
        custom_handlers: Handlers for every run, called before the run's own.
        runs_kept: How many runs are known by their ids when they have ended, the newest ones, so that a browser may
            come back to them. Runs that go on are always known.
        runs: Keeps the runs by their ids, in place of what `runs_kept` describes; None: they are kept in memory.
        event_log: Makes the log in which a run's events are kept; None: the newest are, in memory. A run with
            `event_log_size=0` has no log.
        thread_index: Keeps titles, owners and times of threads, see `threads`: True for a table in the checkpointer's
            database that runs keep from the start, or an index of your own. None: that table, from the first use of
            `threads` on.
        **settings: Further fields of `RunConfig` for every run, such as `hooks`, or `clock` and `ids`.

    Raises:
        ConfigurationError: A setting makes no sense, or there is none of its name.

    Example:
        ```python
        async with AgentRuntime(checkpointer=saver) as runtime:
            run = await runtime.create_run(run_id=message_id, agents=[agent])
            async for event in run.stream({"messages": [("user", text)]}, config):
                await send(event.to_sse())
        ```
    """

    def __init__(
        self,
        *,
        checkpointer: Any = None,
        store: Any = None,
        models: ModelRegistry | None = None,
        mcp_servers: Mapping[str, McpServer | Mapping[str, object]] | McpSessions | None = None,
        tool_sources: Sequence[ToolSource] = (),
        custom_handlers: Mapping[str, Handler] | None = None,
        runs_kept: int = RUNS_KEPT,
        runs: RunDirectory[Run] | None = None,
        event_log: EventLogFactory | None = None,
        thread_index: ThreadIndex | bool | None = None,
        **settings: Any,
    ) -> None:
        shared = {"checkpointer": checkpointer, "store": store, "custom_handlers": custom_handlers, **settings}
        own = {"models": models, "tool_sources": tool_sources, "runs_kept": runs_kept, "runs": runs}
        _check_settings({**shared, **own, "event_log": event_log, "thread_index": thread_index})
        self._sources: tuple[McpSessions, ToolSources] | None = None
        if mcp_servers is not None or tool_sources:
            self._sources = _sources(mcp_servers or {}, tool_sources)
        self._shared = {"checkpointer": checkpointer, "store": store, **settings}
        self._saver_url = checkpointer if isinstance(checkpointer, str) else None
        self._saver_exits = AsyncExitStack()
        self._handlers = dict(custom_handlers or {})
        self._given_models = models
        self._models = models
        self.runs: RunDirectory[Run] = RecentRuns(runs_kept) if runs is None else runs
        self._event_log = event_log
        self._thread_index = thread_index
        self._threads: Threads | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._affinity = LoopAffinity("The runtime")
        self._closed = False
        self._open = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._open else "not open"
        return f"<AgentRuntime {state}: {len(list(self.runs))} runs known, {self._models_kept} models kept>"

    async def __aenter__(self) -> Self:
        if self._open:
            raise ConfigurationError(
                "The runtime is open already: use it as it is, or leave the block in which it was opened before it is "
                "opened again"
            )
        if self._closed:
            # Kept models have connections that belong to the event loop of the previous block.
            self._models = self._given_models
            self._affinity, self._tasks = LoopAffinity("The runtime"), set()
            self._set_closed(False)
        self._affinity.check()
        if self._saver_url is not None:
            from stategraph.savers.urls import saver_at  # see the module's docstring

            self._shared["checkpointer"] = await self._saver_exits.enter_async_context(saver_at(self._saver_url))
        try:
            if self._sources is not None:
                await self._sources[1].open()
        except BaseException:
            await self._saver_exits.aclose()
            raise
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        """Open it where nothing can be awaited, in the background loop of the process; see `create_run_sync`."""
        return background_loop.current().run(self.__aenter__)

    def __exit__(self, *_: object) -> None:
        background_loop.current().run(self.aclose)

    async def aclose(self) -> None:
        """Stop every run that goes on, then close the sources of tools."""
        self._affinity.check()
        self._set_closed(True)
        runs = list(self.runs)
        for run in runs:
            run.abort(RUNTIME_CLOSED)
        try:
            await asyncio.gather(*(run.ended() for run in runs))
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            try:
                if self._sources is not None:
                    await self._sources[1].aclose()
            finally:
                self._open = False
                await self._saver_exits.aclose()

    async def create_run(
        self,
        *,
        run_id: str,
        agents: Sequence[AgentInputs | Mapping[str, object]] = (),
        custom_handlers: Mapping[str, Handler] | None = None,
        **settings: Any,
    ) -> Run:
        """Make a run on what this runtime shares.

        Args:
            run_id: The run's name.
            agents: Its agents; none with `graph=`, a compiled graph or its import path.
            custom_handlers: Handlers of this run, called after the runtime's.
            **settings: As for the function `create_run`; they win over the runtime's.

        Returns:
            The run, not started.

        Raises:
            ConfigurationError: The configuration makes no sense, a run of that name goes on, or the runtime is closed.
            MissingPackageError: A model's package is not installed.
        """
        self._check()
        if self._saver_url is not None and not self._open:
            raise ConfigurationError(
                "The runtime opens its checkpointer and is not open: use it in an 'async with' block"
            )
        from stategraph.run.runtime_settings import RunKeywords  # see the module's docstring

        given = {"run_id": run_id, "agents": agents, "custom_handlers": custom_handlers, **self._shared, **settings}
        keywords = RunKeywords.of(given)
        await self.runs.check(keywords.run_id)
        handlers = compose_event_handlers(self._handlers, keywords.custom_handlers)
        run = await self._make(keywords.config(custom_handlers=handlers))
        return await self._kept(run)

    async def _kept(self, run: Run) -> Run:
        """Return a run that is known from now on."""
        run.keeper = self.threads
        if background_loop.is_running():
            run.belong_to_sync_calls()
        await self.runs.add(run)
        return run

    def create_run_sync(
        self, *, run_id: str, agents: Sequence[AgentInputs | Mapping[str, object]] = (), **settings: Any
    ) -> Run:
        """Make a run where nothing can be awaited: the sync twin of `create_run`, for a runtime opened by `with`."""
        make = partial(self.create_run, run_id=run_id, agents=agents, **settings)
        return background_loop.current().run(make)

    async def _make(self, config: RunConfig) -> Run:
        from stategraph.agent.llm.models import Models  # see the module's docstring
        from stategraph.run.run import Run

        if self._models is None:
            self._models = Models()
        return await Run.create(config, models=self._models, log=self._log_of(config))

    @property
    def mcp(self) -> McpSessions:
        """The sessions with MCP servers."""
        return self._tool_sources()[0]

    def _tool_sources(self) -> tuple[McpSessions, ToolSources]:
        """Return the sessions with MCP servers, and all sources of tools, which were open before if there are any."""
        if self._sources is None:
            self._sources = _sources({}, ())
        return self._sources

    @property
    def threads(self) -> Threads:
        """The threads of the checkpointer: listed, searched, read, renamed, copied, exported, deleted."""
        if self._threads is None:
            from stategraph.run.threads.threads import Threads  # see the module's docstring

            self._threads = Threads(
                lambda: self._saver,
                lambda: self._shared["store"],
                lambda: (self.runs, self._event_log, self.mcp),
                self._thread_index,
            )
            self._threads.is_closed = self._closed
        return self._threads

    @property
    def threads_sync(self) -> SyncThreads:
        """The same for callers that cannot await, of a runtime that was opened by `with`."""
        from stategraph.run.threads.sync_threads import SyncThreads  # see the module's docstring

        return SyncThreads(self.threads)

    @property
    def _saver(self) -> Any:
        if self._saver_url is not None and not self._open:
            return None
        return self._shared["checkpointer"]

    def _log_of(self, config: RunConfig) -> EventLog | None:
        """Return the log that was asked for, for a run; None: the run makes its own, or has none."""
        if self._event_log is None or not config.event_log_size:
            return None
        return self._event_log(config.run_id)

    def start(
        self,
        run: Run,
        inputs: Mapping[str, object] | Command[Any],
        config: Mapping[str, object] | None = None,
        options: ProcessOptions | None = None,
    ) -> asyncio.Task[object]:
        """Execute a run in the background: it runs with or without readers, until it ends or the runtime is closed.

        Args:
            run: The run.
            inputs: As for `Run.process_stream`.
            config: As for `Run.process_stream`.
            options: As for `Run.process_stream`.

        Returns:
            The execution. It need not be awaited: how it ends is the last event, and a failure is logged.

        Raises:
            ConfigurationError: The run is being executed already, its thread is in use, the runtime is closed, or what
                was given is no run.
        """
        self._check()
        if not callable(getattr(run, "start", None)):
            raise ConfigurationError(
                f"start() was given a value of type {type(run).__name__}; expected a run, which create_run returns"
            )
        task = run.start(inputs, config, options)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, run.id))
        return task

    def _set_closed(self, closed: bool) -> None:
        self._closed = closed
        if self._threads is not None:
            self._threads.is_closed = closed

    def _check(self) -> None:
        self._affinity.check()
        if self._closed:
            raise ConfigurationError("The runtime is closed: it makes and starts no more runs")

    def _ended(self, run_id: str, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None or isinstance(error, AbortError):
            return
        _log.error("Run '%s' failed: %s: %s", run_id, type(error).__name__, error, exc_info=error)

    def get_run(self, run_id: str) -> Run | None:
        """Return a run created here by its id; None if there is none, or it ended long ago."""
        return self.runs.get(run_id)

    def abort(self, run_id: str, reason: str | None = None) -> bool:
        """Stop a run.

        Args:
            run_id: Which.
            reason: Why, for the error that its caller gets.

        Returns:
            Whether it was going on.
        """
        run = self.runs.get(run_id)
        if run is None or not run.running:
            return False
        run.abort(reason)
        return True

    def attach(self, run_id: str, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Watch a run by its id, see `Run.attach`.

        Args:
            run_id: Which.
            after_seq: The number of the last event that the reader has; 0: from the start.

        Returns:
            Events with their numbers.

        Raises:
            LookupError: There is no such run here.
        """
        return self.runs.known(run_id).attach(after_seq)

    async def tools(self, *names: str) -> list[BaseTool]:
        """Return the tools of MCP servers and other sources, for an agent.

        Args:
            *names: The servers and the like to ask; none: all.

        Raises:
            ValueError: There is none of that name.
        """
        return await self._tool_sources()[1].tools(*names)

    @property
    def _models_kept(self) -> int:
        return 0 if self._models is None else len(self._models)

    def statistics(self) -> RuntimeStatistics:
        """Return the present contents of the runtime."""
        running = [run.running for run in self.runs]
        return RuntimeStatistics(self._models_kept, len(running), sum(running))


def _check_settings(settings: Mapping[str, object]) -> None:
    """Refuse settings that make no sense.

    Raises:
        ConfigurationError: There are such settings, or there is none of a name.
    """
    given = {name: value for name, value in settings.items() if value is not None and value != ()}
    if type(given["runs_kept"]) is int and given["runs_kept"] >= 0:
        del given["runs_kept"]
    if given:
        from stategraph.run.runtime_settings import RuntimeSettings  # see the module's docstring

        if "durability" in given:
            raise ConfigurationError("'durability' is not a setting of AgentRuntime; it goes into the config of a run")
        RuntimeSettings.of(given)


def _sources(
    servers: Mapping[str, McpServer | Mapping[str, object]] | McpSessions, others: Sequence[ToolSource]
) -> tuple[McpSessions, ToolSources]:
    """Return the sessions with MCP servers, and the sources of tools that they are one of.

    Raises:
        ConfigurationError: A server is described wrongly, or another source lacks a part of `ToolSource`.
    """
    from stategraph.agent.mcp import McpSessions  # see the module's docstring
    from stategraph.agent.tools.tool_sources import ToolSources

    sessions = servers if isinstance(servers, McpSessions) else McpSessions(servers)
    return sessions, ToolSources((sessions, *others))
