"""Saves of checkpoints that are read together with those before them: refused if these are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from psycopg import errors

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.config.procedures import Procedure
from stategraph.savers.chains import erased, links_of
from stategraph.savers.compact.plan import thread_of
from stategraph.savers.postgres.libpq import has_sqlstate
from stategraph.savers.postgres.rows import ERASED

P = ParamSpec("P")
T = TypeVar("T")
Storing = Callable[Concatenate[Any, Sequence[Save], P], Procedure[T]]


class ErasedError(errors.IntegrityError):
    """A checkpoint cannot be stored, as the one that it is rebuilt from was erased."""


def chained(storing: Storing[P, T]) -> Storing[P, T]:
    """Have a procedure that stores saves raise an `ErasedError` where its statement found a chain broken."""

    @wraps(storing)
    def checked(self: Any, saves: Sequence[Save], /, *args: P.args, **kwargs: P.kwargs) -> Procedure[T]:
        try:
            return (yield from storing(self, saves, *args, **kwargs))
        except Exception as error:
            if not has_sqlstate(error, ERASED):
                raise
            raise ErasedError(erased(thread_of(saves[0]), links_of(saves)[0])) from error

    return checked
