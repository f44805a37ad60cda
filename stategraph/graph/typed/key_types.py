"""The type of each key of a graph's state, and that of an update of it.

Rules
-----
* Several schemas may have one key: that of the state comes first, then those of input, output, nodes and routers in the
  order in which they were added.
* An update of a key without a reducer has the key's type. With one, it has the type of the reducer's second parameter;
  that of the key, for reducers written in C, such as `operator.add`; none that is known, if a function does not say.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NotRequired, Protocol, Required, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, get_type_hints

from stategraph.constants import MISSING
from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.delta import DeltaChannel
from stategraph.graph import schema as schemas

_REQUIREDNESS: Final = (Required, NotRequired, ReadOnly)


class Declared(Protocol):
    """A builder, as far as its schemas are concerned."""

    @property
    def channels(self) -> Mapping[str, BaseChannel[Any, Any, Any]]:
        """The stored keys."""

    @property
    def schemas(self) -> Mapping[type[object], Mapping[str, object]]:
        """For each schema its keys, the state's first."""


@dataclass(frozen=True, slots=True)
class KeyType:
    """A state key, as one schema declares it.

    Attributes:
        key: Its name.
        schema: The schema.
        type_: Its annotation, resolved; that of a field of a pydantic model with the field's constraints.
        optional: Whether a state may be without it: it is not required, has a default, or begins with a value.
    """

    key: str
    schema: type[object]
    type_: Any
    optional: bool


def of_graph(declared: Declared) -> dict[str, KeyType]:
    """Return the types of all stored keys of a graph."""
    found: dict[str, KeyType] = {}
    for schema, keys in declared.schemas.items():
        for key_type in of_schema(schema, {key: declared.channels[key] for key in keys if key in declared.channels}):
            found.setdefault(key_type.key, key_type)
    return found


def of_schema(schema: type[object], channels: Mapping[str, BaseChannel[Any, Any, Any]]) -> Iterator[KeyType]:
    """Yield the types of the stored keys of one schema.

    Args:
        schema: The schema.
        channels: Its keys, with their channels.
    """
    if list(channels) == [schemas.ROOT]:
        yield KeyType(schemas.ROOT, schema, schema, optional=False)
        return
    hints = schemas.type_hints(schema)
    fields = schema.model_fields if inspect.isclass(schema) and issubclass(schema, BaseModel) else {}
    for key, channel in channels.items():
        hint = _with_constraints(fields[key], hints[key]) if key in fields else hints[key]
        yield KeyType(key, schema, _bare(hint), _is_optional(schema, key, hints[key], fields) or _begins_full(channel))


def _bare(hint: Any) -> Any:
    """Return an annotation without what says whether the key is required."""
    if get_origin(hint) in _REQUIREDNESS:
        return _bare(get_args(hint)[0])
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        bare = _bare(inner)
        return hint if bare is inner else Annotated[(bare, *metadata)]
    return hint


def _with_constraints(field: FieldInfo, hint: object) -> Any:
    return field.rebuild_annotation() if field.metadata else hint


def _is_optional(schema: type[object], key: str, hint: object, fields: Mapping[str, FieldInfo]) -> bool:
    if key in fields:
        return not fields[key].is_required()
    if dataclasses.is_dataclass(schema):
        field = schema.__dataclass_fields__[key]
        return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    required = schemas.is_required_type(hint)
    return key in getattr(schema, "__optional_keys__", ()) if required is None else not required


def _begins_full(channel: BaseChannel[Any, Any, Any]) -> bool:
    return getattr(channel, "value", MISSING) is not MISSING


def update_type(key_type: KeyType, channel: BaseChannel[Any, Any, Any]) -> tuple[Any, bool]:
    """Return the type of an update, and whether it is that of the value, too.

    Returns:
        The type, `MISSING` if it is not known; and whether the update becomes the value as it is.
    """
    if isinstance(channel, DeltaChannel):
        return MISSING, False  # its reducer is given the updates of a step together
    if isinstance(channel, BinaryOperatorAggregate):
        return _second_parameter(channel.operator, key_type.type_), False
    if channel.ValueType == channel.UpdateType:
        return key_type.type_, True
    return channel.UpdateType, False


def _second_parameter(reducer: Any, otherwise: object) -> Any:
    if not (inspect.isfunction(reducer) or inspect.ismethod(reducer)):
        return otherwise if inspect.isbuiltin(reducer) else MISSING
    try:
        hints = get_type_hints(reducer, include_extras=True)
        second = list(inspect.signature(reducer).parameters)[1]
    except (NameError, TypeError, IndexError):
        return MISSING
    hint = hints.get(second, MISSING)
    return MISSING if _has_variable(hint) else hint


def _has_variable(hint: object) -> bool:
    return isinstance(hint, TypeVar) or any(map(_has_variable, get_args(hint)))
