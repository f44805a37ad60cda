"""Tokens of many users: each user's part of a storage as a storage of its own.

The pool says which user a session is for, and makes the settings of that user's authorization here. Nothing of one
user's is reached with another one's name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, cast

from stategraph.agent.mcp.errors import bounded, words
from stategraph.agent.mcp.oauth import (
    AuthorizationCode,
    AuthorizeUser,
    ClientCredentials,
    TokenStorage,
    UserTokenStorage,
)


class TokensOf:
    """A user's part of a `UserTokenStorage`, as a `TokenStorage`.

    Args:
        storage: The tokens of all users.
        user: The user.
    """

    def __init__(self, storage: UserTokenStorage, user: str) -> None:
        self._storage = storage
        self._user = user

    def __repr__(self) -> str:
        return f"<TokensOf a user in {type(self._storage).__name__}>"

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two that reach the same tokens."""
        return (id(self._storage), self._user)

    async def load(self, server: str) -> str | None:
        """Return what was saved for a server."""
        return await self._storage.load(self._user, server)

    async def save(self, server: str, document: str) -> None:
        """Keep a document in place of the one before."""
        await self._storage.save(self._user, server, document)

    def lock(self, server: str) -> AbstractAsyncContextManager[None]:
        """Keep others from refreshing what is kept for a server, if the storage can do that across processes."""
        lock = getattr(self._storage, "lock", None)
        return nullcontext() if lock is None else lock(self._user, server)


def identity_of(storage: TokenStorage) -> tuple[object, ...]:
    """Return what is equal for two storages that reach the same tokens in this process."""
    return storage.identity if isinstance(storage, TokensOf) else (id(storage),)


class StorageFailed(Exception):
    """The host's storage of tokens failed; the text says how, and has no secret of its own."""


def failed(error: Exception) -> StorageFailed:
    """Return what is raised where the host's storage failed."""
    said = f"{type(error).__name__}: {bounded(words(error), 300)}" if str(error) else type(error).__name__
    return StorageFailed(f"the host's storage of tokens failed: {said}")


@asynccontextmanager
async def lock_of(storage: TokenStorage, server: str) -> AsyncIterator[None]:
    """Hold the lock that a storage has for what it keeps for a server, if it has one.

    Raises:
        StorageFailed: The lock cannot be had.
    """
    lock = getattr(storage, "lock", None)
    async with AsyncExitStack() as stack:
        if lock is not None:
            try:
                await stack.enter_async_context(lock(server))
            except Exception as error:
                raise failed(error) from None
        yield


def settings_of(settings: AuthorizationCode | ClientCredentials, user: str) -> AuthorizationCode | ClientCredentials:
    """Return the settings of one user's authorization.

    Args:
        settings: Those of all users.
        user: The user.
    """
    if settings.user_storage is None:
        return settings
    update: dict[str, Any] = {"storage": TokensOf(settings.user_storage, user), "user_storage": None}
    if isinstance(settings, AuthorizationCode):
        update["authorize"] = partial(cast("AuthorizeUser", settings.authorize), user=user)
    return settings.model_copy(update=update)
