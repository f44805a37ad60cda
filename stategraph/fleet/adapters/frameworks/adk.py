"""Google's Agent Development Kit 2.x: an agent, an `App` or a `Runner`; the `contextId` is the id of its session.

An agent and an app have sessions in memory; a `Runner` has those of its session service. A turn that fails or is
cancelled is rewound (`Runner.rewind_async`).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import AsyncGenerator
from typing import Any, Final

from stategraph.fleet.adapters.port import About, AdapterError, Conversation, Fact, Losses, Said, Usage
from stategraph.fleet.messages.common import Data, Message, Text
from stategraph.fleet.messages.conversion import read, write

logger = logging.getLogger("stategraph.fleet.adapters")

#: The user of all sessions: who asks is known to the agent's gateway, not to the kit.
USER: Final = "stategraph"

_APP: Final = "stategraph"


def adapter(agent: Any, version: str) -> Adk:
    """Return the adapter of an agent, an app or a runner.

    Raises:
        AdapterError: It is none.
    """
    from google.adk.agents import BaseAgent
    from google.adk.apps import App
    from google.adk.runners import InMemoryRunner, Runner

    if "google.adk.models.lite_llm" in sys.modules:
        importlib.import_module("litellm")  # seconds, which the kit would take in the middle of the first turn
    if isinstance(agent, Runner):
        return Adk(agent, version)
    if isinstance(agent, App):
        return Adk(InMemoryRunner(app=agent), version)
    if isinstance(agent, BaseAgent):
        return Adk(InMemoryRunner(agent, app_name=_APP), version)
    raise AdapterError(f"ADK runs an agent, an App or a Runner; this is {type(agent).__name__}")


class Adk:
    """The adapter of a runner."""

    def __init__(self, runner: Any, version: str) -> None:
        self._runner = runner
        agent = getattr(runner, "agent", None)
        about = About("adk", version, str(getattr(agent, "description", "") or ""))
        self.framework = about.framework
        self.version = about.version
        self.description = about.description
        self.skills = about.skills

    async def open(self, context_id: str) -> Conversation:
        """Take a session up again, or create it."""
        where = {"app_name": self._runner.app_name, "user_id": USER, "session_id": context_id}
        if await self._runner.session_service.get_session(**where) is None:
            await self._runner.session_service.create_session(**where)
        return _Conversation(self._runner, context_id)

    async def close(self) -> None:
        """Close the runner."""
        await self._runner.close()


class _Conversation:
    def __init__(self, runner: Any, context_id: str) -> None:
        self._runner = runner
        self._context_id = context_id

    async def ask(self, message: Message) -> AsyncGenerator[Fact]:
        """Answer a message."""
        from google.adk.agents.run_config import RunConfig, StreamingMode
        from google.genai.types import Content

        written = write([message], "adk")
        if written.losses:
            yield Losses(written.losses)
        before, is_whole = len(await self._events()), False
        stream = self._runner.run_async(
            user_id=USER,
            session_id=self._context_id,
            new_message=Content.model_validate(written.messages[0]),
            run_config=RunConfig(streaming_mode=StreamingMode.SSE),
        )
        heard = _Heard()
        try:
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    for fact in heard.facts(event):
                        yield fact
            is_whole = True
        finally:
            if not is_whole:
                await self._rewind(before)

    async def close(self) -> None:
        """Do nothing: the session service has the session."""

    async def _events(self) -> Any:
        session = await self._runner.session_service.get_session(
            app_name=self._runner.app_name, user_id=USER, session_id=self._context_id
        )
        return session.events if session is not None else []

    async def _rewind(self, before: int) -> None:
        events = (await self._events())[before:]
        if not events:
            return
        try:
            await self._runner.rewind_async(
                user_id=USER, session_id=self._context_id, rewind_before_invocation_id=events[0].invocation_id
            )
        except Exception:  # the turn's own error is what is told
            logger.exception("A turn of session '%s' could not be rewound", self._context_id)


class _Heard:
    """The events of a turn as facts; text that was streamed is not told again."""

    def __init__(self) -> None:
        self._has_streamed = False

    def facts(self, event: Any) -> list[Fact]:
        """Return what an event says.

        Raises:
            AdapterError: The model or the agent failed.
        """
        if event.error_code:
            raise AdapterError(f"{event.error_code}: {event.error_message or 'the model failed'}")
        facts: list[Fact] = []
        used = event.usage_metadata
        if used is not None and not event.partial:
            facts.append(Usage(used.prompt_token_count or 0, used.candidates_token_count or 0))
        if event.content is not None and event.content.parts and event.author != "user":
            content = event.content.model_dump(mode="json", by_alias=True, exclude_none=True)
            (common,) = read([content], "adk")
            for part in common.parts:
                facts += self._part(part, is_partial=bool(event.partial))
        if not event.partial:
            self._has_streamed = False
        return facts

    def _part(self, part: Any, *, is_partial: bool) -> list[Fact]:
        if isinstance(part, Text):
            if not part.text or (self._has_streamed and not is_partial):
                return []
            self._has_streamed = self._has_streamed or is_partial
            return [Said(part.text)]
        if is_partial or isinstance(part, Data):  # the whole event has it too; signatures of thoughts are no answer
            return []
        return [part]
