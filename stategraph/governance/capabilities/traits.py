"""Traits that a host states of a capability, and the capability made of them and of what was read."""

from __future__ import annotations

from dataclasses import dataclass

from stategraph.errors import ConfigurationError
from stategraph.governance.capability import (
    DEFAULT_TIMEOUT_S,
    Capability,
    CapabilityKind,
    JsonSchema,
    Risk,
    Trust,
    capability_id,
    in_id,
)


@dataclass(frozen=True, slots=True)
class Traits:
    """Traits of a function or tool that a host states, as they cannot be read from it.

    Attributes:
        name: The name for models; None: its own.
        title: The name for people; None: the name.
        description: For models; None: its own.
        version: The version. Give code that does something else another one.
        source: Where it comes from; None: its module.
        risk: What it may do at worst.
        idempotent: Whether repeating a call with the same arguments changes nothing more.
        trust: Who answers for it.
        timeout_s: Seconds until a call is stopped.
        effect_key: Names the effect of a call, such as `charge:{order_id}`; None: the call's id.
    """

    name: str | None = None
    title: str | None = None
    description: str | None = None
    version: str = "1"
    source: str | None = None
    risk: Risk = "write"
    idempotent: bool = False
    trust: Trust = "internal"
    timeout_s: float = DEFAULT_TIMEOUT_S
    effect_key: str | None = None


def described(
    kind: CapabilityKind,
    source: str,
    name: str,
    traits: Traits,
    digest: str,
    *,
    description: str,
    input_schema: JsonSchema,
    output_schema: JsonSchema | None = None,
) -> Capability:
    """Make a capability of its traits and of what was read.

    Args:
        kind: How it is executed.
        source: Where it comes from, unless the traits say so.
        name: The name for models, unless the traits say so.
        traits: What the host says.
        digest: Over all that could change what it does.
        description: For models, unless the traits say so.
        input_schema: The JSON Schema of its arguments.
        output_schema: That of its result; None: not known.

    Raises:
        ConfigurationError: The name, version, risk or time cannot be that of a capability.
    """
    source, name = traits.source or source, traits.name or name
    try:
        return Capability(
            id=capability_id(kind, in_id(source), in_id(name), traits.version),
            kind=kind,
            name=name,
            title=traits.title,
            description=description if traits.description is None else traits.description,
            input_schema=input_schema,
            output_schema=output_schema,
            version=traits.version,
            source=source,
            digest=digest,
            risk=traits.risk,
            idempotent=traits.idempotent,
            trust=traits.trust,
            timeout_s=traits.timeout_s,
            effect_key=traits.effect_key,
        )
    except ValueError as error:
        raise ConfigurationError(f"{name!r} of {source!r} cannot be made a capability: {error}") from error
