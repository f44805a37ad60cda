"""The hooks around a turn: before it starts, and when it has ended."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from stategraph.agent.truncation import text_of
from stategraph.run.hooks import HookEvents, HookRegistry
from stategraph.run.injected import hook_context

PROMPT_DENIED = "prompt_denied"
PROMPT_REQUIRES_APPROVAL = "prompt_requires_approval"

_BLOCKS = {"deny": PROMPT_DENIED, "ask": PROMPT_REQUIRES_APPROVAL}


@dataclass(frozen=True, slots=True)
class TurnHooks:
    """Calls a host's hooks about turns.

    Attributes:
        run_id: The run.
        hooks: The hooks.
    """

    run_id: str
    hooks: HookRegistry

    async def begin(self, messages: Sequence[AnyMessage], thread_id: str) -> tuple[list[AnyMessage], str | None]:
        """Ask hooks before a turn.

        Args:
            messages: What goes in.
            thread_id: The thread.

        Returns:
            What goes in, with what hooks want the model to know; and why the turn does not start, None if it does.
        """
        where = {"runId": self.run_id, "threadId": thread_id}
        started = await self.hooks.call(HookEvents.RUN_START, {**where, "messages": list(messages)})
        if started.halt is not None:
            return list(messages), started.halt
        prompt = next((text_of(each.content) for each in reversed(messages) if isinstance(each, HumanMessage)), "")
        submitted = await self.hooks.call(HookEvents.USER_PROMPT_SUBMIT, {**where, "prompt": prompt})
        blocked = submitted.halt or _BLOCKS.get(submitted.decision or "allow")
        added: list[AnyMessage] = [*started.injected, *submitted.injected]
        texts = [*started.contexts, *submitted.contexts]
        if texts:
            added.append(hook_context(texts))
        for message in added:
            message.id = str(uuid.uuid4())
        return [*messages, *added], blocked

    async def end(self, messages: Sequence[AnyMessage], thread_id: str, reason: str | None) -> None:
        """Tell hooks that a turn has ended.

        Args:
            messages: What it brought.
            thread_id: The thread.
            reason: Why it ended early; None if it did not.
        """
        happened: dict[str, Any] = {"runId": self.run_id, "threadId": thread_id, "messages": list(messages)}
        await self.hooks.call(HookEvents.STOP, {**happened, "stopReason": reason})

    async def fail(self, messages: Sequence[AnyMessage], thread_id: str, error: BaseException) -> None:
        """Tell hooks that a turn failed.

        Args:
            messages: What it brought until then.
            thread_id: The thread.
            error: What `process_stream` is about to raise.
        """
        texts = [text_of(each.content) for each in messages if isinstance(each, AIMessage)]
        happened: dict[str, Any] = {"runId": self.run_id, "threadId": thread_id, "error": error}
        await self.hooks.call(
            HookEvents.STOP_FAILURE, {**happened, "lastAssistantMessage": texts[-1] if texts else None}
        )
