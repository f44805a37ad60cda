"""Values that several kinds have: durations, retries, schemas, references with a part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, WithJsonSchema

from stategraph.resources.kinds.base import TEXT, Ref, Spec, Spelled, parts

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: Any) -> float:
    """Return a duration in seconds.

    Args:
        value: A number of seconds, or a text such as `20s`, `500ms`, `1h30m`.

    Raises:
        ValueError: It is no duration above 0.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
            if total > 0:
                return total
    raise ValueError("expected a duration above 0: seconds as a number, or a text such as '20s', '500ms' or '1h30m'")


Duration: TypeAlias = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
"""A duration in seconds; written as a number, or as a text such as `20s`."""

PositiveInt: TypeAlias = Annotated[StrictInt, Field(gt=0)]
Flag: TypeAlias = StrictBool
Name: TypeAlias = Annotated[str, Field(min_length=1)]
JsonSchema: TypeAlias = dict[str, Any]
Expression: TypeAlias = Annotated[str, Field(min_length=1)]
"""A condition in CEL, with or without `${{ }}` around it."""

FunctionPath: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_0-9][\w.]*:[A-Za-z_][\w.]*$")]
"""The import path of a function, `package.module:attribute`."""


class Retry(Spec):
    """Retry policy of a step, a tool or a model."""

    max: PositiveInt = Field(default=3, description="Attempts altogether, the first one included.")
    backoff: Duration = Field(default=0.5, description="Pause before the second attempt; it doubles with each.")
    factor: Annotated[float, Field(ge=1)] = Field(default=2.0, description="Factor by which each pause is longer.")
    max_backoff: Duration = Field(default=128.0, description="No pause is longer than this.")
    jitter: Flag = Field(default=True, description="Whether pauses vary by chance.")


class Rollout(Spec):
    """Rollout of a new version while threads wait on an old one."""

    max_age: Duration = Field(
        default=30 * 86400.0, description="How long an old version is kept for threads that wait."
    )


class SecretKey(Spec):
    """A value of a Secret."""

    name: Name = Field(description="The Secret.")
    namespace: Name | None = Field(default=None, description="Its namespace; none: that of the resource.")
    key: Name | None = Field(default=None, description="The key in it; none: its only one.")


def _secret(given: Any) -> Any:
    if isinstance(given, str):
        namespace, slash, name = given.rpartition("/")
        return {"name": name, "namespace": namespace} if slash else {"name": given}
    return given


SecretRef: TypeAlias = Annotated[SecretKey, BeforeValidator(_secret), Spelled(TEXT)]
"""A reference to a value of a Secret: a name, `namespace/name`, or `{name, namespace, key}`."""


def _named(given: Any) -> Any:
    if isinstance(given, str):
        return {"ref": given}
    if not isinstance(given, Mapping):
        return given
    target = next((given[each] for each in ("ref", "refName") if each in given), None)
    rest = {key: each for key, each in given.items() if key not in ("ref", "refName")}
    if target is not None:
        return {**rest, "ref": target}
    place = {key: rest.pop(key) for key in ("name", "namespace", "kind") if key in rest}
    return {**rest, "ref": place} if "name" in place else given


class NamedRef(Spec):
    """A reference with the name under which the resource is known here."""

    name: Name | None = Field(default=None, description="The name here; none: that of the resource.")
    ref: Ref = Field(description="The resource.")
    description: str | None = Field(default=None, description="What it is good for, told to models.")

    @property
    def label(self) -> str:
        """The name under which it is known here."""
        return self.name or self.ref.name


Named: TypeAlias = Annotated[
    NamedRef,
    BeforeValidator(_named),
    Spelled(TEXT, parts("name", "refName", "description"), parts("name", "namespace", "kind", "description")),
]
"""A reference: a name, `{name, ref}`, `{name, refName}`, or `{name, namespace}`."""
