"""Addresses at which clients are told of tasks: kept in the database, so that any replica tells them.

A row is held by the replica that follows its task; a hold that is not prolonged falls to another one. What the client
gave, its secrets too, is one document, encrypted if there is a cipher, and leaves the store only to be sent to.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, Self

from stategraph.agent.mcp.oauth.files import Cipher, opened, sealed
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnStatements
from stategraph.workers.registry.port import Database, Rows

#: For how long a row is held unless that is prolonged, in seconds.
HOLD_S: Final = 30.0

#: Rows that are claimed at a time.
_AT_A_TIME: Final = 50

_CREATE: Final = """CREATE TABLE IF NOT EXISTS sg_a2a_push (
    task_id TEXT NOT NULL,
    push_id TEXT NOT NULL,
    document {blob} NOT NULL,
    ended INTEGER NOT NULL,
    holder TEXT,
    held_until {real} NOT NULL,
    PRIMARY KEY (task_id, push_id)
)"""
_PUT: Final = """INSERT INTO sg_a2a_push (task_id, push_id, document, ended, holder, held_until)
    VALUES (?, ?, ?, ?, NULL, 0)
    ON CONFLICT (task_id, push_id) DO UPDATE SET document = excluded.document, ended = excluded.ended, holder = NULL"""
_OF_TASK: Final = "SELECT task_id, push_id, document FROM sg_a2a_push WHERE task_id = ? ORDER BY push_id"
_DELETE: Final = "DELETE FROM sg_a2a_push WHERE task_id = ? AND push_id = ?"
_CLAIM: Final = """UPDATE sg_a2a_push SET holder = ?, held_until = {now} + ? WHERE (task_id, push_id) IN (
        SELECT task_id, push_id FROM sg_a2a_push
        WHERE ended = 0 AND (holder IS NULL OR held_until < {now}) ORDER BY held_until LIMIT ?
    ) AND ended = 0 AND (holder IS NULL OR held_until < {now}) RETURNING task_id, push_id, document"""
_HOLD: Final = "UPDATE sg_a2a_push SET held_until = {now} + ? WHERE holder = ? AND ended = 0 RETURNING task_id, push_id"
_GIVE_BACK: Final = "UPDATE sg_a2a_push SET holder = NULL WHERE task_id = ? AND push_id = ? AND holder = ?"
_END: Final = "UPDATE sg_a2a_push SET ended = 1 WHERE task_id = ? AND push_id = ? AND holder = ?"


@dataclass(frozen=True, slots=True)
class Push:
    """An address at which a client is told of a task.

    Attributes:
        task_id: The task.
        push_id: Names it among those of the task.
        document: What the client gave, as JSON; it has secrets.
    """

    task_id: str
    push_id: str
    document: str = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """Task and name."""
        return self.task_id, self.push_id


class PushStore(Protocol):
    """Keeps them."""

    async def put(self, push: Push, *, ended: bool) -> None:
        """Keep one in place of the one with its name; `ended`: there is nothing to tell."""

    async def of_task(self, task_id: str) -> list[Push]:
        """List those of a task."""

    async def delete(self, task_id: str, push_id: str) -> None:
        """Delete one, if it is there."""

    async def claim(self, holder: str) -> list[Push]:
        """Take some that nobody holds."""

    async def hold(self, holder: str) -> set[tuple[str, str]]:
        """Prolong all holds; return the keys of what is held."""

    async def give_back(self, keys: Collection[tuple[str, str]], holder: str) -> None:
        """Let whoever looks next take rows that the holder does not tell."""

    async def end(self, push: Push, holder: str) -> None:
        """Note that all was told."""


@dataclass(slots=True)
class _Kept:
    push: Push
    ended: bool
    holder: str | None = None


class MemoryPushStore:
    """Keeps them in memory: for one process, and as long as that lives."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def put(self, push: Push, *, ended: bool) -> None:
        """Keep one, see `PushStore`."""
        self._kept[push.key] = _Kept(push, ended)

    async def of_task(self, task_id: str) -> list[Push]:
        """List those of a task."""
        return [each.push for key, each in sorted(self._kept.items()) if key[0] == task_id]

    async def delete(self, task_id: str, push_id: str) -> None:
        """Delete one, if it is there."""
        self._kept.pop((task_id, push_id), None)

    async def claim(self, holder: str) -> list[Push]:
        """Take those that nobody holds."""
        found = [each for each in self._kept.values() if not each.ended and each.holder is None]
        for each in found:
            each.holder = holder
        return [each.push for each in found]

    async def hold(self, holder: str) -> set[tuple[str, str]]:
        """Return the keys of what is held."""
        return {key for key, each in self._kept.items() if each.holder == holder and not each.ended}

    async def give_back(self, keys: Collection[tuple[str, str]], holder: str) -> None:
        """Let whoever looks next take rows, see `PushStore`."""
        for each in map(self._kept.get, keys):
            if each is not None and each.holder == holder:
                each.holder = None

    async def end(self, push: Push, holder: str) -> None:
        """Note that all was told."""
        kept = self._kept.get(push.key)
        if kept is not None and kept.holder == holder:
            self._kept[push.key] = replace(kept, ended=True)


class DatabasePushStore:
    """Keeps them in a table of its own in a database, such as the registry's.

    Args:
        database: The database, see `from_url`.
        cipher: Encrypts what clients gave, as `cryptography.fernet.Fernet` does; None: who can read the database can
            read it.
    """

    def __init__(self, database: Database, *, cipher: Cipher | None = None) -> None:
        self._statements = OwnStatements(database, [_CREATE])
        self._cipher = cipher

    @classmethod
    def from_url(cls, url: str, *, cipher: Cipher | None = None) -> Self:
        """Make one; nothing is opened before its first use.

        Args:
            url: As for `RunRegistry.from_url`.
            cipher: Encrypts what clients gave.

        Raises:
            ConfigurationError: The address is not understood.
        """
        return cls(open_database(url), cipher=cipher)

    async def put(self, push: Push, *, ended: bool) -> None:
        """Keep one, see `PushStore`."""
        document = sealed(push.document, self._cipher)
        await self._statements.change(_PUT, (push.task_id, push.push_id, document, int(ended)))

    async def of_task(self, task_id: str) -> list[Push]:
        """List those of a task."""
        return self._read(await self._statements.execute(_OF_TASK, (task_id,), write=False))

    async def delete(self, task_id: str, push_id: str) -> None:
        """Delete one, if it is there."""
        await self._statements.change(_DELETE, (task_id, push_id))

    async def claim(self, holder: str) -> list[Push]:
        """Take some that nobody holds."""
        return self._read(await self._statements.execute(_CLAIM, (holder, HOLD_S, _AT_A_TIME)))

    async def hold(self, holder: str) -> set[tuple[str, str]]:
        """Prolong all holds; return the keys of what is held."""
        return {(row[0], row[1]) for row in await self._statements.execute(_HOLD, (HOLD_S, holder))}

    async def give_back(self, keys: Collection[tuple[str, str]], holder: str) -> None:
        """Let whoever looks next take rows, see `PushStore`."""
        for task_id, push_id in keys:
            await self._statements.change(_GIVE_BACK, (task_id, push_id, holder))

    async def end(self, push: Push, holder: str) -> None:
        """Note that all was told."""
        await self._statements.change(_END, (push.task_id, push.push_id, holder))

    def _read(self, rows: Rows) -> list[Push]:
        found = [(row[0], row[1], opened(bytes(row[2]), self._cipher)) for row in rows]
        return [Push(task_id, push_id, document) for task_id, push_id, document in found if document is not None]

    async def aclose(self) -> None:
        """Close every connection to the database."""
        await self._statements.close()
