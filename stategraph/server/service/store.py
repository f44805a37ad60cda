"""Long-term memory for callers: each call is decided on, and the namespace is what that leaves of it.

A handler of `langgraph_sdk.Auth` keeps users apart by changing `namespace`, as by putting the user in front; there is
no other filter. What it does to the namespace is what happens in the store, and what the caller is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stategraph.engine.checkpoints.saver_interfaces import BaseStore
from stategraph.server.service.values import Caller, InvalidError, MalformedError

#: Items of a page at most.
_MOST: Final = 1000

_NUL: Final = "\x00"


class NamespaceError(InvalidError):
    """A namespace has a label that is none."""


class StoreService:
    """The store; `port.Store`.

    Args:
        store: Keeps the items.
    """

    def __init__(self, store: BaseStore) -> None:
        self.store = store

    async def put(
        self,
        caller: Caller,
        namespace: Sequence[str],
        key: str,
        value: Mapping[str, Any],
        *,
        index: Any = None,
        ttl: float | None = None,
    ) -> None:
        """Store a value.

        Args:
            caller: Who asks.
            namespace: Where.
            key: Under which name.
            value: JSON.
            index: Which parts are searched by meaning; None: what the store says. False: none.
            ttl: Minutes that it lives; None: what the store says.

        Raises:
            InvalidError: The namespace is none.
        """
        asked = {"namespace": place(namespace), "key": key, "value": dict(value), "index": index}
        await caller.authorize("store", "put", asked)
        options: dict[str, Any] = {} if ttl is None else {"ttl": ttl}
        where, name = place(asked["namespace"]), _name(asked["key"])
        with _Reasons():
            await self.store.aput(where, name, dict(asked["value"]), index=asked["index"], **options)

    async def get(self, caller: Caller, namespace: Sequence[str], key: str, *, refresh_ttl: bool | None = None) -> Any:
        """Return an item; None if there is none."""
        asked: dict[str, Any] = {"namespace": place(namespace), "key": key}
        await caller.authorize("store", "get", asked)
        return await self.store.aget(place(asked["namespace"]), _name(asked["key"]), refresh_ttl=refresh_ttl)

    async def delete(self, caller: Caller, namespace: Sequence[str], key: str) -> None:
        """Delete a value."""
        asked: dict[str, Any] = {"namespace": place(namespace), "key": key}
        await caller.authorize("store", "delete", asked)
        await self.store.adelete(place(asked["namespace"]), _name(asked["key"]))

    async def search(
        self,
        caller: Caller,
        prefix: Sequence[str],
        *,
        query: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[Any]:
        """List items below a namespace.

        Args:
            caller: Who asks.
            prefix: The namespace; empty: all.
            query: What they are about, for a store that searches by meaning.
            filter: Values that they have, or `{"$gt": 3}` and the like.
            limit: At most so many.
            offset: After so many.
            refresh_ttl: Whether what is found lives on from now; None: what the store says.

        Raises:
            MalformedError: The filter has an operator that there is not.
        """
        asked: dict[str, Any] = {
            "namespace": place(prefix),
            "filter": None if filter is None else dict(filter),
            "limit": limit,
            "offset": offset,
            "query": query,
        }
        await caller.authorize("store", "search", asked)
        if not 0 <= int(asked["limit"]) <= _MOST or int(asked["offset"]) < 0:
            raise InvalidError(f"A search has a limit from 0 to {_MOST}, and an offset of 0 or more")
        with _Reasons():
            return list(
                await self.store.asearch(
                    place(asked["namespace"]),
                    query=asked["query"],
                    filter=asked["filter"],
                    limit=int(asked["limit"]),
                    offset=int(asked["offset"]),
                    refresh_ttl=refresh_ttl,
                )
            )

    async def namespaces(
        self,
        caller: Caller,
        *,
        prefix: Sequence[str] | None = None,
        suffix: Sequence[str] | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        """List namespaces.

        Args:
            caller: Who asks.
            prefix: What they begin with; `*` stands for any label.
            suffix: What they end with.
            max_depth: How many labels of them are shown.
            limit: At most so many.
            offset: After so many.
        """
        asked: dict[str, Any] = {
            "namespace": None if prefix is None else place(prefix),
            "suffix": None if suffix is None else place(suffix),
            "max_depth": max_depth,
            "limit": limit,
            "offset": offset,
        }
        await caller.authorize("store", "list_namespaces", asked)
        if not 0 <= int(asked["limit"]) <= _MOST or int(asked["offset"]) < 0:
            raise InvalidError(f"A list has a limit from 0 to {_MOST}, and an offset of 0 or more")
        found = await self.store.alist_namespaces(
            prefix=None if asked["namespace"] is None else place(asked["namespace"]),
            suffix=None if asked["suffix"] is None else place(asked["suffix"]),
            max_depth=asked["max_depth"],
            limit=int(asked["limit"]),
            offset=int(asked["offset"]),
        )
        return [tuple(each) for each in found]


class _Reasons:
    """Tells a caller what a store says about its arguments."""

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Raise what a store finds wrong as an error for the caller."""
        if isinstance(error, ValueError | NotImplementedError):
            raise MalformedError(str(error)) from error


def place(namespace: Sequence[str]) -> tuple[str, ...]:
    """Return a namespace.

    Raises:
        NamespaceError: A label of it is empty, has a period, which parts labels where they are written as one text, or
            the character NUL, which databases do not store.
    """
    for label in namespace:
        if not isinstance(label, str) or not label or "." in label:
            raise NamespaceError(f"Namespace label '{label}' must be a non-empty string without periods")
        if _NUL in label:
            raise NamespaceError(f"Namespace label {label!r} has the character NUL, which is not stored")
    return tuple(namespace)


def _name(key: Any) -> str:
    """Return the name of an item.

    Raises:
        InvalidError: It has the character NUL.
    """
    name = str(key)
    if _NUL in name:
        raise InvalidError(f"The key {name!r:.80} has the character NUL, which is not stored")
    return name
