"""Types of the fields of settings: numbers and truth values that are not read from texts, and objects by their methods.

- A text is no number and no truth value: `"false"` would be true to one reader and false to another. Nor is True a
  number.
- What has to be an object of some interface is looked at when the settings are made, and not when it is first used.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, Strict
from pydantic_core import PydanticKnownError

from stategraph.types import ensure_valid_checkpointer


def _no_text(given: Any) -> Any:
    # A whole number may come as 5.0 from where all numbers are floats, which a strict int would refuse.
    if isinstance(given, str | bytes | bool):
        raise PydanticKnownError("int_type")
    return given


Flag: TypeAlias = Annotated[bool, Strict()]
WholeNumber: TypeAlias = Annotated[int, BeforeValidator(_no_text)]
Number: TypeAlias = Annotated[float, Strict(), Field(allow_inf_nan=False)]

PositiveInt: TypeAlias = Annotated[int, BeforeValidator(_no_text), Field(gt=0)]
Count: TypeAlias = Annotated[int, BeforeValidator(_no_text), Field(ge=0)]
PositiveNumber: TypeAlias = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Amount: TypeAlias = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Ratio: TypeAlias = Annotated[float, Strict(), Field(ge=0, le=1)]


def checked_saver(given: Any) -> Any:
    """Return what was given as a saver; False is none.

    Raises:
        ValueError: It is something else.
    """
    if given is True:
        raise ValueError("True is for nested graphs; expected a saver, such as InMemorySaver(), or None")
    try:
        ensure_valid_checkpointer(given)
    except TypeError:
        raise ValueError(_found(given, "saver", "a saver, such as InMemorySaver(), or None")) from None
    return None if given is False else given


def _store(given: Any) -> Any:
    if given is None or all(callable(getattr(given, name, None)) for name in ("aget", "aput", "asearch")):
        return given
    raise ValueError(_found(given, "store", "a store, such as InMemoryStore(), or None"))


def _found(given: object, what: str, expected: str) -> str:
    entered = hasattr(given, "__enter__") or hasattr(given, "__aenter__")
    hint = "; it is a context manager: enter it, and give what that returns" if entered else ""
    return f"a value of type {type(given).__name__} is no {what}, expected {expected}{hint}"


Saver: TypeAlias = Annotated[Any, AfterValidator(checked_saver)]
"""A saver of threads."""

Store: TypeAlias = Annotated[Any, AfterValidator(_store)]
"""A store of long-term memory."""
