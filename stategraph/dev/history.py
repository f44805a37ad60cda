"""A thread as the page shows it: its turns as content parts, what it waits for, and who said what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage

from stategraph.dev.attachments import files_in
from stategraph.run.pauses import RunInterrupt
from stategraph.run.threads.values import ThreadView

_INPUT = "in-"


def input_id(run_id: str) -> str:
    """Return the id of the message with which a run begins."""
    return f"{_INPUT}{run_id}"


def last_run_id(messages: Sequence[AnyMessage]) -> str | None:
    """Return the run that the newest message of a person began; None if it was not begun here."""
    for message in reversed(messages):
        if message.type == "human":
            name = message.id or ""
            return name.removeprefix(_INPUT) if name.startswith(_INPUT) else None
    return None


def questions(interrupts: Sequence[RunInterrupt]) -> list[dict[str, Any]]:
    """Return what a thread waits for as JSON."""
    return [{"id": each.interrupt_id, "payload": each.payload} for each in interrupts]


def shown(view: ThreadView, run_id: str | None = None) -> dict[str, Any]:
    """Return a thread as JSON.

    Args:
        view: The thread.
        run_id: A run whose events the page reads: its own turn is left out. None: all turns are there.
    """
    turns = _turns(view)
    if run_id is not None:
        begins = next((at for at, turn in enumerate(turns) if turn["id"] == input_id(run_id)), len(turns))
        turns = turns[:begins]
    return {
        "thread": view.thread.to_json(),
        "turns": turns,
        "waiting": questions(view.interrupts),
        "files": sorted(files_in(view.values)),
        "checkpoint_id": view.checkpoint_id,
    }


def _turns(view: ThreadView) -> list[dict[str, Any]]:
    turns = [{"id": each.get("message_id"), "role": each["role"], "content": each["content"]} for each in view.content]
    answers = {turn["id"]: turn for turn in turns if turn["role"] == "assistant"}
    answer: dict[str, Any] | None = None
    for message in view.messages:
        answer = answers.get(message.id, answer)
        if answer is not None and isinstance(message, AIMessage):
            _add(answer, message)
    return turns


def _add(answer: dict[str, Any], message: AIMessage) -> None:
    """Add to an answer what one of its messages took, and who wrote it."""
    if message.name:
        answer.setdefault("agent", message.name)
    if model := message.response_metadata.get("model_name"):
        answer["model"] = model
    if message.additional_kwargs.get("incomplete"):
        answer["incomplete"] = True
    used: Mapping[str, Any] | None = message.usage_metadata
    if used is None:
        return
    usage = answer.setdefault("usage", {"modelCalls": 0, "inputTokens": 0, "outputTokens": 0, "totalTokens": 0})
    usage["modelCalls"] += 1
    for key, name in (
        ("inputTokens", "input_tokens"),
        ("outputTokens", "output_tokens"),
        ("totalTokens", "total_tokens"),
    ):
        usage[key] += used.get(name) or 0
