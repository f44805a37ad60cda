"""Schemas: what a user's class says about the state of a graph.

A schema is a typed dict, a dataclass, a pydantic model, or any other type for a state that is one value.

* A class with annotations has one state key per annotation, its bases' included. Any other type is the type of
  a single unnamed key, `ROOT`.
* ``Annotated`` says how a key is updated: the first channel in its metadata (a class or an instance), else a
  reducer as its last item. The last item may also be a managed value, which is computed and not stored. A key
  without any of these keeps its last value.
* ``Required``, ``NotRequired`` and ``total=False`` matter to JSON schemas only.

Reading a class costs far more than building its channels, so what was read is remembered per class, weakly.
"""

from __future__ import annotations

import dataclasses
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, isclass, signature
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,
    Required,
    TypeGuard,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from weakref import WeakKeyDictionary

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.delta import DeltaChannel
from stategraph.core.channels.last_value import LastValue
from stategraph.engine.compile import json_schema
from stategraph.engine.compile.managed import ManagedValueSpec, is_managed_value
from stategraph.graph import foreign_channels

ROOT: Final = "__root__"
"""The key of a state that is one value."""

_REQUIREDNESS: Final[tuple[object, ...]] = (Required, NotRequired)
_CONTAINERS: Final = frozenset((list, dict, set))
_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

AnyChannel = BaseChannel[Any, Any, Any]

Coercer = Callable[[dict[str, object]], object]
"""Makes an instance of a schema of a dict of state keys."""


@dataclass(frozen=True, slots=True)
class StateKeys:
    """The keys that a schema declares, in the order of its annotations."""

    channels: dict[str, AnyChannel]
    """The stored keys, each with its channel."""
    managed: dict[str, ManagedValueSpec]
    """The computed keys."""


@dataclass(frozen=True, slots=True)
class _Key:
    """The meaning of one annotation: a managed value, or how to build the channel."""

    name: str
    build: Callable[[], AnyChannel] | None = None
    managed: ManagedValueSpec | None = None

    def value(self) -> AnyChannel | ManagedValueSpec:
        if self.build is None:
            assert self.managed is not None
            return self.managed
        channel = self.build()
        channel.key = self.name
        return channel


_hints_seen: WeakKeyDictionary[type[object], dict[str, object]] = WeakKeyDictionary()
_keys_seen: WeakKeyDictionary[type[object], tuple[_Key, ...]] = WeakKeyDictionary()


# --- state keys ---


def type_hints(schema: object) -> Mapping[str, object]:
    """Return the resolved annotations of a schema and its bases, with ``Annotated`` and the like kept.

    Raises:
        NameError: If an annotation names something that cannot be found.
    """
    if not isinstance(schema, type):
        return get_type_hints(schema, include_extras=True)
    hints = _hints_seen.get(schema)
    if hints is None:
        hints = _hints_seen[schema] = get_type_hints(schema, include_extras=True)
    return hints


def declares_keys(type_: object) -> TypeGuard[type[object]]:
    """Return whether a type can be the schema of a node's input: a class with annotations.

    Raises:
        NameError: If an annotation names something that cannot be found.
    """
    return isinstance(type_, type) and bool(type_hints(type_))


def state_keys(schema: object) -> StateKeys:
    """Read the keys of a schema.

    Returns:
        The keys, with channels that are the caller's own. A channel that stands in an annotation as an
        instance is not copied.

    Raises:
        NameError: If an annotation names something that cannot be found.
        ValueError: If a reducer does not take two arguments.
    """
    channels: dict[str, AnyChannel] = {}
    managed: dict[str, ManagedValueSpec] = {}
    for key in _read_keys(schema):
        value = key.value()
        if isinstance(value, BaseChannel):
            channels[key.name] = value
        else:
            managed[key.name] = value
    return StateKeys(channels, managed)


def _read_keys(schema: object) -> tuple[_Key, ...]:
    if not hasattr(schema, "__annotations__"):
        return (_read_key(ROOT, schema, allow_managed=False),)
    if not isinstance(schema, type):
        return _read_annotations(schema)
    keys = _keys_seen.get(schema)
    if keys is None:
        keys = _keys_seen[schema] = _read_annotations(schema)
    return keys


def _read_annotations(schema: object) -> tuple[_Key, ...]:
    return tuple(_read_key(name, hint) for name, hint in type_hints(schema).items() if name != "__slots__")


def _read_key(name: str, annotation: object, *, allow_managed: bool = True) -> _Key:
    annotation = _without_requiredness(annotation)
    managed = managed_value_of(annotation)
    if managed is not None and not allow_managed:
        raise ValueError(
            f"{annotation} is computed by the engine and cannot be the whole state; make it a key of a class."
        )
    if managed is not None:
        return _Key(name, managed=managed)
    build = _channel_builder(annotation) or _reducer_builder(annotation) or partial(LastValue, annotation)
    return _Key(name, build=build)


def channel_of(name: str, annotation: object, *, allow_managed: bool = True) -> AnyChannel | ManagedValueSpec:
    """Read one annotation.

    Args:
        name: The state key.
        annotation: Its type, resolved.
        allow_managed: Whether a managed value is acceptable here.

    Returns:
        A managed value's class, or a channel that knows its key.

    Raises:
        ValueError: If a managed value is not acceptable, or a reducer does not take two arguments.
    """
    return _read_key(name, annotation, allow_managed=allow_managed).value()


def declared_channel(annotation: object) -> AnyChannel | None:
    """Return the channel that an annotation's metadata declares, built if it is a class; None if there is none."""
    build = _channel_builder(annotation)
    return None if build is None else build()


def reducer_channel(annotation: object) -> AnyChannel | None:
    """Return the channel for an annotation whose metadata ends in a reducer; None if it does not.

    Raises:
        ValueError: If what it ends in can be called but not with two arguments.
    """
    build = _reducer_builder(annotation)
    return None if build is None else build()


def managed_value_of(annotation: object) -> ManagedValueSpec | None:
    """Return the managed value that an annotation, or what it wraps, ends in; None if there is none."""
    while True:
        metadata = getattr(annotation, "__metadata__", None)
        if metadata:
            candidate = get_origin(metadata[-1]) or metadata[-1]
            if is_managed_value(candidate):
                return candidate
        if get_origin(annotation) is None or not (wrapped := get_args(annotation)) or not wrapped[0]:
            return None
        annotation = wrapped[0]


def _channel_builder(annotation: object) -> Callable[[], AnyChannel] | None:
    for item in map(foreign_channels.own, getattr(annotation, "__metadata__", ())):
        if isinstance(item, BaseChannel):
            return _instance_builder(item, annotation)
        if isclass(item) and issubclass(item, BaseChannel):
            return partial(item, getattr(annotation, "__origin__", annotation))
    return None


def _instance_builder(channel: AnyChannel, annotation: object) -> Callable[[], AnyChannel]:
    if not isinstance(channel, DeltaChannel):
        return lambda: channel
    # A delta channel is written without the type it stores; the annotation knows it.
    stored = _without_requiredness(getattr(annotation, "__origin__", annotation))
    return partial(type(channel), channel.reducer, cast("type", stored), snapshot_frequency=channel.snapshot_frequency)


def _reducer_builder(annotation: object) -> Callable[[], AnyChannel] | None:
    metadata: tuple[object, ...] = getattr(annotation, "__metadata__", ())
    if not metadata or not callable(metadata[-1]):
        return None
    reducer = metadata[-1]
    taken = signature(reducer)
    if sum(parameter.kind in _POSITIONAL for parameter in taken.parameters.values()) != 2:
        raise ValueError(f"Invalid reducer signature. Expected (a, b) -> c. Got {taken}")
    return partial(BinaryOperatorAggregate, cast("type", annotation), reducer)


def _without_requiredness(annotation: object) -> object:
    return get_args(annotation)[0] if get_origin(annotation) in _REQUIREDNESS else annotation


def warn_if_no_schema(schema: object) -> None:
    """Warn about a state schema that is a value, where a type was meant."""
    if not isinstance(schema, type) and not get_args(schema):
        warnings.warn(
            f"Invalid state_schema: {schema}. A graph's state is described by a class, or by Annotated[type, reducer], "
            "not by a value; updates of this state will not work as intended.",
            stacklevel=2,
        )


# --- state values ---


def coercer(keys: Sequence[str], schema: object) -> Coercer | None:
    """Return a function that turns a dict of state keys into an instance of a schema; None if a dict is expected.

    Args:
        keys: The state keys of the schema.
        schema: The schema.

    Returns:
        A function that builds (and so validates) the class from the dict; None if the dict itself is passed on.
    """
    if list(keys) == [ROOT] or not isclass(schema):
        return None
    if not issubclass(schema, BaseModel) and not dataclasses.is_dataclass(schema):
        return None
    return _ModelOf(schema) if issubclass(schema, BaseModel) else _InstanceOf(schema)


def aliases(schema: object) -> dict[str, str]:
    """Map the aliases that a pydantic model takes its fields under to the fields' names."""
    if not isclass(schema) or not issubclass(schema, BaseModel):
        return {}
    return {
        alias: name
        for name, field in schema.model_fields.items()
        for alias in _spellings(field)
        if alias not in schema.model_fields
    }


def _spellings(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)]


class _InstanceOf:
    """Makes instances of a class from dicts of its fields."""

    __slots__ = ("_schema",)

    def __init__(self, schema: Callable[..., Any]) -> None:
        self._schema = schema

    def __call__(self, values: dict[str, object]) -> object:
        return self._schema(**values)


class _ModelOf(_InstanceOf):
    """Makes pydantic models, whose validation is worth to be shared."""

    __slots__ = ("_spelled",)

    def __init__(self, schema: type[BaseModel]) -> None:
        super().__init__(schema)
        config = schema.model_config
        by_name = config.get("populate_by_name") or config.get("validate_by_name")
        # A model that takes a field by its alias alone would drop what the state calls by its name.
        self._spelled = {} if by_name else {name: alias for alias, name in reversed(aliases(schema).items())}

    def __call__(self, values: dict[str, object]) -> object:
        spelled = self._spelled
        if spelled:
            values = {spelled.get(name, name): value for name, value in values.items()}
        return self._schema(**values)

    def copied(self, model: BaseModel) -> BaseModel:
        """Copy a model so that its fields, and the contents of their lists, dicts and sets, can be replaced."""
        copied = copy(model)
        fields = copied.__dict__
        for name, value in fields.items():
            if type(value) in _CONTAINERS:
                fields[name] = value.copy()
        return copied


# --- JSON schemas and defaults ---


def state_json_schema(
    schema: object, *, keys: Iterable[str], channels: Mapping[str, AnyChannel], title: str
) -> dict[str, Any]:
    """Return the JSON schema of a graph's input or output.

    Args:
        schema: The input or output schema.
        keys: Its state keys, managed ones included.
        channels: All channels of the graph.
        title: The title of a schema that does not bring its own.
    """
    own = json_schema.own_json_schema(schema)
    if own is not None:
        return own
    keys = list(keys)
    if keys == [ROOT]:
        model = json_schema.root_model_of(title, channels[ROOT].UpdateType)
    else:
        fields: dict[str, tuple[Any, Any]] = {}
        for key in keys:
            if key in channels:
                type_ = channels[key].UpdateType
                fields[key] = (type_, field_default(key, type_, schema))
        model = json_schema.model_of(title, fields)
    return model.model_json_schema()


def field_default(name: str, type_: object, schema: object) -> object:
    """Return the default of a state key in a JSON schema.

    Args:
        name: The key.
        type_: Its annotation.
        schema: The class that declares it.

    Returns:
        The dataclass default if there is one, None for a key that may be left out, ``...`` for one that may not.
    """
    required = is_required_type(type_)
    if name in getattr(schema, "__optional_keys__", ()):
        # Some Python versions list a Required key of a total=False class here.
        return ... if required else None
    if required is not None:
        return ... if required else None
    if dataclasses.is_dataclass(schema):
        field = schema.__dataclass_fields__.get(name)
        if field is not None and field.default is not dataclasses.MISSING and field.default is not ...:
            return field.default
        if field is not None and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return None if is_optional_type(type_) else ...


def is_required_type(type_: object) -> bool | None:
    """Return True for ``Required``, False for ``NotRequired``, None if an annotation says neither."""
    while get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    origin = get_origin(type_)
    return origin is Required if origin in _REQUIREDNESS else None


def is_optional_type(type_: object) -> bool:
    """Return whether an annotation allows None: a union that includes it, also inside ``Annotated`` or as a bound."""
    origin = get_origin(type_)
    if origin is Union or origin is types.UnionType:
        return any(member is types.NoneType or is_optional_type(member) for member in get_args(type_))
    if origin is Annotated:
        return is_optional_type(get_args(type_)[0])
    if isinstance(type_, typing.TypeVar):
        return type_.__bound__ is not None and is_optional_type(type_.__bound__)
    return type_ is None


def described_fields(schema: type[object]) -> Iterator[tuple[str, object, object, str | None]]:
    """Yield the fields of a context schema as ``(name, type, default, description)``, None for what is missing."""
    model_fields = getattr(schema, "model_fields", {})
    class_values = getattr(schema, "__dict__", {})
    for name, type_ in get_type_hints(schema).items():
        field = model_fields.get(name) if isinstance(model_fields, dict) else None
        default = None
        if field is not None and field.default is not PydanticUndefined:
            default = field.default
        yield name, type_, class_values.get(name, default), getattr(field, "description", None)
