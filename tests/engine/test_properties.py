"""What must hold for any program: order, crashes and drivers make no difference."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import Command
from stategraph.testing import FakeClock, StreamRecorder, stable
from tests.engine.programs_kit import (
    THREAD,
    Spec,
    World,
    answers,
    build,
    invoke,
    new_input,
    specs,
    stored,
    to_the_end,
    to_the_end_async,
)
from tests.properties import examples


@examples(100)
@given(spec=specs(), data=st.data())
def test_any_order_of_completion_gives_the_same_checkpoints(spec: Spec, data: st.DataObject) -> None:
    names = [node.name for node in spec] + ["w0", "w1", "w2"]
    outcomes = []
    for order in (names, data.draw(st.permutations(names))):
        delays_s = {name: 1.0 + place for place, name in enumerate(order)}
        saver = InMemorySaver()
        graph = build(spec, World(delays_s), saver, asynchronous=True)
        values = FakeClock(grace_s=0).run(to_the_end_async(graph))
        outcomes.append((values, stored(saver)))
    assert outcomes[0] == outcomes[1]


class Crash(Exception):
    """The machine lost its power."""


class MortalSaver(InMemorySaver):
    """A saver that stops at one of its effects, and keeps what it had until then.

    Attributes:
        recorded: Tasks whose results have been stored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recorded: set[str] = set()
        self.effects = 0
        self.dies_at: int | None = None
        self.dead = False

    @contextlib.contextmanager
    def effect(self) -> Iterator[None]:
        self.effects += 1
        if self.dies_at is not None and self.effects >= self.dies_at:
            self.dead = True
        if self.dead:
            raise Crash
        yield

    def revive(self) -> None:
        self.dead, self.dies_at = False, None

    def put(self, *args: Any, **kwargs: Any) -> Any:
        with self.effect():
            return super().put(*args, **kwargs)

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        with self.effect():
            super().put_writes(config, writes, task_id, task_path)
            if any(not channel.startswith("__") or channel == "__no_writes__" for channel, _ in writes):
                self.recorded.add(task_id)


def after_crashes(graph: Any, saver: MortalSaver, asynchronous: bool) -> Any:
    """Run a thread to its end; after a crash go on as a restarted process would."""
    given: Any = new_input()
    for _ in range(50):
        try:
            invoke(graph, given, asynchronous)
        except Crash:
            saver.revive()
        if saver.get_tuple(THREAD) is None:
            given = new_input()
            continue
        snapshot = graph.get_state(THREAD)
        # Not `next`: it leaves out tasks that have ended in a step that was never applied.
        if not snapshot.tasks:
            return snapshot.values
        given = Command(resume=answers(snapshot)) if snapshot.interrupts else None
    raise AssertionError("the thread does not come to an end")


@examples(100)
@given(spec=specs(), at=st.integers(1, 40), asynchronous=st.booleans())
def test_a_crash_at_any_effect_changes_nothing_and_repeats_no_finished_task(
    spec: Spec, at: int, asynchronous: bool
) -> None:
    expected = to_the_end(build(spec, World(), InMemorySaver()))

    saver, world = MortalSaver(), World()
    saver.dies_at = at
    done_before: list[tuple[int, set[str]]] = []
    revive = saver.revive

    def note_and_revive() -> None:
        done_before.append((len(world.executed), set(saver.recorded)))
        revive()

    saver.revive = note_and_revive  # type: ignore[method-assign]
    graph = build(spec, world, saver, asynchronous=asynchronous)
    assert after_crashes(graph, saver, asynchronous) == expected
    for position, done in done_before:
        assert done.isdisjoint(world.executed[position:])


MODES = ["values", "updates", "tasks", "checkpoints", "custom", "debug"]


def by_sender(recorder: StreamRecorder) -> Any:
    """Order what was streamed by who sent it, the order of each kept: the next task may speak before the run does."""
    senders: dict[Any, list[Any]] = {}
    for event in recorder.events:
        senders.setdefault((event.namespace, event.mode == "custom"), []).append((event.mode, event.payload))
    return stable([{"namespace": sender[0], "events": events} for sender, events in senders.items()])


@examples(100)
@given(spec=specs(), asynchronous=st.booleans())
def test_both_drivers_stream_the_same(spec: Spec, asynchronous: bool) -> None:
    # One task at a time: which of several parallel tasks is first is no property of the engine.
    config = {**THREAD, "max_concurrency": 1}
    recordings = []
    for way in ("sync", "async"):
        saver = InMemorySaver()
        graph = build(spec, World(), saver, asynchronous=way == "async" and asynchronous)
        recorder = StreamRecorder(graph, stream_mode=MODES, subgraphs=True, durability="sync")
        given: Any = new_input()
        for _ in range(50):
            if way == "sync":
                recorder.run(given, config)
            else:
                asyncio.run(recorder.arun(given, config))
            snapshot = graph.get_state(THREAD)
            if not snapshot.next:
                break
            given = Command(resume=answers(snapshot))
        recordings.append((by_sender(recorder), stored(saver)))
    assert recordings[0] == recordings[1]
