"""Keys that are a tenant's own: ids of threads, namespaces of stores, users of MCP servers.

A key begins with the tenant's label and a colon. The label has no colon, dot or per cent of its own, so that no
tenant's prefix is the beginning of another's, and so that it may be the first label of a namespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, unquote

from stategraph.errors import ConfigurationError
from stategraph.governance.session import TenantMismatchError

_MARK: Final = ":"


def label(tenant: str) -> str:
    """Return a tenant's name in keys: ASCII letters, digits, `-`, `_`, and `~xx` for every other byte of UTF-8.

    Raises:
        ConfigurationError: The tenant is empty, or no text that has a form in UTF-8.
    """
    if not isinstance(tenant, str) or not tenant:
        raise ConfigurationError(f"A tenant is {tenant!r}; it must be a text that is not empty")
    try:
        return quote(tenant, safe="").replace("~", "%7E").replace(".", "%2E").replace("%", "~")
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"The tenant {tenant!r} has no form in UTF-8") from error


def tenant_of_label(text: str) -> str:
    """Return the tenant of a label."""
    return unquote(text.replace("~", "%"))


def prefix(tenant: str) -> str:
    """Return the beginning of all keys of a tenant."""
    return label(tenant) + _MARK


def thread_key(tenant: str, thread_id: str) -> str:
    """Return the id of a tenant's thread, for `configurable.thread_id` and registries.

    Args:
        tenant: The tenant.
        thread_id: Its own name of the thread; any text.
    """
    return prefix(tenant) + thread_id


user_key = thread_key
"""Return the name of a tenant's user for storages that keep things by user, such as tokens of MCP servers."""


def own_part(tenant: str, key: str) -> str:
    """Return a tenant's own part of a key.

    Raises:
        TenantMismatchError: The key is not one of this tenant's.
    """
    begins = prefix(tenant)
    if not key.startswith(begins):
        raise TenantMismatchError(f"A key that was given in the session of '{tenant}' is not one of that tenant")
    return key.removeprefix(begins)


def parts(key: str) -> tuple[str, str]:
    """Return the tenant of a key, and its own part of it.

    Raises:
        ConfigurationError: The text is no key of a tenant.
    """
    begins, mark, own = key.partition(_MARK)
    tenant = tenant_of_label(begins)
    if not mark or not tenant or label(tenant) != begins:
        raise ConfigurationError(f"{key!r:.80} is no key of a tenant; expected one that `thread_key` returns")
    return tenant, own


def namespace(tenant: str, *labels: str) -> tuple[str, ...]:
    """Return a namespace of a tenant in a store.

    Args:
        tenant: The tenant.
        *labels: Its own namespace.
    """
    return (label(tenant), *labels)


def own_namespace(tenant: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return a tenant's own part of a namespace.

    Raises:
        TenantMismatchError: The namespace is not one of this tenant's.
    """
    if not given or given[0] != label(tenant):
        raise TenantMismatchError(f"A namespace that was given in the session of '{tenant}' is not one of that tenant")
    return tuple(given[1:])
