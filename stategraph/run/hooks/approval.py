"""The gate between a model's calls and its tools: hooks decide, and where they ask, a person does.

- All calls of one answer that need approval are asked about together, in one interrupt.
- Hooks are called once for a call, however often its node runs again: what they said is kept with the waiting run.
- Other requests of hooks (context for the model, messages, the end of the turn) are met when the batch is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from langchain_core.messages import HumanMessage, ToolCall, ToolMessage

from stategraph.agent import facts, ports
from stategraph.agent.messages.encodable import encodable_value
from stategraph.agent.messages.truncation import compact_json, text_of
from stategraph.agent.ports import Remarks
from stategraph.agent.tools.tool_runner import stores
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.config.context import get_config
from stategraph.run import questions
from stategraph.run.events.steps import StepTracker
from stategraph.run.hooks.hook_registry import NOTHING, Decision, HookEvents, HookRegistry, Outcome
from stategraph.run.hooks.injected import hook_context
from stategraph.run.questions import Approve, Edit, Reject, Respond, Review, ReviewWord

_BLOCKED = "Blocked: "


@dataclass(frozen=True, slots=True)
class _Decision:
    """The decision about one call before it runs.

    Attributes:
        remarks: Requests of hooks beyond whether it runs.
        blocked: Why it does not run; None if it does, or if a person answered in its place.
        ran: Whether the call was let through.
    """

    remarks: Remarks
    blocked: str | None = None
    ran: bool = True


def _remarks(outcome: Outcome) -> Remarks:
    return Remarks(outcome.contexts, outcome.injected, outcome.halt)


class HookGate:
    """Lets hooks, and through them a person, decide about tool calls.

    Args:
        run_id: The run.
        hooks: The hooks.
        tracker: Knows the steps and turns of calls.
        hear: Told about hooks that failed.
        asks: Whether a person can be asked. Else a call that would need approval is blocked.
        keeps: Whether to keep with a waiting run what hooks said; else they are asked again when a node runs again.
        delegation: Finds out about a call whether a subagent is to work on it, and then tells which and its task.
    """

    def __init__(
        self,
        run_id: str,
        hooks: HookRegistry,
        tracker: StepTracker,
        hear: Callable[[facts.Fact], Awaitable[None]],
        *,
        asks: bool,
        keeps: bool = True,
        delegation: Callable[[facts.Place, ToolCall], Mapping[str, str] | None] = lambda *_: None,
    ) -> None:
        self._run_id = run_id
        self._hooks = hooks
        self._tracker = tracker
        self._hear = hear
        self._asks = asks
        self._keeps = keeps
        self._delegation = delegation
        self._decisions: dict[tuple[str, str], _Decision] = {}

    def without_asking(self) -> HookGate:
        """Return a gate with the same hooks that blocks the calls for which they want a person to be asked."""
        twin = copy(self)
        twin._asks, twin._decisions = False, {}
        return twin

    async def before(self, at: facts.Place, calls: Sequence[ToolCall], /) -> Sequence[ports.Verdict]:
        """Decide about the calls of one answer."""
        outcomes = await self._consult(at, calls)
        calls = [_updated(call, outcome.updated_input) for call, outcome in zip(calls, outcomes, strict=True)]
        halt = next((outcome.halt for outcome in outcomes if outcome.halt is not None), None)
        reviews = self._reviews(at, calls, outcomes) if halt is None else {}
        return [
            self._decided(at, call, outcome, reviews.get(_id(call)), halt)
            for call, outcome in zip(calls, outcomes, strict=True)
        ]

    def _reviews(self, at: facts.Place, calls: Sequence[ToolCall], outcomes: Sequence[Outcome]) -> dict[str, Review]:
        """Ask a person about the calls for which hooks want it, if one can be asked."""
        asking = [pair for pair in zip(calls, outcomes, strict=True) if pair[1].decision == "ask"]
        return questions.ask(self._approval(at, asking), questions.read_decisions) if asking and self._asks else {}

    def _decided(
        self, at: facts.Place, call: ToolCall, outcome: Outcome, review: Review | None, halt: str | None
    ) -> ports.Verdict:
        """Decide about a call, and note the decision for `after` and `finish`."""
        verdict = _verdict(call, outcome, review, halt)
        if isinstance(verdict, ports.Allow):
            decision = _Decision(_remarks(outcome))
        else:
            why = None if isinstance(review, Respond) else verdict.text
            decision = _Decision(_remarks(outcome), why, ran=False)
        self._decisions[_key(at, call)] = decision
        return verdict

    async def after(
        self, at: facts.Place, call: ToolCall, message: ToolMessage, /
    ) -> tuple[ToolMessage, Remarks | None]:
        """Show the result of a call to hooks: that of a tool, its failure, or that it was not allowed."""
        decision = self._decisions.get(_key(at, call))
        about, name = self._about(at, call), call["name"]
        if decision is not None and not decision.ran:
            if decision.blocked is not None and self._hooks.has(HookEvents.PERMISSION_DENIED):
                denied = {**about, "reason": decision.blocked.removeprefix(_BLOCKED)}
                return message, await self._observed(at, HookEvents.PERMISSION_DENIED, denied, name)
            return message, None
        result: dict[str, object]
        if message.status == "error":
            event, result = HookEvents.POST_TOOL_USE_FAILURE, {"error": text_of(message.content)}
        else:
            event, result = HookEvents.POST_TOOL_USE, {"toolOutput": deepcopy(message.content)}
        if not self._hooks.has(event):
            return message, None
        outcome = await self._hooks.call(event, {**about, **result, "status": message.status}, name)
        await self._report(at, outcome)
        if outcome.updated_output is not None:
            (output,) = outcome.updated_output
            content = encodable_value(output if isinstance(output, str | list) else compact_json(output))
            message = message.model_copy(update={"content": content})
        return message, _remarks(outcome)

    async def finish(
        self,
        at: facts.Place,
        calls: Sequence[ToolCall],
        messages: Sequence[ToolMessage],
        remarks: Sequence[Remarks],
        /,
    ) -> ports.Reviewed:
        """Show all results of a batch to hooks, and say what all hooks of the batch want to happen next."""
        decisions = [self._decisions.pop(_key(at, call), None) for call in calls]
        before = [decision.remarks for decision in decisions if decision is not None]
        wanted = [*before, *remarks]
        if self._hooks.has(HookEvents.POST_TOOL_BATCH):
            by_id = {message.tool_call_id: message for message in messages}
            entries = [self._entry(at, call, by_id[_id(call)]) for call in calls if _id(call) in by_id]
            batch = {**self._where(at), "entries": entries}
            wanted.append(await self._observed(at, HookEvents.POST_TOOL_BATCH, batch))
        contexts = [text for each in wanted for text in each.contexts]
        context = [hook_context(contexts)] if contexts else []
        injected = [message for each in wanted for message in each.injected]
        halt = next((each.halt for each in wanted if each.halt is not None), None)
        return ports.Reviewed(messages, [*injected, *context], halt)

    async def _observed(
        self, at: facts.Place, event: HookEvents, happened: Mapping[str, object], tool: str | None = None
    ) -> Remarks:
        outcome = await self._hooks.call(event, happened, tool)
        await self._report(at, outcome)
        return _remarks(outcome)

    def _entry(self, at: facts.Place, call: ToolCall, message: ToolMessage) -> dict[str, object]:
        failed = message.status == "error"
        result = {"error": text_of(message.content)} if failed else {"toolOutput": deepcopy(message.content)}
        return {**self._of_call(call), **self._step(at, call), **result, "status": message.status}

    async def _consult(self, at: facts.Place, calls: Sequence[ToolCall]) -> list[Outcome]:
        """Ask the hooks about each call."""
        if not self._keeps or not stores(get_config()):
            return [await self._consult_about(at, call) for call in calls]
        # As a task of the engine: its result is stored with a waiting run, and the node that runs again is given it,
        # also where the hooks are no longer there. Else a call that waits for approval would run without; and results
        # of calls that ended are found by their place among those that were allowed, which must stay the same.
        stored = await start_task(consult_hooks, ((self, at, calls), {}))
        return [_restored(each) for each in stored]

    async def _consult_about(self, at: facts.Place, call: ToolCall) -> Outcome:
        outcome = NOTHING
        if self._hooks.has(HookEvents.PRE_TOOL_USE):
            outcome = await self._hooks.call(HookEvents.PRE_TOOL_USE, self._about(at, call), call["name"])
            await self._report(at, outcome)
        if outcome.decision == "deny" or not self._hooks.has(HookEvents.SUBAGENT_START):
            return outcome
        call = _updated(call, outcome.updated_input)
        if (delegation := self._delegation(at, call)) is None:
            return outcome
        about = {**self._about(at, call), "parentAgentId": at.agent_id, **delegation}
        started = await self._hooks.call(HookEvents.SUBAGENT_START, about, delegation["agentType"])
        await self._report(at, started)
        return outcome.and_then(started)

    async def _report(self, at: facts.Place, outcome: Outcome) -> None:
        for error in outcome.errors:
            await self._hear(facts.Logged(at, "error", "hooks", error, detail=False))

    def _approval(self, at: facts.Place, asking: Sequence[tuple[ToolCall, Outcome]]) -> dict[str, object]:
        scope = {} if at.within is None else {"subagent": _scope(at.within)}
        return {
            **scope,
            "type": questions.TOOL_APPROVAL,
            "hook_session_id": self._run_id,
            "action_requests": [
                {
                    "tool_call_id": _id(call),
                    "name": call["name"],
                    "arguments": call["args"],
                    **({} if outcome.reason is None else {"description": outcome.reason}),
                }
                for call, outcome in asking
            ],
            "review_configs": [
                {
                    "action_name": call["name"],
                    "tool_call_id": _id(call),
                    "allowed_decisions": list(outcome.allowed_decisions),
                }
                for call, outcome in asking
            ],
        }

    def _about(self, at: facts.Place, call: ToolCall) -> dict[str, object]:
        return {**self._where(at), **self._of_call(call), **self._step(at, call)}

    def _step(self, at: facts.Place, call: ToolCall) -> dict[str, object]:
        tracker = self._tracker.of(at)
        return {"stepId": tracker.step_id(at, call["id"]), "turn": tracker.turn(at, call)}

    def _where(self, at: facts.Place) -> dict[str, object]:
        who = {"agentId": at.agent_id, "executingAgentId": at.agent_id}
        return {"runId": self._run_id, "threadId": at.metadata.get("thread_id"), **who}

    def _of_call(self, call: ToolCall) -> dict[str, object]:
        return {"toolName": call["name"], "toolInput": deepcopy(call["args"]), "toolUseId": call["id"]}


async def consult_hooks(gate: HookGate, at: facts.Place, calls: Sequence[ToolCall]) -> list[_StoredOutcome]:
    """Ask the hooks about calls and return their answers in a form that can be stored."""
    return [_stored(await gate._consult_about(at, call)) for call in calls]


class _StoredOutcome(TypedDict):
    """An outcome as it is kept with a waiting run; fields that are None are left out."""

    decision: NotRequired[Decision]
    reason: NotRequired[str]
    updated_input: NotRequired[dict[str, Any]]
    halt: NotRequired[str]
    allowed_decisions: list[ReviewWord]
    contexts: list[str]
    injected: list[HumanMessage]


def _stored(outcome: Outcome) -> _StoredOutcome:
    stored = _StoredOutcome(
        allowed_decisions=list(outcome.allowed_decisions),
        contexts=list(outcome.contexts),
        injected=list(outcome.injected),
    )
    if outcome.decision is not None:
        stored["decision"] = outcome.decision
    if outcome.reason is not None:
        stored["reason"] = outcome.reason
    if outcome.updated_input is not None:
        stored["updated_input"] = outcome.updated_input
    if outcome.halt is not None:
        stored["halt"] = outcome.halt
    return stored


def _restored(stored: _StoredOutcome) -> Outcome:
    return Outcome(
        decision=stored.get("decision"),
        reason=stored.get("reason"),
        allowed_decisions=tuple(stored["allowed_decisions"]),
        updated_input=stored.get("updated_input"),
        contexts=tuple(stored["contexts"]),
        injected=tuple(stored["injected"]),
        halt=stored.get("halt"),
    )


def _scope(subagent: facts.Delegation) -> dict[str, object]:
    """Return the subagent that asks, as front ends are told it."""
    return {
        "run_id": subagent.id,
        "agent_id": subagent.agent_id,
        "subagent_type": subagent.type,
        "parent_tool_call_id": subagent.call_id,
    }


def _id(call: ToolCall) -> str:
    return call["id"] or ""


def _key(at: facts.Place, call: ToolCall) -> tuple[str, str]:
    """Return a key that is unique among agents: models of agents that run in parallel may use the same ids of calls."""
    return at.scope or at.agent_id, _id(call)


def _updated(call: ToolCall, arguments: dict[str, object] | None) -> ToolCall:
    return call if arguments is None else ToolCall(name=call["name"], args=arguments, id=call["id"], type="tool_call")


def _blocked(call: ToolCall, reason: str) -> ports.Answer:
    return ports.Answer(call, f"{_BLOCKED}{reason}", "error")


def _verdict(call: ToolCall, outcome: Outcome, review: Review | None, halt: str | None) -> ports.Verdict:
    """Decide about a call.

    Args:
        call: The call.
        outcome: The decision of hooks.
        review: That of a person; None if none was asked.
        halt: Why the turn ends here; None if it goes on.
    """
    if halt is not None and outcome.decision != "deny":
        return _blocked(call, halt)
    if review is not None:
        return _reviewed(call, review)
    if outcome.decision in ("deny", "ask"):
        return _blocked(call, outcome.reason or "A hook does not allow this call.")
    return ports.Allow(call)


def _reviewed(call: ToolCall, review: Review) -> ports.Verdict:
    match review:
        case Reject(reason=reason):
            return _blocked(call, reason or "A person rejected this call.")
        case Edit(updated_input=arguments):
            return ports.Allow(_updated(call, arguments))
        case Respond(response_text=text):
            return ports.Answer(call, text, "success")
        case Approve():
            return ports.Allow(call)
