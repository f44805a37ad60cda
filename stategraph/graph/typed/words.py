"""A type in words: the same ones for the same type, whatever order its fields and members are written in.

Rules
-----
* Classes of the author's own package are told with their fields: TypedDicts, dataclasses, pydantic models, named tuples
  and enums. Classes of other packages are told by their name alone, so that an update of a library changes nothing.
* What does not change which values there are is left out: reducers, constraints, defaults, whether a key is required.
* A class inside of itself is told by its name.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Mapping
from enum import Enum
from inspect import isclass
from typing import Annotated, Any, Final, Literal, NotRequired, Required, TypeVar, Union, get_args, get_origin

from langchain_core.messages import AnyMessage
from pydantic import BaseModel
from typing_extensions import ReadOnly, TypeAliasType, get_type_hints, is_typeddict

_WRAPPERS: Final = (Annotated, Required, NotRequired, ReadOnly)
_UNIONS: Final = (Union, types.UnionType)


def package_of(schema: object) -> str:
    """Return the top-level package of a class, also if its module is the program that runs."""
    module = str(getattr(schema, "__module__", "") or "")
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        path = str(getattr(main, "__file__", "") or "").replace("\\", "/")
        module = spec.name if spec is not None else path.rpartition("/")[2].removesuffix(".py")
    return module.partition(".")[0]


def told(type_: object, packages: frozenset[str]) -> str:
    """Tell a type.

    Args:
        type_: The type, resolved.
        packages: The packages whose classes are told with their fields.
    """
    return _told(type_, packages, ())


def _told(type_: object, packages: frozenset[str], around: tuple[object, ...]) -> str:
    if type_ == AnyMessage:
        return "AnyMessage"  # a union that grows with langchain-core
    origin, args = get_origin(type_), get_args(type_)
    if origin in _WRAPPERS:
        return _told(args[0], packages, around)
    if isinstance(type_, TypeAliasType):
        return _told(type_.__value__, packages, around)
    if origin in _UNIONS:
        return " | ".join(sorted(_members(args, packages, around)))
    if origin is Literal:
        return f"Literal[{', '.join(sorted(map(repr, args)))}]"
    if origin is not None:
        inside = ", ".join(_argument(each, packages, around) for each in args)
        return f"{_told(origin, packages, around)}[{inside}]"
    if type_ is None or type_ is type(None):
        return "None"
    if isinstance(type_, TypeVar):
        return f"~{type_.__name__}"
    if isclass(type_):
        return _class(type_, packages, around)
    if (base := getattr(type_, "__supertype__", None)) is not None:
        return f"{getattr(type_, '__name__', '')}({_told(base, packages, around)})"
    return str(getattr(type_, "__name__", None) or type_).removeprefix("typing.")


def _members(args: tuple[object, ...], packages: frozenset[str], around: tuple[object, ...]) -> set[str]:
    """Return the members of a union, those of unions in it among them."""
    found: set[str] = set()
    for each in args:
        while get_origin(each) in _WRAPPERS or isinstance(each, TypeAliasType):
            each = each.__value__ if isinstance(each, TypeAliasType) else get_args(each)[0]
        if get_origin(each) in _UNIONS:
            found |= _members(get_args(each), packages, around)
        else:
            found.add(_told(each, packages, around))
    return found


def _argument(each: object, packages: frozenset[str], around: tuple[object, ...]) -> str:
    if each is ...:
        return "..."
    if isinstance(each, list):  # the parameters of a Callable
        return f"[{', '.join(_argument(inner, packages, around) for inner in each)}]"
    return _told(each, packages, around)


def _class(cls: type[Any], packages: frozenset[str], around: tuple[object, ...]) -> str:
    name = cls.__name__
    if cls in around or package_of(cls) not in packages:
        return name
    if issubclass(cls, Enum):
        return f"{name}({', '.join(sorted(repr(member.value) for member in cls))})"
    fields = _fields(cls)
    if fields is None:
        return name
    inside = (*around, cls)
    parts = [f"{field}: {_told(hint, packages, inside)}" for field, hint in fields.items()]
    # The values of a named tuple are known by their place.
    return f"{name}({', '.join(parts if issubclass(cls, tuple) else sorted(parts))})"


def _fields(cls: type[Any]) -> Mapping[str, object] | None:
    """Return the fields of a class that says what is in its values; None for any other."""
    if issubclass(cls, BaseModel):
        return {name: field.annotation for name, field in cls.model_fields.items()}
    if not (is_typeddict(cls) or dataclasses.is_dataclass(cls) or hasattr(cls, "_fields")):
        return None
    try:
        hints = get_type_hints(cls, include_extras=True)
    except Exception:  # an annotation names what cannot be found; running it would raise, too
        hints = dict(getattr(cls, "__annotations__", {}))
    if dataclasses.is_dataclass(cls):
        return {field.name: hints.get(field.name, field.type) for field in dataclasses.fields(cls)}
    return hints
