"""Failures that tests plant: calls and statements that fail some times, and then do what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Failing:
    """An async function that raises some errors, one a call, before it is called.

    Args:
        work: The function.
        *errors: The errors.
    """

    def __init__(self, work: Any, *errors: Exception) -> None:
        self.work = work
        self.left = list(errors)

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.left:
            raise self.left.pop(0)
        return await self.work(*arguments, **named)


class _Session:
    def __init__(self, session: Any, begin: str, left: list[Exception]) -> None:
        self._session = session
        self._begin = begin
        self._left = left

    def _look_at(self, statement: str) -> None:
        if statement.startswith(self._begin) and self._left:
            raise self._left.pop(0)

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        self._look_at(statement)
        return self._session.execute(statement, parameters)

    def change(self, statement: str, parameters: Any = ()) -> Any:
        self._look_at(statement)
        return self._session.change(statement, parameters)

    def change_many(self, statement: str, parameters: Any) -> None:
        self._look_at(statement)
        self._session.change_many(statement, parameters)


def fail_statements(monkeypatch: pytest.MonkeyPatch, database: Any, begin: str, *errors: Exception) -> list[Exception]:
    """Have statements that begin with some words raise one error each; return the errors that are left to be raised."""
    left = list(errors)
    transaction = database.transaction

    @contextmanager
    def opened(**named: Any) -> Iterator[Any]:
        with transaction(**named) as session:
            yield _Session(session, begin, left)

    monkeypatch.setattr(database, "transaction", opened)
    return left
