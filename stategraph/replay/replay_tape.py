"""The tape of a run that is replayed.

Rules
-----
* A call to the outside is matched by the task that makes it and by all that it is called with; of equal ones the first
  that was recorded goes first. None is made.
* Tasks that ran beside each other end in the recorded order: one that is early waits.
* The first difference is kept. From then on nobody waits, and every further call raises it again, as a node may have
  caught it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from stategraph.core.effects import Fact
from stategraph.core.settings import UNHEARD, Watch
from stategraph.replay import asking, codec, differences, facts, standins
from stategraph.replay.asking import Ask, AsyncPieces, AsyncWork, Pieces, Work
from stategraph.replay.codec import Json
from stategraph.replay.errors import RecordingError, ReplayMismatch
from stategraph.replay.lines import Cleaner
from stategraph.replay.surroundings import scope

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from stategraph.engine.ports import ToolCalls

Line = dict[str, Json]

CANCELLED: Final = "asyncio.exceptions:CancelledError"
"""The error of a call that was cancelled, as a recording names it."""

_WATCH: Final = UNHEARD._replace(ended=True, planned=True)


class ReplayTape:
    """Gives one call of a graph what was recorded; see `stategraph.engine.ports.Tape`.

    Attributes:
        failure: The first difference, if there was one.
        is_over: Whether the rest is not compared: the caller left or cancelled the call.

    Args:
        lines: Those of the call in the recording.
        cleaner: Replaces secrets, as they were when it was recorded.
        patience_s: Seconds that a task waits for another one that ended before it in the recording.
        advice: Is said at the end of every difference.
        on_step: Is told before each step of the outermost graph which one it is; None: nobody is.
        is_whole: Whether the recording has the end of the call.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        cleaner: Cleaner,
        patience_s: float,
        advice: Callable[[], str],
        on_step: Callable[[int | None], None] | None = None,
        *,
        is_whole: bool = True,
    ) -> None:
        self.failure: ReplayMismatch | RecordingError | None = None
        self._clean = cleaner.clean
        self._clean_line = cleaner.line
        self._patience_s = patience_s
        self._advice = advice
        self._on_step = on_step
        self._is_whole = is_whole
        self._models = standins.Models()
        self._asks: dict[str, list[Line]] = defaultdict(list)
        self._used: dict[str, int] = defaultdict(int)
        self._answers: dict[int, Line] = {}
        self._facts: dict[str, deque[Line]] = defaultdict(deque)
        self._order: dict[str, deque[str]] = defaultdict(deque)
        # When each task began, by number; one that began beside another one that ended first, ends behind it.
        self._begun: dict[str, int] = {}
        self._steps = 0
        self._turn = threading.Condition()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        # For a call that was cancelled in the recording: how many of its lines are still to come before that.
        self._to_come = 0
        self._cancel: Callable[[], object] | None = None
        self._has_parts: Callable[[], bool] = bool
        self.is_over = False
        for line in lines:
            self._sort(line)

    def _sort(self, line: Line) -> None:
        self._to_come += _is_before_the_end(line)
        match line["kind"]:
            case "ask":
                self._asks[line["task"]].append(line)
            case "answer":
                self._answers[line["id"]] = line
            case "planned":
                self._facts[line["ns"]].append(line)
                self._steps += 1
                self._begun |= dict.fromkeys((task for _, task in line["tasks"]), self._steps)
            case "settled":
                self._facts[line["ns"]].append(line)
            case "taken":
                self._order[line["ns"]].append(line["task"])

    # -- calls that were cancelled by their caller -------------------------------

    def cancel_at_end(self, cancel: Callable[[], object], has_parts: Callable[[], bool]) -> None:
        """Cancel the call once all has come that did before it was cancelled in the recording.

        Args:
            cancel: Cancels it, from any thread.
            has_parts: Whether parts of its stream are still to come.
        """
        self._cancel, self._has_parts = cancel, has_parts
        self.came(0)

    def came(self, count: int = 1) -> None:
        """Count lines that came, and cancel the call if it is time."""
        with self._turn:
            self._to_come -= count
            if self._cancel is None or self._to_come > 0 or self._has_parts():
                return
            cancel, self._cancel = self._cancel, None
        self.is_over = True
        cancel()

    # -- differences -----------------------------------------------------------

    def fail(self, message: str, *, node: str = "", step: int | None = None) -> NoReturn:
        """Keep the first difference, let nobody wait any more, and raise it.

        Raises:
            ReplayMismatch: Always.
        """
        if self.failure is None:
            self.failure = ReplayMismatch(f"{message}\n{self._advice()}".rstrip(), node=node, step=step)
        self._wake()
        raise self.failure

    def check(self) -> None:
        """Raise the first difference again, if there was one."""
        if self.failure is not None:
            raise self.failure

    def conclude(self) -> None:
        """See that everything recorded has happened.

        Raises:
            ReplayMismatch: Something has not.
        """
        self.check()
        for where, asks in self._asks.items():
            for ask in asks:
                node = asking.place(where)
                self.fail(
                    f"{_in(node)}{_named(ask)} was called in the recording, and now it was not:\n"
                    f"  {differences.shown(ask['request'])}",
                    node=node,
                )
        for left in self._facts.values():
            if left and not self.is_over:
                node = facts.node_of(left[0])
                self.fail(
                    f"The replay ended, and in the recording {differences.of_fact(left[0])}",
                    node=node,
                    step=left[0]["step"],
                )

    # -- calls -----------------------------------------------------------------

    def through(self, ask: Ask, perform: Work) -> Any:
        """Return what a call returned, or raise what it raised."""
        answer = self._answer(ask)
        if answer.get("cancelled"):
            self._fail_without_end(ask, "was cancelled in the recording, which a sync call cannot be")
        return self._given(answer, ask)

    async def athrough(self, ask: Ask, perform: AsyncWork) -> Any:
        """Do the same on an event loop."""
        found = self._answer(ask)
        await asyncio.sleep(0)
        await self._cancelled(found)
        return self._given(found, ask)

    def stream(self, ask: Ask, perform: Pieces) -> Iterator[Any]:
        """Yield what a call yielded."""
        answer = self._answer(ask)
        yield from map(self._decoded, self._pieces(answer, ask))
        self._end(answer)

    async def astream(self, ask: Ask, perform: AsyncPieces) -> AsyncIterator[Any]:
        """Yield the same on an event loop."""
        found = self._answer(ask)
        for piece in self._pieces(found, ask):
            await asyncio.sleep(0)
            yield self._decoded(piece)
        await self._cancelled(found)
        self._end(found)

    def _pieces(self, answer: Line, ask: Ask) -> list[Json]:
        if "pieces" not in answer:
            self._fail_without_end(ask, "was called as a whole in the recording (invoke), and is streamed now (stream)")
        pieces: list[Json] = answer["pieces"]
        return pieces

    async def _cancelled(self, answer: Line) -> None:
        """Wait until the task is cancelled, if the call had no end because of that."""
        if answer.get("cancelled"):
            self.came()
            await asyncio.get_running_loop().create_future()

    def _given(self, answer: Line, ask: Ask) -> Any:
        """Return what was answered, or raise it."""
        if "pieces" in answer:
            self._fail_without_end(ask, "was streamed in the recording (stream), and is called as a whole now (invoke)")
        self._end(answer)
        return self._decoded(answer["value"])

    def _end(self, answer: Line) -> None:
        """Do what came with an answer, and raise what the call raised."""
        asking.repeat({**answer, "error": self._decoded(answer.get("error"))})

    def _decoded(self, encoded: Json) -> Any:
        try:
            return codec.decode(encoded)
        except RecordingError as error:
            self.failure = self.failure or error  # nodes may catch it
            self._wake()
            raise

    def _answer(self, ask: Ask) -> Line:
        self.check()
        where, request = scope(), self._clean(ask.request())
        with self._turn:
            found = self._take(where, ask, request)
        if found is None:
            self._fail_unknown(where, ask, request)
        self.came()
        answer = self._answers.get(found["id"])
        if answer is None:
            self._fail_without_end(ask, "has no answer: the recording ends in the middle of this call")
        return answer

    def _take(self, where: str, ask: Ask, request: Json) -> Line | None:
        key = codec.text(request)
        # Both sides without secrets: the recording may be of a version that hid fewer.
        for number, line in enumerate(self._asks[where]):
            if (line["what"], line["name"]) == (ask.what, ask.name) and key in (
                codec.text(line["request"]),
                codec.text(self._clean(line["request"])),
            ):
                self._used[where] += 1
                return self._asks[where].pop(number)
        return None

    def _fail_unknown(self, where: str, ask: Ask, request: Json) -> NoReturn:
        node, number = asking.place(where), self._used[where] + 1
        same = [line for line in self._asks[where] if (line["what"], line["name"]) == (ask.what, ask.name)]
        came = f"{_in(node)}call {number} is now of {ask.what} '{ask.name}'"
        if same:
            told = differences.between(same[0]["request"], request)
            self.fail(f"{came}, with something else than in the recording:\n{told}", node=node)
        if self._asks[where]:
            expected = self._asks[where][0]
            self.fail(
                f"{came}, and in the recording it was of {_named(expected)}:\n"
                f"  recorded: {differences.shown(expected['request'])}\n  now:      {differences.shown(request)}",
                node=node,
            )
        if not self._is_whole:
            self.fail(f"{came}, and the recording ends before it:\n  now: {differences.shown(request)}", node=node)
        self.fail(
            f"{came}, and the recording has no more calls of this node here:\n  now: {differences.shown(request)}",
            node=node,
        )

    def _fail_without_end(self, ask: Ask, why: str) -> NoReturn:
        node = asking.here()
        self.fail(f"{_in(node)}{ask.what} '{ask.name}' {why}", node=node)

    # -- what the engine and agents ask ------------------------------------------

    def model(self, chat: BaseChatModel, /) -> BaseChatModel:
        """Return a model that is answered from the recording."""
        return self._models.of(chat)

    def invoker(self, invoker: ToolCalls, /) -> ToolCalls:
        """Return what makes the calls of a tool through here."""
        return standins.TapedTool(self, invoker)

    def writer(self, write: Callable[[Any], None], /) -> Callable[[Any], None]:
        """Return the function as it is."""
        return write

    # -- the order of tasks --------------------------------------------------------

    def _may_go(self, ns: str, task_id: str) -> bool:
        order = self._order[ns]
        if self.failure is not None or not order or order[0] == task_id:
            return True
        # The end of one that is not in the order was not recorded: the recording ends before, or it ran alone.
        return task_id not in order and self._begun.get(order[0], 0) != self._begun.get(task_id)

    def hold(self, ns: str, task_id: str, /) -> None:
        """Wait in a thread until those have ended that did before this task."""
        with self._turn:
            self._turn.wait_for(lambda: self._may_go(ns, task_id), self._patience_s)

    async def ahold(self, ns: str, task_id: str, /) -> None:
        """Do the same on an event loop."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while True:
            with self._turn:
                if self._may_go(ns, task_id):
                    return
                waiter = loop.create_future()
                self._waiting.append((loop, waiter))
            try:
                async with asyncio.timeout_at(until):
                    await waiter
            except TimeoutError:
                return  # the run is told so when it hears of the task

    def taken(self, ns: str, task_id: str, /) -> None:
        """Let the next task end.

        Raises:
            ReplayMismatch: Another one was to end now, and did not in the time that tasks wait.
        """
        with self._turn:
            order = self._order[ns]
            in_turn = not order or order[0] == task_id or task_id not in order
            if order and order[0] == task_id:
                order.popleft()
        self._wake()
        self.check()
        if not in_turn:
            self.fail(
                f"In the recording another task ended before task {task_id} of '{asking.place(ns) or 'the graph'}', "
                f"and now it has not for {self._patience_s:g} s: it hangs, or needs longer (patience_s)",
                node=asking.place(ns),
            )

    def _wake(self) -> None:
        with self._turn:
            waiting, self._waiting = self._waiting, []
            self._turn.notify_all()
        for loop, waiter in waiting:
            try:
                loop.call_soon_threadsafe(_set, waiter)
            except RuntimeError:
                continue  # the loop is closed, and nobody waits

    # -- facts ---------------------------------------------------------------------

    def sink(self, ns: str) -> _Sink:
        """Return what compares the facts of a graph in this namespace."""
        return _Sink(self, ns)

    def compare(self, ns: str, fact: Fact) -> None:
        """See that a fact is the one that was recorded.

        Raises:
            ReplayMismatch: It is another one.
        """
        line = facts.line_of(ns, fact)
        if line is None or self.failure is not None or self.is_over:
            return  # a run that has failed stores what it still holds as it ends
        now: Line = self._clean_line(line)
        node, step = facts.node_of(now), now["step"]
        expected = self._facts[ns].popleft() if self._facts[ns] else None
        if expected is None:
            where = f"graph '{asking.place(ns)}'" if ns else "graph"
            self.fail(
                f"The recording of the {where} ends here, and now {differences.of_fact(now)}", node=node, step=step
            )
        if codec.text(now) not in (codec.text(expected), codec.text(self._clean_line(expected))):
            self.fail(differences.of_facts(expected, now), node=node, step=step)
        self.came(_is_before_the_end(expected))
        if self._on_step is not None and not ns and now["kind"] == "planned":
            self._on_step(step)


class _Sink:
    watch: Watch = _WATCH

    def __init__(self, tape: ReplayTape, ns: str) -> None:
        self._tape = tape
        self._ns = ns

    def take(self, number: int, fact: Fact, /) -> None:
        """Compare a fact."""
        self._tape.compare(self._ns, fact)


def _is_before_the_end(line: Line) -> bool:
    """Return whether a line came before a call was cancelled, if it was: not that a task ended because of it."""
    if line["kind"] == "answer":
        return bool(line.get("cancelled"))
    return line["kind"] in ("ask", "planned") or (line["kind"] == "settled" and not _is_cancelled(line))


def _is_cancelled(settled: Line) -> bool:
    return any(isinstance(each, dict) and each.get("class") == CANCELLED for _, each in settled["writes"])


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _in(node: str) -> str:
    return f"In node '{node}' " if node else "Outside of nodes "


def _named(ask: Mapping[str, Json]) -> str:
    return f"{ask['what']} '{ask['name']}'"
