"""The hooks around a turn: before it starts, and when it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from stategraph.agent.facts import Fact, Place, SubagentEnded, SummaryEnded, SummaryStarted
from stategraph.agent.messages import problems
from stategraph.agent.messages.truncation import text_of
from stategraph.engine.config import environment
from stategraph.errors import HandlerError
from stategraph.run.hooks.hook_registry import HookEvents, HookRegistry, Outcome
from stategraph.run.hooks.injected import hook_context

PROMPT_DENIED = "prompt_denied"
PROMPT_REQUIRES_APPROVAL = "prompt_requires_approval"

_BLOCKS = {"deny": PROMPT_DENIED, "ask": PROMPT_REQUIRES_APPROVAL}


class Begun(NamedTuple):
    """The hooks' answer before a turn.

    Attributes:
        messages: What goes in, with what hooks want the model to know.
        halt: Why the turn does not start, as its halt reason; None if it does.
        reason: The words of the hook that refused the prompt; None if it gave none.
    """

    messages: list[AnyMessage]
    halt: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The hooks' answer at the end of a turn.

    Attributes:
        more: Messages that continue it; empty: it ends.
        halt: Why it ends, in the words of a hook; None if none says so.
    """

    more: tuple[HumanMessage, ...] = ()
    halt: str | None = None


@dataclass(frozen=True, slots=True)
class TurnHooks:
    """Calls a host's hooks about turns.

    Attributes:
        run_id: The run.
        agent_id: Its first agent.
        hooks: The hooks.
        max_continuations: How often they may keep a turn going.
    """

    run_id: str
    agent_id: str
    hooks: HookRegistry
    max_continuations: int

    async def begin(self, messages: Sequence[AnyMessage], thread_id: str) -> Begun:
        """Ask hooks before a turn.

        Args:
            messages: The input messages.
            thread_id: The thread.

        Returns:
            The hooks' answer.
        """
        where = self._where(thread_id)
        started = await self.hooks.call(HookEvents.RUN_START, {**where, "messages": list(messages)})
        if started.halt is not None:
            return Begun(list(messages), started.halt)
        prompt = next((text_of(each.content) for each in reversed(messages) if isinstance(each, HumanMessage)), "")
        submitted = await self.hooks.call(HookEvents.USER_PROMPT_SUBMIT, {**where, "prompt": prompt})
        blocked = submitted.halt or _BLOCKS.get(submitted.decision or "allow")
        added: list[HumanMessage] = [*started.injected, *submitted.injected]
        texts = [*started.contexts, *submitted.contexts]
        if texts:
            added.append(hook_context(texts))
        return Begun([*messages, *_numbered(added)], blocked, submitted.reason if blocked else None)

    async def stop(
        self, messages: Sequence[AnyMessage], thread_id: str, reason: str | None, continuations: int
    ) -> Stopped:
        """Tell hooks that a turn has ended, and ask whether it may.

        Args:
            messages: The messages that it produced.
            thread_id: The thread.
            reason: Why it ended early; None if it did not. Then it ends, regardless of hooks.
            continuations: How often hooks have kept it going.

        Returns:
            What hooks say.

        Raises:
            HandlerError: A hook of StopFinalize failed, or hooks kept the turn going more often than is allowed.
        """
        left = max(0, self.max_continuations - continuations)
        happened: dict[str, object] = {
            **self._where(thread_id),
            "messages": list(messages),
            "stopReason": reason,
            "stopHookActive": continuations > 0,
            "continuationCount": continuations,
            "continuationBudgetRemaining": left,
        }
        said = await self.hooks.call(HookEvents.STOP, happened)
        more, halt = _more(said), said.halt
        if self.hooks.has(HookEvents.STOP_FINALIZE):
            prevented = reason is not None or halt is not None
            planned = bool(more) and not prevented and left > 0
            final = {**happened, "continuationPlanned": planned, "continuationPrevented": prevented}
            last = await self.hooks.call(HookEvents.STOP_FINALIZE, final)
            if last.errors:
                raise HandlerError(last.errors[0])
            more, halt = [*more, *_more(last)], halt or last.halt
        if halt is not None or reason is not None or not more:
            return Stopped(halt=halt)
        if not left:
            raise HandlerError(
                f"Hooks of Stop kept the turn going {continuations} times and want to again, but "
                f"max_stop_continuations is {self.max_continuations}: let them look at continuationBudgetRemaining"
            )
        return Stopped(tuple(_numbered(more)))

    async def fail(self, messages: Sequence[AnyMessage], thread_id: str, error: BaseException) -> None:
        """Tell hooks that a turn failed.

        Args:
            messages: The messages that it produced until then.
            thread_id: The thread.
            error: The error that `process_stream` is about to raise.
        """
        last = next((each for each in reversed(messages) if isinstance(each, AIMessage)), None)
        about = {"error": problems.said(error), "exception": error, "lastAssistantMessage": last}
        await self.hooks.call(HookEvents.STOP_FAILURE, {**self._where(thread_id), **about})

    async def hear(self, fact: Fact) -> None:
        """Tell hooks that messages are about to be summarised, or were, or that a subagent has answered."""
        if isinstance(fact, SummaryStarted):
            about = {"messagesBeforeCount": fact.figures["messagesToRefineCount"], "trigger": fact.trigger}
            await self.hooks.call(HookEvents.PRE_COMPACT, {**self._at(fact.at), **about})
        elif isinstance(fact, SummaryEnded) and fact.summary is not None:
            about = {"summary": text_of(fact.summary["content"]), "messagesAfterCount": fact.left}
            await self.hooks.call(HookEvents.POST_COMPACT, {**self._at(fact.at), **about})
        elif isinstance(fact, SubagentEnded) and fact.error is None:
            subagent = fact.subagent
            about = {"agentId": subagent.agent_id, "agentType": subagent.type, "messages": list(fact.messages)}
            about |= {"parentAgentId": subagent.caller_id, "toolUseId": subagent.call_id}
            await self.hooks.call(HookEvents.SUBAGENT_STOP, {**self._at(fact.at), **about}, subagent.type)

    def _where(self, thread_id: Any, agent_id: str | None = None) -> dict[str, object]:
        return {"runId": self.run_id, "threadId": thread_id, "agentId": agent_id or self.agent_id}

    def _at(self, at: Place) -> dict[str, object]:
        return {**self._where(at.metadata.get("thread_id"), at.agent_id), "executingAgentId": at.agent_id}


def _more(said: Outcome) -> list[HumanMessage]:
    """Return the messages with which hooks continue the turn; empty if they do not."""
    if said.decision != "block":
        return []
    return [*said.injected, *([hook_context(list(said.contexts))] if said.contexts else [])]


def _numbered(messages: Sequence[HumanMessage]) -> Iterator[HumanMessage]:
    return (message.model_copy(update={"id": environment.current().unique()}) for message in messages)
