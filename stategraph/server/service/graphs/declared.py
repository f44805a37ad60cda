"""Graphs of what is declared: a runtime of resources beside the server, on the same database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.errors import ConfigurationError

#: Seconds that what is declared has to become ready before the server starts without it.
_READY_S: Final = 60.0


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

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Mapping[str, Any]]:
        """Reconcile for a block, and yield functions that return the graphs, by their ids.

        Args:
            url: The database.

        Raises:
            ConfigurationError: A manifest cannot be read, or nothing is declared that has a graph.
        """
        from stategraph.resources import serving  # pydantic and LangChain, which a server without resources has not
        from stategraph.resources.errors import ResourceError
        from stategraph.resources.loading import load
        from stategraph.resources.runtime import Runtime
        from stategraph.resources.store.opening import MEMORY

        where = {} if self.stored else {"database": url}
        address = url if self.stored else MEMORY
        async with Runtime.from_url(address, allow=tuple(self.allow), **{**where, **self.services}) as runtime:
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
            yield found
