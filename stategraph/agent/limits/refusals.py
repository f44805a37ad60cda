"""Errors by which callbacks keep a call of a model or a tool from beginning, without a warning that a callback failed.

LangChain handles an error of a callback in a block that writes a warning with `repr(error)` in it, and then raises it
again where the handler says so. The settings of that logger, which could hide the warning, belong to the program. So
what is raised here carries the error, and raises it when its `repr` is asked for: it leaves that block before there is
a warning. It is of a subclass of the error's class, so that it means the same where nobody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_CARRIED = "_stategraph_carried"


@contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """Let errors of these kinds leave a callback without a warning; for handlers with `raise_error`.

    Raises:
        Exception: The error, as LangChain raises it.
    """
    try:
        yield
    except kinds as error:
        raise _carrying(error) from error


def _carrying(error: Exception) -> Exception:
    kind = _class_of(type(error))  # type: ignore[arg-type] # a class can be hashed
    made = kind.__new__(kind, *error.args)
    made.args = error.args
    vars(made).update(vars(error) | {_CARRIED: error})
    return made


@cache
def _class_of(kind: type[Exception]) -> type[Exception]:
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__repr__": _raise_carried})


def _raise_carried(self: Any) -> str:
    carried: Exception = vars(self)[_CARRIED]
    raise carried from carried.__cause__
