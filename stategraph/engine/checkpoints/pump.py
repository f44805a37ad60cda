"""One procedure over savers and graphs, run by a sync or an async caller.

A procedure yields the calls it needs, each of a method that has an async form,
named with an "a" in front, and is sent their results (see `procedures`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from stategraph.constants import CONF
from stategraph.engine.checkpoints import damage
from stategraph.engine.config import foreign_types, procedures

T = TypeVar("T")


_NO_KWARGS: Final[Mapping[str, Any]] = {}


class Ask(NamedTuple):
    """A call of a method.

    Attributes:
        target: A saver, a graph or a Runnable.
        method: Name of the sync method; the answer of ``list`` is a list.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    target: object
    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = _NO_KWARGS


Procedure = Generator[Ask, Any, T]
"""Yields calls, is sent their results, returns its own."""


def run(procedure: Procedure[T]) -> T:
    """Run a procedure, calling savers in place."""
    return procedures.drive(procedure, _call)


async def arun(procedure: Procedure[T]) -> T:
    """Run a procedure, awaiting the savers' async methods."""
    return await procedures.adrive(procedure, _acall)


def _call(call: Ask) -> object:
    try:
        answer = getattr(call.target, call.method)(*call.args, **call.kwargs)
        return foreign_types.received(list(answer) if call.method == "list" else answer)
    except Exception as error:
        _blame(call, error)
        raise


async def _acall(call: Ask) -> object:
    try:
        asked = getattr(call.target, "a" + call.method)(*call.args, **call.kwargs)
        answer = [item async for item in asked] if call.method == "list" else await asked
        return foreign_types.received(answer)
    except Exception as error:
        _blame(call, error)
        raise


def _blame(call: Ask, error: Exception) -> None:
    """Raise a `DamagedCheckpointError` for an error of a call that is about a saver's data."""
    if call.method not in damage.READS:
        return
    before = call.kwargs.get("before")
    if before is not None and CONF not in before:  # no config, which no store can be blamed for
        return
    told = damage.of_read(call.kwargs["config"] if "config" in call.kwargs else call.args[0], error)
    if told is not error:
        raise told from error
