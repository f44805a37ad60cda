"""A runtime whose runs execute in workers: the same API as `AgentRuntime`, in threads, processes or on other machines.

- `create_run` returns a `Run`: its events, handlers, hooks, interrupts and messages are here as ever, in the same order
  and under the same numbers; models are called and tools run in a worker.
- Agents are data, and code by import paths. What cannot be sent is refused when the run is created, in a sentence.
- The thread of a run may be kept by any checkpointer of this process, which workers reach through it, or in a database
  that each of them opens itself. Those of other machines reach the database through this process too: so one that was
  given up can write no more, and none of them needs the address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError
from stategraph.run.config import RunConfig
from stategraph.run.events.handler_registry import Handler
from stategraph.run.run import Run
from stategraph.run.runtime import RUNS_KEPT, AgentRuntime
from stategraph.savers.urls import saver_at
from stategraph.workers import carrying
from stategraph.workers.agents.backends import Backend, Given, PoolSettings, WorkerSettings
from stategraph.workers.agents.remote_run import WorkerRun
from stategraph.workers.autoscale.driver import Autoscaler
from stategraph.workers.autoscale.machine import ScalingSettings
from stategraph.workers.cluster.pool import ClusterSettings
from stategraph.workers.hosting import HostingPool
from stategraph.workers.pool import PoolHealth, PoolStatistics
from stategraph.workers.references import Reference, names, recipe_of

_OPENER = f"{saver_at.__module__}:{saver_at.__qualname__}"


#: Settings of an `AgentRuntime` that cannot be had in workers, and the way out.
_STAYS_HERE = {
    "models": "workers make their models by themselves: leave it out",
    "mcp_servers": "sessions with servers belong to this process, and agents run in workers: open an "
    "McpSessions here, name its tools in an agent's 'tool_definitions', and execute them in a handler of "
    "'on_tool_execute'",
    "tool_sources": "tools that a source makes belong to this process, and agents run in workers: give an agent tools "
    "that have an import path, or are made by imported('package.module:function'), or name them in its "
    "'tool_definitions' and execute them here, in a handler of 'on_tool_execute'",
}


class MultiProcessRuntime(AgentRuntime):
    """Shared by all runs of a process, which execute in workers. An async context manager.

    Args:
        store: Where threads are kept: an address such as `sqlite:///runs.db` or `postgresql://...`, which each worker
            opens, or with `nats` this process alone; None: in `checkpointer`, if there is one. Unlike the `store` of an
            `AgentRuntime` it is no long-term memory, which goes to `create_run(store=...)`.
        workers: How many workers of this machine; None: 4, and with `nats` none, as nodes have theirs.
        backend: `process`, `thread`, `inline`: in this event loop, or `nats`: on the nodes that are connected to a NATS
            server, which `python -m stategraph worker --nats ... --allow my_app` starts on any machine.
        nats: The address of that server, see `NatsPool`.
        cluster: With `nats`: the tenant, how often a run is begun whose node is lost, and further settings.
        queue: With `nats`: the queue that runs wait in for a node; None: `default`.
        scaling: Has more workers while runs wait, and fewer while they are idle, within limits; its `capacity` is
            `max_concurrency_per_worker`. None: there are always `workers`.
        max_runs_per_worker: After so many runs a worker is replaced, 1,000 if it is not given; None: never.
        memory_limit_mb: Resident memory of a process, in MiB, above which it is replaced, 1,024 if it is not given;
            None: no limit.
        max_concurrency_per_worker: How many runs a worker has at a time; None: 10.
        checkpointer: Keeps threads, in this process; workers reach it through their connection. Excludes `store`.
        allow: More modules that workers may import, next to those of the code that runs name: for classes in
            messages and results.
        pass_environment: Environment variables that processes get, such as keys of model providers.
        environment: Environment variables of processes alone.
        context_vars: Context variables that travel with runs, by their import paths: `package.module:variable`.
        preload: Modules that processes import before their first run.
        custom_handlers: Handlers for every run, called before the run's own.
        runs_kept: How many runs are known by their ids when they have ended.
        **settings: `runs`, `event_log` and `thread_index` as for `AgentRuntime`, and further fields of `RunConfig` for
            every run, such as `hooks`.

    Raises:
        ConfigurationError: The settings make no sense, or one of them would have no effect.

    Example:
        ```python
        async with MultiProcessRuntime(store="sqlite:///runs.db", workers=4) as runtime:
            run = await runtime.create_run(run_id=message_id, agents=[agent])
            async for event in run.stream({"messages": [("user", text)]}, config):
                await send(event.to_sse())
        ```
    """

    def __init__(
        self,
        *,
        store: str | None = None,
        workers: int | None = None,
        backend: Backend = "process",
        nats: str | None = None,
        cluster: ClusterSettings | None = None,
        queue: str | None = None,
        scaling: ScalingSettings | None = None,
        max_runs_per_worker: Given[int | None] = ...,
        memory_limit_mb: Given[int | None] = ...,
        max_concurrency_per_worker: int | None = None,
        checkpointer: Any = None,
        allow: Iterable[str] = (),
        pass_environment: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
        context_vars: Iterable[str] = (),
        preload: Iterable[str] = (),
        custom_handlers: Mapping[str, Handler] | None = None,
        runs_kept: int = RUNS_KEPT,
        **settings: Any,
    ) -> None:
        _refuse_what_stays_here(settings)
        _check_address(store)
        numbers = {"max_runs_per_worker": max_runs_per_worker, "memory_limit_mb": memory_limit_mb}
        given = {
            **{name: value for name, value in numbers.items() if value is not ...},
            "store": store,
            "workers": workers,
            "backend": backend,
            "nats": nats,
            "cluster": cluster,
            "queue": queue,
            "scaling": scaling,
            "max_concurrency_per_worker": max_concurrency_per_worker,
            "checkpointer": checkpointer,
            "environment": environment,
            "custom_handlers": custom_handlers,
            "runs_kept": runs_kept,
        }
        WorkerSettings.of({**settings, **given})
        super().__init__(custom_handlers=custom_handlers, runs_kept=runs_kept, **settings)
        if store is not None and checkpointer is not None:
            raise ConfigurationError("Both 'store' and 'checkpointer' were given; threads are kept in one of them")
        self._pools = PoolSettings(
            backend=backend,
            workers=workers,
            nats=nats,
            cluster=cluster,
            queue=queue,
            scaling=scaling,
            max_runs_per_worker=max_runs_per_worker,
            memory_limit_mb=memory_limit_mb,
            max_concurrency_per_worker=max_concurrency_per_worker,
            allow=names(allow, "allow"),
            pass_environment=names(pass_environment, "pass_environment"),
            environment=environment,
            preload=names(preload, "preload"),
        )
        self._pool: HostingPool | None = None
        self._autoscaler: Autoscaler | None = None
        self._store_url = store
        self._own_saver = checkpointer
        self._context_vars = names(context_vars, "context_vars")
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            if self._store_url is not None:
                self._own_saver = await self._exits.enter_async_context(saver_at(self._store_url))
            await self.pool.__aenter__()
            self._autoscaler = self._pools.autoscaler(self.pool)
            if self._autoscaler is not None:
                await self._autoscaler.__aenter__()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def aclose(self) -> None:
        """Stop every run that goes on, then the workers."""
        try:
            if self._autoscaler is not None:
                await self._autoscaler.__aexit__()
            await super().aclose()
        finally:
            pool, self._pool = self._pool, None
            try:
                if pool is not None:
                    await pool.aclose()
            finally:  # also if the host waits no longer for the workers
                await self._exits.aclose()

    @property
    def _saver(self) -> Any:
        return self._own_saver

    @property
    def pool(self) -> HostingPool:
        """The pool of workers: it may be resized, and takes other jobs too."""
        if self._pool is None:
            self._pool = self._pools.pool()
        return self._pool

    @property
    def autoscaler(self) -> Autoscaler | None:
        """Changes the number of workers, with the history of that; None without `scaling`, or before it opens."""
        return self._autoscaler

    async def health(self) -> PoolHealth:
        """Return the workers' present state."""
        return await self.pool.health()

    def worker_statistics(self) -> PoolStatistics:
        """Return the workers' statistics so far."""
        return self.pool.statistics()

    async def create(self, config: RunConfig | Mapping[str, object]) -> Run:
        """Make a run from its whole configuration, see `Run.create`.

        Raises:
            ConfigurationError: The configuration makes no sense, a run of that id goes on, or the runtime is closed.
            TransferError: It cannot be sent to a worker.
        """
        self._check()
        config = RunConfig.of(config)
        await self.runs.check(config.run_id)
        run = await self._make(config)
        return await self._kept(run)

    async def _make(self, config: RunConfig) -> Run:
        saver = config.graph_config.compile_options.checkpointer
        opener, on_nodes = recipe_of(saver), self.pool.begins_again
        if opener is not None and on_nodes:
            raise ConfigurationError(
                f"The checkpointer of run '{config.run_id}' is made by {opener.target!r} in each worker, and a node "
                "that is given up while it stalls could write with it behind the back of the next one: give the "
                "runtime a 'store', or a checkpointer of this process"
            )
        if saver is None:
            if self._store_url is not None and self._own_saver is None:
                raise ConfigurationError("The runtime has a store and is not open: use it in an 'async with' block")
            saver = self._own_saver
            if self._store_url is not None and not on_nodes:
                opener = Reference(_OPENER, {"url": self._store_url})
        if saver is None and config.may_ask:
            saver = in_memory_saver()
        log, queue = self._log_of(config), self._pools.queue or "default"
        return WorkerRun(config, self.pool, saver, opener, self._carry, self._models, log, queue)

    def _carry(self) -> tuple[bytes, str | None]:
        return carrying.carried(self._context_vars), carrying.traceparent()


def _refuse_what_stays_here(settings: Mapping[str, object]) -> None:
    for name, why in _STAYS_HERE.items():
        if name in settings:
            raise ConfigurationError(f"{name!r} was given, and {why}")


def _check_address(store: object) -> None:
    if store is not None and not isinstance(store, str):
        raise ConfigurationError(
            f"'store' is a value of type {type(store).__name__}; here it is the address of the database of threads, "
            "such as 'sqlite:///runs.db'. Long-term memory goes to create_run(store=...), and needs an import path"
        )
