"""Tokens of users for MCP servers, in a registry's database: for hosts of several processes or machines.

- One table of its own, which is made when it is first used; runs and workers do not know of it.
- Who refreshes holds a lock, a row with a time: it is prolonged while the holder lives, and falls to another process
  when it has not been for `LOCK_S`. A holder that was stopped for longer may come back while another one refreshes.
- Times are the database's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self
from uuid import uuid4

import anyio
import anyio.to_thread

from stategraph.agent.mcp.oauth import TokenStorage
from stategraph.agent.mcp.oauth.files import LOCK_WAIT_S, Cipher, opened, sealed
from stategraph.agent.mcp.oauth.users import TokensOf
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import ConflictError, Database, Rows, StoreUnavailableError

LOCK_S: Final = 30.0
"""Seconds after which a lock falls to another process, unless its holder prolongs it."""

_POLL_S: Final = 0.05


class RegistryTokens:
    """A `UserTokenStorage` in the database of a registry, or in one of its own.

    Args:
        database: The database, see `from_url`.
        cipher: Encrypts what is kept, as `cryptography.fernet.Fernet` does; None: who can read the database can read
            the tokens.
    """

    def __init__(self, database: Database, *, cipher: Cipher | None = None) -> None:
        self._database = database
        self._sql = database.sql
        self._cipher = cipher
        self._tables = OwnTables(database, [self._sql.create_tokens])

    @classmethod
    def from_url(cls, url: str, *, cipher: Cipher | None = None) -> Self:
        """Make one; nothing is opened before its first use.

        Args:
            url: As for `RunRegistry.from_url`: `sqlite:///runs.db` or `postgresql://...`.
            cipher: Encrypts what is kept.

        Raises:
            ConfigurationError: The address is not understood.
            MissingPackageError: `psycopg` is not installed.
        """
        return cls(open_database(url), cipher=cipher)

    def __repr__(self) -> str:
        return f"<RegistryTokens in {self._sql.dialect.name}>"

    def of(self, user: str) -> TokenStorage:
        """Return the tokens of one user, for a host with sessions of its own for each."""
        return TokensOf(self, user)

    async def load(self, user: str, server: str) -> str | None:
        """Return what was saved for a user and a server.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        rows = await self._execute(self._sql.load_tokens, (user, server), write=False)
        return None if not rows or rows[0][0] is None else opened(bytes(rows[0][0]), self._cipher)

    async def save(self, user: str, server: str, document: str) -> None:
        """Keep a document in place of the one before.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        await self._execute(self._sql.save_tokens, (user, server, sealed(document, self._cipher)))

    async def forget(self, user: str) -> int:
        """Delete what is kept for a user; return for how many servers that was."""
        return len(await self._execute(self._sql.forget_tokens, (user,)))

    @asynccontextmanager
    async def lock(self, user: str, server: str) -> AsyncIterator[None]:
        """Keep other processes from refreshing what is kept for a user and a server while the block is open.

        Raises:
            TimeoutError: Another process has not let go of it for `LOCK_WAIT_S`.
            StoreUnavailableError: The database cannot be reached.
        """
        mine = uuid4().hex
        try:
            await self._take(user, server, mine)
            holding = asyncio.create_task(self._hold(user, server, mine), name="lock of MCP tokens")
            try:
                yield
            finally:
                holding.cancel()
                await asyncio.wait((holding,))
        finally:
            # What cannot be unlocked now falls to others by itself, and the tokens are stored.
            with anyio.CancelScope(shield=True), suppress(StoreUnavailableError):
                await self._execute(self._sql.unlock_tokens, (user, server, mine))

    async def _take(self, user: str, server: str, mine: str) -> None:
        try:
            async with asyncio.timeout(LOCK_WAIT_S):
                while True:
                    if await self._execute(self._sql.lock_tokens, (user, server, mine, LOCK_S)):
                        return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise TimeoutError(f"another process has refreshed these tokens for {LOCK_WAIT_S:g} s") from None

    async def _hold(self, user: str, server: str, mine: str) -> None:
        while True:
            await asyncio.sleep(LOCK_S / 3)
            with suppress(StoreUnavailableError):
                await self._execute(self._sql.hold_tokens, (LOCK_S, user, server, mine))

    async def _execute(self, statement: str, parameters: Sequence[Any], *, write: bool = True) -> Rows:
        def execute() -> Rows:
            self._tables.set_up()
            with self._database.transaction(write=write) as session:
                return session.execute(statement, parameters)

        return await anyio.to_thread.run_sync(_again(execute))

    async def aclose(self) -> None:
        """Close every connection to the database."""
        await anyio.to_thread.run_sync(self._database.close)


def _again(execute: Callable[[], Rows]) -> Callable[[], Rows]:
    """Return an operation that is tried again if another transaction was faster."""

    def tried() -> Rows:
        while True:
            try:
                return execute()
            except ConflictError:
                continue

    return tried
