"""Writes in groups: what is asked for while a transaction goes on is the next one, together.

Rules
-----
* One transaction writes at a time, in a thread; each one takes what has been asked for until then, in that order.
* A write that is refused before it has changed anything is refused alone. After any other error the transaction is
  rolled back, and each write of the group is tried by itself: so the error is that of the write that caused it.
* If the database went away in the middle, nobody knows what was stored: that is the error of each write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

from stategraph.resources.errors import ResourceError
from stategraph.workers.registry.port import StoreUnavailableError

T = TypeVar("T")
Writing = TypeVar("Writing")

#: The most writes of one transaction.
MOST: Final = 64

_Outcomes: TypeAlias = "list[tuple[Any, Exception | None]]"


@dataclass(frozen=True, slots=True)
class _Asked(Generic[Writing]):
    work: Callable[[Writing], Any]
    answer: Future[Any] = field(default_factory=Future)


class WriteGroups(Generic[Writing]):
    """Performs writes in groups. Thread-safe.

    Args:
        threads: Where transactions are performed.
        perform: Calls a function in a transaction, which is committed when it has returned.
        refused: Class of the errors with which a write is refused.
        mark: Returns something that is another one once a transaction has changed something.
    """

    def __init__(
        self,
        threads: Executor,
        perform: Callable[[Callable[[Writing], Any]], Any],
        refused: type[Exception],
        mark: Callable[[Writing], object],
    ) -> None:
        self._threads = threads
        self._perform = perform
        self._refused = refused
        self._mark = mark
        self._lock = threading.Lock()
        self._asked: list[_Asked[Writing]] = []
        self._is_writing = False

    def ask(self, work: Callable[[Writing], T]) -> Future[T]:
        """Return the result to be of a write.

        Args:
            work: Writes in a transaction, in another thread; may be called again if that was rolled back.
        """
        asked = _Asked(work)
        with self._lock:
            self._asked.append(asked)
            begins, self._is_writing = not self._is_writing, True
        if begins:
            try:
                self._threads.submit(self._write)
            except RuntimeError:  # the threads have ended
                self.close()
        return asked.answer

    def close(self) -> None:
        """Refuse what nobody performs any more, after the threads have ended."""
        with self._lock:
            asked, self._asked, self._is_writing = self._asked, [], False
        for each in asked:
            if each.answer.set_running_or_notify_cancel():
                each.answer.set_exception(ResourceError("The store is closed"))

    def _write(self) -> None:
        while True:
            with self._lock:
                asked, self._asked = self._asked[:MOST], self._asked[MOST:]
                if not asked:
                    self._is_writing = False
                    return
            self._write_together([each for each in asked if each.answer.set_running_or_notify_cancel()])

    def _write_together(self, asked: Sequence[_Asked[Writing]]) -> None:
        if len(asked) > 1:
            try:
                outcomes: _Outcomes = self._perform(lambda writing: [self._outcome(each, writing) for each in asked])
            except StoreUnavailableError as error:
                for each in asked:
                    each.answer.set_exception(error)
                return
            except Exception:  # any error of one of them, which it has again below
                outcomes = []
            for each, (result, refusal) in zip(asked, outcomes, strict=False):
                if refusal is None:
                    each.answer.set_result(result)
                else:
                    each.answer.set_exception(refusal)
            asked = asked[len(outcomes) :]
        for each in asked:
            try:
                result = self._perform(each.work)
            except BaseException as error:
                each.answer.set_exception(error)
            else:
                each.answer.set_result(result)

    def _outcome(self, asked: _Asked[Writing], writing: Writing) -> tuple[Any, Exception | None]:
        """Return the result of a write, or the error with which it was refused before it changed anything."""
        before = self._mark(writing)
        try:
            return asked.work(writing), None
        except self._refused as error:
            if self._mark(writing) != before:
                raise
            return None, error
