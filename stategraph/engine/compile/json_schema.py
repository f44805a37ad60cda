"""JSON schemas of what a graph takes and gives: its input, its output, its run context.

Models are made without touching the process's warning filters: those belong to all threads.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from inspect import isclass
from typing import Any, Final

import pydantic
import typing_extensions
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter

from stategraph.engine.compile.typed_dicts import readable

_OF_MODELS: Final = ConfigDict(arbitrary_types_allowed=True, frozen=True, protected_namespaces=())
_OF_PYDANTIC: Final = frozenset(name for name in dir(BaseModel) if not name.startswith("_"))


class _Root(RootModel[Any]):
    """A single value without keys; the schema has the model's name as its title, also where it is a reference."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, object]:
        return {**super().model_json_schema(*args, **kwargs), "title": cls.__name__}


def create_model(model_name: str, *, field_definitions: Mapping[str, object] | None = None, root: object = None) -> Any:
    """Build a pydantic model of some fields, or of a single value without keys.

    Args:
        model_name: The model's name, which becomes the title of its JSON schema.
        field_definitions: The type and the default of each field; ``...`` as a default makes the field required.
            Names that pydantic keeps for itself are allowed: such a field is stored under another name and has an
            alias.
        root: The type of the value, or a pair of type and default.

    Returns:
        The model's class; the same one for the same description.

    Raises:
        NotImplementedError: There are fields and a root, or a field with one of pydantic's names is no such pair.
    """
    fields = field_definitions or {}
    if root and fields:
        raise NotImplementedError(f"{model_name} has a root and takes no other fields; got {', '.join(fields)}")
    if root:
        fields = {"root": root if isinstance(root, tuple) else (root, ...)}
    key = tuple((name, *_identity(definition)) for name, definition in fields.items())
    try:
        hash(key)
    except TypeError:
        return _make_model.__wrapped__(model_name, bool(root), key)
    return _make_model(model_name, bool(root), key)


def _identity(definition: object) -> tuple[object, ...]:
    """Return what tells a field's definition from others: 1 and True are equal, and are not the same default."""
    return definition, tuple(map(type, definition)) if isinstance(definition, tuple) else type(definition)


@lru_cache(maxsize=256)
def _make_model(model_name: str, is_root: bool, key: tuple[tuple[str, Any, Any], ...]) -> type[BaseModel]:
    if is_root:
        return pydantic.create_model(model_name, __base__=_Root, root=key[0][1])
    fields = dict(_field(name, definition) for name, definition, _ in key)
    return pydantic.create_model(model_name, __config__=_OF_MODELS, **fields)


def _field(name: str, definition: object) -> tuple[str, Any]:
    """Return the name and the definition that pydantic is given for a field."""
    if not name.startswith("_") and name not in _OF_PYDANTIC:
        return name, definition
    if not isinstance(definition, tuple):
        raise NotImplementedError(
            f"field {name!r} has a name that pydantic keeps for itself, and must be a pair of type and default; got"
            f" {definition!r}"
        )
    type_, default = definition
    title = name.lstrip("_").replace("_", " ").title()
    return f"private_{name}", (type_, Field(default=default, alias=name, serialization_alias=name, title=title))


def model_of(name: str, fields: Mapping[str, tuple[object, object]]) -> type[BaseModel]:
    """Build a pydantic model with these fields; see :func:`create_model`."""
    usable = {key: (readable(type_), default) for key, (type_, default) in fields.items()}
    model: type[BaseModel] = create_model(name, field_definitions=usable)
    return model


def root_model_of(name: str, type_: object, default: object = None) -> type[BaseModel]:
    """Build a pydantic model of a single value without keys."""
    model: type[BaseModel] = create_model(name, root=(readable(type_), default))
    return model


def describes_itself(type_: object) -> bool:
    """Return whether pydantic can derive a schema from a container type: a model, a dataclass or a typed dict.

    False for plain types, and for ``typing.TypedDict`` before Python 3.12, which pydantic refuses.
    """
    if is_dataclass(type_) or (isclass(type_) and issubclass(type_, BaseModel)):
        return True
    usable = [typing_extensions.TypedDict]
    if sys.version_info >= (3, 12):
        usable.append(typing.TypedDict)
    bases: Iterable[object] = getattr(type_, "__orig_bases__", ())
    return any(base in usable for base in bases)


def own_json_schema(type_: Any) -> dict[str, object] | None:
    """Return the JSON schema that a model or a typed dict gives of itself; None for any other type."""
    if isclass(type_) and issubclass(type_, BaseModel):
        return type_.model_json_schema()
    if typing_extensions.is_typeddict(type_):
        return TypeAdapter(readable(type_)).json_schema()
    return None


def context_json_schema(context_schema: Any) -> dict[str, object] | None:
    """Return the JSON schema of a graph's run context.

    Returns:
        The schema; None if the graph declares no context.

    Raises:
        ValueError: If the declared type is neither a model, nor a typed dict, nor a dataclass.
    """
    if context_schema is None:
        return None
    if is_dataclass(context_schema) and not _is_model(context_schema):
        return TypeAdapter(context_schema).json_schema()
    schema = own_json_schema(context_schema)
    if schema is None:
        raise ValueError(f"Invalid context schema type: {context_schema}. Must be a BaseModel, TypedDict or dataclass.")
    return schema


def _is_model(type_: object) -> bool:
    return isclass(type_) and issubclass(type_, BaseModel)
