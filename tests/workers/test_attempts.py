"""How an execution goes on whose worker is lost: from a checkpoint, from its start, or not."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from stategraph.workers.agents.attempts import Attempts

LOOP: Any = ["put", {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, {"id": "1"}, {"source": "loop"}, {}]
INPUT: Any = ["put", {"configurable": {"thread_id": "t"}}, {"id": "1"}, {"source": "input"}, {}]
UPDATE: Any = ["put", {"configurable": {"thread_id": "t"}}, {"id": "1"}, {"source": "update"}, {}]
INNER: Any = ["put", {"configurable": {"checkpoint_ns": "agent:1"}}, {"id": "1"}, {"source": "loop"}, {}]
TAKEN: Any = ["put_writes", {"configurable": {}}, [("__resume__", ["yes"])], "task", ""]
WRITTEN: Any = ["put_writes", {"configurable": {}}, [("messages", [])], "task", ""]
HEARD = "heard"
ENDED = "ended"


def lost(action: Literal["process", "resume"], durability: str | None, *happened: Any) -> tuple[str, str | None]:
    """What the next attempt does, and why there is none."""
    attempts = Attempts("r", action, durability)
    for each in happened:
        if each == HEARD:
            attempts.was_heard = True
        elif each == ENDED:
            attempts.ended()
        else:
            attempts.saved(each)
    error = attempts.lost("Node 'n' was lost")
    assert attempts.number == 2 and attempts.reason == "Node 'n' was lost"
    return attempts.action, None if error is None else str(error)


@pytest.mark.parametrize("action", ["process", "resume"])
@pytest.mark.parametrize("durability", [None, "exit", "async", "sync"])
def test_an_execution_of_which_nothing_was_heard_begins_again(action: Any, durability: str | None) -> None:
    assert lost(action, durability) == (action, None)


def test_what_a_turn_before_left_on_the_thread_is_none_of_the_execution() -> None:
    # A turn that was cut off is ended on its thread before the next one begins.
    assert lost("process", "sync", UPDATE, INPUT) == ("process", None)


@pytest.mark.parametrize("durability", ["exit", "async", "sync"])
@pytest.mark.parametrize("action", ["process", "resume"])
def test_an_execution_goes_on_from_a_stored_step(action: Any, durability: str) -> None:
    assert lost(action, durability, INPUT, HEARD, LOOP, WRITTEN) == ("go_on", None)


def test_an_answer_that_a_tool_has_taken_is_not_given_again() -> None:
    assert lost("resume", "sync", HEARD, TAKEN) == ("go_on", None)


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_an_answer_that_nothing_has_taken_is_given_again(durability: str) -> None:
    assert lost("resume", durability, HEARD, WRITTEN) == ("resume", None)


@pytest.mark.parametrize(
    ("durability", "happened", "way_out"),
    [
        (None, (HEARD,), "its thread is kept nowhere: give the runtime a 'store' or a 'checkpointer'"),
        ("exit", (HEARD,), "its durability is 'exit': leave it out, or use 'sync'"),
        ("exit", (HEARD, INNER), "its durability is 'exit'"),
        ("async", (INPUT, HEARD), "its durability is 'async'"),
    ],
)
def test_work_that_no_checkpoint_knows_of_is_not_done_again(
    durability: str | None, happened: tuple[Any, ...], way_out: str
) -> None:
    _, error = lost("process", durability, *happened)
    assert error is not None
    assert error.startswith("Node 'n' was lost. Run 'r' is not begun again, as it had begun to work and no checkpoint")
    assert way_out in error


def test_an_answer_that_may_have_been_taken_is_not_given_again_if_nothing_is_stored_meanwhile() -> None:
    _, error = lost("resume", "exit", HEARD)
    assert error is not None and "its durability is 'exit'" in error


@pytest.mark.parametrize("happened", [(HEARD, UPDATE), (LOOP, UPDATE), (LOOP, HEARD, ENDED), (ENDED,)])
def test_an_execution_that_has_ended_badly_is_not_taken_for_one_that_goes_on(happened: tuple[Any, ...]) -> None:
    _, error = lost("process", "sync", *happened)
    assert error == "Node 'n' was lost, after the end of run 'r': what it would have said is lost"
