"""The gate around calls of models through which a host's hooks decide: BeforeModel and AfterModel.

- A denial ends the turn. In place of the answer stands what the hook says, or `Blocked: <reason>`.
- Hooks see what is about to be sent, and change it for this call alone: the conversation stays as it is.
- Each judgement of a hook is told to the run's listener.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, convert_to_messages

from stategraph.agent import facts
from stategraph.agent.messages.encodable import encodable_value
from stategraph.agent.messages.truncation import compact_json, text_of
from stategraph.agent.ports import Halt, Hold, ModelRequest, ModelReview, ModelVerdict
from stategraph.run.hooks.hook_registry import HookEvents, HookRegistry, Outcome
from stategraph.run.hooks.injected import hook_context

MODEL_CALL_DENIED = "model_call_denied"
ANSWER_DENIED = "answer_denied"


class ModelHookGate:
    """Lets hooks decide about calls of models and review the answers.

    Args:
        run_id: The run.
        hooks: The hooks.
        hear: Told about each judgement.
    """

    def __init__(self, run_id: str, hooks: HookRegistry, hear: Callable[[facts.Fact], Awaitable[None]]) -> None:
        self._run_id = run_id
        self._hooks = hooks
        self._hear = hear
        self._by_sentence: dict[int, ModelRequest] = {}

    @property
    def is_idle(self) -> bool:
        """True as long as there are no hooks around models."""
        return not (self._hooks.has(HookEvents.BEFORE_MODEL) or self._hooks.has(HookEvents.AFTER_MODEL))

    def hold(self, request: ModelRequest, /) -> Hold:
        """Return how much of an answer is held back."""
        return self._hooks.hold()

    async def before(self, request: ModelRequest, /) -> ModelVerdict:
        """Ask hooks of BeforeModel."""
        if not self._hooks.has(HookEvents.BEFORE_MODEL):
            return request
        about: dict[str, Any] = {
            "messages": list(request.messages),
            "options": deepcopy(dict(request.options)),
            "tokens": request.tokens,
        }
        outcome = await self._judged(HookEvents.BEFORE_MODEL, request, about)
        if (halt := _end(outcome, MODEL_CALL_DENIED)) is not None:
            return halt
        if outcome.updated_output is not None:
            return AIMessage(content=_content(outcome))
        return _changed(request, outcome)

    async def piece(self, request: ModelRequest, text: str, before: str, /) -> str | Halt:
        """Ask hooks of AfterModel that hold back sentences."""
        self._by_sentence[id(request)] = request
        about: dict[str, Any] = {"partial": True, "text": text, "before": before}
        outcome = await self._judged(HookEvents.AFTER_MODEL, request, about)
        if (halt := _end(outcome, ANSWER_DENIED)) is not None:
            return halt
        return text if outcome.updated_output is None else text_of(_content(outcome))

    async def after(self, request: ModelRequest, answer: AIMessage, /) -> ModelReview:
        """Ask hooks of AfterModel about a whole answer."""
        sentences = self._by_sentence.pop(id(request), None) is not None
        if not self._hooks.has(HookEvents.AFTER_MODEL):
            return answer
        about: dict[str, Any] = {
            "partial": False,
            "sentences": sentences,
            "text": text_of(answer.content),
            "message": answer.model_copy(),
        }
        outcome = await self._judged(HookEvents.AFTER_MODEL, request, about)
        if (halt := _end(outcome, ANSWER_DENIED)) is not None:
            return halt
        if outcome.updated_output is None:
            return answer
        return answer.model_copy(update={"content": _content(outcome)})

    async def _judged(self, event: HookEvents, request: ModelRequest, about: dict[str, Any]) -> Outcome:
        at = request.at
        where = {"runId": self._run_id, "threadId": at.metadata.get("thread_id")}
        where |= {"agentId": at.agent_id, "executingAgentId": at.agent_id}
        model = {"provider": request.provider, "model": request.model, "offRecord": request.off_record}
        outcome = await self._hooks.call(event, {**where, **model, **about}, at.agent_id)
        for error in outcome.errors:
            await self._hear(facts.Logged(at, "error", "hooks", error, detail=False))
        for judgement in outcome.judgements:
            await self._hear(facts.Judged(at, event, judgement))
        return outcome


def _end(outcome: Outcome, denied: str) -> Halt | None:
    """Return the end of the turn that hooks want; None if it goes on."""
    message = None if outcome.updated_output is None else AIMessage(content=_content(outcome))
    if outcome.decision == "deny":
        return Halt(denied, message or AIMessage(content=f"Blocked: {outcome.reason or denied}"))
    return None if outcome.halt is None else Halt(outcome.halt, message)


def _content(outcome: Outcome) -> str | list[Any]:
    (output,) = outcome.updated_output or ("",)
    content: str | list[Any] = encodable_value(output if isinstance(output, str | list) else compact_json(output))
    return content


def _changed(request: ModelRequest, outcome: Outcome) -> ModelRequest:
    """Return the request with the changes of hooks; the same object if there are none."""
    changes = outcome.updated_input or {}
    added = [*outcome.injected, *([hook_context(list(outcome.contexts))] if outcome.contexts else [])]
    if not changes and not added:
        return request
    sent: list[AnyMessage] = list(request.messages)
    if "messages" in changes:
        sent = cast("list[AnyMessage]", convert_to_messages(changes["messages"]))
    return replace(request, messages=[*sent, *added], options=changes.get("options", request.options))
