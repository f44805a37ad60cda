"""The table of moves is what runs: a move that it does not have is refused and changes nothing."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue
from stategraph.core.machine import TRANSITIONS, Machine
from stategraph.core.program import Node, build
from stategraph.core.settings import Settings, Watch
from stategraph.core.starting import Start, Thread
from stategraph.core.task import Task
from stategraph.core.views import Keys
from stategraph.errors import IllegalMoveError

EVENTS = ("start", "plan", "next_lone", "end_lone", "advance")


def new_id(step: int) -> str:
    return f"{step + 2:08x}-0000-6000-8000-000000000000"


def machine(saves: Any, interrupt_after: Any) -> Machine:
    node = Node("n", ("go",), Keys(("x",)), None, (), True, None, False, None)
    channels: dict[str, Any] = {"go": EphemeralValue(Any, guard=False), "x": LastValue(int)}
    for name, channel in channels.items():
        channel.key = name
    program = build({"n": node}, channels, {}, ["go", "x"])
    thread = Thread(checkpoints.empty(new_id(-2), "now"), {"step": -2})
    settings = Settings(
        "", False, saves, 3, ["x"], (), interrupt_after, {}, new_id, lambda: "now", None, False, Watch(), None
    )
    return Machine(program, thread, settings)


def tell(told: Machine, event: str) -> None:
    task = next(iter(told.tasks.values()), None) or Task("id", "n", None, (), (), "", 0, 0)
    if event == "start":
        told.start(Start({"go": 1, "x": 1}))
    elif event == "end_lone":
        task.writes[:] = [("x", 2), ("go", 1)]
        told.end_lone(task)
    elif event == "advance":
        for each in told.tasks.values():
            each.writes[:] = [("x", 2), ("go", 1)]
        told.advance()
    else:
        getattr(told, event)()


def contents(told: Machine) -> Any:
    names = [name for name in Machine.__slots__ if name not in ("program", "settings", "state", "thread", "_planner")]
    names = [name for name in names if name not in ("_ids", "_tasks", "_lone", "_book")]
    state = told.state
    values = {name: state.read(name) for name in ("go", "x")}
    return deepcopy(({name: getattr(told, name) for name in names}, values, state.versions, state.seen, state._open))


@given(
    events=st.lists(st.sampled_from(EVENTS), max_size=12),
    saves=st.sampled_from(["never", "step", "exit"]),
    after=st.sampled_from([(), "*"]),
)
def test_every_illegal_move_is_refused_and_leaves_the_machine_as_it_was(
    events: list[str], saves: Any, after: Any
) -> None:
    told = machine(saves, after)
    for event in events:
        legal = TRANSITIONS[told.status]
        if event in legal:
            before = told.status
            tell(told, event)
            assert told.status == before or told.status in legal[event]
        else:
            found = contents(told)
            with pytest.raises(IllegalMoveError, match=f"`{event}`.*`{told.status}`"):
                tell(told, event)
            assert contents(told) == found


def test_every_status_of_the_table_refuses_the_rest() -> None:
    for status, moves in TRANSITIONS.items():
        for event in set(EVENTS) - moves.keys():
            told = machine("never", ())
            told.status = status  # type: ignore[assignment]
            with pytest.raises(IllegalMoveError):
                tell(told, event)


def test_a_move_leads_only_where_the_table_says() -> None:
    told = machine("never", ())
    with pytest.raises(IllegalMoveError, match="`start` does not lead from `loading` to `done`"):
        told._move("start", "done")
    assert told.status == "loading"
