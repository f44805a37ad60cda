"""A thread as the page shows it: its turns as content parts, what it waits for, and who said what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage

from stategraph.agent.limits.amounts import UsageTotals
from stategraph.agent.limits.prices import PriceBook
from stategraph.dev.attachments import files_in, of_results
from stategraph.run.pauses import RunInterrupt
from stategraph.run.threads.values import ThreadView

_INPUT = "in-"


def input_id(run_id: str) -> str:
    """Return the id of the message with which a run begins."""
    return f"{_INPUT}{run_id}"


def run_ids(messages: Sequence[AnyMessage]) -> set[str]:
    """Return the runs that messages of this page began."""
    return {name.removeprefix(_INPUT) for each in messages if (name := each.id or "").startswith(_INPUT)}


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


def shown(view: ThreadView, run_id: str | None = None, prices: PriceBook | None = None) -> dict[str, Any]:
    """Return a thread as JSON.

    Args:
        view: The thread.
        run_id: A run whose events the page reads: its own turn is left out. None: all turns are there.
        prices: Finds the cost of calls; None: costs are not told.
    """
    turns = _turns(view, prices)
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


def _turns(view: ThreadView, prices: PriceBook | None) -> list[dict[str, Any]]:
    turns = [{"id": each.get("message_id"), "role": each["role"], "content": each["content"]} for each in view.content]
    answers = {turn["id"]: turn for turn in turns if turn["role"] == "assistant"}
    used: dict[str, UsageTotals] = {}
    answer: dict[str, Any] | None = None
    for message in view.messages:
        answer = answers.get(message.id, answer)
        if answer is None or not isinstance(message, AIMessage):
            continue  # results of tools are parts of the answer already
        if message.name:
            answer.setdefault("agent", message.name)
        if message.additional_kwargs.get("incomplete"):
            answer["incomplete"] = True
        if message.usage_metadata is not None:
            used[answer["id"]] = used.get(answer["id"], UsageTotals()) + _usage(message, prices, view.thread.updated_at)
    for answer_id, usage in used.items():
        answers[answer_id]["usage"] = usage.as_json()
    if files := of_results(view.messages):
        for turn in turns:
            turn["content"] = [_with_files(part, files) for part in turn["content"]]
    return turns


def _with_files(part: Any, files: Mapping[str, Sequence[Any]]) -> Any:
    """Return a part; one of a tool call that returned files, with these."""
    call = part.get("tool_call") if isinstance(part, Mapping) else None
    if not isinstance(call, Mapping) or call.get("id") not in files:
        return part
    return {**part, "tool_call": {**call, "files": files[call["id"]]}}


def _usage(message: AIMessage, prices: PriceBook | None, when: datetime) -> UsageTotals:
    """Return what the call of a model took that gave a message."""
    usage = UsageTotals.of_call(message.usage_metadata)
    if prices is None:
        return usage
    told = message.response_metadata
    provider, model = str(told.get("model_provider") or ""), str(told.get("model_name") or "")
    return replace(usage, cost=prices.cost(provider, model, usage, when))
