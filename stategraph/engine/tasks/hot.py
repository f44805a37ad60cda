"""Nodes that go on where they asked: their coroutine, or generator, is parked until the answer comes to this process.

Rules
-----
* Asking, recording and answering are those of `interrupt()`, in that order: a node whose code is not parked any more
  runs again from its first line and is given its answers one by one.
* A parked node is found by its task, whose id stands for one checkpoint. If the thread has moved on, by whichever
  process, the task is another one, and nothing parked is found.
* At most so many are parked, and for so long. One that is given up is cancelled (a generator: closed) where it waits.
* A coroutine goes on where it began: on its event loop, in its context. What it asks of the run it asks of the present
  one: config, callbacks and stream writers.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_CHECKPOINTER
from stategraph.engine.config import environment
from stategraph.engine.config.context import get_config
from stategraph.engine.config.runtime import Runtime
from stategraph.engine.tasks.interrupts import answers_so_far, interrupt
from stategraph.errors import ConfigurationError

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a node: what a generator yields to ask with a schema.

    Attributes:
        value: The value to show to those who may answer.
        response_schema: What an answer looks like, as for `interrupt`; None accepts anything.
    """

    value: Any
    response_schema: Any = None

    def put(self) -> Any:
        """Ask in the running attempt, and return the answer if it has one."""
        return interrupt(self.value, response_schema=self.response_schema)


class _Writer:
    """Writes to the custom stream of the present run."""

    def __init__(self, write: Callable[[Any], None]) -> None:
        self.write = write

    def __call__(self, chunk: Any) -> None:
        self.write(chunk)


@dataclass(slots=True)
class _Code:
    """The code of a node, begun.

    Attributes:
        context: Where it runs.
        config: Its config, which is that of the present attempt.
        asked: Its questions so far; the last one waits for an answer while it is parked.
        answers: What it was answered so far, as it was given.
        writer: Where it writes to.
        parked_at: When it was parked, by the clock of the run.
        timer: Gives it up; None for a generator.
    """

    context: Context
    config: RunnableConfig
    asked: list[Question] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    writer: _Writer | None = None
    parked_at: float = 0.0
    timer: asyncio.TimerHandle | None = None

    def answer(self) -> Any:
        """Return the answer to its last question."""
        answer = self.asked[-1].put()
        self.answers.append(answers_so_far()[len(self.answers)])
        return answer

    def was_told(self, answers: list[Any]) -> bool:
        """Return whether it has gone on with the answers that the task has."""
        try:
            return bool(answers[: len(self.answers)] == self.answers)
        except Exception:  # of values that cannot be compared
            return False

    def belongs_here(self) -> bool:
        """Return whether it can go on where this is called."""
        return True

    def give_up(self) -> None:
        """End it where it waits."""


@dataclass(slots=True)
class _Steps(_Code):
    """A generator."""

    generator: Generator[Any, Any, Any] | None = None

    def advance(self, answer: object) -> tuple[bool, Any]:
        """Go on; returns whether it has ended, and what it returned or asks."""
        assert self.generator is not None
        try:
            asked = self.context.run(self.generator.send, answer)
        except StopIteration as end:
            return True, end.value
        return False, asked if isinstance(asked, Question) else Question(asked)

    def give_up(self) -> None:
        """Close it."""
        assert self.generator is not None
        try:
            self.context.run(self.generator.close)
        except Exception:  # of the node's own clean-up; nobody waits for it who could be told
            logger.exception("A parked node failed when it was given up")


class _Asked:
    """A question that a coroutine waits with."""

    __slots__ = ("answer", "question")

    def __init__(self, question: Question, answer: asyncio.Future[Any]) -> None:
        self.question, self.answer = question, answer


@dataclass(slots=True)
class _Coroutine(_Code):
    """A coroutine, as a task of its event loop."""

    loop: asyncio.AbstractEventLoop | None = None
    task: asyncio.Task[Any] | None = None
    waiting: deque[_Asked] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, question: Question) -> Any:
        """Wait for an answer; called by the node's code. Questions at the same time are put one after the other."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append(_Asked(question, answer))
        self.news.set()
        return await answer

    async def advance(self, answer: object) -> tuple[bool, Any]:
        """Go on; returns whether it has ended, and what it returned or asks."""
        assert self.task is not None
        if self.asked and self.waiting:
            waiting = self.waiting.popleft()
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        while not self.waiting and not self.task.done():
            self.news.clear()
            try:
                await self.news.wait()
            except asyncio.CancelledError:
                self.task.cancel()
                await asyncio.wait((self.task,))
                raise
            except BaseException:  # the run is closed, and nothing can be awaited
                self.task.cancel()
                raise
            while self.waiting and self.waiting[0].answer.done():  # the node does not wait for it any more
                self.waiting.popleft()
        if self.task.done():
            return True, self.task.result()
        return False, self.waiting[0].question

    def belongs_here(self) -> bool:
        """Return whether it is a task of the running event loop, and still waits."""
        return self.loop is asyncio.get_running_loop() and self.task is not None and not self.task.done()

    def give_up(self) -> None:
        """Cancel it, from any thread."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()


_running: ContextVar[_Coroutine | None] = ContextVar("stategraph_hot_node", default=None)


async def ainterrupt(value: Any, *, response_schema: Any = None) -> Any:
    """Pause the run and ask, as `interrupt` does; a node of `HotResume` goes on from here when the answer comes.

    Args:
        value: The value to show to those who may answer.
        response_schema: What an answer looks like, as for `interrupt`.

    Returns:
        The answer.

    Raises:
        GraphInterrupt: In a node of another kind, if there is no answer yet. Do not catch it.
        RuntimeError: If called outside of a node or task.
    """
    code, question = _running.get(), Question(value, response_schema)
    if code is None or _place(get_config()) != _place(code.config):  # a task, or a node of a graph inside of the node
        return question.put()
    return await code.ask(question)


def _place(config: RunnableConfig) -> Any:
    return config[CONF].get(CONFIG_KEY_CHECKPOINT_NS)


class HotResume:
    """Parks nodes that wait for an answer; a decorator of nodes.

    An async node asks with `await ainterrupt(value)`, a sync one is a generator function and asks with
    `answer = yield value`. If the answer comes to this process, and on the same event loop for an async node, the node
    goes on from there, and what it has done before is not done again. If not, it runs again from its first line, as
    every node that is interrupted does.

    Args:
        most: Nodes that are parked at a time; the one that has waited longest is given up for another.
        seconds: How long a node is parked, by the clock of its runs. It is looked at when another one is parked or
            goes on, and for an async node by a timer of its event loop.
    """

    def __init__(self, *, most: int = 1_000, seconds: float = 3_600.0) -> None:
        """Make an empty place to park.

        Raises:
            ConfigurationError: A bound is no number above 0.
        """
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise ConfigurationError(f"most is {most!r}; expected a whole number above 0")
        if not isinstance(seconds, int | float) or not seconds > 0:
            raise ConfigurationError(f"seconds is {seconds!r}; expected a number above 0")
        self.most, self.seconds = most, seconds
        self._parked: OrderedDict[str, _Code] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, node: F) -> F:
        """Return a node that is parked while it waits.

        Raises:
            ConfigurationError: It is neither a coroutine function nor a generator function.
        """
        if inspect.iscoroutinefunction(node):
            return cast(F, wraps(node)(_of_coroutine(self, node)))
        if inspect.isgeneratorfunction(node):
            return cast(F, wraps(node)(_of_generator(self, node)))
        raise ConfigurationError(
            f"{node!r} cannot be parked: expected a coroutine function that asks with 'await ainterrupt(value)', or a "
            "generator function that asks with 'answer = yield value'"
        )

    def __len__(self) -> int:
        """Return how many nodes are parked."""
        with self._lock:
            return len(self._parked)

    def clear(self) -> None:
        """Give all parked nodes up; their answers find them run again from the top."""
        with self._lock:
            given_up = list(self._parked.values())
            self._parked.clear()
        for code in given_up:
            code.give_up()

    async def aclose(self) -> None:
        """Give all parked nodes up, and wait for those of this event loop to end."""
        with self._lock:
            codes = [each for each in self._parked.values() if isinstance(each, _Coroutine)]
        self.clear()
        loop = asyncio.get_running_loop()
        if tasks := [each.task for each in codes if each.loop is loop and each.task is not None]:
            await asyncio.wait(tasks)

    # -- a node ----------------------------------------------------------

    def _take(self, key: str) -> _Code | None:
        """Take the parked code of a task, if it can go on here."""
        self._give_up_old()
        with self._lock:
            code = self._parked.pop(key, None)
        if code is None:
            return None
        if code.timer is not None:
            code.timer.cancel()
        if not (code.belongs_here() and code.was_told(answers_so_far())):
            code.give_up()
            return None
        return code

    def _park(self, key: str, code: _Code) -> None:
        code.parked_at = environment.current().clock.monotonic()
        with self._lock:
            self._parked[key] = code
            given_up = [self._parked.popitem(last=False)[1] for _ in range(len(self._parked) - self.most)]
        for each in given_up:
            each.give_up()
        self._give_up_old()
        if isinstance(code, _Coroutine) and code.loop is not None:
            code.timer = code.loop.call_later(self.seconds, self._expire, key, code)

    def _expire(self, key: str, code: _Code) -> None:
        with self._lock:
            if self._parked.get(key) is not code:
                return
            del self._parked[key]
        code.give_up()

    def _give_up_old(self) -> None:
        before = environment.current().clock.monotonic() - self.seconds
        with self._lock:
            old = [key for key, code in self._parked.items() if code.parked_at <= before]
            given_up = [self._parked.pop(key) for key in old]
        for code in given_up:
            code.give_up()

    @contextmanager
    def parking(self, key: str | None, code: _Code) -> Iterator[None]:
        """Park the code if its question has no answer, or one that is refused: the question can be answered again."""
        try:
            yield
        except BaseException:
            if key is None:
                code.give_up()
            else:
                self._park(key, code)
            raise

    def found(self, config: RunnableConfig) -> tuple[str | None, _Code | None]:
        """Return the key of the running task, if its run can be resumed, and the code that is parked under it."""
        conf = config[CONF]
        if conf.get(CONFIG_KEY_CHECKPOINTER) is None:
            return None, None
        key = str(conf.get(CONFIG_KEY_CHECKPOINT_NS))
        return key, self._take(key)


def _answer(hot: HotResume, key: str | None, code: _Code) -> Any:
    """Return the answer that code waits for, after those to the questions before; parks the code if there is none."""
    with hot.parking(key, code):
        for question in code.asked[:-1]:
            question.put()
        return code.answer()


def _of_generator(hot: HotResume, node: Callable[..., Any]) -> Callable[..., Any]:
    """Return the sync node of a generator function."""

    def run(*args: Any, **kwargs: Any) -> Any:
        config = get_config()
        key, found = hot.found(config)
        code = found if isinstance(found, _Steps) else None
        if code is None:
            code = _Steps(*_begun(config))
            code.generator = node(*args, **_with_writer(code, kwargs))
            answer = None
        else:
            _rebind(code, config, kwargs)
            answer = _answer(hot, key, code)
        while True:
            ended, result = code.advance(answer)
            if ended:
                return result
            code.asked.append(result)
            with hot.parking(key, code):
                answer = code.answer()

    return run


def _of_coroutine(hot: HotResume, node: Callable[..., Any]) -> Callable[..., Any]:
    """Return the async node of a coroutine function."""

    async def run(*args: Any, **kwargs: Any) -> Any:
        config = get_config()
        key, found = hot.found(config)
        code = found if isinstance(found, _Coroutine) else None
        if code is None:
            code = _Coroutine(*_begun(config), loop=asyncio.get_running_loop())
            code.context.run(_running.set, code)
            work = node(*args, **_with_writer(code, kwargs))
            code.task = asyncio.get_running_loop().create_task(work, context=code.context)
            code.task.add_done_callback(partial(_tell, code.news))
            answer = None
        else:
            _rebind(code, config, kwargs)
            answer = _answer(hot, key, code)
        while True:
            ended, result = await code.advance(answer)
            if ended:
                return result
            code.asked.append(result)
            with hot.parking(key, code):
                answer = code.answer()

    return run


def _tell(news: asyncio.Event, ended: asyncio.Task[Any]) -> None:
    if not ended.cancelled():
        ended.exception()  # of one that was given up, nobody asks
    news.set()


def _begun(config: RunnableConfig) -> tuple[Context, RunnableConfig]:
    """Return the context and the config of code that begins."""
    own = cast(RunnableConfig, dict(config))
    context = copy_context()
    context.run(var_child_runnable_config.set, own)
    return context, own


def _rebind(code: _Code, config: RunnableConfig, kwargs: dict[str, Any]) -> None:
    """Have code that goes on ask the present run for everything."""
    own = cast(dict[str, Any], code.config)
    own.clear()
    own.update(config)
    write = _writer_in(kwargs)
    if code.writer is not None and write is not None:
        code.writer.write = write


def _writer_in(kwargs: dict[str, Any]) -> Callable[[Any], None] | None:
    runtime = kwargs.get("runtime")
    if isinstance(runtime, Runtime):
        return runtime.stream_writer
    return kwargs.get("writer")


def _with_writer(code: _Code, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a node with a writer, and a config, that are those of the present run."""
    given = dict(kwargs)
    if "config" in given:
        given["config"] = code.config
    if (write := _writer_in(kwargs)) is None:
        return given
    code.writer = _Writer(write)
    if "writer" in given:
        given["writer"] = code.writer
    if isinstance(runtime := given.get("runtime"), Runtime):
        given["runtime"] = runtime.override(stream_writer=code.writer)
    return given
