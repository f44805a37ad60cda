"""Base classes and types of the models of specs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from stategraph.resources import refs


def camel_case(name: str) -> str:
    """Return the name of a field in manifests: `secret_ref` is `secretRef`, and `k8s` stays as it is."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Spec(BaseModel):
    """Base of every model in a spec: fields in camelCase, unknown fields are errors, values are frozen."""

    model_config = ConfigDict(alias_generator=camel_case, populate_by_name=True, extra="forbid", frozen=True)


class TargetSpec(Spec):
    """Base of the specs of kinds that others refer to.

    Attributes:
        allowed_namespaces: Other namespaces whose resources may refer to this one; `*` for all. Its own always may.
    """

    allowed_namespaces: tuple[str, ...] = Field(
        (), description="Other namespaces whose resources may refer to this one; '*' for all."
    )


_REFERENCE: Final[dict[str, Any]] = {
    "description": "A name, namespace/name, kind/name, or the same in parts.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {
                key: {"type": "string"} for key in ("name", "namespace", "kind", "ref", "refName", "apiVersion")
            },
            "additionalProperties": False,
        },
    ],
}

#: A reference in any spelling; a field of this type holds a `Reference`.
Ref = Annotated[refs.Reference, BeforeValidator(refs.parse), WithJsonSchema(_REFERENCE)]


class Spelled:
    """Say in the JSON Schema of a type which other spellings are read besides its own.

    Args:
        others: Their schemas.
    """

    def __init__(self, *others: dict[str, Any]) -> None:
        self._others = others

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema with the other spellings."""
        return {"anyOf": [dict(handler(core)), *self._others]}


#: The schema of a spelling that is a text.
TEXT: Final[dict[str, Any]] = {"type": "string", "minLength": 1}


def parts(*names: str) -> dict[str, Any]:
    """Return the schema of a spelling in parts, which are texts."""
    return {"type": "object", "properties": {each: {"type": "string"} for each in names}, "additionalProperties": False}
