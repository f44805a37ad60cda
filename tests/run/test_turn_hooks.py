"""The hooks around a turn, called by themselves: what they are told, and what becomes of what they say."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from stategraph.agent.facts import Logged, Place, SummaryEnded, SummaryStarted
from stategraph.errors import HandlerError
from stategraph.run.hooks.hook_registry import HookEvents, HookRegistry
from stategraph.run.hooks.injected import injected_message
from stategraph.run.hooks.turn_hooks import Stopped, TurnHooks

pytestmark = pytest.mark.anyio
MESSAGES: list[AnyMessage] = [HumanMessage("first", id="m0"), AIMessage("ho", id="m1"), HumanMessage("hi", id="m2")]
INJECT = {"injected_messages": [{"role": "user", "content": "more"}]}
GO_ON = {"decision": "block", **INJECT}


class Hooked:
    """Hooks of a turn, and what they were told, by event."""

    def __init__(self, most: int = 2, **says: Any) -> None:
        self.told: list[tuple[str, Any]] = []
        registry = HookRegistry()
        for name, answer in says.items():
            event = HookEvents[name]

            def hook(happened: Any, event: str = event, answer: Any = answer) -> Any:
                self.told.append((event, dict(happened)))
                if isinstance(answer, Exception):
                    raise answer
                return answer

            registry.register(event, hook)
        self.hooks = TurnHooks("r", "a", registry, most)

    def of(self, event: HookEvents) -> Any:
        return [happened for name, happened in self.told if name == event]


def texts(messages: Any) -> list[str]:
    return [str(message.content) for message in messages]


# -- before a turn -------------------------------------------------------


async def test_a_turn_begins_with_what_went_in_where_no_hook_says_more() -> None:
    hooked = Hooked(RUN_START=None, USER_PROMPT_SUBMIT=None)
    assert await hooked.hooks.begin(MESSAGES, "t") == (MESSAGES, None, None)
    where = {"runId": "r", "threadId": "t", "agentId": "a"}
    assert hooked.told == [
        ("RunStart", {"hook_event_name": "RunStart", **where, "messages": MESSAGES}),
        ("UserPromptSubmit", {"hook_event_name": "UserPromptSubmit", **where, "prompt": "hi"}),
    ]


async def test_what_hooks_add_comes_behind_what_went_in_each_with_an_id() -> None:
    start = {"injected_messages": [{"content": "one"}], "additional_context": "A"}
    submit = {"injected_messages": [{"content": "two"}], "additional_context": "B"}
    messages, blocked, _ = await Hooked(RUN_START=start, USER_PROMPT_SUBMIT=submit).hooks.begin(MESSAGES, "t")
    assert blocked is None
    assert texts(messages) == ["first", "ho", "hi", "one", "two", "A\n\nB"]
    added = messages[3:]
    assert len({message.id for message in added}) == 3
    assert all(message.id for message in added)
    assert added[2].additional_kwargs["role"] == "system"


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ({"RUN_START": {"prevent_continuation": True, "stop_reason": "no"}}, "no"),
        ({"USER_PROMPT_SUBMIT": {"prevent_continuation": True, "stop_reason": "no"}}, "no"),
        ({"USER_PROMPT_SUBMIT": {"decision": "deny"}}, "prompt_denied"),
        ({"USER_PROMPT_SUBMIT": {"decision": "ask"}}, "prompt_requires_approval"),
        ({"USER_PROMPT_SUBMIT": {"decision": "allow"}}, None),
        ({"USER_PROMPT_SUBMIT": ValueError("broken")}, "prompt_denied"),
        ({"RUN_START": ValueError("broken")}, None),
    ],
)
async def test_a_hook_may_keep_a_turn_from_starting(says: Any, reason: str | None) -> None:
    messages, blocked, _ = await Hooked(**says).hooks.begin(MESSAGES, "t")
    assert blocked == reason
    assert messages == MESSAGES


async def test_a_turn_that_does_not_start_asks_no_further_hooks() -> None:
    hooked = Hooked(RUN_START={"prevent_continuation": True}, USER_PROMPT_SUBMIT=None)
    _, blocked, _ = await hooked.hooks.begin(MESSAGES, "t")
    assert blocked == "preventContinuation"
    assert hooked.of(HookEvents.USER_PROMPT_SUBMIT) == []


# -- when a turn has ended -----------------------------------------------


async def test_a_turn_ends_where_no_hook_says_otherwise() -> None:
    hooked = Hooked(STOP=None, STOP_FINALIZE=None)
    assert await hooked.hooks.stop(MESSAGES, "t", None, 0) == Stopped()
    (happened,) = hooked.of(HookEvents.STOP)
    assert happened["messages"] == MESSAGES
    assert (happened["stopReason"], happened["stopHookActive"]) == (None, False)
    assert (happened["continuationCount"], happened["continuationBudgetRemaining"]) == (0, 2)
    (final,) = hooked.of(HookEvents.STOP_FINALIZE)
    assert (final["continuationPlanned"], final["continuationPrevented"]) == (False, False)


async def test_a_hook_that_blocks_the_stop_keeps_the_turn_going_with_what_it_says() -> None:
    hooked = Hooked(STOP={**GO_ON, "additional_context": "why"}, STOP_FINALIZE=None)
    stopped = await hooked.hooks.stop(MESSAGES, "t", None, 1)
    assert texts(stopped.more) == ["more", "why"]
    assert all(message.id for message in stopped.more)
    assert stopped.halt is None
    (happened,) = hooked.of(HookEvents.STOP)
    assert (happened["stopHookActive"], happened["continuationBudgetRemaining"]) == (True, 1)
    (final,) = hooked.of(HookEvents.STOP_FINALIZE)
    assert (final["continuationPlanned"], final["continuationPrevented"]) == (True, False)


@pytest.mark.parametrize("says", [{**INJECT, "decision": "continue"}, INJECT, {"decision": "block"}])
async def test_a_turn_goes_on_only_if_a_hook_blocks_the_stop_and_says_with_what(says: Any) -> None:
    assert await Hooked(STOP=says).hooks.stop(MESSAGES, "t", None, 0) == Stopped()


async def test_a_turn_that_ended_early_ends_whatever_hooks_say() -> None:
    hooked = Hooked(STOP=GO_ON, STOP_FINALIZE=None)
    assert await hooked.hooks.stop(MESSAGES, "t", "halted", 0) == Stopped()
    (final,) = hooked.of(HookEvents.STOP_FINALIZE)
    assert (final["continuationPlanned"], final["continuationPrevented"]) == (False, True)


@pytest.mark.parametrize("event", ["STOP", "STOP_FINALIZE"])
async def test_hooks_may_end_the_turn_in_words_of_their_own(event: str) -> None:
    says = {event: {**GO_ON, "prevent_continuation": True, "stop_reason": "enough"}}
    assert await Hooked(**says).hooks.stop(MESSAGES, "t", None, 0) == Stopped(halt="enough")
    both = Hooked(
        STOP={"prevent_continuation": True, "stop_reason": "first"},
        STOP_FINALIZE={"prevent_continuation": True, "stop_reason": "second"},
    )
    assert (await both.hooks.stop(MESSAGES, "t", None, 0)).halt == "first"


async def test_the_last_hooks_may_keep_the_turn_going_as_well() -> None:
    stopped = await Hooked(STOP_FINALIZE=GO_ON).hooks.stop(MESSAGES, "t", None, 0)
    assert texts(stopped.more) == ["more"]
    both = await Hooked(STOP=GO_ON, STOP_FINALIZE=GO_ON).hooks.stop(MESSAGES, "t", None, 0)
    assert texts(both.more) == ["more", "more"]


async def test_hooks_that_keep_a_turn_going_too_often_fail_the_run() -> None:
    hooked = Hooked(most=2, STOP=GO_ON, STOP_FINALIZE=None)
    assert (await hooked.hooks.stop(MESSAGES, "t", None, 1)).more
    for continuations in (2, 3):
        with pytest.raises(HandlerError, match=f"kept the turn going {continuations} times .* is 2: let them look"):
            await hooked.hooks.stop(MESSAGES, "t", None, continuations)
    assert hooked.of(HookEvents.STOP)[-1]["continuationBudgetRemaining"] == 0
    assert hooked.of(HookEvents.STOP_FINALIZE)[-1]["continuationPlanned"] is False
    assert await Hooked(most=0).hooks.stop(MESSAGES, "t", None, 0) == Stopped()


async def test_a_last_hook_that_fails_fails_the_run_and_one_before_it_does_not() -> None:
    with pytest.raises(HandlerError, match="of StopFinalize failed with ValueError: broken"):
        await Hooked(STOP_FINALIZE=ValueError("broken")).hooks.stop(MESSAGES, "t", None, 0)
    assert await Hooked(STOP=ValueError("broken")).hooks.stop(MESSAGES, "t", None, 0) == Stopped()


async def test_a_failure_is_told_with_the_last_answer() -> None:
    hooked, error = Hooked(STOP_FAILURE=None), ValueError("no")
    await hooked.hooks.fail(MESSAGES, "t", error)
    await hooked.hooks.fail([], "t", error)
    one, other = hooked.of(HookEvents.STOP_FAILURE)
    assert (one["exception"], one["lastAssistantMessage"], one["threadId"]) == (error, MESSAGES[1], "t")
    assert "no" in one["error"]
    assert other["lastAssistantMessage"] is None


# -- summaries -----------------------------------------------------------


async def test_hooks_are_told_before_and_after_messages_are_summarised() -> None:
    hooked = Hooked(PRE_COMPACT=None, POST_COMPACT=None)
    at = Place("b", "Ben", "n", {"thread_id": "t"})
    summary = {"content": [{"type": "text", "text": "short"}]}
    for fact in (
        SummaryStarted(at, {"messagesToRefineCount": 4}, "token_ratio"),
        SummaryEnded(at, summary, left=3),
        SummaryEnded(at, None, "failed"),
        Logged(at, "info", "s", "m"),
    ):
        await hooked.hooks.hear(fact)
    where = {"runId": "r", "threadId": "t", "agentId": "b", "executingAgentId": "b"}
    assert hooked.told == [
        ("PreCompact", {"hook_event_name": "PreCompact", **where, "messagesBeforeCount": 4, "trigger": "token_ratio"}),
        ("PostCompact", {"hook_event_name": "PostCompact", **where, "summary": "short", "messagesAfterCount": 3}),
    ]


# -- messages of hooks ---------------------------------------------------


@pytest.mark.parametrize(("source", "attribution"), [("steer", "user"), ("hook", "synthetic"), (None, "synthetic")])
async def test_a_message_that_is_injected_is_a_persons_with_marks_of_where_it_is_from(
    source: str | None, attribution: str
) -> None:
    message = injected_message({"content": "x", "source": source, "isMeta": False, "role": None, "other": 1})
    assert message.content == "x"
    marks = message.additional_kwargs
    assert marks["provenance"]["parts"] == [{"attribution": attribution}]
    assert marks["isMeta"] is False
    assert marks.get("source") == source
    assert "role" not in marks
    assert "other" not in marks


@pytest.mark.parametrize("given", [7, {}, {"content": None}, {"content": 7}, "text"])
async def test_what_is_no_message_is_not_injected(given: Any) -> None:
    with pytest.raises(ValueError, match="An injected message is a mapping whose 'content' is a text or a list"):
        injected_message(given)
