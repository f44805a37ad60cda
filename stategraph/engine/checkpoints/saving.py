"""Taking checkpoints and writes to the saver, in order, without holding up the run.

Rules
-----
* Saves reach the saver in the order the machine asked for them, one at a time:
  a checkpoint never becomes durable before the writes that made it. A saver that
  offers to store several together is given all that wait; the writes of a step's
  last task go with its checkpoint, if the run asks for that at once.
* With ``durability="async"`` they happen during the next step; at most
  ``BACKLOG`` wait, then the run waits for them (memory stays bounded).
* The first failing save stops all later ones and fails the run.
* Leaving a run waits for its saves, also when the run is cancelled.
* The in-memory saver is called in place: a thread, or a coroutine, would cost more than the save.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import lru_cache, partial
from inspect import signature
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_ID, START
from stategraph.core import status
from stategraph.core.channels import BinaryOperatorAggregate
from stategraph.core.effects import Request, SaveCheckpoint
from stategraph.engine.checkpoints import encoded_messages, round_trip, serializability
from stategraph.engine.checkpoints.message_delta import is_of_messages
from stategraph.engine.checkpoints.message_lists import MessageList
from stategraph.engine.checkpoints.saver_interfaces import Save, Saver
from stategraph.engine.ports import Clock
from stategraph.engine.tasks import threads

BACKLOG = 64
"""Saves that may wait before the run waits for them."""

_LOOK_S = 0.5
"""Interval, in seconds, at which a thread that waits for saves checks by itself."""


class Saved(NamedTuple):
    """Hears how long each call of a saver took.

    Attributes:
        clock: Measures it.
        tell: Called with the method, the seconds, and what was raised, or None.
    """

    clock: Clock
    tell: Callable[[Any, float, BaseException | None], None]


_LENIENT: Final = round_trip.Checks()
_UNHEARD: Final = nullcontext([0])


@contextmanager
def _timed(saved: Saved, saves: Sequence[Save]) -> Iterator[list[int]]:
    began = saved.clock.monotonic()
    stored = [len(saves)]
    try:
        yield stored
    except BaseException as error:
        saved.tell(saves[0][0], saved.clock.monotonic() - began, error)
        raise
    took_s = saved.clock.monotonic() - began
    for name, _ in saves[: stored[0]]:
        saved.tell(name, took_s, None)


class SaveCalls:
    """Turns what the machine asks for into calls of a saver."""

    __slots__ = (
        "_at_exit",
        "_base",
        "_checker",
        "_checks",
        "_conf",
        "_encoded",
        "_is_read",
        "_mark",
        "_node_of",
        "_takes_path",
        "saved",
        "saver",
        "step_has_ended",
    )

    def __init__(
        self,
        saver: Saver,
        config: RunnableConfig,
        put_writes: Callable[..., Any],
        node_of: Callable[[str], str | None],
        *,
        checks: round_trip.Checks = _LENIENT,
        at_exit: bool = False,
        saved: Saved | None = None,
        step_has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare the calls of a run.

        Args:
            saver: The saver.
            config: Names the thread and namespace.
            put_writes: The saver's method that the run will use; those written
                before LangGraph 0.3 take no task path.
            node_of: Names the node of a task, by the task's id, as long as its step is open.
            checks: How written values are checked.
            at_exit: Whether the run stores nothing before its end.
            saved: Hears of each call; None: nobody does.
            step_has_ended: Returns whether a checkpoint is saved next, unless the run ends.
        """
        self.saver = saver
        self.saved = saved
        self.step_has_ended = step_has_ended
        self._base, self._conf = config, config[CONF]
        self._node_of = node_of
        self._checker = round_trip.checker_for(getattr(saver, "serde", None))
        self._checks = checks
        self._at_exit = at_exit
        self._encoded = encoded_messages.for_saver(saver)
        self._is_read: Callable[[], bool] | None = None
        self._mark: tuple[str, str] | None = None
        method = getattr(put_writes, "__func__", None)
        self._takes_path = _takes_path(put_writes) if method is None else _takes_path_cached(method)

    def remember(self, lists: Sequence[tuple[list[Any], MessageList]], is_read: Callable[[], bool]) -> None:
        """Take over what is known of lists of messages that the run has loaded.

        Args:
            lists: The lists, and what is known of them.
            is_read: Returns whether the run has given out its state since.
        """
        if self._encoded is not None and lists:
            self._encoded.remember(lists)
            self._is_read = is_read

    def mark(self, checkpoint_id: str, version: str) -> None:
        """Mark what tasks write behind a checkpoint of an earlier version of the graph.

        Args:
            checkpoint_id: The checkpoint.
            version: The version in whose form they write.
        """
        self._mark = checkpoint_id, version

    def call(self, effect: Request) -> Save:
        """Return the saver's method and its arguments."""
        # They address a checkpoint of the thread.
        config = self._base.copy()
        conf = config[CONF] = self._conf.copy()
        if isinstance(effect, SaveCheckpoint):
            conf[CONFIG_KEY_CHECKPOINT_ID] = effect.parent_id
            if self._at_exit:
                # Earlier writes did not pass through here.
                values = effect.checkpoint["channel_values"]
                changed = [(name, values[name]) for name in effect.new_versions if name in values]
                self._checker.check(changed, lambda: "The run", strict=self._checks.strict)
            checkpoint = effect.checkpoint
            if self._encoded is not None:
                unread = () if self._is_read is None or self._is_read() else self._of_messages(effect.new_versions)
                checkpoint = self._encoded.checkpoint(checkpoint, effect.new_versions, unread)
            return "put", (config, checkpoint, effect.metadata, effect.new_versions)
        conf[CONFIG_KEY_CHECKPOINT_ID] = effect.checkpoint_id
        strict, channels = self._checks
        self._checker.check(effect.writes, partial(self._writer, effect.task_id), strict=strict, channels=channels)
        writes = effect.writes if self._encoded is None else self._encoded.writes(effect.writes)
        if self._mark is not None and self._mark[0] == effect.checkpoint_id:
            writes = status.marked(writes, self._mark[1])
        if self._takes_path:
            return "put_writes", (config, writes, effect.task_id, effect.path_key)
        return "put_writes", (config, writes, effect.task_id)

    def _of_messages(self, names: Iterable[str]) -> list[str]:
        """Return those channels whose own code is this package's, and changes nothing in messages but ids."""
        channels = self._checks.channels
        return [
            name
            for name in names
            if type(channel := channels.get(name)) is BinaryOperatorAggregate and is_of_messages(channel)
        ]

    def _writer(self, task_id: str) -> str:
        node = self._node_of(task_id)
        return "The input" if node == START else f"Node '{node}'" if node else "A task"

    def timed(self, saves: Sequence[Save]) -> AbstractContextManager[list[int]]:
        """Surround the storing of saves, for those who hear how long it takes; the number of those stored is put in."""
        return _UNHEARD if self.saved is None else _timed(self.saved, saves)

    def explain(self, call: Save, error: BaseException) -> None:
        """Add to an error of a save which value it could not store, if that was the reason."""
        name, args = call
        serde = getattr(self.saver, "serde", None)
        if name == "put":
            serializability.explain_failure(error, serde, args[1]["channel_values"].items(), None)
        else:
            serializability.explain_failure(error, serde, args[1], self._node_of(args[2]))


def _takes_path(put_writes: Callable[..., Any]) -> bool:
    return "task_path" in signature(put_writes).parameters


_takes_path_cached = lru_cache(maxsize=128)(_takes_path)
"""For the functions of classes, of which there are few: to read a signature takes as long as a small run."""


def is_in_memory(saver: Saver | None) -> bool:
    """Return whether a saver never waits, so that its sync methods are called by async runs too."""
    return type(saver) is InMemorySaver


class _Line(ABC):
    """The saves of a run, which reach the saver one after the other.

    Attributes:
        at_once: Whether each is stored as it comes, by one call that nobody hears of.
    """

    def __init__(self, calls: SaveCalls, in_place: bool, together: str) -> None:
        """Make an empty line.

        Args:
            calls: Calls the saver.
            in_place: Whether it is called at once, and by the code that asks.
            together: Its method that stores several saves, if it has that.
        """
        self._calls = calls
        self._together: Callable[[Sequence[Save]], Any] | None = getattr(calls.saver, together, None)
        self._in_place = in_place or is_in_memory(calls.saver)
        self.at_once = self._in_place and self._together is None and calls.saved is None
        self._waiting: deque[Save] = deque()
        # What a save has failed with; there are no more after it.
        self._error: BaseException | None = None

    def put(self, effect: Request) -> None:
        """Ask for a save.

        Raises:
            BaseException: What an earlier save failed with; one in place has been raised already.
        """
        if self._error is not None:
            if self._in_place:
                return
            raise self._error
        save = self._calls.call(effect)
        if self.at_once:
            self._store(save)
            return
        waiting = self._waiting
        # It waits until it is done: an exception of a signal handler must not lose it.
        waiting.append(save)
        if not self._in_place:
            self._go_on()
        elif not self._goes_with_checkpoint(save):
            self._store_in_place()

    def _goes_with_checkpoint(self, save: Save) -> bool:
        """Return whether a save is of the last writes of a step, and may be stored with the checkpoint after them."""
        return self._together is not None and save[0] == "put_writes" and self._calls.step_has_ended()

    @property
    def idle(self) -> bool:
        """True if all saves asked for so far are done, without an error."""
        return self._in_place and self._error is None and not self._waiting

    @abstractmethod
    def _go_on(self) -> None:
        """Have what waits performed."""

    def _store_in_place(self) -> None:
        """Store all that waits, unless a save has failed."""
        while self._waiting and self._error is None:
            for _ in range(self._perform(self._next())):
                self._waiting.popleft()

    def _next(self) -> list[Save]:
        """Return the saves that are to be stored now; others may be added to those that wait meanwhile."""
        count = 1 if self._together is None else min(len(self._waiting), BACKLOG)
        return [self._waiting[position] for position in range(count)]

    def _perform(self, saves: Sequence[Save]) -> int:
        """Have saves stored in place, the first ones that can be; returns how many."""
        with self._calls.timed(saves) as stored:
            if len(saves) == 1 or self._together is None:
                self._store(saves[0])
                return 1
            try:
                count: int = self._together(saves)
            except Exception as error:
                self._refuse(saves[0], error)
                raise
            stored[0] = count
            return count

    def _store(self, save: Save) -> None:
        """Have one save stored in place."""
        name, args = save
        try:
            getattr(self._calls.saver, name)(*args)
        except Exception as error:
            self._refuse(save, error)
            raise

    def _refuse(self, save: Save, error: Exception) -> None:
        """Note that a save has failed: no other is stored after it."""
        self._error = error
        self._calls.explain(save, error)


class Saves(_Line):
    """The saves of a sync run.

    Thread-safe: a task may ask for a save from the thread it runs in. There is no lock, as an exception may be raised
    at any line of the waiting thread.

    Attributes:
        crowded: False: `put` waits by itself if too many saves wait.
    """

    crowded: Final = False

    def __init__(self, calls: SaveCalls, *, background: bool) -> None:
        """Args: background: Whether saves happen in the background of the run."""
        super().__init__(calls, not background, "put_together")
        self._worker = threads.SingleWorker()
        self._context = copy_context()
        # Wakes the waiting thread, which checks the worker and the queue before each wait.
        self._news: SimpleQueue[None] = SimpleQueue()

    def _go_on(self) -> None:
        self._start()
        if len(self._waiting) > BACKLOG:
            self._wait_until(lambda: len(self._waiting) <= BACKLOG)

    def _start(self) -> None:
        """Have what waits performed, unless that is under way."""
        # A saver may be asked on whose behalf it stores, which context variables say.
        self._worker.begin(self._waiting, partial(self._context.copy().run, self._empty), self._tell)

    def _tell(self) -> None:
        self._news.put(None)

    def _empty(self) -> None:
        while self._waiting:
            stored = 1
            try:
                if self._error is None:
                    stored = self._perform(self._next())
            except BaseException as error:  # kept for the run to raise
                self._error = error
            for _ in range(stored):
                self._waiting.popleft()
            if len(self._waiting) + stored > BACKLOG:
                self._news.put(None)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Wait for all saves asked for so far.

        Raises:
            BaseException: What a save failed with.
        """
        if self._in_place:
            self._store_in_place()
        elif self._waiting or not self._worker.is_idle:
            self._wait_until(self._is_done)
        self._raise()

    def _is_done(self) -> bool:
        if self._waiting:
            self._start()
            return False
        return self._worker.is_idle

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            try:
                # Another waiting thread may have been woken instead, and left with an exception.
                self._news.get(timeout=_LOOK_S)
            except Empty:
                continue
        self._news.put(None)


class AsyncSaves(_Line):
    """The saves of an async run; used from its event loop only."""

    def __init__(self, calls: SaveCalls) -> None:
        super().__init__(calls, False, "aput_together")
        self._worker: asyncio.Task[None] | None = None

    def _go_on(self) -> None:
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        saver = self._calls.saver
        methods: dict[str, Callable[..., Any]] = {"put": saver.aput, "put_writes": saver.aput_writes}
        try:
            while self._waiting:
                if len(self._waiting) == 1 and self._goes_with_checkpoint(self._waiting[0]):
                    await asyncio.sleep(0)  # in which the run asks for the checkpoint
                saves = self._next()
                with self._calls.timed(saves) as stored:
                    if len(saves) > 1 and self._together is not None:
                        stored[0] = count = await self._together(saves)
                    else:
                        name, args = saves[0]
                        await methods[name](*args)
                        count = 1
                for _ in range(count):
                    self._waiting.popleft()
        except BaseException as error:
            self._error = error
            if isinstance(error, Exception):
                self._calls.explain(self._waiting[0], error)
            self._waiting.clear()
        finally:
            self._worker = None

    @property
    def crowded(self) -> bool:
        """True if so many saves wait that the run should wait for them."""
        return len(self._waiting) > BACKLOG

    async def wait(self) -> None:
        """Wait for all saves asked for so far; being cancelled does not cancel them.

        Raises:
            BaseException: What a save failed with.
        """
        while self._worker is not None:
            await asyncio.shield(self._worker)
        if self._error is not None:
            raise self._error
