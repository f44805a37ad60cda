"""JSON schemas of what a graph takes and gives: its input, its output, its run context.

Models are built by langchain-core, whose runnables describe themselves with the same kind of model.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from inspect import isclass
from typing import Any

import typing_extensions
from langchain_core.utils.pydantic import create_model_v2
from pydantic import BaseModel, TypeAdapter


def model_of(name: str, fields: Mapping[str, tuple[Any, Any]]) -> type[BaseModel]:
    """Build a pydantic model with these fields.

    Args:
        name: The model's name, which becomes the title of its JSON schema.
        fields: The type and the default of each field; ``...`` as a default makes the field required. Names
            that pydantic keeps for itself are allowed.
    """
    return create_model_v2(name, field_definitions=dict(fields))


def root_model_of(name: str, type_: Any, default: Any = None) -> type[BaseModel]:
    """Build a pydantic model of a single value without keys."""
    return create_model_v2(name, root=(type_, default))


def describes_itself(type_: Any) -> bool:
    """Whether pydantic can derive a schema from a container type: a model, a dataclass or a typed dict.

    False for plain types, and for ``typing.TypedDict`` before Python 3.12, which pydantic refuses.
    """
    if is_dataclass(type_) or (isclass(type_) and issubclass(type_, BaseModel)):
        return True
    usable = [typing_extensions.TypedDict]
    if sys.version_info >= (3, 12):
        usable.append(typing.TypedDict)
    bases: Iterable[Any] = getattr(type_, "__orig_bases__", ())
    return any(base in usable for base in bases)


def own_json_schema(type_: Any) -> dict[str, Any] | None:
    """The JSON schema that a model or a typed dict gives of itself; None for any other type."""
    if isclass(type_) and issubclass(type_, BaseModel):
        return type_.model_json_schema()
    if typing_extensions.is_typeddict(type_):
        return TypeAdapter(type_).json_schema()
    return None


def context_json_schema(context_schema: Any) -> dict[str, Any] | None:
    """The JSON schema of a graph's run context.

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


def _is_model(type_: Any) -> bool:
    return isclass(type_) and issubclass(type_, BaseModel)
