"""A graph that dies at every save, one after the other, and goes on from what is stored.

Rules
-----
* The process dies where the saver is asked to store something: before that is stored, or just after it. Nothing more of
  that run is stored.
* What goes on has nothing but the saver: the graph is made anew, and called with None, or with its input if nothing is
  stored yet.
* The state in the end is compared with that of a run in which nobody died. Generated ids and times do not count.

Nodes run again that had not stored their writes: the states are equal for a graph whose nodes may run twice. What a
node adds to outside of the state is not compared: the test looks at that itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from stategraph.testing.courses import MOST_CALLS, Course, DivergedError, has_ended
from stategraph.testing.recorder import stable

_THREAD: Final = {"configurable": {"thread_id": "crash"}}


class ProcessDied(BaseException):
    """Stands for a process that is killed: no program handles it."""


@dataclass(frozen=True, slots=True)
class CrashReport:
    """Crashes that a graph survived.

    Attributes:
        saves: How often the undisturbed run asked its saver to store something.
        crashes: How many runs were killed.
        state: The state in the end, the same for all.
    """

    saves: int
    crashes: int
    state: object


def crash_at_every_save(
    make: Callable[[Any], Any], inputs: object, *, answers: Sequence[object] = (), config: dict[str, Any] | None = None
) -> CrashReport:
    """Run a graph once for each of its saves, dying there, and see that it comes to the same state.

    Args:
        make: Compiles the graph with a saver, as `lambda saver: builder.compile(checkpointer=saver)`.
        inputs: The graph's input.
        answers: Answers to its interrupts, in their order.
        config: Laid over the config of each call; its thread is chosen here.

    Returns:
        How much was tried.

    Raises:
        DivergedError: The state was another one after a crash; the message says after which, and how it differs.
    """
    trial = _Trial(make, inputs, answers, config or {})
    saver = _saver(None)
    state = trial.to_the_end(saver)
    for at in range(1, saver.asked + 1):
        for when in ("before", "after"):
            _see_same(trial, state, at, when)
    return CrashReport(saver.asked, 2 * saver.asked, state)


def _see_same(trial: _Trial, state: object, at: int, when: Literal["before", "after"]) -> None:
    saver = _saver((at, when))
    found = trial.to_the_end(saver)
    if not saver.has_died:
        raise DivergedError(
            f"The run did not get to save {at} when it was repeated, so it does not do the same each time: give its "
            "model a script, and its nodes no chance and no clock"
        )
    if found != state:
        raise DivergedError(f"After a crash {when} save {at} the state is\n  {found}\nand without one\n  {state}")


@dataclass(frozen=True, slots=True)
class _Trial:
    """A graph, and what it is called with."""

    make: Callable[[Any], Any]
    inputs: object
    answers: Sequence[object]
    config: dict[str, Any]

    def to_the_end(self, saver: Any) -> object:
        """Call the graph until its thread has ended, after each crash anew, and return the state."""
        config = {**self.config, "configurable": {**self.config.get("configurable", {}), **_THREAD["configurable"]}}
        course = Course(self.inputs, self.answers)
        for _ in range(MOST_CALLS):
            saver.revive()
            graph = self.make(saver)
            try:
                snapshot = graph.get_state(config)
                if has_ended(snapshot):
                    return stable(snapshot.values)
                graph.invoke(course.next_input(snapshot), config, durability="sync")
            except ProcessDied:
                continue
        raise DivergedError(f"The graph did not come to its end in {MOST_CALLS} calls")


def _saver(crash: tuple[int, Literal["before", "after"]] | None) -> Any:
    """Return a saver in memory that dies once, at a save, and stores nothing until it is revived; None: never."""
    from stategraph.engine.checkpoints.saver_interfaces import InMemorySaver

    class DyingSaver(InMemorySaver):
        def __init__(self) -> None:
            super().__init__()
            self.asked = 0
            self.has_died = False
            self.is_dead = False

        def revive(self) -> None:
            """Store again, for the process that goes on."""
            self.is_dead = False

        def put(self, *args, **named):  # type: ignore[no-untyped-def] # as the saver declares it
            return self._store(super().put, *args, **named)

        def put_writes(self, *args, **named):  # type: ignore[no-untyped-def]
            return self._store(super().put_writes, *args, **named)

        async def aput(self, *args, **named):  # type: ignore[no-untyped-def]
            return self._store(super().put, *args, **named)

        async def aput_writes(self, *args, **named):  # type: ignore[no-untyped-def]
            return self._store(super().put_writes, *args, **named)

        def _store(self, store: Callable[..., object], *args: object, **named: object) -> object:
            if self.is_dead:
                raise ProcessDied  # a run that has failed stores what it still holds as it ends
            if self.has_died:
                return store(*args, **named)
            self.asked += 1
            if crash is None or self.asked != crash[0]:
                return store(*args, **named)
            self.has_died = self.is_dead = True
            if crash[1] == "after":
                store(*args, **named)
            raise ProcessDied

    return DyingSaver()
