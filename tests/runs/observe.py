"""What a graph's own stream and what a run's events show, in one form, to be compared.

An observation is ("text" | "thought", piece), ("call", id, name), ("result", id, text), ("custom", data) or
("interrupt", payload), each with the names of the graphs around it and of the node where it is known.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage

Observation: TypeAlias = tuple[Any, ...]

#: Ids that a library makes anew in each execution.
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _names(ns: Iterable[str]) -> tuple[str, ...]:
    return tuple(part.partition(":")[0] for part in ns)


def of_message(message: BaseMessage) -> list[Observation]:
    """What one message, or piece of one, of the stream shows."""
    if isinstance(message, ToolMessage):
        return [("result", message.tool_call_id, message.text)]
    if not isinstance(message, AIMessage):
        return []
    seen: list[Observation] = []
    if thought := message.additional_kwargs.get("reasoning_content"):
        seen.append(("thought", thought))
    if message.text:
        seen.append(("text", message.text))
    calls: Sequence[Any] = message.tool_call_chunks if isinstance(message, AIMessageChunk) else message.tool_calls
    seen += [("call", each["id"], each["name"]) for each in calls if each["name"]]
    return seen


def of_stream(items: Iterable[tuple[Sequence[str], str, Any]]) -> list[Observation]:
    """What a stream shows, in order; what it waits for comes last."""
    seen: list[Observation] = []
    asked: dict[str, Any] = {}
    done: set[str] = set()
    for ns, mode, payload in items:
        if mode == "messages":
            shown = of_message(payload[0])
            seen += shown
            done |= {each[1] for each in shown if each[0] == "result"}
        elif mode == "values" and isinstance(payload, dict):
            seen += _only_in_state(payload.get("messages"), seen, done)
        elif mode == "custom":
            seen.append(("custom", payload))
        if mode in ("updates", "values") and not ns and isinstance(payload, dict):
            asked |= {each.id: each.value for each in payload.get("__interrupt__", ())}
    return seen + [("interrupt", asked[each]) for each in sorted(asked)]


def _only_in_state(said: Any, seen: Sequence[Observation], done: set[str]) -> list[Observation]:
    """Results that no message of the stream showed, as those of handovers to the graph around: the state has them."""
    called = {each[1] for each in seen if each[0] == "call"}
    found = [each for each in said or () if isinstance(each, ToolMessage) and each.tool_call_id in called - done]
    done |= {each.tool_call_id for each in found}
    return [("result", each.tool_call_id, each.text) for each in found]


def of_events(events: Iterable[Any]) -> list[Observation]:
    """What a run's events show, in order."""
    seen: list[Observation] = []
    for each in events:
        data = each.data
        match each.event:
            case "on_message_delta" | "on_reasoning_delta":
                for piece in data["delta"]["content"]:
                    text = piece.get("text")
                    seen.append(("thought", piece["think"]) if text is None else ("text", text))
            case "on_run_step" if data["type"] == "tool_calls":
                seen += [("call", call["id"], call["name"]) for call in data["stepDetails"]["tool_calls"]]
            case "on_run_step_completed":
                call = data["result"]["tool_call"]
                seen.append(("result", call["id"], call["output"]))
            case "on_custom_event" if "name" not in data:
                seen.append(("custom", data["data"]))
            case "on_run_end":
                waiting = sorted(data.get("interrupts") or (), key=lambda one: one["interruptId"])
                seen += [("interrupt", one["payload"]) for one in waiting]
    return seen


def arguments_of_stream(items: Iterable[tuple[Sequence[str], str, Any]]) -> dict[str, Any]:
    """The arguments of each tool call that a stream shows."""
    pieces: dict[tuple[Any, Any], Any] = {}
    for ns, mode, payload in items:
        if mode == "messages" and isinstance(payload[0], AIMessage):
            key = tuple(ns), payload[0].id
            whole = not isinstance(payload[0], AIMessageChunk)
            pieces[key] = payload[0] if whole or key not in pieces else pieces[key] + payload[0]
    return {call["id"]: call["args"] for message in pieces.values() for call in message.tool_calls}


def arguments_of_events(events: Iterable[Any]) -> dict[str, Any]:
    """The arguments of each tool call that has its result."""
    done = (each.data["result"]["tool_call"] for each in events if each.event == "on_run_step_completed")
    return {call["id"]: json.loads(call["args"]) for call in done}


def by_node_of_stream(items: Iterable[tuple[Sequence[str], str, Any]]) -> dict[Any, Any]:
    """Text and calls by the node that said them, custom data by its graph."""
    seen: dict[Any, Any] = defaultdict(list)
    for ns, mode, payload in items:
        if mode == "custom":
            seen[_names(ns), "custom"].append(payload)
        elif mode == "messages":
            for each in of_message(payload[0]):
                if each[0] != "result":
                    seen[_names(ns), payload[1]["langgraph_node"]].append(each)
    return _joined(seen)


def by_node_of_events(events: Iterable[Any]) -> dict[Any, Any]:
    """The same of events."""
    seen: dict[Any, Any] = defaultdict(list)
    for each in events:
        meta = each.metadata or {}
        for one in of_events([each]) if each.event != "on_run_end" else ():
            if one[0] == "custom":
                seen[_names(each.data["namespace"]), "custom"].append(one[1])
            elif one[0] != "result":
                ns = str(meta["langgraph_checkpoint_ns"]).split("|")
                drop = 2 if _in_task(meta) else 1
                seen[_names(ns[:-drop]), meta["langgraph_node"]].append(one)
    return _joined(seen)


def _in_task(meta: Any) -> bool:
    path = meta.get("langgraph_path") or ()
    return len(path) == 4 and path[-1] is True


def _joined(seen: dict[Any, Any]) -> dict[Any, Any]:
    """Sort what each place showed: executions of a node beside each other come in any order."""
    return {place: alike(these) for place, these in seen.items()}


def alike(these: Iterable[Any]) -> list[str]:
    """Observations in a form in which those of two executions are equal."""
    return sorted(_UUID.sub("some-id", repr(each)) for each in these)


def problems_of_history(messages: Sequence[BaseMessage]) -> list[str]:
    """What a provider would refuse of a conversation."""
    problems = []
    pending: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id in pending:
                pending.remove(message.tool_call_id)
            else:
                problems.append(f"a result of {message.tool_call_id}, which was not called")
        else:
            problems += [f"no result of {each}" for each in pending]
            pending = [call["id"] for call in message.tool_calls] if isinstance(message, AIMessage) else []
    return problems + [f"no result of {each}" for each in pending]
