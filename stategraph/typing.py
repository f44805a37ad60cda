"""The type variables of graphs, for programs that declare generics over them."""

from __future__ import annotations

from dataclasses import Field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from typing_extensions import TypeVar

if TYPE_CHECKING:  # the bounds of type variables are for checkers only; importing pydantic here costs start-up time
    from pydantic import BaseModel

__all__ = (
    "ContextT",
    "InputT",
    "OutputT",
    "StateT",
    "StateT_co",
    "StateT_contra",
)


class TypedDictLike(Protocol):
    """A TypedDict whose key sets are declared as class variables."""

    __required_keys__: ClassVar[frozenset[str]]
    __optional_keys__: ClassVar[frozenset[str]]


class TypedDictLikeInstance(Protocol):
    """A TypedDict whose key sets are declared as plain attributes; checkers disagree on which it is."""

    __required_keys__: frozenset[str]
    __optional_keys__: frozenset[str]


class DataclassLike(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


StateLike: TypeAlias = "TypedDictLike | TypedDictLikeInstance | DataclassLike | BaseModel"
"""A class of states: a TypedDict, a dataclass or a pydantic model."""

StateT = TypeVar("StateT", bound=StateLike)
StateT_co = TypeVar("StateT_co", bound=StateLike, covariant=True)
StateT_contra = TypeVar("StateT_contra", bound=StateLike, contravariant=True)

ContextT = TypeVar("ContextT", bound="StateLike | None", default=None)
"""The context that a run's caller hands to all nodes."""
ContextT_contra = TypeVar("ContextT_contra", bound="StateLike | None", contravariant=True, default=None)

InputT = TypeVar("InputT", bound=StateLike, default=StateT)
OutputT = TypeVar("OutputT", bound=StateLike, default=StateT)

NodeInputT = TypeVar("NodeInputT", bound=StateLike)
NodeInputT_contra = TypeVar("NodeInputT_contra", bound=StateLike, contravariant=True)
