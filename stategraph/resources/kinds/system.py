"""System: resources that belong together, written in one document and owned by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from stategraph.resources.kinds.base import Spec


class Member(Spec):
    """A resource of a system."""

    name: str = Field(min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    spec: dict[str, Any] = Field(default_factory=dict)


class MemberOfKind(Member):
    """A resource of any kind."""

    kind: str = Field(min_length=1)


class SystemSpec(Spec):
    """Resources by their kind; their names are those by which they refer to each other."""

    description: str = ""
    agents: tuple[Member, ...] = ()
    models: tuple[Member, ...] = ()
    llms: tuple[Member, ...] = ()
    tools: tuple[Member, ...] = ()
    mcp_servers: tuple[Member, ...] = ()
    skills: tuple[Member, ...] = ()
    workflows: tuple[Member, ...] = ()
    networks: tuple[Member, ...] = ()
    policies: tuple[Member, ...] = ()
    budgets: tuple[Member, ...] = ()
    plugins: tuple[Member, ...] = ()
    workers: tuple[Member, ...] = ()
    schedules: tuple[Member, ...] = ()
    secrets: tuple[Member, ...] = ()
    systems: tuple[Member, ...] = ()
    resources: tuple[MemberOfKind, ...] = Field((), description="Resources of further kinds.")

    def members(self) -> Iterator[tuple[str, int, str, Member]]:
        """Yield field, index, kind (in any word for it) and member of each resource, in the order of the fields."""
        for name, info in type(self).model_fields.items():
            field = info.alias or name
            value = getattr(self, name)
            if isinstance(value, tuple):
                for index, each in enumerate(value):
                    yield field, index, each.kind if isinstance(each, MemberOfKind) else field, each
