"""Who may do what: requests of an API server as verbs on resources, and rules that grant them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Use:
    """A verb on a resource, as RBAC has it.

    Attributes:
        group: The API group.
        resource: The plural, with the subresource: `agents/status`.
        verb: The verb.
    """

    group: str
    resource: str
    verb: str


def granted(rules: Iterable[Mapping[str, Any]]) -> Iterator[Use]:
    """Yield what rules grant."""
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Use(group, resource, verb)


def uses(method: str, group: str, plural: str, name: str, part: str, *, watch: bool, creates: bool) -> list[Use]:
    """Return what a request needs: an apply that makes an object needs `create` beside `patch`."""
    verb = {
        "GET": "watch" if watch else "get" if name else "list",
        "POST": "create",
        "PUT": "update",
        "PATCH": "patch",
        "DELETE": "delete",
    }[method]
    resource = f"{plural}/{part}" if part else plural
    return [Use(group, resource, verb), *([Use(group, resource, "create")] if creates else [])]
