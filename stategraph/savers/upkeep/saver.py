"""Methods that savers offer for the upkeep of their database, as procedures for sync and async ones."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol

from stategraph.engine.config.procedures import Procedure
from stategraph.errors import ConfigurationError
from stategraph.savers.compact.coder import Coder
from stategraph.savers.upkeep import converting, pruning, sizes
from stategraph.savers.upkeep.rules import Keep
from stategraph.savers.upkeep.words import Statements, Words

T = TypeVar("T")
Observer: TypeAlias = Callable[[int, int], object]
"""Is told of progress: how many threads are done, and how many there are. In an async saver on SQLite, by a thread."""


class Upkeep:
    """The upkeep of a saver's database."""

    serde: SerializerProtocol
    _words: ClassVar[Words]
    _tables: ClassVar[converting.Tables]

    @abstractmethod
    def _kept_up(self, begin: Callable[[], Statements[T]], *, writes: bool = True) -> Procedure[T]:
        """Perform statements as one transaction; without `writes` as one that holds up nobody."""

    @abstractmethod
    def _alone(self, statements: Sequence[str]) -> Procedure[None]:
        """Execute statements outside of a transaction."""

    @abstractmethod
    def _formed_as(self, mode: converting.Mode) -> Procedure[None]:
        """Have the tables of a form."""

    @abstractmethod
    def forget(self, thread_id: str) -> None:
        """Forget what is remembered of a thread."""

    @abstractmethod
    def _delete(self, thread_id: str) -> Procedure[None]:
        """Delete a thread."""

    def _size(self) -> Procedure[sizes.Size]:
        """Measure the database and its threads."""
        return (yield from self._kept_up(lambda: sizes.size(self._words), writes=False))

    def _has_thread(self, thread_id: str) -> Procedure[bool]:
        """Return whether anything is stored of a thread, be it readable or not."""
        return (yield from self._kept_up(lambda: sizes.has_thread(self._words, thread_id), writes=False))

    def _prune(
        self,
        thread_ids: Sequence[str] | None = None,
        *,
        strategy: str | None = None,
        keep_last: int | None = None,
        max_age_s: float | None = None,
        max_bytes: int | None = None,
        without_runs: Sequence[str] = (),
        observer: Observer | None = None,
    ) -> Procedure[list[pruning.Pruned]]:
        """Delete checkpoints that are not needed any more, each thread in a transaction of its own.

        Checkpoints that wait for an answer stay, forks can be gone on from, and values of delta channels can be read.

        Args:
            thread_ids: The threads; None for all, which asks for a strategy or a number.
            strategy: In place of the numbers: `keep_latest` for `keep_last=1`, which is the default, or `delete`, which
                deletes the threads.
            keep_last: Checkpoints that stay of each branch of a thread, at least 1.
            max_age_s: Seconds after which a branch is deleted that nobody went on from; the newest one stays.
            max_bytes: Bytes that a thread may have: the number of checkpoints of a branch is halved until it fits.
            without_runs: Runs whose checkpoints are deleted too, as their metadata name them; alone, nothing else is.
            observer: Called after each thread with the number of those that are done, and of all.

        Returns:
            What was deleted, by thread.

        Raises:
            ConfigurationError: A number is too small, or all threads are meant and nothing says what stays.
            ValueError: The strategy is another word.
        """
        _refuse_text(thread_ids)
        numbers = (keep_last, max_age_s, max_bytes)
        nothing_said = numbers == (None, None, None) and not without_runs
        if thread_ids is None and strategy is None and nothing_said:
            raise ConfigurationError(
                "Pruning all threads needs to know what stays: give keep_last, max_age_s or max_bytes, or name threads"
            )
        if strategy not in (None, "keep_latest", "delete") or (strategy and any(each is not None for each in numbers)):
            raise ValueError(f"Unknown prune strategy: {strategy!r}; write 'keep_latest' or 'delete', and no numbers")
        keep = Keep(1) if nothing_said else Keep(*numbers, frozenset(without_runs))
        threads = thread_ids
        if threads is None:
            threads = yield from self._kept_up(lambda: sizes.threads_of(self._words), writes=False)
        if strategy == "delete":
            for thread_id in threads:
                yield from self._delete(str(thread_id))
            return []
        pruned = []
        for thread_id in threads:
            pruned.append((yield from self._pruned(str(thread_id), keep)))
            if observer is not None:
                observer(len(pruned), len(threads))
        return pruned

    def _pruned(self, thread_id: str, keep: Keep) -> Procedure[pruning.Pruned]:
        epoch = secrets.randbits(62)
        try:
            return (yield from self._kept_up(lambda: pruning.prune(self._words, thread_id, keep, time.time(), epoch)))
        finally:
            self.forget(thread_id)

    def _vacuum(self) -> Procedure[None]:
        """Give the space of what was deleted back to the disk; others may have to wait meanwhile."""
        wide = yield from self._kept_up(lambda: sizes.is_wide(self._words), writes=False)
        yield from self._alone(self._words.vacuum(wide))

    def _convert(self, mode: converting.Mode, *, observer: Observer | None = None) -> Procedure[int]:
        """Bring all threads to one form, each in a transaction of its own; may be stopped and started again.

        Afterwards the database is in this form: in the plain one, other savers of its tables open it.

        Args:
            mode: `compact` or `plain`.
            observer: Called after each thread with the number of those that are done, and of all.

        Returns:
            How many checkpoints and writes were in another form.

        Raises:
            ConfigurationError: The mode is another word.
            DamagedCheckpointError: A checkpoint has no place in the other form; its thread is left as it was.
        """
        if mode not in ("compact", "plain"):
            raise ConfigurationError(f"A form is 'compact' or 'plain'; found {mode!r}")
        if mode == "compact":
            yield from self._formed_as(mode)
        changed = 0
        threads = yield from self._kept_up(lambda: sizes.threads_of(self._words), writes=False)
        for number, thread_id in enumerate(threads, 1):
            changed += yield from self._converted(thread_id, mode)
            if observer is not None:
                observer(number, len(threads))
        if mode == "plain":
            yield from self._kept_up(self._tidied)
            yield from self._formed_as(mode)
        return changed

    def _converted(self, thread_id: str, mode: converting.Mode) -> Procedure[int]:
        coder, epoch = Coder(self.serde), secrets.randbits(62)
        try:
            return (
                yield from self._kept_up(
                    lambda: converting.convert(self._words, self._tables, thread_id, mode, coder, epoch)
                )
            )
        finally:
            self.forget(thread_id)

    def _tidied(self) -> Statements[None]:
        """Have no tables of the compact form, unless somebody has just used them."""
        if (yield from sizes.is_wide(self._words)) and (yield from converting.is_plain(self._words)):
            for statement in self._words.tidy:
                yield statement, ()


def _refuse_text(thread_ids: Sequence[str] | None) -> None:
    if isinstance(thread_ids, str):
        raise TypeError(f"thread_ids is a sequence of ids; found the text {thread_ids!r}: write [{thread_ids!r}]")


def drive(statements: Statements[T], execute: Callable[[str, Any], Any]) -> T:
    """Perform statements one after the other.

    Args:
        statements: The statements.
        execute: Executes one and returns its rows.
    """
    try:
        statement, parameters = next(statements)
        while True:
            statement, parameters = statements.send(execute(statement, parameters))
    except StopIteration as end:
        result: T = end.value
        return result
