"""Assistants: graphs with settings, in versions.

Rules
-----
* Each graph is an assistant by itself, whose id is made of the graph's, so that it is the same everywhere. It is there
  from the first look at assistants on, and is not deleted.
* A change makes a new version: what is given replaces what was there, metadata are merged. An older version can be
  made the current one again; versions are never changed.
* A config's `configurable` and the context are two names for the same settings: who gives one has given the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID, uuid4, uuid5

from stategraph.server.service import paging
from stategraph.server.service.database import Tables, decoded, encoded, when
from stategraph.server.service.filters import Condition, allowed, contains, every
from stategraph.server.service.port import Graphs
from stategraph.server.service.runs.requests import check_config
from stategraph.server.service.values import (
    ANYONE,
    FIRST_PAGE,
    UNSAID,
    Assistant,
    AssistantSettings,
    Caller,
    ConflictError,
    MalformedError,
    NotFoundError,
    Page,
)
from stategraph.workers.registry.port import Rows, Session

#: The namespace of the ids of assistants that stand for graphs (RFC 9562, section 5.5), as LangGraph's server has it.
GRAPHS: Final = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")

#: The metadata of these assistants.
OF_SERVER: Final[Mapping[str, Any]] = {"created_by": "system"}

#: The name of an assistant without one.
UNTITLED: Final = "Untitled"

#: Seconds between the times of assistants that stand for graphs, so that lists have them in the order of the graphs.
_APART_S: Final = 1e-5

_COLUMNS: Final = "assistant_id, graph_id, CAST(config AS TEXT), CAST(context AS TEXT), CAST(metadata AS TEXT), name, description, version, created_at"  # noqa: E501

_FIELDS: Final = {
    "assistant_id": "assistant_id",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "name": "name",
    "graph_id": "graph_id",
}


def id_of(graph_id: str) -> str:
    """Return the id of the assistant that stands for a graph."""
    return str(uuid5(GRAPHS, graph_id))


class AssistantTable:
    """Keeps assistants; `port.Assistants` and what the LangGraph API needs besides.

    Args:
        tables: Where they are.
        graphs: The graphs.
    """

    def __init__(self, tables: Tables, graphs: Graphs) -> None:
        self._tables = tables
        self._graphs = graphs
        self._have_defaults = False

    async def set_up(self) -> None:
        """Make the assistants that stand for graphs, unless they are there."""
        if not self._have_defaults:
            await self._tables.write(self._add_defaults)
            self._have_defaults = True

    def _add_defaults(self, session: Session) -> None:
        for number, graph_id in enumerate(self._graphs.ids()):
            values = (id_of(graph_id), graph_id, graph_id, self._graphs.description(graph_id))
            self._insert(session, values, {}, {}, OF_SERVER, after_s=number * _APART_S)

    def _insert(
        self,
        session: Session,
        named: tuple[Any, ...],
        config: Any,
        context: Any,
        metadata: Any,
        *,
        after_s: float = 0.0,
    ) -> bool:
        """Add an assistant in its first version; False if there is one with its id."""
        stored = (*named, encoded(config), encoded(context), encoded(metadata), after_s, after_s)
        say = self._tables.say
        added = session.change(
            say(
                """INSERT INTO sg_assistant (assistant_id, graph_id, name, description, config, context, metadata,
                    version, created_at, updated_at)
                    VALUES (?, ?, ?, ?, {given}, {given}, {given}, 1, {now} + ?, {now} + ?) ON CONFLICT DO NOTHING"""
            ),
            stored,
        )
        if added:
            self._keep_version(session, named[0], 1)
        return bool(added)

    def _keep_version(self, session: Session, assistant_id: str, version: int) -> None:
        """Copy an assistant to its versions."""
        statement = """INSERT INTO sg_assistant_version
            (assistant_id, version, graph_id, name, description, config, context, metadata, created_at)
            SELECT assistant_id, CAST(? AS INTEGER), graph_id, name, description, config, context, metadata, {now}
            FROM sg_assistant WHERE assistant_id = ?"""
        session.change(self._tables.say(statement), (version, assistant_id))

    async def create(
        self,
        caller: Caller,
        graph_id: str,
        settings: AssistantSettings = UNSAID,
        *,
        assistant_id: str | None = None,
        if_exists: Literal["raise", "do_nothing"] = "raise",
    ) -> Assistant:
        """Make an assistant.

        Args:
            caller: Who asks.
            graph_id: The graph.
            settings: Its settings; without a name it is `Untitled`.
            assistant_id: A UUID; None: a new one.
            if_exists: `do_nothing` returns the one that is there.

        Raises:
            ConflictError: It is there.
            MalformedError: The settings contradict each other.
            NotFoundError: There is no such graph.
        """
        value: dict[str, Any] = {
            "assistant_id": assistant_id or str(uuid4()),
            "graph_id": graph_id,
            "config": dict(settings.config or {}),
            "context": settings.context or {},
            "metadata": dict(settings.metadata or {}),
            "name": settings.name or UNTITLED,
            "description": settings.description,
            "if_exists": if_exists,
        }
        check_config(value["config"])
        filter = await caller.authorize("assistants", "create", value)
        self._check_graph(graph_id)
        of_config, of_context = as_both(value["config"], value["context"])
        name_of = str(value["assistant_id"])

        def add(session: Session) -> Rows:
            named = (name_of, graph_id, value["name"], value["description"])
            if self._insert(session, named, of_config, of_context, value["metadata"]):
                return self._select(session, Condition("assistant_id = ?", (name_of,)))
            if if_exists == "do_nothing":
                return self._select(session, self._visible(name_of, filter))
            return []

        await self.set_up()
        rows = await self._tables.write(add)
        if not rows:
            raise ConflictError(f"Assistant {name_of} already exists")
        return _assistant(rows[0])

    def _check_graph(self, graph_id: str) -> None:
        if graph_id not in self._graphs.ids():
            raise NotFoundError(f"Graph '{graph_id}' not found. Expected one of: {sorted(self._graphs.ids())}")

    async def get(self, caller: Caller, assistant_id: str) -> Assistant:
        """Return an assistant by its id or by that of its graph."""
        if assistant_id in self._graphs.ids():
            assistant_id = id_of(assistant_id)
        rows = await self._read(caller, assistant_id, "read")
        if not rows:
            raise NotFoundError(f"Assistant '{assistant_id}' not found")
        return _assistant(rows[0])

    async def to_run(self, caller: Caller, assistant_id: str) -> Assistant:
        """Return an assistant that a run is made with: one that the caller may see, or one that stands for a graph.

        Raises:
            NotFoundError: There is none.
        """
        by_graph = set(map(id_of, self._graphs.ids()))
        if assistant_id in self._graphs.ids() or assistant_id in by_graph:
            return await self.get(ANYONE, assistant_id)
        return await self.get(caller, assistant_id)

    async def _read(self, caller: Caller, assistant_id: str, action: str) -> Rows:
        filter = await caller.authorize("assistants", action, {"assistant_id": assistant_id})
        await self.set_up()
        visible = self._visible(assistant_id, filter)
        return await self._tables.read(lambda session: self._select(session, visible), quick=True)

    def _visible(self, assistant_id: str, filter: Mapping[str, Any] | None) -> Condition:
        """Return the condition of one assistant that a caller may see."""
        return every([Condition("assistant_id = ?", (assistant_id,)), self._seen(filter)])

    def _seen(self, filter: Mapping[str, Any] | None) -> Condition:
        return allowed(self._tables, "metadata", filter)

    def _select(self, session: Session, where: Condition, more: str = "", values: tuple[Any, ...] = ()) -> Rows:
        statement = f"SELECT {_COLUMNS}, updated_at FROM sg_assistant WHERE {where.text} {more}"
        return session.execute(self._tables.say(statement), (*where.values, *values))

    async def update(
        self, caller: Caller, assistant_id: str, settings: AssistantSettings, *, graph_id: str | None = None
    ) -> Assistant:
        """Change an assistant: a new version of it, which is the current one.

        Args:
            caller: Who asks.
            assistant_id: The assistant.
            settings: What is changed; metadata are merged into those that there are.
            graph_id: Another graph; None: the same.

        Raises:
            MalformedError: The settings contradict each other.
            NotFoundError: There is no such assistant, or graph.
        """
        value: dict[str, Any] = {
            "assistant_id": assistant_id,
            "graph_id": graph_id,
            "config": settings.config,
            "context": settings.context,
            "metadata": dict(settings.metadata or {}),
            "name": settings.name,
            "description": settings.description,
        }
        check_config(settings.config or {})
        filter = await caller.authorize("assistants", "update", value)
        if graph_id is not None:
            self._check_graph(graph_id)
        if settings.config is not None or settings.context is not None:
            value["config"], of_context = as_both(value["config"] or {}, value["context"] or {})
            value["context"] = of_context or settings.context
        await self.set_up()
        rows = await self._tables.write(
            lambda session: self._change(session, assistant_id, self._visible(assistant_id, filter), value)
        )
        if not rows:
            raise NotFoundError(f"Assistant {assistant_id} not found")
        return _assistant(rows[0])

    def _change(self, session: Session, assistant_id: str, where: Condition, value: Mapping[str, Any]) -> Rows:
        found = self._select(session, where, "{lock}")
        if not found:
            return []
        old = _assistant(found[0])
        version = self._newest(session, assistant_id) + 1
        stored = (
            value["graph_id"] or old.graph_id,
            value["name"] or old.name,
            old.description if value["description"] is None else value["description"],
            encoded(old.config if value["config"] is None else value["config"]),
            encoded(old.context if value["context"] is None else value["context"]),
            encoded({**old.metadata, **value["metadata"]}),
            version,
            assistant_id,
        )
        statement = """UPDATE sg_assistant SET graph_id = ?, name = ?, description = ?, config = {given},
            context = {given}, metadata = {given}, version = ?, updated_at = {now} WHERE assistant_id = ?"""
        session.change(self._tables.say(statement), stored)
        self._keep_version(session, assistant_id, version)
        return self._select(session, Condition("assistant_id = ?", (assistant_id,)))

    def _newest(self, session: Session, assistant_id: str) -> int:
        statement = "SELECT MAX(version) FROM sg_assistant_version WHERE assistant_id = ?"
        newest: int = session.execute(self._tables.say(statement), (assistant_id,))[0][0]
        return newest

    async def versions(
        self,
        caller: Caller,
        assistant_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        page: Page = FIRST_PAGE,
    ) -> list[Assistant]:
        """List the versions of an assistant, the newest first; `created_at` is when a version was made.

        Raises:
            NotFoundError: There is no such assistant.
        """
        value: dict[str, Any] = {"assistant_id": assistant_id, "metadata": dict(metadata or {})}
        filter = await caller.authorize("assistants", "read", value)
        await self.set_up()
        paging.checked(page)
        searched = contains(self._tables, "metadata", value["metadata"])
        where = every([Condition("assistant_id = ?", (assistant_id,)), searched])

        def read(session: Session) -> Rows | None:
            if not self._select(session, self._visible(assistant_id, filter)):
                return None
            statement = (
                f"SELECT {_COLUMNS}, created_at FROM sg_assistant_version WHERE {where.text} "
                "ORDER BY version DESC LIMIT ? OFFSET ?"
            )
            return session.execute(self._tables.say(statement), (*where.values, *paging.limits(page)))

        rows = await self._tables.read(read)
        if rows is None:
            raise NotFoundError(f"Assistant {assistant_id} not found")
        return [_assistant(row) for row in rows]

    async def set_latest(self, caller: Caller, assistant_id: str, version: int | None) -> Assistant:
        """Make an older version the current one.

        Raises:
            NotFoundError: There is no such assistant or version.
        """
        filter = await caller.authorize("assistants", "update", {"assistant_id": assistant_id, "version": version})
        await self.set_up()
        where = self._visible(assistant_id, filter)

        def change(session: Session) -> Rows | None:
            if not self._select(session, where, "{lock}"):
                return None
            columns = "graph_id, name, description, config, context, metadata, version"
            statement = (
                f"UPDATE sg_assistant SET ({columns}) = (SELECT {columns} FROM sg_assistant_version "
                "WHERE assistant_id = ? AND version = ?), updated_at = {now} WHERE assistant_id = ? AND EXISTS "
                "(SELECT 1 FROM sg_assistant_version WHERE assistant_id = ? AND version = ?)"
            )
            place = (assistant_id, version)
            if not session.change(self._tables.say(statement), (*place, assistant_id, *place)):
                return []
            return self._select(session, Condition("assistant_id = ?", (assistant_id,)))

        rows = await self._tables.write(change)
        if rows is None:
            raise NotFoundError(f"Assistant {assistant_id} not found")
        if not rows:
            raise NotFoundError(f"Version {version} not found for assistant {assistant_id}")
        return _assistant(rows[0])

    async def delete(self, caller: Caller, assistant_id: str) -> None:
        """Delete an assistant with its versions; threads stay.

        Raises:
            ConflictError: It stands for a graph.
            NotFoundError: There is none.
        """
        filter = await caller.authorize("assistants", "delete", {"assistant_id": assistant_id})
        if assistant_id in map(id_of, self._graphs.ids()):
            raise ConflictError(f"Assistant '{assistant_id}' stands for a graph that is served, and stays with it")
        where = self._visible(assistant_id, filter)

        def remove(session: Session) -> bool:
            if not self._select(session, where, "{lock}"):
                return False
            for table in ("sg_assistant_version", "sg_assistant"):
                session.change(self._tables.say(f"DELETE FROM {table} WHERE assistant_id = ?"), (assistant_id,))
            session.change(self._tables.say("DELETE FROM sg_cron WHERE assistant_id = ?"), (assistant_id,))
            return True

        if not await self._tables.write(remove):
            raise NotFoundError(f"Assistant with ID {assistant_id} not found")

    async def search(
        self,
        caller: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        graph_id: str | None = None,
        name: str | None = None,
        page: Page = FIRST_PAGE,
    ) -> list[Assistant]:
        """List assistants.

        Args:
            caller: Who asks.
            metadata: Those that have these values among their metadata.
            graph_id: Those of this graph.
            name: Those whose name contains this, in any case.
            page: Which part; by default the newest first.
        """
        order = paging.ordered(page, _FIELDS, "created_at", "assistant_id")
        where = await self._searched(caller, metadata, graph_id, name, page)
        rows = await self._tables.read(lambda session: self._select(session, where, order, paging.limits(page)))
        return [_assistant(row) for row in rows]

    async def count(
        self,
        caller: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        graph_id: str | None = None,
        name: str | None = None,
    ) -> int:
        """Count assistants; the arguments are those of `search`."""
        where = await self._searched(caller, metadata, graph_id, name, FIRST_PAGE)
        statement = self._tables.say(f"SELECT COUNT(*) FROM sg_assistant WHERE {where.text}")
        rows = await self._tables.read(lambda session: session.execute(statement, where.values))
        number: int = rows[0][0]
        return number

    async def _searched(
        self, caller: Caller, metadata: Mapping[str, Any] | None, graph_id: str | None, name: str | None, page: Page
    ) -> Condition:
        value: dict[str, Any] = {
            "graph_id": graph_id,
            "metadata": dict(metadata or {}),
            "name": name,
            "limit": page.limit,
            "offset": page.offset,
        }
        filter = await caller.authorize("assistants", "search", value)
        await self.set_up()
        parts = [contains(self._tables, "metadata", value["metadata"]), self._seen(filter)]
        if graph_id is not None:
            parts.append(Condition("graph_id = ?", (graph_id,)))
        if name:
            escaped = name.casefold().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            parts.append(Condition("LOWER(name) LIKE ? ESCAPE '\\'", (f"%{escaped}%",)))
        return every(parts)


def as_both(config: Mapping[str, Any], context: Any) -> tuple[dict[str, Any], Any]:
    """Return config and context of an assistant, each with what was given as the other.

    Raises:
        MalformedError: Both were given.
    """
    configurable = config.get("configurable")
    if configurable and context:
        raise MalformedError(
            "Cannot specify both configurable and context. Prefer setting context alone. Context was introduced in "
            "LangGraph 0.6.0 and is the long term planned replacement for configurable."
        )
    if context:
        return {**config, "configurable": context}, context
    return dict(config), dict(configurable or {})


def _assistant(row: Sequence[Any]) -> Assistant:
    assistant_id, graph_id, config, context, metadata, name, description, version, created_at, updated_at = row
    return Assistant(
        assistant_id=assistant_id,
        graph_id=graph_id,
        config=decoded(config),
        context=decoded(context),
        metadata=decoded(metadata),
        name=name,
        description=description,
        version=version,
        created_at=when(created_at),
        updated_at=when(updated_at),
    )
