"""Machines of a small chain, with the threads they start from, for tests that drive them by hand."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.constants import MISSING, TAG_HIDDEN, TASKS
from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels import BinaryOperatorAggregate, DeltaChannel, EphemeralValue, Topic, UntrackedValue
from stategraph.core.delta_journal import DeltaCodec
from stategraph.core.effects import Effect, SaveCheckpoint, SaveWrites
from stategraph.core.machine import Machine
from stategraph.core.moves import tasks_of
from stategraph.core.program import Node, Program, build
from stategraph.core.settings import UNHEARD, Settings, Start, Thread
from stategraph.core.task import Write
from stategraph.core.views import Keys
from stategraph.types import Send


def new_id(step: int) -> str:
    return f"{step + 2:08x}-0000-6000-8000-000000000000"


EMPTY, BEGUN, FIRST, SECOND, THIRD = map(new_id, (-2, -1, 0, 1, 2))
SETTINGS = Settings("", False, "step", 9, ["log"], (), (), {}, new_id, lambda: "now", None, False, UNHEARD, None)
DELTAS = DeltaCodec(
    _DeltaSnapshot, lambda writes: number(writes), lambda checkpoint_id: f"input of {checkpoint_id}", 5000
)


def extend(value: list[Any], updates: Sequence[list[Any]]) -> list[Any]:
    return [*value, *(item for update in updates for item in update)]


def number(writes: list[Write]) -> None:
    """Stands in for the ids of messages, which a value gets once."""
    for index, (name, value) in enumerate(writes):
        if name == "log" and "id" not in value:
            writes[index] = (name, [*value, "id"])


DELTAS = DeltaCodec(_DeltaSnapshot, number, lambda checkpoint_id: f"input of {checkpoint_id}", 5000)


def program(handler: str | None = None, hidden: bool = False, delta: bool = False) -> Program:
    """A chain: the input starts a, which starts b; they write to a log."""
    channels: dict[str, Any] = {
        "go": EphemeralValue(Any, guard=False),
        "to:b": EphemeralValue(Any, guard=False),
        "log": DeltaChannel(extend) if delta else BinaryOperatorAggregate(list, operator.add),
        "secret": UntrackedValue(Any),
        TASKS: Topic(Send),
    }
    for name, channel in channels.items():
        channel.key = name
    tags = (TAG_HIDDEN,) if hidden else ()
    reads = Keys(("log",))
    nodes = {
        name: Node(name, (trigger,), reads, None, tags, True, handler, False, None)
        for name, trigger in (("a", "go"), ("b", "to:b"))
    }
    if handler == "mend":
        nodes[handler] = Node(handler, (), reads, None, (), True, None, False, None)
    return build(nodes, channels, {}, ["go", "log", "to:b"])


def stored(source: str = "loop", *, parent: str | None = BEGUN, **about: Any) -> Thread:
    """A thread on which a has run, and b is next."""
    checkpoint: Any = checkpoints.empty(FIRST, "now") | {
        "channel_values": {"log": ["a"], "to:b": None},
        "channel_versions": {"go": 2, "log": 2, "to:b": 2},
        "versions_seen": {"a": {"go": 1}},
        "updated_channels": ["log", "to:b"],
    }
    metadata: Any = {"source": source, "step": 0, "parents": {}}
    return Thread(checkpoint, metadata, **({"parent_id": parent, "stored_id": FIRST, "found": True} | about))


def opened(
    start: Start, thread: Thread | None = None, *, handler: str | None = None, hidden: bool = False, **changes: Any
) -> Machine:
    """A machine that has been started, with settings of its own."""
    thread = thread or Thread(checkpoints.empty(EMPTY, "now"), {"step": -2})
    made = Machine(program(handler, hidden, "deltas" in changes), thread, SETTINGS._replace(**changes))
    made.start(start)
    return made


def snapshots(effects: list[Effect]) -> list[Any]:
    """What the checkpoints hold of the log, as far as they hold it."""
    return [e.checkpoint["channel_values"].get("log", MISSING) for e in effects if isinstance(e, SaveCheckpoint)]


def saved(effects: list[Effect]) -> list[tuple[str | None, str, str, int]]:
    """The checkpoints: parent, id, source and step."""
    return [
        (e.parent_id, e.checkpoint["id"], e.metadata["source"], e.metadata["step"])
        for e in effects
        if isinstance(e, SaveCheckpoint)
    ]


def recorded(effects: list[Effect]) -> list[tuple[str, str, list[Write]]]:
    """The writes: checkpoint, task and what it wrote."""
    return [(e.checkpoint_id, e.task_id, list(e.writes)) for e in effects if isinstance(e, SaveWrites)]


def planned(made: Machine) -> list[str]:
    """Which nodes come next."""
    return [task.name for task in tasks_of(made.next())]
