"""The gate between a model's calls and its tools: hooks decide, and where they ask, a person does.

- All calls of one answer that need approval are asked about together, in one interrupt.
- Hooks are called once for a call, however often its node runs again: what they said is kept with the waiting run.
- What hooks want besides (context for the model, messages, the end of the turn) happens when the batch is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import HumanMessage, ToolCall, ToolMessage

from stategraph.agent import ports
from stategraph.agent.running import stores
from stategraph.agent.truncation import compact_json, text_of
from stategraph.engine.call import start_task
from stategraph.engine.context import get_config
from stategraph.run import questions
from stategraph.run.hooks import NOTHING, HookEvents, HookRegistry, Outcome
from stategraph.run.injected import hook_context
from stategraph.run.questions import Approve, Edit, Reject, Respond, Review
from stategraph.run.steps import StepTracker


@dataclass(slots=True)
class _Said:
    """What hooks said about one call, beyond whether it runs.

    Attributes:
        contexts: To be told to the model.
        injected: To be added to the conversation.
        halt: Why the turn ends after the batch.
        ran: Whether the call was let through.
    """

    contexts: list[str] = field(default_factory=list)
    injected: list[HumanMessage] = field(default_factory=list)
    halt: str | None = None
    ran: bool = True

    def add(self, outcome: Outcome) -> None:
        self.contexts.extend(outcome.contexts)
        self.injected.extend(outcome.injected)
        self.halt = self.halt or outcome.halt


class HookGate:
    """Lets hooks, and through them a person, decide about tool calls.

    Args:
        run_id: The run.
        hooks: The hooks.
        tracker: Knows the steps and turns of calls.
        hear: Told about hooks that failed.
        asks: Whether a person can be asked. Else a call that would need approval is blocked.
    """

    def __init__(
        self,
        run_id: str,
        hooks: HookRegistry,
        tracker: StepTracker,
        hear: Callable[[ports.Fact], Awaitable[None]],
        *,
        asks: bool,
    ) -> None:
        self._run_id = run_id
        self._hooks = hooks
        self._tracker = tracker
        self._hear = hear
        self._asks = asks
        self._said: dict[tuple[str, str], _Said] = {}

    async def before(self, at: ports.Place, calls: Sequence[ToolCall], /) -> Sequence[ports.Verdict]:
        """Decide about the calls of one answer."""
        outcomes = await self._consult(at, calls)
        calls = [_updated(call, outcome.updated_input) for call, outcome in zip(calls, outcomes, strict=True)]
        halt = next((outcome.halt for outcome in outcomes if outcome.halt is not None), None)
        asking = [pair for pair in zip(calls, outcomes, strict=True) if pair[1].decision == "ask"]
        reviews: dict[str, Review] = {}
        if asking and self._asks and halt is None:
            reviews = questions.ask(self._approval(asking), questions.read_decisions)
        verdicts = []
        for call, outcome in zip(calls, outcomes, strict=True):
            said = self._said[_key(at, call)] = _Said()
            said.add(outcome)
            if halt is not None and outcome.decision != "deny":
                verdict: ports.Verdict = _blocked(call, halt)
            elif (review := reviews.get(_id(call))) is not None:
                verdict = _reviewed(call, review)
            elif outcome.decision in ("deny", "ask"):
                verdict = _blocked(call, outcome.reason or "A hook does not allow this call.")
            else:
                verdict = ports.Allow(call)
            said.ran = isinstance(verdict, ports.Allow)
            verdicts.append(verdict)
        return verdicts

    async def after(self, at: ports.Place, call: ToolCall, message: ToolMessage, /) -> ToolMessage:
        """Show the result of a call that ran to hooks."""
        said = self._said.setdefault(_key(at, call), _Said())
        if not said.ran or not self._hooks.has(HookEvents.POST_TOOL_USE):
            return message
        happened = {**self._about(at, call), "toolOutput": deepcopy(message.content), "status": message.status}
        outcome = await self._hooks.call(HookEvents.POST_TOOL_USE, happened, call["name"])
        await self._report(at, outcome)
        said.add(outcome)
        if outcome.updated_output is None:
            return message
        (output,) = outcome.updated_output
        content = output if isinstance(output, str | list) else compact_json(output)
        return message.model_copy(update={"content": content})

    async def finish(
        self, at: ports.Place, calls: Sequence[ToolCall], messages: Sequence[ToolMessage], /
    ) -> ports.Reviewed:
        """Show all results of a batch to hooks, and say what all hooks of the batch want to happen next."""
        total = _Said()
        for call in calls:
            said = self._said.pop(_key(at, call), _Said())
            total.contexts.extend(said.contexts)
            total.injected.extend(said.injected)
            total.halt = total.halt or said.halt
        if self._hooks.has(HookEvents.POST_TOOL_BATCH):
            by_id = {message.tool_call_id: message for message in messages}
            entries = [
                {
                    **self._of_call(call),
                    "toolOutput": text_of(by_id[_id(call)].content),
                    "status": by_id[_id(call)].status,
                }
                for call in calls
                if _id(call) in by_id
            ]
            outcome = await self._hooks.call(HookEvents.POST_TOOL_BATCH, {**self._where(at), "entries": entries})
            await self._report(at, outcome)
            total.add(outcome)
        context = [hook_context(total.contexts)] if total.contexts else []
        return ports.Reviewed(messages, [*total.injected, *context], total.halt)

    async def _consult(self, at: ports.Place, calls: Sequence[ToolCall]) -> list[Outcome]:
        """What hooks say about each call."""
        if not stores(get_config()):
            return [await self._consult_about(at, call) for call in calls]
        # As a task of the engine: its result is stored with a waiting run, and the node that runs again is given it,
        # also where the hooks are no longer there. Else a call that waits for approval would run without; and results
        # of calls that ended are found by their place among those that were allowed, which must stay the same.
        said = await start_task(consult_hooks, ((self, at, calls), {}))
        return [_thawed(each) for each in said]

    async def _consult_about(self, at: ports.Place, call: ToolCall) -> Outcome:
        if not self._hooks.has(HookEvents.PRE_TOOL_USE):
            return NOTHING
        outcome = await self._hooks.call(HookEvents.PRE_TOOL_USE, self._about(at, call), call["name"])
        await self._report(at, outcome)
        return outcome

    async def _report(self, at: ports.Place, outcome: Outcome) -> None:
        for error in outcome.errors:
            await self._hear(ports.Logged(at, "error", "hooks", error, detail=False))

    def _approval(self, asking: Sequence[tuple[ToolCall, Outcome]]) -> dict[str, Any]:
        return {
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

    def _about(self, at: ports.Place, call: ToolCall) -> dict[str, Any]:
        step = {"stepId": self._tracker.step_id(at, call["id"]), "turn": self._tracker.turn(at, call)}
        return {**self._where(at), **self._of_call(call), **step}

    def _where(self, at: ports.Place) -> dict[str, Any]:
        return {"runId": self._run_id, "threadId": at.metadata.get("thread_id"), "agentId": at.agent_id}

    def _of_call(self, call: ToolCall) -> dict[str, Any]:
        return {"toolName": call["name"], "toolInput": deepcopy(call["args"]), "toolUseId": call["id"]}


async def consult_hooks(gate: HookGate, at: ports.Place, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """What hooks say about calls, as JSON that can be stored."""
    return [_frozen(await gate._consult_about(at, call)) for call in calls]


_KEPT = ("decision", "reason", "updated_input", "halt")


def _frozen(outcome: Outcome) -> dict[str, Any]:
    kept = {key: value for key in _KEPT if (value := getattr(outcome, key)) is not None}
    return {
        **kept,
        "allowed_decisions": list(outcome.allowed_decisions),
        "contexts": list(outcome.contexts),
        "injected": list(outcome.injected),
    }


def _thawed(said: Mapping[str, Any]) -> Outcome:
    lists: dict[str, Any] = {key: tuple(said[key]) for key in ("allowed_decisions", "contexts", "injected")}
    return Outcome(**{key: said[key] for key in _KEPT if key in said}, **lists)


def _id(call: ToolCall) -> str:
    return call["id"] or ""


def _key(at: ports.Place, call: ToolCall) -> tuple[str, str]:
    """Models number their calls as they like: those of agents that run side by side may have the same ids."""
    return at.agent_id, _id(call)


def _updated(call: ToolCall, arguments: dict[str, Any] | None) -> ToolCall:
    return call if arguments is None else ToolCall(name=call["name"], args=arguments, id=call["id"], type="tool_call")


def _blocked(call: ToolCall, reason: str) -> ports.Answer:
    return ports.Answer(call, f"Blocked: {reason}", "error")


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
