"""A recording replayed: the same calls, with what was recorded in place of the outside, compared as they go.

Rules
-----
* Nothing outside is called: models, tools, `@recorded` functions and stores are answered from the file, ids and times
  are the recorded ones, and checkpoints go into memory.
* The first difference ends the replay. Order counts: of tasks that ran beside each other, the order of their ends is
  repeated, and parts of a stream that came in between are sorted into the recorded order.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from stategraph.constants import CONF
from stategraph.engine.checkpoints.saver_interfaces import InMemorySaver
from stategraph.engine.config import environment, procedures
from stategraph.engine.config.environment import Environment
from stategraph.governance.redaction import Redactor
from stategraph.replay import calls, codec, differences, lines
from stategraph.replay.calls import Call, Config, Graph
from stategraph.replay.codec import Json
from stategraph.replay.errors import RecordingError, ReplayMismatch
from stategraph.replay.guard import Guard
from stategraph.replay.recording import described, taped
from stategraph.replay.replay_tape import CANCELLED, Line, ReplayTape
from stategraph.replay.stores import TapedStore
from stategraph.replay.surroundings import ReplayedClock, SeededIds

_LEFT: Final = "builtins:GeneratorExit"
"""The error of a stream whose reader left it, as a recording names it."""

PATIENCE_S: Final = 60.0
"""Seconds that a task waits for another one that ended before it in the recording."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome of a replay.

    Attributes:
        calls: How many calls of the graph there were.
        results: What each returned; None for one that was streamed or failed.
        parts: What each streamed, in the recorded order.
        errors: What each failed with; None if it did not.
        checkpoints: How many checkpoints were compared.
        is_whole: Whether the recording goes to its end. If not, the process that made it died.
        state: The values of the last call's thread; None if the graph has no saver.
    """

    calls: int
    results: Sequence[Any] = ()
    parts: Sequence[Sequence[Any]] = ()
    errors: Sequence[BaseException | None] = ()
    checkpoints: int = 0
    is_whole: bool = True
    state: Any = None


class _Stopped(BaseException):
    """Ends a replay at the step that was asked for; no program handles it."""


def replay(
    path: str | os.PathLike[str],
    graph: Graph,
    *,
    until: int | None = None,
    redactor: Redactor | None = None,
    patience_s: float = PATIENCE_S,
) -> Replay:
    """Replay a recording, and see that the graph does the same again.

    Args:
        path: The recording.
        graph: The compiled graph, as it is now. Its saver, store and cache are not used.
        until: Stop before this step of the outermost graph in the last call, to look at what came so far.
        redactor: Finds secrets, as when it was recorded.
        patience_s: Seconds that a task waits for another one that ended before it in the recording.

    Returns:
        What came of it.

    Raises:
        ReplayMismatch: The graph does something else; the message says where, and what.
        RecordingError: The file cannot be replayed with this graph.
    """
    player = _Player.of(Path(path), graph, redactor, patience_s, until)
    if not any(each.call.is_async for each in player.recorded):
        for each in player.recorded:
            player.play(each)
    elif _is_in_loop():
        raise RecordingError("The recording has async calls, and an event loop runs here: await areplay(...)")
    else:
        asyncio.run(player.aplay_all())
    return player.replay()


async def areplay(
    path: str | os.PathLike[str],
    graph: Graph,
    *,
    until: int | None = None,
    redactor: Redactor | None = None,
    patience_s: float = PATIENCE_S,
) -> Replay:
    """Replay a recording on an event loop; see `replay`. Sync calls run in a thread."""
    playing = _Player.of(Path(path), graph, redactor, patience_s, until)
    await playing.aplay_all()
    return playing.replay()


def assert_replays(path: str | os.PathLike[str], graph: Graph, *, redactor: Redactor | None = None) -> Replay:
    """Replay a whole recording in a test.

    Raises:
        ReplayMismatch: It is an `AssertionError`; the graph does something else than when it was recorded.
        RecordingError: The file cannot be replayed with this graph, or has no end.
    """
    found = replay(path, graph, redactor=redactor)
    if not found.is_whole:
        raise RecordingError(f"'{path}' has no end: the process that recorded it died. Record it again for a test")
    return found


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@dataclass(slots=True)
class _Recorded:
    """A call in a recording.

    Attributes:
        call: The call.
        begin: Its first line.
        body: The lines behind that.
        end: Its last line; None if there is none.
    """

    call: Call
    begin: Line
    body: list[Line] = field(default_factory=list)
    end: Line | None = None

    def ended_by(self, error: str) -> bool:
        """Return whether the call ended with an error of this class."""
        return (((self.end or {}).get("error")) or {}).get("class") == error


def _calls_of(found: Sequence[Line]) -> Iterator[_Recorded]:
    current: _Recorded | None = None
    for line in found[1:]:
        if line["kind"] == "begin":
            if current is not None:
                yield current
            current = _Recorded(Call.of_line(line), line)
        elif current is not None and line["kind"] == "end":
            current.end = line
        elif current is not None:
            current.body.append(line)
    if current is not None:
        yield current


@dataclass(slots=True)
class _Player:
    """Plays the calls of one recording."""

    path: Path
    graph: Graph
    header: Line
    recorded: list[_Recorded]
    cleaner: lines.Cleaner
    patience_s: float
    until: int | None
    is_whole: bool
    results: list[Any] = field(default_factory=list)
    parts: list[list[Any]] = field(default_factory=list)
    errors: list[BaseException | None] = field(default_factory=list)
    known: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    checkpoints: int = 0

    @classmethod
    def of(cls, path: Path, graph: Graph, redactor: Redactor | None, patience_s: float, until: int | None) -> _Player:
        """Read a recording, and see that it is one of this graph."""
        found = lines.read(path)
        header = found[0]
        if not hasattr(graph, "checkpointer") or not hasattr(graph, "digest"):
            raise RecordingError(f"A {type(graph).__name__} cannot be replayed; expected the compiled graph")
        _check_graph(path, header["graph"], graph)
        saver = {"checkpointer": InMemorySaver()} if header["has_saver"] else {"checkpointer": None}
        if calls.saver_of(graph) is None and not header["has_saver"]:
            saver = {}
        store = TapedStore(None) if header["has_store"] else None
        played = taped(graph, store, **saver)
        if header["has_store"] and graph.store is None:
            played = played.copy({"store": store})
        recorded = list(_calls_of(found))
        if not recorded:
            raise RecordingError(f"'{path}' has no call of the graph: nothing was recorded in it")
        return cls(
            path, played, header, recorded, lines.Cleaner(redactor), patience_s, until, found[-1]["kind"] == "closed"
        )

    def replay(self) -> Replay:
        """Return what came of it."""
        last = self.recorded[-1].call
        state = None
        if calls.saver_of(self.graph) is not None:
            state = self.graph.get_state({CONF: {"thread_id": last.thread_id}}).values
        return Replay(len(self.recorded), self.results, self.parts, self.errors, self.checkpoints, self.is_whole, state)

    # -- one call -----------------------------------------------------------------

    async def aplay_all(self) -> None:
        """Play all calls, the sync ones in a thread."""
        for each in self.recorded:
            if each.call.is_async:
                await self.aplay(each)
            else:
                await asyncio.to_thread(self.play, each)

    def play(self, each: _Recorded) -> None:
        """Play a sync call."""
        procedures.perform(self._playing(each))

    async def aplay(self, each: _Recorded) -> None:
        """Play an async call."""
        await procedures.aperform(self._playing(each))

    def _playing(self, each: _Recorded) -> procedures.Procedure[None]:
        show, context, config = self._begin(each)
        call, result = each.call, None
        error: BaseException | None = None
        try:
            if call.method == "invoke":
                work: Callable[[], Any] = call.invoking(self.graph, config, context)
            else:
                take = self._atake if call.is_async else self._take
                work = partial(take, show, call, config, context)
            result = yield (partial(_cancelled_again, show, work) if each.ended_by(CANCELLED) else work)
        except asyncio.CancelledError as raised:
            if not show.tape.is_over:
                raise  # the replay itself is cancelled
            error = raised
        except _Stopped:
            self._keep(show, None, None)
            return
        except Exception as raised:
            error = raised
        self._end(each, show, result, error, (yield call.stored(self.graph)))

    def _take(self, show: _Parts, call: Call, config: Config, context: Context) -> None:
        with closing(calls.streamed(self.graph, call, config, context)) as parts:  # type: ignore[type-var]
            all(map(show.goes_on, parts))

    async def _atake(self, show: _Parts, call: Call, config: Config, context: Context) -> None:
        async with aclosing(calls.astreamed(self.graph, call, config, context)) as parts:  # type: ignore[type-var]
            async for part in parts:
                if not show.goes_on(part):
                    return

    def _begin(self, each: _Recorded) -> tuple[_Parts, Context, Config]:
        around = environment.current()
        if around.tape is not None:
            raise RecordingError("A run that is recorded or replayed cannot replay another one")
        begin = each.begin
        number = begin["call"]
        stops = self.until if each is self.recorded[-1] else None
        tape = ReplayTape(
            each.body,
            self.cleaner,
            self.patience_s,
            lambda: self._advice(number),
            _stops_at(stops),
            is_whole=each.end is not None,
        )
        clock = ReplayedClock(line for line in each.body if line["kind"] == "time")
        ids = SeededIds(f"{self.header['seed']}/{number}", begin["tick"])
        surroundings = Environment(clock, ids, None, tape.sink, tape)
        guard = Guard(lambda message: tape.fail(message))
        parts = _Parts(each.body, tape, self.cleaner, was_left=each.ended_by(_LEFT))
        return parts, environment.context_with(surroundings), each.call.merged(guard)

    def _end(
        self, each: _Recorded, show: _Parts, result: object, error: BaseException | None, stored: list[Any]
    ) -> None:
        tape, end = show.tape, each.end
        tape.check()
        if isinstance(error, ReplayMismatch | RecordingError):
            raise error
        if end is None:
            tape.fail("The recording ends before this call does: the process that made it died, and the call now ends")
        self._compare_ends(tape, end, each.call, result, error)
        show.conclude()
        if not (tape.is_over and error is None):  # of a stream that its reader left, others may have been under way
            tape.conclude()
        self._compare_stored(tape, end, each.call, stored)
        self._keep(show, result, error)

    def _keep(self, show: _Parts, result: object, error: BaseException | None) -> None:
        self.results.append(result)
        self.errors.append(error)
        self.parts.append(show.seen)

    def _compare_ends(
        self, tape: ReplayTape, end: Line, call: Call, result: object, error: BaseException | None
    ) -> None:
        recorded = end.get("error")
        if tape.is_over and recorded is not None and recorded["class"] in (CANCELLED, _LEFT):
            return
        if error is not None:
            now = self.cleaner.clean(codec.error(error))
            if recorded is None:
                tape.fail(f"The call fails now, and did not in the recording:\n  {now['class']}: {now['text']}")
            if codec.text(recorded) != codec.text(now):
                tape.fail(f"The call fails with something else:\n{differences.between(recorded, now)}")
        elif recorded is not None:
            tape.fail(f"The call failed in the recording, and does not now:\n  {recorded['class']}: {recorded['text']}")
        elif call.method == "invoke":
            now = self.cleaner.clean(codec.encode(result))
            if codec.text(end["result"]) != codec.text(now):
                tape.fail(f"The result is another one:\n{differences.between(end['result'], now)}")

    def _compare_stored(self, tape: ReplayTape, end: Line, call: Call, stored: list[Any]) -> None:
        recorded = end.get("checkpoints")
        if recorded is None:
            return
        known = self.known.setdefault(call.thread_id or "", set())
        now = [each for each in calls.digests(stored, self.cleaner) if (each[0], each[1]) not in known]
        known.update((each[0], each[1]) for each in now)
        if recorded != now:
            tape.fail(
                f"Other checkpoints were stored (namespace, id, parent, digest):\n{differences.between(recorded, now)}"
            )
        self.checkpoints += len(now)

    def _advice(self, number: int) -> str:
        changed = _changes(self.header["graph"], self.graph)
        return (
            f"(call {number} of {len(self.recorded)} in '{self.path}', recorded {self.header['recorded_at']}{changed}) "
            f"If the change is meant, record again: stategraph replay {self.path} MODULE:GRAPH --update"
        )


async def _cancelled_again(show: _Parts, work: Callable[[], Any]) -> Any:
    """Make a call, and cancel it where it was cancelled in the recording."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work())
    show.tape.cancel_at_end(lambda: loop.call_soon_threadsafe(task.cancel), lambda: show.has_more)
    try:
        await asyncio.wait({task})
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return task.result()


def _stops_at(step: int | None) -> Any:
    """Return what ends a replay before a step; None if it is played to its end."""
    if step is None:
        return None

    def stop(planned: int | None) -> None:
        if planned is not None and planned >= step:
            raise _Stopped

    return stop


def _check_graph(path: Path, recorded: Mapping[str, Json], graph: Graph) -> None:
    now = described(graph)
    common = set(recorded["nodes"]) & set(now["nodes"]) - {"__start__"}
    if not common and recorded["digest"] != now["digest"]:
        raise RecordingError(
            f"'{path}' is a recording of the graph '{recorded['name']}' with the nodes {_list(recorded['nodes'])}; "
            f"this one, '{now['name']}', has none of them: {_list(now['nodes'])}"
        )


def _list(names: Sequence[str]) -> str:
    return ", ".join(name for name in names if name != "__start__") or "none"


def _changes(recorded: Mapping[str, Json], graph: Graph) -> str:
    """Return a part of a sentence that says how the plan of a graph has changed."""
    now = described(graph)
    if now["digest"] == recorded["digest"]:
        return ""
    gone = sorted(set(recorded["nodes"]) - set(now["nodes"]))
    new = sorted(set(now["nodes"]) - set(recorded["nodes"]))
    told = [f"without {', '.join(gone)}"] if gone else []
    told += [f"with the new {', '.join(new)}"] if new else []
    return f"; the graph has other nodes, edges or channels since{': ' if told else ''}{', '.join(told)}"


class _Parts:
    """Compares what a call streams with what it streamed."""

    def __init__(self, body: Sequence[Line], tape: ReplayTape, cleaner: lines.Cleaner, *, was_left: bool) -> None:
        self.tape = tape
        self._was_left = was_left
        self.seen: list[Any] = []
        self._cleaner = cleaner
        # Each part with the number of the step of the outermost graph in which it was shown.
        self._expected: deque[tuple[int, str, Json]] = deque()
        self._early: dict[str, list[Any]] = {}
        step = 0
        for line in body:
            if line["kind"] == "planned" and not line["ns"]:
                step += 1
            elif line["kind"] == "part":
                self._expected.append((step, codec.text(line["value"]), line["value"]))

    def take(self, part: object) -> None:
        """Compare the next part.

        Raises:
            ReplayMismatch: It is not among those that may come now.
        """
        self.tape.check()
        now = self._cleaner.clean(codec.encode(part))
        text = codec.text(now)
        if not self._expected:
            self._fail(
                f"The stream ended here in the recording, and now has one more part:\n  {differences.shown(now)}"
            )
        step, _, first = self._expected[0]
        may_come = [each for number, each, _ in self._expected if number <= step + 1]
        if may_come.count(text) <= len(self._early.get(text, ())):
            self._fail(f"Part {len(self.seen) + 1} of the stream is another one:\n{differences.between(first, now)}")
        self._early.setdefault(text, []).append(part)
        while self._expected and self._early.get(self._expected[0][1]):
            self.seen.append(self._early[self._expected.popleft()[1]].pop(0))
        self.tape.came(0)

    @property
    def has_more(self) -> bool:
        """Return whether parts are still to come."""
        return bool(self._expected)

    def goes_on(self, part: object) -> bool:
        """Take the next part, and return whether the reader wanted more; if not, the rest is not compared."""
        self.take(part)
        if self._was_left and not self._expected:
            self.tape.is_over = True
        return not (self.tape.is_over and self._was_left)

    def conclude(self) -> None:
        """See that all parts came."""
        if self._expected:
            self._fail(
                f"The stream has {len(self.seen)} parts, and one more in the recording:\n"
                f"  {differences.shown(self._expected[0][2])}"
            )

    def _fail(self, message: str) -> NoReturn:
        self.tape.fail(message)
