"""The graphs that are served, for protocols (`port.Graphs`) and for workers (`GraphSource`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

from stategraph.errors import ConfigurationError, TransferError
from stategraph.server.service.graphs import contexts, environment, loading
from stategraph.server.service.graphs.configuration import Configuration, GraphPlace
from stategraph.server.service.graphs.factories import Factory, Need
from stategraph.server.service.port import ANYONE, Caller, NotFoundError
from stategraph.workers.hosted.sources import SERVED, GraphGone, GraphMaker, StoredRun

#: The scheme of the target of a run of a graph that is served; the graph's id follows.
SCHEME: Final = SERVED.rstrip(":")

#: Where the config of a run keeps who asked for it.
USER: Final = "langgraph_auth_user"


class ServedGraphs:
    """Graphs by their ids.

    Args:
        graphs: Compiled graphs, functions that make them, agents: whatever `loading.usable` takes.
        descriptions: What they do.
        saver: Keeps threads; None: graphs are opened as they are.
        store: The server's store; None: graphs keep their own.

    Raises:
        ConfigurationError: One of them cannot be served.
    """

    def __init__(
        self,
        graphs: Mapping[str, Any],
        descriptions: Mapping[str, str | None] | None = None,
        *,
        saver: Any = None,
        store: Any = None,
    ) -> None:
        if wrong := [each for each in graphs if not each or ":" in each]:
            raise ConfigurationError(f"A graph has the id {wrong[0]!r}; ids are not empty, and have no colon")
        self._given = {name: loading.usable(graph, name) for name, graph in graphs.items()}
        self._descriptions = descriptions or {}
        self._ready: dict[str, Any] = {}
        self.saver = saver
        self.store = store
        #: Erases what a run with `rollback` takes back, before it begins; set by the service.
        self.erase: Callable[[StoredRun], Awaitable[None]] | None = None
        #: Finds the graphs of runs whose targets have another scheme, see `GraphSource.find`; None: there are none.
        self.find_other: Callable[[str], Awaitable[Any]] | None = None

    @classmethod
    def from_configuration(cls, configuration: Configuration, *, saver: Any = None, store: Any = None) -> Self:
        """Import the graphs of a configuration, after its environment was prepared.

        Raises:
            ConfigurationError: One of them cannot be imported.
        """
        environment.prepare(configuration)
        return cls.at(configuration.graphs, configuration.folder, saver=saver, store=store)

    @classmethod
    def at(cls, places: Mapping[str, GraphPlace], folder: Path, *, saver: Any = None, store: Any = None) -> Self:
        """Import graphs by their places; relative files are looked for in a folder.

        Raises:
            ConfigurationError: One of them cannot be imported.
        """
        found = {name: loading.found_at(place.path, folder) for name, place in places.items()}
        descriptions = {name: place.description for name, place in places.items()}
        return cls(found, descriptions, saver=saver, store=store)

    def add(self, graphs: Mapping[str, Any]) -> None:
        """Serve further graphs.

        Raises:
            ConfigurationError: One of them cannot be served, or has the id of another one.
        """
        if twice := sorted(set(graphs) & set(self._given)):
            raise ConfigurationError(
                f"Two graphs have the id '{twice[0]}': one that was named, and one that is declared; give one of them "
                "another name"
            )
        self._given |= {name: loading.usable(graph, name) for name, graph in graphs.items()}

    def ids(self) -> Sequence[str]:
        """Return the ids, in the order in which they were named."""
        return tuple(self._given)

    def description(self, graph_id: str) -> str | None:
        """Return what a graph is said to do; None if nothing is said."""
        return self._descriptions.get(graph_id)

    def target(self, graph_id: str) -> str:
        """Return how runs name a graph."""
        return f"{SCHEME}:{graph_id}"

    def open(
        self,
        graph_id: str,
        config: Mapping[str, Any] | None = None,
        *,
        access: str = "threads.read",
        caller: Caller = ANYONE,
        context: Any = None,
    ) -> AbstractAsyncContextManager[Any]:
        """Return a compiled graph for a block, see `port.Graphs.open`."""
        user = caller.user or None
        return self._open(graph_id, Need(access, config or {}, context, user, self.store))

    @asynccontextmanager
    async def _open(self, graph_id: str, need: Need) -> AsyncIterator[Any]:
        given = self._given.get(graph_id)
        if given is None:
            raise NotFoundError(f"There is no graph '{graph_id}'. Those that are served: {', '.join(self._given)}")
        if not isinstance(given, Factory):
            yield self._prepared(graph_id, given)
            return
        async with _not_found(given.open(need)) as made:
            graph = made.compile() if not hasattr(made, "astream") and hasattr(made, "compile") else made
            if not hasattr(graph, "astream"):
                raise ConfigurationError(
                    f"The function of the graph '{graph_id}' returned a value of type {type(graph).__name__}; expected "
                    "a compiled graph"
                )
            yield self._equipped(graph_id, graph)

    def _prepared(self, graph_id: str, graph: Any) -> Any:
        """Return a graph that no function makes: the same each time."""
        found = self._ready.get(graph_id)
        if found is None:
            found = self._ready[graph_id] = self._equipped(graph_id, graph)
        return found

    def _equipped(self, graph_id: str, graph: Any) -> Any:
        update: dict[str, Any] = {}
        if self.saver is not None:
            update["checkpointer"] = self.saver
        if self.store is not None:
            update["store"] = self.store
        if getattr(graph, "name", None) in (None, "LangGraph"):
            update["name"] = graph_id
        return graph.copy(update) if update else graph

    # For workers.

    async def find(self, target: str) -> Any:
        """Return what makes the graph of a run, see `GraphSource.find`."""
        scheme, _, graph_id = target.partition(":")
        if scheme != SCHEME and self.find_other is not None:
            return await self.find_other(target)
        if scheme != SCHEME or graph_id not in self._given:
            raise TransferError(f"The target {target!r} is none of the graphs that are served here")
        return _Maker(self, graph_id)


class _NotServedError(NotFoundError, GraphGone):
    """A graph that was served is gone: for clients there is no such thing."""


@asynccontextmanager
async def _not_found(opening: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    """Open a graph for a block; one that is gone is an answer for clients."""
    try:
        made = await opening.__aenter__()
    except GraphGone as error:
        raise _NotServedError(str(error)) from None
    async with AsyncExitStack() as stack:
        stack.push_async_exit(opening)
        yield made


class _Maker(GraphMaker):
    """Makes the graph of a run for an attempt."""

    def __init__(self, graphs: ServedGraphs, graph_id: str) -> None:
        self._graphs = graphs
        self._graph_id = graph_id

    @asynccontextmanager
    async def open(self, run: StoredRun) -> AsyncIterator[Any]:
        """Open the graph for a run, after what it takes back was erased."""
        graphs = self._graphs
        if run.takes_back and graphs.erase is not None:
            await graphs.erase(run)
        user = run.config.get("configurable", {}).get(USER)
        need = Need("threads.create_run", run.config, run.context, user, graphs.store)
        async with graphs._open(self._graph_id, need) as graph:
            yield graph

    def context_of(self, graph: Any, run: StoredRun) -> Any:
        """Return the context as LangGraph's server gives it to a graph, see `contexts.fitted`."""
        return contexts.fitted(getattr(graph, "context_schema", None), run.context)
