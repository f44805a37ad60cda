"""Erase what is kept of a thread beside its checkpoints: entries of the long-term memory, and what others have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias

from stategraph.errors import ConfigurationError
from stategraph.run.threads.port import ErasesThreads

Namespace: TypeAlias = tuple[str, ...]

#: Entries of a store that are looked for at a time.
_ENTRIES = 100


def checked_namespaces(given: object, store: object) -> list[Namespace] | None:
    """Return the namespaces of a store that are to be emptied; None for None.

    Args:
        given: A sequence of namespaces, or one namespace: a tuple of texts.
        store: The store; None: there is none.

    Raises:
        ConfigurationError: It is something else, a namespace is empty, or there is no store.
    """
    if given is None:
        return None
    found = given
    if _is_namespace(given):
        given = [given]
    if isinstance(given, Sequence) and not isinstance(given, str) and given != ():
        wrong = [each for each in given if not _is_namespace(each)]
        if not wrong:
            if given and store is None:
                raise ConfigurationError("'store_namespaces' was given, and the runtime has no store: give it one")
            return list(given)
        found = wrong[0]
    raise ConfigurationError(
        f"'store_namespaces' has {found!r:.60}; expected a list of namespaces, such as [('memories', 'ada')]: tuples "
        "of texts, none of them empty, as an empty namespace would be the whole store"
    )


def _is_namespace(given: object) -> bool:
    return isinstance(given, tuple) and bool(given) and all(isinstance(part, str) and part for part in given)


def checked_erasers(given: object) -> list[ErasesThreads]:
    """Return those who are asked to forget a thread.

    Args:
        given: A sequence of objects with a method `erase_thread(thread_id)`.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        wrong = [each for each in given if isinstance(each, type) or not isinstance(each, ErasesThreads)]
        if not wrong:
            return list(given)
        found = f"has {wrong[0]!r:.60}"
    else:
        found = f"is {given!r:.60}"
    raise ConfigurationError(
        f"'also' {found}; expected a list of objects with a method erase_thread(thread_id), such as a RunRegistry"
    )


async def empty(store: Any, thread_id: str, namespaces: Sequence[Namespace] | None) -> int:
    """Delete entries of a store.

    Args:
        store: The store; None: there is none.
        thread_id: The thread.
        namespaces: Namespaces to empty, with those below them; None: all that have the thread's id as a part.

    Returns:
        How many entries that were.
    """
    if store is None:
        return 0
    if namespaces is None:
        namespaces = [each async for each in _namespaces(store) if thread_id in each]
    count = 0
    for namespace in namespaces:
        others = 0  # of stores that compare namespaces as texts: those of "adam" are not those of "ada"
        while found := await store.asearch(namespace, limit=_ENTRIES, offset=others):
            for item in found:
                if tuple(item.namespace[: len(namespace)]) != namespace:
                    others += 1
                    continue
                await store.adelete(item.namespace, item.key)
                count += 1
    return count


async def _namespaces(store: Any) -> AsyncIterator[Namespace]:
    offset = 0
    while found := await store.alist_namespaces(limit=_ENTRIES, offset=offset):
        for namespace in found:
            yield namespace
        offset += len(found)
