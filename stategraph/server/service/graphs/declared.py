"""Graphs of what is declared: a runtime of resources beside the server, on the same database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from stategraph.errors import ConfigurationError
from stategraph.import_paths import mapping_at

if TYPE_CHECKING:
    from stategraph.workers.attempts import SessionOf
    from stategraph.workers.hosted.sources import GraphSource
    from stategraph.workers.registry.runs import RunRegistry

#: Seconds that what is declared has to become ready before the server starts without it.
_READY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """Settings of what is declared, whose agents, workflows and networks a server serves.

    Attributes:
        folder: Manifests that are applied when the server starts; empty: only what the database has.
        only: Whether the folder alone says what there is, and the database has the threads.
        allow: Prefixes of modules that manifests may name, such as `app.`.
        services: What the program gives controllers, as `package.module:name`: a mapping, or a function that returns
            one; empty: nothing.
    """

    folder: str = ""
    only: bool = False
    allow: Sequence[str] = ()
    services: str = ""


@dataclass(frozen=True, slots=True)
class DeclaredGraphs:
    """Graphs of what is declared, as long as a server lives.

    Attributes:
        graphs: Functions that return the graphs, by their ids.
        find: Returns the graph of a run that was submitted for a resource, by its target; see `GraphSource.find`.
    """

    graphs: Mapping[str, Callable[[], Any]]
    find: Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Declared:
    """Resources whose graphs are served.

    Attributes:
        folder: Manifests that are applied when the server starts; None: only what the database has.
        allow: Prefixes of modules that manifests may name.
        services: What controllers are given, such as `model_factory`.
        stored: Whether the database has the resources; if not, the folder alone says what there is, and the database
            has the threads.
    """

    folder: str | None = None
    allow: Sequence[str] = ()
    services: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stored: bool = True

    @classmethod
    def said(cls, settings: ResourceSettings) -> Self:
        """Return what the settings of a server say.

        Raises:
            ConfigurationError: The services cannot be imported, or are no mapping.
        """
        services = mapping_at(settings.services, "[resources] services") if settings.services else {}
        return cls(settings.folder or None, tuple(settings.allow), services, stored=not settings.only)

    async def store(self, url: str) -> None:
        """Store the manifests of the folder, for other processes that reconcile; nothing where they are not stored.

        Raises:
            ConfigurationError: A manifest cannot be read.
        """
        if self.folder is None or not self.stored:
            return
        from stategraph.resources.errors import ResourceError  # as below
        from stategraph.resources.loading import load
        from stategraph.resources.store.opening import open_store

        store = open_store(url)
        try:
            await store.apply(load(self.folder))
        except ResourceError as error:
            raise ConfigurationError(str(error)) from error
        finally:
            await store.close()

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        registry: RunRegistry | None = None,
        served: GraphSource | None = None,
        session_of: SessionOf | None = None,
    ) -> AsyncIterator[DeclaredGraphs]:
        """Reconcile for a block, and yield the graphs.

        Args:
            url: The database.
            registry: Where Schedules submit runs, and Workers find them; None: there are none.
            served: Finds the graphs that the server serves, for Workers, which claim their runs too; None: there are
                none.
            session_of: Makes the sessions of runs, for Workers; None: runs have none.

        Raises:
            ConfigurationError: A manifest cannot be read, or nothing is declared that has a graph.
        """
        from stategraph.resources import serving  # pydantic and LangChain, which a server without resources has not
        from stategraph.resources.errors import ResourceError
        from stategraph.resources.loading import load
        from stategraph.resources.runtime import Runtime
        from stategraph.resources.store.opening import MEMORY

        own = {"registry": registry, "served_graphs": served, "session_of": session_of}
        given = {**{name: each for name, each in own.items() if each is not None}, **self.services}
        if not self.stored:
            given = {"database": url, **given}
        address = url if self.stored else MEMORY
        async with Runtime.from_url(address, allow=tuple(self.allow), **given) as runtime:
            if self.folder is not None:
                try:
                    await runtime.apply(load(self.folder))
                except ResourceError as error:
                    raise ConfigurationError(str(error)) from error
            with suppress(TimeoutError):  # a graph that is not ready says so when it is asked for
                await runtime.settled(_READY_S)
            found = await serving.graphs(runtime)
            if not found:
                raise ConfigurationError(
                    "Nothing is declared that has a graph (an Agent, a Workflow or a Network): name a folder, as in "
                    "--resources app/, or apply one to the database first"
                )
            yield DeclaredGraphs(found, serving.RuntimeGraphs(runtime).find)
