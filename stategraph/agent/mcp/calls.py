"""Calls of tools while they run: what the server says meanwhile, what it asks, and calls that wait for a person.

- A call runs in a task of its own, and the caller attends to it: reports and questions are taken in order, before the
  call returns. If the caller is cancelled or its reporter fails, the call is cancelled.
- A question that pauses the run leaves the call running: the server goes on waiting. When the node runs again in this
  process, it finds the call and gives the answer.
- Elsewhere, or when the call has ended without a result, a server since 2026-07-28 is given the answers with the state
  that came with its questions (`requestState`), and goes on from there. The state is stored with the run, and neither
  read nor shown. An older server, and one that does not take its state back, gets the call anew from its beginning, and
  the answers that are there are given to the same questions.
- An answer belongs to the question that was asked. The questions are stored with the run; a server that asks something
  else in its place gets no answer that was meant for another question.
- Where the protocol does not say which call a question belongs to, it is found out (`Askers`).
- A call that nobody comes back to is cancelled after `PARKED_S`; at most `MOST_PARKED` wait, the newest.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from stategraph.agent.mcp import elicitation
from stategraph.agent.mcp.elicitation import CANCEL, Elicitation, ElicitationAnswer, OnElicitation, Question
from stategraph.agent.mcp.errors import McpError, McpRefused
from stategraph.agent.reporting import Reporter, ToolReport
from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_THREAD_ID
from stategraph.engine.compile.task_functions import recorded_result, start_task
from stategraph.engine.config.context import get_config
from stategraph.errors import GraphBubbleUp

if TYPE_CHECKING:  # its module needs the package `mcp`, and this one is loaded with every run
    from stategraph.agent.mcp.exchange import Request

T = TypeVar("T")

PARKED_S: Final = 900.0
MOST_PARKED: Final = 1000

LARGEST_STATE: Final = 64 * 1024
"""Characters of a server's state that are stored with a run; with a larger one the call goes on from the one before."""

ASSIGN_S: Final = 2.0
"""Seconds in which it has to be clear which call a question belongs to."""

_POLL_S: Final = 0.02

Key: TypeAlias = tuple[str, ...]
"""The place of a call in a run: the thread, the namespace, the user, and the call's digest."""

USER_ID: Final = "user_id"
"""The user of a run, in its `configurable`."""

Said: TypeAlias = "asyncio.Queue[ToolReport | Question | None]"


class Call(Generic[T]):
    """A call that runs.

    Args:
        server: The server's name.
        work: Makes the call; what the server says meanwhile is put into the queue.
        said: That queue.
        call: Tells it from other calls, see `digest`.
        resumed: What is known of it from before a pause, by `resume`, which its caller has called in this execution.
    """

    def __init__(
        self,
        server: str,
        work: Coroutine[Any, Any, T],
        said: Said,
        call: str = "",
        resumed: Resumed | None = None,
    ) -> None:
        self._said = said
        self._call = call
        self._answered: list[Question] = [] if resumed is None else [*resumed.questions]
        self._known = deque(self._answered)  # by which the same questions are answered if the call is made again
        self._counted = resumed is not None
        self._rounds = 0 if resumed is None else resumed.rounds
        self._open: Question | None = None
        self._task = asyncio.get_running_loop().create_task(work, name=f"call of MCP server {server}")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # raised to the caller, if there is one
        self._said.put_nowait(None)

    @property
    def failed(self) -> bool:
        """True if it ended without a result."""
        return self._task.done() and (self._task.cancelled() or self._task.exception() is not None)

    async def attend(self, answer: OnElicitation | None, hear: Reporter | None) -> T:
        """Wait for the result.

        Args:
            answer: The host's function for questions; None: interrupts.
            hear: Hears reports.

        Raises:
            GraphInterrupt: A question waits for its answer; the call goes on.
            McpError: There is no result.
        """
        try:
            if not self._counted:
                for question in self._answered:
                    await self._ask(question, answer)  # an interrupt counts, so that the next one has its place
            self._counted = False
            while True:
                if self._open is None:
                    said = await self._said.get()
                    if said is None:
                        return await self._task
                    if not isinstance(said, Question):
                        if hear is not None:
                            await hear(said)
                        continue
                    if said.again and self._known:
                        said.settle(self._known_answer(said))
                        continue
                    self._open = said
                given = await self._ask(self._open, answer)
                self._open.settle(given)
                self._answered.append(self._open)
                self._open = None
        except GraphBubbleUp:
            raise
        except BaseException:
            await self.abandon()
            raise

    def _known_answer(self, question: Question) -> ElicitationAnswer:
        known = self._known.popleft()
        if known.asked.digest != question.asked.digest:
            raise _something_else(question.asked.server)
        return known.answer.result()

    async def _ask(self, question: Question, answer: OnElicitation | None) -> ElicitationAnswer:
        if question.record is None:
            question.record = _record(question, self._call, self._rounds)
            self._rounds += isinstance(question.record, dict)
        return await _put(question, question.record, answer)

    async def abandon(self) -> None:
        """Cancel the call and wait for its end; the server is told."""
        self._task.cancel()
        left = [self._open]
        while not self._said.empty():
            left.append(said if isinstance(said := self._said.get_nowait(), Question) else None)
        for question in left:
            if question is not None:
                question.settle(CANCEL)
        with suppress(asyncio.CancelledError, McpError):
            await asyncio.shield(asyncio.wait((self._task,)))


class Askers:
    """Finds the call that a question belongs to, where the protocol does not say it (over stdio, before 2026-07-28).

    It belongs to the only call that is being worked on. Of several, each may have asked: once there are as many
    questions as calls, each call has one, and the answers find their way by themselves. If that does not come about
    soon, the questions are answered with `cancel`, and from then on this server gets one call at a time.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self.unsure = False
        self.one_at_a_time = asyncio.Lock()

    async def find(self, working: Callable[[], Sequence[Request]]) -> Request | None:
        """Return the call of a question, None if that is not known.

        Args:
            working: Returns the calls that are being worked on.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(ASSIGN_S):
                while True:
                    free = [each for each in working() if not each.asking]
                    if len(free) <= self._waiting:
                        return free[0] if free else None
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            self.unsure = True
            return None
        finally:
            self._waiting -= 1


@dataclass(frozen=True, slots=True)
class Resumed:
    """A call that paused its run and was lost, as far as it is recorded.

    Attributes:
        questions: What was asked, with the answers, in order.
        rounds: How many rounds they are of.
        answers: The answers of the last round, by key.
        state: What the server wants back with them.
    """

    questions: tuple[Question, ...]
    rounds: int
    answers: Mapping[str, ElicitationAnswer]
    state: str | None


async def resume(key: Key) -> Resumed | None:
    """Ask again what a call asked in an earlier execution of its node, up to its last round.

    Args:
        key: Its place.

    Returns:
        The answers, with the server's state; None if nothing is recorded that the call can go on from.

    Raises:
        GraphInterrupt: A question of the last round waits for its answer.
    """
    questions: list[Question] = []
    rounds, answers, state = 0, dict[str, ElicitationAnswer](), None
    while _is_round(record := recorded_result(_question), key[-1], rounds):
        answers, state = {}, record["state"]
        for name, payload in record["asked"].items():
            question = Question(Elicitation.of(payload), asyncio.get_running_loop().create_future())
            question.record = question.asked.digest if answers else record
            question.settle(await _put(question, question.record, None))
            answers[name] = question.answer.result()
            questions.append(question)
        rounds += 1
    return Resumed(tuple(questions), rounds, answers, state) if questions else None


def _is_round(record: Any, call: str, number: int) -> bool:
    return isinstance(record, dict) and (record["call"], record["round"]) == (call, number)


def _record(question: Question, call: str, number: int) -> str | dict[str, Any]:
    """Return what is stored with the run: the digest of a question; of the first of a round also how to go on."""
    found, digest = question.round, question.asked.digest
    if found is None or len(found.state or "") > LARGEST_STATE:
        return digest
    return {"digest": digest, "call": call, "round": number, "asked": found.asked, "state": found.state}


async def _put(question: Question, record: str | dict[str, Any], answer: OnElicitation | None) -> ElicitationAnswer:
    if answer is None and elicitation.can_pause():
        first: Any = start_task(_question, ((record,), {}))
        known = await (first if asyncio.isfuture(first) else asyncio.wrap_future(first))
        if (known["digest"] if isinstance(known, dict) else known) != question.asked.digest:
            raise _something_else(question.asked.server)
    return await elicitation.put(question.asked, answer)


def _something_else(server: str) -> McpRefused:
    return McpRefused(
        f"MCP server {server!r} asked something else when the call was made again after a pause; the answer was not "
        "given to it",
        server=server,
    )


def _question(record: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return the record of a question: as a task of the engine, which is stored with the run."""
    return record


class Parked(Generic[T]):
    """The calls of a pool that wait for a person."""

    def __init__(self) -> None:
        self._calls: dict[tuple[Key, int], tuple[Call[T], asyncio.TimerHandle]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def park(self, key: Key, call: Call[T]) -> None:
        """Keep a call until its run goes on."""
        # One node may make the same call several times; which of them goes on with which makes no difference.
        number = next(each for each in count() if (key, each) not in self._calls)
        timer = asyncio.get_running_loop().call_later(PARKED_S, self._give_up, (key, number))
        self._calls[key, number] = (call, timer)
        while len(self._calls) > MOST_PARKED:
            self._give_up(next(iter(self._calls)))

    def take(self, key: Key) -> Call[T] | None:
        """Return the call of a run that goes on, if it is still there."""
        numbers = [number for of, number in self._calls if of == key]
        if not numbers:
            return None
        call, timer = self._calls.pop((key, min(numbers)))
        timer.cancel()
        return None if call.failed else call

    def _give_up(self, place: tuple[Key, int]) -> None:
        call, timer = self._calls.pop(place)
        timer.cancel()
        ending = asyncio.get_running_loop().create_task(call.abandon())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def end_thread(self, thread_id: str) -> None:
        """Cancel the calls of a thread that wait."""
        await self._end([place for place in self._calls if place[0][0] == thread_id])

    async def aclose(self) -> None:
        """Cancel all calls that wait."""
        await self._end(list(self._calls))

    async def _end(self, places: list[tuple[Key, int]]) -> None:
        for place in places:
            self._give_up(place)
        await asyncio.gather(*self._ending)


def place(server: str, tool: str, arguments: Mapping[str, Any]) -> Key | None:
    """Return the place of a call in a run that may pause, the same when its node runs again; None elsewhere.

    Args:
        server: The server.
        tool: The tool's name there.
        arguments: Those of the call.
    """
    if not elicitation.can_pause():
        return None
    conf = get_config()[CONF]
    place = (conf.get(CONFIG_KEY_THREAD_ID), conf.get(CONFIG_KEY_CHECKPOINT_NS), conf.get(USER_ID))
    return (*map(str, place), digest(server, tool, arguments))


def digest(server: str, tool: str, arguments: Mapping[str, Any]) -> str:
    """Return a digest of a call.

    Args:
        server: The server.
        tool: The tool's name there.
        arguments: Those of the call.
    """
    return sha256(json.dumps([server, tool, arguments], sort_keys=True, default=str).encode()).hexdigest()
