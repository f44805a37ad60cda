"""What is read of a thread that waits, and what is left of a run that was cut off: without a model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolCall, ToolMessage

from stategraph.errors import ConfigurationError
from stategraph.run.history import recovery
from stategraph.run.loop_affinity import LoopAffinity
from stategraph.run.pauses import Pause, RunInterrupt
from stategraph.types import Interrupt, PregelTask, StateSnapshot

THREAD: Any = {"configurable": {"thread_id": "t", "user_id": "u"}}


def state(
    values: Any, *, next: tuple[str, ...] = (), tasks: Any = (), interrupts: Any = (), **where: Any
) -> StateSnapshot:
    config: Any = {"configurable": where}
    return StateSnapshot(values, next, config, None, None, None, tuple(tasks), tuple(interrupts))


class Thread:
    """A graph with a checkpointer whose states are given, one for each time it is asked."""

    def __init__(self, *states: StateSnapshot) -> None:
        self.asked: list[Any] = []
        self.written: list[Any] = []
        self._states = list(states)

    async def aget_state(self, config: Any, **options: Any) -> StateSnapshot:
        self.asked.append((config, options))
        return self._states.pop(0)

    async def aupdate_state(self, config: Any, values: Any, *, as_node: str) -> None:
        self.written.append((config, values, as_node))


# -- a thread that waits -------------------------------------------------


def task(inner: Any) -> PregelTask:
    return PregelTask("id", "agent", (), None, (), inner, None)


@pytest.mark.anyio
async def test_the_agent_that_got_furthest_is_what_a_run_goes_on_with() -> None:
    hi, shared, late = HumanMessage("hi", id="m0"), AIMessage("a", id="m1"), AIMessage("b", id="m2")
    behind = state({"messages": [hi, shared], "memory": {"count": 3, "run": "r"}}, checkpoint_id="behind")
    ahead = state({"messages": [hi, late], "memory": {"count": 5, "run": "r"}}, checkpoint_id="ahead")
    without = state(None, checkpoint_id="without")
    outer = state(
        {"messages": [hi]},
        next=("agent",),
        tasks=[
            task(None),
            task(behind),
            task({"configurable": {}}),
            task(state({}, tasks=[task(ahead)])),
            task(without),
        ],
        interrupts=[Interrupt("ask?", id="i1"), Interrupt({"type": "tool_approval"}, id="i2")],
        checkpoint_id="outer",
        checkpoint_ns="ns",
    )
    thread: Any = Thread(outer)
    pause = await Pause.of(thread, THREAD)
    assert thread.asked == [(THREAD, {"subgraphs": True})]
    assert pause.unfinished
    assert pause.interrupts == (
        RunInterrupt("i1", "t", "ask?", "outer", "ns"),
        RunInterrupt("i2", "t", {"type": "tool_approval"}, "outer", "ns"),
    )
    assert [each.needs_approval for each in pause.interrupts] == [False, True]
    assert pause.memory == {"count": 5, "run": "r"}
    assert list(pause.messages) == [hi, late]
    assert list(pause.said) == [hi, shared, late]
    places = [(each.get("configurable") or {}).get("checkpoint_id") for each in pause.places]
    assert places == ["outer", "behind", None, "ahead", "without"]


@pytest.mark.anyio
async def test_a_thread_on_which_nothing_was_said_does_not_wait() -> None:
    nothing = StateSnapshot({}, (), None, None, None, None, (), (Interrupt("late", id="i"),))  # type: ignore[arg-type]
    thread: Any = Thread(nothing)
    pause = await Pause.of(thread, THREAD)
    assert (pause.unfinished, list(pause.messages), pause.memory, list(pause.said)) == (False, [], None, [])
    assert pause.interrupts == (RunInterrupt("i", "t", "late", None, ""),)


# -- a run that was cut off ----------------------------------------------


def test_an_answer_that_was_cut_off_keeps_its_text_its_id_and_says_why() -> None:
    whole = AIMessage("whole", id="m1")
    pieces = [
        AIMessageChunk(""),
        AIMessageChunk("Hel", id="m2"),
        AIMessageChunk([{"type": "text", "text": "lo"}], id="m3"),
    ]
    for reason in ("aborted", "failed"):
        kept, cut = recovery.remains([whole], [[AIMessageChunk("", id="silent")], pieces, []], reason)
        assert kept is whole
        assert isinstance(cut, AIMessage)
        assert (cut.content, cut.id, cut.additional_kwargs) == ("Hello", "m2", {"incomplete": reason})
        assert cut.tool_calls == []
    (nameless,) = recovery.remains([], [[AIMessageChunk("x")]], "failed")
    assert nameless.id is None


def test_a_call_without_a_result_is_given_one() -> None:
    asking = AIMessage("", tool_calls=[ToolCall(name="n", args={}, id="c1")])
    _, result = recovery.remains([asking], [], "aborted")
    assert isinstance(result, ToolMessage)
    assert (result.tool_call_id, result.status) == ("c1", "error")


@pytest.mark.anyio
async def test_a_thread_gets_the_messages_that_it_lacks_as_if_its_turn_had_ended() -> None:
    known, new, nameless = HumanMessage("hi", id="m0"), AIMessage("a", id="m1"), AIMessage("b")
    thread: Any = Thread(state({"messages": [known]}))
    await recovery.commit(thread, THREAD, [known, new, nameless])
    own = {"configurable": {"thread_id": "t"}}
    assert thread.asked == [(own, {})]
    assert thread.written == [(own, {"messages": [new, nameless]}, "done")]


@pytest.mark.anyio
async def test_a_thread_that_has_everything_is_left_alone() -> None:
    known = HumanMessage("hi", id="m0")
    thread: Any = Thread(state({"messages": [known]}))
    await recovery.commit(thread, THREAD, [known])
    empty: Any = Thread(state(None))
    await recovery.commit(empty, THREAD, [])
    assert thread.written == empty.written == []


@pytest.mark.anyio
async def test_a_thread_in_the_middle_of_a_step_ends_it_without_what_is_lost_with_it() -> None:
    known, lost = HumanMessage("hi", id="m0"), AIMessage("a", id="m1")
    shown = state({"messages": [known, lost]}, next=("agent",), checkpoint_id="c")
    thread: Any = Thread(shown, state({"messages": [known]}, next=("agent",)))
    await recovery.commit(thread, THREAD, [known, lost])
    assert thread.asked[1] == (shown.config, {})
    assert [values for _, values, _ in thread.written] == [{"messages": [lost]}]
    whole: Any = Thread(shown, state({"messages": [known]}, next=("agent",)))
    await recovery.commit(whole, THREAD, [known])
    assert [values for _, values, _ in whole.written] == [{"messages": []}]


# -- event loops ---------------------------------------------------------


def test_what_was_used_in_an_event_loop_may_be_used_in_another_once_that_is_closed() -> None:
    affinity = LoopAffinity("Run 'r'")

    async def use() -> None:
        affinity.check()
        affinity.check()

    asyncio.run(use())
    asyncio.run(use())
    open_loop = asyncio.new_event_loop()
    try:
        open_loop.run_until_complete(use())
        with pytest.raises(ConfigurationError, match="Run 'r' is used in another event loop than before"):
            asyncio.run(use())
    finally:
        open_loop.close()
    asyncio.run(use())
