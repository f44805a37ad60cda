"""Things that can be done: one record for functions, skills, tools of MCP servers, agents and graphs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

CapabilityKind: TypeAlias = Literal["function", "skill", "mcp", "agent", "graph"]
Risk: TypeAlias = Literal["read", "write", "destructive", "external"]
Trust: TypeAlias = Literal["public", "verified", "trusted", "internal"]
JsonSchema: TypeAlias = Mapping[str, Any]

RISKS: Final[tuple[Risk, ...]] = ("read", "write", "external", "destructive")
"""The risks, from the smallest to the greatest."""

_ID = re.compile(r"(function|skill|mcp|agent|graph):([^/@\s]+)/([^@\s]+)@(\S+)")
VersionKey: TypeAlias = tuple[tuple[tuple[int, int, str], ...], bool, tuple[tuple[int, int, str], ...]]

_ZERO = (1, 0, "")
_PIECES = re.compile(r"\d+|[^\W\d_]+")
_RESERVED = re.compile(r"[/@%\s]")

DEFAULT_TIMEOUT_S: Final = 60.0


class Capability(BaseModel):
    """Something that can be done, in one version; its fields are those of an MCP tool, and what policies ask for.

    Attributes:
        id: `<kind>:<source>/<name>@<version>`, such as `mcp:github/create_issue@1`.
        kind: How it is executed.
        name: The name by which models call it.
        title: Its name for people; None: `name`.
        description: What models are told of it.
        input_schema: The JSON Schema of its arguments.
        output_schema: The JSON Schema of its result; None: not known.
        version: The version within its source.
        source: Where it comes from: a module, the name of an MCP server, a folder of skills, a host.
        digest: SHA-256 in hex over all that could change what it does: descriptions, schemas, code or files.
        risk: What it may do at worst. What a server says of itself (`readOnlyHint`) is a hint; the host's word wins.
        idempotent: Whether repeating a call with the same arguments changes nothing more.
        trust: Who answers for it.
        timeout_s: Seconds until a call is stopped.
        effect_key: Names the effect of a call, such as `charge:{order_id}`; one key is one effect. None: the call's id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: CapabilityKind
    name: str = Field(min_length=1)
    title: str | None = None
    description: str = ""
    input_schema: JsonSchema
    output_schema: JsonSchema | None = None
    version: str = Field(min_length=1)
    source: str = Field(min_length=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    risk: Risk = "write"
    idempotent: bool = False
    trust: Trust = "public"
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, gt=0)
    effect_key: str | None = None

    @field_validator("id")
    @classmethod
    def _has_the_form(cls, value: str) -> str:
        if _ID.fullmatch(value) is None:
            raise ValueError(f"{value!r} is no id of a capability: expected <kind>:<source>/<name>@<version>")
        return value


def capability_id(kind: CapabilityKind, source: str, name: str, version: str) -> str:
    """Return the id of a capability."""
    return f"{kind}:{source}/{name}@{version}"


def without_version(id: str) -> str:
    """Return an id without its version: what stays when a capability changes."""
    return id.rpartition("@")[0] or id


def in_id(name: str) -> str:
    """Return a name as it stands in an id: `/`, `@`, `%` and white space are written as in an address (`%2F`)."""
    return _RESERVED.sub(lambda found: "".join(f"%{each:02X}" for each in found[0].encode()), name)


@lru_cache(maxsize=4096)
def version_key(version: str) -> VersionKey:
    """Return a key by which versions are ordered: as numbers where they are numbers, and 2.0-rc1 before 2.0.

    Args:
        version: Such as `3`, `1.10.0` or `2.0.0-rc1`; what follows a `+` makes no difference.
    """
    core, _, before = version.partition("+")[0].partition("-")
    numbers = _pieces(core)
    while numbers and numbers[-1] == _ZERO:  # 2.0 is 2
        numbers = numbers[:-1]
    return numbers, not before, _pieces(before)


def _pieces(text: str) -> tuple[tuple[int, int, str], ...]:
    return tuple((1, int(each), "") if each.isdecimal() else (0, 0, each) for each in _PIECES.findall(text))
