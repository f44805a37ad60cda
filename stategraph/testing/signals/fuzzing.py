"""Trials: a graph killed at points that a seed draws, and compared with an undisturbed run."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from stategraph.testing.courses import DivergedError
from stategraph.testing.differences import explain
from stategraph.testing.signals.effects import counted
from stategraph.testing.signals.lives import FuzzError, Life, Lives
from stategraph.testing.signals.spec import Spec

SIGNALS: Final = ("SIGKILL", "SIGTERM", "SIGINT")


@dataclass(frozen=True, slots=True)
class SignalReport:
    """Trials that a graph survived.

    Attributes:
        trials: How many there were.
        kills: Signals that were sent, by their names.
        points: Points of the undisturbed run at which it could have been killed.
        state: The state in the end, the same for all.
        effects: Of each effect that was counted, the fewest and the most times that it happened in a trial.
        duration_s: Seconds that it took.
        saves: How often the undisturbed run stored something.
        crashes: Trials in which a process was killed at a save.
    """

    trials: int
    kills: Mapping[str, int]
    points: int
    state: object
    effects: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    duration_s: float = field(default=0.0, compare=False)
    saves: int = 0
    crashes: int = 0


def fuzz_signals(
    graph: str,
    inputs: object,
    *,
    trials: int = 20,
    seed: int = 0,
    trial: int | None = None,
    answers: Sequence[object] = (),
    once: Sequence[str] = (),
    repeatable: Sequence[str] | None = None,
    crashes: int = 0,
    store: str | None = None,
    signals: Sequence[str] = SIGNALS,
    most_kills: int = 3,
    seconds: float = 60.0,
    life_s: float = 30.0,
    is_async: bool = False,
    durability: str = "sync",
    config: Mapping[str, Any] | None = None,
    spawns: bool = False,
    on_progress: Callable[[str], object] | None = None,
) -> SignalReport:
    """Kill a graph at random points, let it go on with the same store, and see that it comes to the same state.

    Args:
        graph: The import path, `module:attribute`, of a function that compiles the graph with a saver, of a
            `StateGraph`, or of a compiled graph, which is given the saver.
        inputs: The graph's input, as JSON.
        trials: How many trials there are.
        seed: Draws the points and the signals; the same seed draws the same.
        trial: Only the trial with this number, to repeat one that failed.
        answers: Answers to the graph's interrupts, in their order, as JSON.
        once: Effects that have to happen as often as without a crash; they are counted by `count_effect`.
        repeatable: Effects that may happen more often than without a crash, and not less often. If given, all others
            that are counted are as if named in `once`.
        crashes: Further trials, each of which kills its process by SIGKILL at one save of the graph, before it is done
            or just after it: so many of all, drawn from the seed; all of them if there are no more.
        store: The address of a database, `sqlite:///graph.db` or `postgresql://...`, in which threads are made and
            deleted again. None: a file of SQLite for each trial.
        signals: Names of signals; each kill draws one.
        most_kills: A trial has 1 to so many kills.
        seconds: No trial begins after so many seconds, those of the undisturbed runs among them.
        life_s: Seconds that one process may take from its start to its end.
        is_async: Whether the graph is awaited, as one with async nodes has to be.
        durability: When steps are stored, as `invoke` takes it.
        config: Laid under the config of each call, as JSON; the thread is chosen here.
        spawns: Whether each process is a new interpreter and no fork: slow, for graphs whose import opens connections.
            One whose import starts threads is never forked.
        on_progress: Called with a line for each trial.

    Returns:
        How much was tried.

    Raises:
        DivergedError: After kills the state was another one, an effect of `once` happened another number of times, or
            the graph failed or did not end; the message says after which, how it differs, and how to repeat it.
        FuzzError: The graph cannot be imported, fails or does not end without a kill, or no trial was made in
            `seconds`.
        ValueError: A number or a signal makes no sense.
        TypeError: The input, an answer or the config is no JSON.
    """
    numbers = {name: _number(name) for name in signals}
    if trials < (not crashes) or crashes < 0 or most_kills < 1 or not numbers:
        raise ValueError(f"trials={trials}, most_kills={most_kills}, signals={list(signals)}: at least one of each")
    json.dumps([inputs, list(answers), dict(config or {})])  # what crosses is JSON
    began = time.monotonic()
    with Lives(graph, spawns=spawns, deadline_s=life_s) as lives:
        spec = Spec(
            target=graph,
            store=store or "",
            thread="",
            inputs=inputs,
            answers=tuple(answers),
            config=dict(config or {}),
            durability=durability,
            is_async=is_async,
        )
        fuzz = _Fuzz(lives, spec, seed, numbers, most_kills, tuple(once), repeatable)
        expected = fuzz.undisturbed()
        saves = drawn_saves(seed, expected.life.saves, crashes) if trial is None else []
        chosen = range(1, trials + 1) if trial is None else (trial,)
        for told in fuzz.attempts(saves, chosen, trials, expected, lambda: time.monotonic() - began <= seconds):
            if on_progress is not None:
                on_progress(told)
        took = time.monotonic() - began
        if not fuzz.trials and not fuzz.crashes:
            raise FuzzError(
                f"No trial was made: the runs without a kill took {took:.1f} s, and seconds={seconds:g}. Give more"
            )
        return fuzz.report(expected, took)


def _number(name: str) -> int:
    found = getattr(signal, name, None)
    if not isinstance(found, signal.Signals):
        raise ValueError(f"There is no signal {name!r}; expected names such as {', '.join(SIGNALS)}")
    return int(found)


@dataclass(frozen=True, slots=True)
class _Run:
    """A thread that has ended.

    Attributes:
        life: Its last life.
        effects: How often effects happened.
    """

    life: Life
    effects: Counter[str]


@dataclass(frozen=True, slots=True)
class _Kill:
    """A kill of a process.

    Attributes:
        told: How it is told of.
        name: The name of the signal.
        changes: What is another one in the description of its life.
    """

    told: str
    name: str
    changes: Mapping[str, Any]


@dataclass(slots=True)
class _Fuzz:
    """A series of trials."""

    lives: Lives
    spec: Spec
    seed: int
    signals: Mapping[str, int]
    most_kills: int
    once: tuple[str, ...]
    repeatable: Sequence[str] | None = None
    trials: int = 0
    crashes: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def undisturbed(self) -> _Run:
        """Run the graph twice without a kill.

        Raises:
            DivergedError: The two did not come to the same.
        """
        first = self._run("undisturbed-1", ())
        self.lives.preload(first.life.modules)
        second = self._run("undisturbed-2", ())
        if first.life.state != second.life.state or first.effects != second.effects:
            raise DivergedError(
                "Two runs that nobody disturbed came to different ends, so the graph does not do the same each time: "
                f"give its model a script, and its nodes no chance and no clock\n{_difference(second, first)}"
            )
        self._see(second.effects)
        return second

    def attempts(
        self,
        saves: Sequence[tuple[int, bool]],
        chosen: Sequence[int],
        trials: int,
        expected: _Run,
        goes_on: Callable[[], bool],
    ) -> Iterator[str]:
        """Make trials one after the other, as long as they may begin, and yield a line about each."""
        for save, after in saves:
            if goes_on():
                yield self.crash(save, after, expected)
        for number in chosen:
            if goes_on():
                yield f"trial {number} of {trials}: {self.attempt(number, expected)}"

    def attempt(self, number: int, expected: _Run) -> str:
        """Make a trial, and return a line about it.

        Raises:
            DivergedError: It came to something else than expected.
        """
        drew = drawn(self.seed, number, expected.life.points, list(self.signals), self.most_kills)
        plan = [_Kill(f"{name} at point {at:,}", name, {"at": at, "signal": self.signals[name]}) for at, name in drew]
        again = f"fuzz_signals(..., seed={self.seed}, trial={number}) repeats it"
        told = self._judged(f"Trial {number} of seed {self.seed}", f"trial-{number}", plan, expected, again)
        self.trials += 1
        return told

    def crash(self, save: int, after: bool, expected: _Run) -> str:
        """Kill a process at a save, and return a line about it.

        Raises:
            DivergedError: The thread came to something else than expected.
        """
        when = f"{'after' if after else 'before'} save {save} of {expected.life.saves}"
        kill = _Kill(f"SIGKILL {when}", "SIGKILL", {"save": save, "after": after})
        again = f"fuzz_signals(..., crashes={2 * expected.life.saves}) tries all saves"
        before = self.kills["SIGKILL"]
        told = self._judged(f"The crash {when}", f"crash-{save}-{after}", [kill], expected, again)
        self.crashes += self.kills["SIGKILL"] - before  # one that stores more at once has fewer saves
        return told

    def _judged(self, who: str, name: str, plan: Sequence[_Kill], expected: _Run, again: str) -> str:
        """Take a thread to its end, with kills on the way, and compare that with an undisturbed run."""
        sent: list[str] = []
        try:
            found = self._run(name, plan, sent)
        except FuzzError as error:  # it does not fail by itself
            after = ", then ".join(sent) or "nothing"
            raise DivergedError(f"{who}, after {after}: {error}\n{again}") from error
        told = ", then ".join(sent) or "ended before its first kill"
        wrong = self._wrong(found.effects, expected.effects)
        if found.life.state != expected.life.state or wrong:
            effects = "".join(f"\n{each}" for each in wrong)
            states = f"\n{_difference(found, expected)}" if found.life.state != expected.life.state else ""
            raise DivergedError(
                f"{who} came to something else than an undisturbed run, after {told}:{effects}{states}\n{again}"
            )
        self._see(found.effects)
        return f"{told}: the same state"

    def _wrong(self, found: Counter[str], expected: Counter[str]) -> list[str]:
        """Return a sentence for each effect that happened another number of times than it may."""
        names = {*self.once} if self.repeatable is None else {*self.once, *found, *expected}
        may_repeat = {*(self.repeatable or ())} - {*self.once}
        return [
            f"The effect {name!r} happened {found[name]} times, expected {expected[name]}"
            for name in sorted(names)
            if found[name] < expected[name] or (found[name] > expected[name] and name not in may_repeat)
        ]

    def _run(self, name: str, plan: Sequence[_Kill], sent: list[str] | None = None) -> _Run:
        """Take a thread to its end, with kills on the way; what was sent is added to `sent`."""
        thread = f"signals-{name}-{uuid4().hex[:8]}"
        files = [self.lives.folder / f"{thread}.{kind}" for kind in ("effects", "db", "db-wal", "db-shm")]
        spec = replace(self.spec, thread=thread, effects=str(files[0]))
        if not self.spec.store:
            spec = replace(spec, store=f"sqlite:///{files[1]}")
        try:
            for kill in plan:
                life = self.lives.live(replace(spec, **kill.changes))
                spec = replace(spec, answered=life.answered)
                if life.fired:
                    self.kills[kill.name] += 1
                    if sent is not None:
                        sent.append(kill.told)
                if life.has_ended:
                    break
            return _Run(self.lives.live(spec), counted(files[0]))
        finally:
            self._clear(spec, files)

    def _clear(self, spec: Spec, files: Sequence[Path]) -> None:
        if self.spec.store:
            with suppress(FuzzError):  # what was found matters more
                self.lives.live(replace(spec, deletes=True))
        for file in files:
            file.unlink(missing_ok=True)

    def _see(self, effects: Counter[str]) -> None:
        for name in {*effects, *self.seen, *self.once}:
            least, most = self.seen.get(name, (effects[name], effects[name]))
            self.seen[name] = min(least, effects[name]), max(most, effects[name])

    def report(self, expected: _Run, duration_s: float) -> SignalReport:
        """Return what was tried."""
        kills, effects = dict(sorted(self.kills.items())), dict(sorted(self.seen.items()))
        life = expected.life
        return SignalReport(self.trials, kills, life.points, life.state, effects, duration_s, life.saves, self.crashes)


def drawn(seed: int, trial: int, points: int, signals: Sequence[str], most_kills: int) -> list[tuple[int, str]]:
    """Draw the kills of a trial, a point and a signal each; later lives are shorter.

    Args:
        seed: The seed.
        trial: The number of the trial.
        points: Points of the undisturbed run. Some more or less, as threads give, draw the same.
        signals: Names of signals.
        most_kills: At most so many kills.
    """
    draw = random.Random(f"{seed}/{trial}")
    kills = draw.randint(1, most_kills)
    return [(draw.randint(1, max(1, points // (life + 1))), draw.choice(signals)) for life in range(kills)]


def drawn_saves(seed: int, saves: int, number: int) -> list[tuple[int, bool]]:
    """Draw saves at which processes are killed: the number of the save, and whether it is done.

    Args:
        seed: The seed.
        saves: How many saves the undisturbed run made.
        number: How many are drawn; all if there are no more.
    """
    every = [(save, after) for save in range(1, saves + 1) for after in (False, True)]
    chosen = every if number >= len(every) else random.Random(f"{seed}/saves").sample(every, number)
    return sorted(chosen)


def _difference(found: _Run, expected: _Run) -> str:
    """Return how two states differ, a line for each channel."""
    return "\n".join(explain(_channels(found.life.state), _channels(expected.life.state), "channels"))


def _channels(state: object) -> list[dict[str, object]]:
    values = state if isinstance(state, dict) else {"state": state}
    return [{"mode": name, "ns": [], "payload": value} for name, value in sorted(values.items())]
