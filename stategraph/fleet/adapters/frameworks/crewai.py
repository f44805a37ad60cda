"""CrewAI: an `Agent`, which is given the conversation, or a `Crew`, whose tasks have `{message}` and `{history}`.

The host remembers the conversation. Each turn has a copy of the agent or the crew, so that turns of several
conversations are apart. Text is streamed as the model says it; of a crew, that of the last task.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from stategraph.fleet.adapters.history import Remembered
from stategraph.fleet.adapters.port import About, AdapterError, Fact, Losses, Said, Sessions, Turn, Usage
from stategraph.fleet.adapters.pump import Telling, told
from stategraph.fleet.messages.common import Data, Reasoning, ToolCall, ToolResult, arguments_of, as_text
from stategraph.fleet.messages.conversion import write


def adapter(agent: Any, version: str) -> Sessions:
    """Return the adapter of an agent or a crew.

    Raises:
        AdapterError: It is none.
    """
    from crewai import Agent, Crew

    if isinstance(agent, Agent):
        skills = {each.name: each.description or "" for each in agent.tools or ()}
        about = About("crewai", version, f"{agent.role}: {agent.goal}", skills)
    elif isinstance(agent, Crew):
        about = About("crewai", version, "; ".join(each.description for each in agent.tasks))
    else:
        raise AdapterError(f"CrewAI runs an Agent or a Crew; this is {type(agent).__name__}")
    answering = _Answering(agent, is_crew=isinstance(agent, Crew))
    return Sessions(about, lambda context_id: Remembered(context_id, answering.answer))


class _Answering:
    def __init__(self, agent: Any, *, is_crew: bool) -> None:
        self._agent = agent
        self._is_crew = is_crew

    async def answer(self, turn: Turn) -> AsyncGenerator[Fact | str]:
        """Answer a turn."""
        written = write([*turn.history, turn.message], "crewai")
        if written.losses:
            yield Losses(written.losses)
        async with contextlib.aclosing(told(lambda tell: self._run(turn, written.messages, tell))) as facts:
            async for fact in facts:
                yield fact

    async def _run(self, turn: Turn, messages: list[Any], tell: Telling) -> None:
        from crewai.events.stream_context import add_stream_sink, reset_stream_sinks

        runs = self._agent.copy()
        agents = runs.agents if self._is_crew else [runs]
        for each in agents:
            if hasattr(each.llm, "stream"):
                each.llm.stream = True
        heard = _Heard(tell, task_id=str(runs.tasks[-1].id) if self._is_crew else "")
        token = add_stream_sink(heard.take)  # of this task's context alone
        try:
            if self._is_crew:
                output = await runs.akickoff(inputs=_inputs(turn))
                used = output.token_usage.model_dump()
            else:
                output = await runs.kickoff_async(messages)
                used = output.usage_metrics or {}
        finally:
            reset_stream_sinks(token)
        if output.raw.strip() and output.raw.strip() not in heard.text:
            tell(Said(f"\n{output.raw}" if heard.text else output.raw))
        if output.pydantic is not None:
            tell(Data(output.pydantic.model_dump(mode="json")))
        tell(Usage(used.get("prompt_tokens", 0), used.get("completion_tokens", 0)))


class _Heard:
    """The events of a turn as facts."""

    def __init__(self, tell: Telling, task_id: str) -> None:
        self._tell = tell
        self._task_id = task_id
        self._calls: dict[str, list[str]] = {}
        self.text = ""

    def take(self, source: object, event: Any) -> None:
        """Take an event of the framework."""
        del source
        match event.type:
            case "llm_stream_chunk":
                if event.chunk and event.tool_call is None and self._task_id in ("", event.task_id):
                    self.text += event.chunk
                    self._tell(Said(event.chunk))
            case "llm_thinking_chunk":
                self._tell(Reasoning(event.chunk))
            case "tool_usage_started":
                call_id = uuid.uuid4().hex
                self._calls.setdefault(event.tool_name, []).append(call_id)
                self._tell(ToolCall(call_id, event.tool_name, arguments_of(event.tool_args, "tool_args")))
            case "tool_usage_finished":
                self._tell(ToolResult(self._call(event.tool_name), as_text(event.output), event.tool_name))
            case "tool_usage_error":
                failed = ToolResult(self._call(event.tool_name), str(event.error), event.tool_name, is_error=True)
                self._tell(failed)

    def _call(self, tool: str) -> str:
        known = self._calls.get(tool)
        return known.pop(0) if known else uuid.uuid4().hex


def _inputs(turn: Turn) -> dict[str, Any]:
    values = [part.value for part in turn.message.parts if isinstance(part, Data) and isinstance(part.value, dict)]
    history = "\n".join(f"{each.role}: {each.text}" for each in turn.history if each.text)
    found: dict[str, Any] = {"message": turn.message.text, "history": history}
    for value in values:
        found.update(value)
    return found
