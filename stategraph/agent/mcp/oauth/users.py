"""Tokens of many users: each user's part of a storage as a storage of its own.

The pool says which user a session is for, and makes the settings of that user's authorization here. Nothing of one
user's is reached with another one's name.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, cast

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


def lock_of(storage: TokenStorage, server: str) -> AbstractAsyncContextManager[Any]:
    """Return the lock that a storage has for what it keeps for a server; one that locks nothing if it has none."""
    lock = getattr(storage, "lock", None)
    return nullcontext() if lock is None else lock(server)


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
