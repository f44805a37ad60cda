"""Resources as the page shows them, from a runtime that is open as long as the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from stategraph.dev.console.access import new_token
from stategraph.dev.console.runs import Runs
from stategraph.dev.inspector.graphs import svg_of
from stategraph.dev.replies import RefusedError
from stategraph.drawing.picture import Picture, picture_of
from stategraph.resources.manifests import describing
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.store.following import changes_over_gaps

if TYPE_CHECKING:
    from stategraph.resources.runtime import Runtime

#: Kinds that have a graph.
GRAPHS: Final = ("agent", "workflow", "network")


class Console:
    """The console of a server.

    Args:
        runtime: The resources; opened with `open`.
        folder: Manifests that are applied when it is opened; None: only what the store has.
        writes: Whether resources may be changed and run.
    """

    def __init__(self, runtime: Runtime, *, folder: str | None = None, writes: bool = False) -> None:
        self.runtime = runtime
        self._folder = folder
        self.writes = writes
        self.token = new_token()
        self.runs = Runs()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Reconcile for a block; runs that go on at its end are stopped."""
        from stategraph.resources.loading import load

        async with self.runtime:
            if self._folder is not None:
                await self.runtime.apply(load(self._folder))
            try:
                yield
            finally:
                await self.runs.close()

    def check_writes(self) -> None:
        """Check that something may be changed.

        Raises:
            RefusedError: It may not.
        """
        if not self.writes:
            raise RefusedError(
                403, "This console only reads: start the server with --write to run and change resources"
            )

    async def overview(self) -> dict[str, Any]:
        """Return the resources in rows, with the kinds that there are."""
        found = await self.runtime.list()
        return {"writes": self.writes, "resources": [_row(each) for each in found]}

    async def described(self, key: ResourceKey) -> dict[str, Any]:
        """Return a resource with why it is so, what is around it, and its drawing if it has a graph.

        Raises:
            LookupError: There is none.
        """
        resource = await self._get(key)
        around = describing.Around(await self.runtime.list())
        found = describing.facts(resource, around)
        picture = await self._picture(key)
        svg = None if picture is None else svg_of(picture, str(key))
        return {**found, "yaml": _yaml(resource), "svg": svg, "runnable": self.writes and picture is not None}

    async def _get(self, key: ResourceKey) -> Resource:
        found = await self.runtime.get(key)
        if found is None:
            raise LookupError(f"There is no {key}")
        return found

    async def _picture(self, key: ResourceKey) -> Picture | None:
        """Return the drawing of a resource; None if it has none, or is not compiled."""
        from stategraph.resources.errors import ResourceError

        if key.kind not in GRAPHS:
            return None
        try:
            graph = self.runtime.graph(key)
        except ResourceError:
            return None
        return picture_of(await graph.aget_graph(xray=True))

    async def begin(self, key: ResourceKey, given: Any) -> str:
        """Begin a run, and return its id.

        Raises:
            LookupError: There is no such resource.
            RefusedError: It cannot be run, or changes are not allowed.
        """
        self.check_writes()
        await self._get(key)
        picture = await self._picture(key)
        if picture is None:
            raise RefusedError(409, f"{key} cannot be run: it has no graph, or is not ready")
        return self.runs.begin(self.runtime.graph(key), picture, given)

    async def delete(self, key: ResourceKey) -> None:
        """Ask for the deletion of a resource.

        Raises:
            LookupError: There is none.
            RefusedError: Changes are not allowed.
        """
        self.check_writes()
        if not await self.runtime.delete(key):
            raise LookupError(f"There is no {key}")

    async def apply(self, text: str) -> list[dict[str, Any]]:
        """Apply manifests, and return what became of them.

        Raises:
            RefusedError: They cannot be read, or changes are not allowed.
        """
        from stategraph.resources.errors import ResourceError

        self.check_writes()
        try:
            applied = await self.runtime.load_from_string(text)
        except ResourceError as error:
            raise RefusedError(400, str(error)) from error
        return [
            {"key": str(each.key), "action": each.action, "problems": [str(problem) for problem in each.problems]}
            for each in applied
        ]

    async def changes(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield each change: the row of a resource, or the key of one that is gone."""
        store = self.runtime.store
        version = await store.version()
        known = {each.key for each in await self.runtime.list()}
        changes: Any = changes_over_gaps(store, version)
        async with aclosing(changes):
            async for change in changes:
                if change is None:
                    found_again = {each.key: each for each in await self.runtime.list()}
                    for key in known - set(found_again):
                        yield {"gone": str(key)}
                    for each in found_again.values():
                        yield {"row": _row(each)}
                    known = set(found_again)
                    continue
                known.add(change.key)
                found = await self.runtime.get(change.key)
                yield {"gone": str(change.key)} if found is None else {"row": _row(found)}


def _row(resource: Resource) -> dict[str, Any]:
    ready, reason, message = describing.state_of(resource)
    return {
        "key": str(resource.key),
        "kind": resource.kind,
        "namespace": resource.namespace,
        "name": resource.name,
        "ready": ready,
        "reason": reason,
        "message": message,
        "created": resource.metadata.creation_timestamp,
        "generation": resource.metadata.generation,
    }


def _yaml(resource: Resource) -> str:
    from stategraph.resources.loading import dump

    return dump(resource)
