"""What a recording and a run of ours are compared on: the facts that both languages have.

The recordings come from JavaScript, where other message classes and another HTTP client are at work. Both sides go
through the same rules here. A rule removes or renames what those foreign classes decide, says why, and touches nothing
that the code of this project decides: names, payloads, order, counts, texts and ids that correlate are compared as they
are.

A recording is JSON: ``events`` (rows of ``event``, ``node``, ``meta`` and ``data``), ``final`` (what a host reads
afterwards) and ``requests`` (what the model server received).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import openai

from stategraph import errors
from tests.golden.counting import compact

Json: TypeAlias = Any

DROPPED = frozenset(
    {
        # Wrappers of the JavaScript graph; a host cannot rely on them.
        "on_chain_start",
        "on_chain_stream",
        "on_chain_end",
        "on_prompt_start",
        "on_prompt_end",
        # What the model class says, piece by piece: message deltas carry it, and the classes differ.
        "on_chat_model_start",
        "on_chat_model_stream",
        # Diagnostics with durations in their texts.
        "on_agent_log",
    }
)
"""The events that `compare.py` of the recordings leaves out as well."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IDS = re.compile(
    r"(?P<step>step_[\w-]{21}|<step:\d+>)"
    r"|(?P<msg>msg_[\w-]{21}|<msg:\d+>)"
    # The id that the provider's class gives an answer: the completion's own in JavaScript, one of its run in Python.
    rf"|(?P<answer>chatcmpl-\d+|lc_run--{_UUID}(?:-\d+)?)"
    rf"|(?P<id>{_UUID}|\b[0-9a-f]{{32}}\b|<(?:uuid|hex):\d+>)"
)

_MODEL_META = ("ls_provider", "ls_model_name")
META = ("run_id", "thread_id", "langgraph_step", *_MODEL_META)
"""What a host reads of a handler's third argument, beside the node."""

_NO_JSON = ("<fn>", "<AbortSignal>")
"""What a payload can do besides being JSON: fields that are functions in JavaScript are methods in Python."""

_RANDOM_GROUP = 100_000
"""Groups of parallel handoffs have a random number, those of fan-outs count from one."""

_MILLISECONDS = range(1_600_000_000_000, 3_000_000_000_000)
"""Points in time of our days; seconds would not pass for them."""


def project(recording: Mapping[str, Json]) -> dict[str, Json]:
    """Reduce a recording to what is compared.

    Ids are numbered by their first appearance, separately for steps, messages and answers, so what correlates by id
    still does. Other generated ids become ``<id>``: their numbers in the recordings count rows that are not compared.
    """
    ids = _Ids()
    rows = [row for row in recording["events"] if row["event"] not in DROPPED]
    return {
        "events": [
            {
                "event": row["event"],
                "node": row.get("node"),
                "meta": _meta(row),
                "data": ids.named(_facts(row.get("data"))),
            }
            for row in rows
        ],
        "final": ids.named(_facts(recording["final"])),
        "requests": [ids.named(_request(body)) for body in recording["requests"]],
    }


def _meta(row: Mapping[str, Json]) -> dict[str, Json]:
    # The model is told at the end of its call; on other rows it depends on which of its consumers sent them.
    told = META if row["event"] == "on_chat_model_end" else [name for name in META if name not in _MODEL_META]
    meta = row.get("meta") or {}
    return {name: meta[name] for name in told if meta.get(name) is not None}


class _Ids:
    """Names generated ids in the order in which they are met."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, str]] = {}

    def named(self, value: Json) -> Json:
        match value:
            case str():
                return _IDS.sub(self._name, value)
            case list():
                return [self.named(each) for each in value]
            case dict():
                return {self.named(key): self.named(each) for key, each in value.items()}
            case _:
                return value

    def _name(self, match: re.Match[str]) -> str:
        kind = match.lastgroup or "id"
        if kind == "id":
            return "<id>"
        names = self._names.setdefault(kind, {})
        return names.setdefault(match.group(), f"<{kind}:{len(names) + 1}>")


def _facts(value: Json, key: str = "") -> Json:
    """Apply the rules to a value and all that is in it."""
    match value:
        case {"_msg": _}:
            return _message(value)
        case {"ctor": _} | {"name": "Error", "message": _}:
            return _recorded_error(value)
        case {"_class": "Command"}:
            return _command(value)
        case {"input_tokens": _, "total_tokens": _}:
            return _counts(value)
        case dict():
            special = _BY_KEY.get(key)
            kept = special(value) if special else value
            return {name: _facts(each, name) for name, each in kept.items() if each not in _NO_JSON}
        case list() if key == "clientCallbacks":
            return [_called(*each) for each in value]
        case list():
            return [_facts(each, key) for each in value]
        case int() if key == "groupId" and value >= _RANDOM_GROUP:
            return "<random>"
        case int() if key.endswith("_at") and value in _MILLISECONDS:
            return "<ms>"
        case str() if key == "createdAt":
            return datetime.fromisoformat(value) and "<time>"
        case str() if key == "output":
            return _result(value)
        case _:
            return value


def _called(name: str, about: str = "") -> list[str]:
    # The recorder noted the type of what a callback was given, and errors as JavaScript shows them.
    return [name, about.removeprefix("Error: ")] if name == "error" else [name]


def _result(text: str) -> str:
    """The text of a tool's result: LangChain's tools write JSON with spaces in Python, without in JavaScript."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return compact(json.loads(text))
    except ValueError:
        return text


def _message(message: Mapping[str, Json]) -> dict[str, Json]:
    facts = {name: _facts(each, name) for name, each in message.items() if name not in _MESSAGE_RULES}
    if facts["_msg"] == "tool" and isinstance(facts["content"], str):
        facts["content"] = _result(facts["content"])
    for name, rule in _MESSAGE_RULES.items():
        left = rule(message[name]) if name in message else None
        if left:
            facts[name] = _facts(left, name)
    return facts


def _without_raw_calls(kwargs: Mapping[str, Json]) -> dict[str, Json]:
    # JavaScript keeps the provider's raw form of the calls beside `tool_calls`; Python fills fields with None.
    return {name: each for name, each in kwargs.items() if name != "tool_calls" and each is not None}


def _provider_facts(metadata: Mapping[str, Json]) -> dict[str, Json]:
    # Each class adds counters and identifiers of its own; these three both have.
    shared = ("finish_reason", "model_name", "model_provider")
    return {name: metadata[name] for name in shared if metadata.get(name) is not None}


def _counts(usage: Mapping[str, Json]) -> dict[str, Json]:
    # Python's class spells out details that are zero, JavaScript's leaves them out.
    facts: dict[str, Json] = {}
    for name, each in usage.items():
        counted = {detail: count for detail, count in each.items() if count} if isinstance(each, dict) else each
        if counted != {}:
            facts[name] = counted
    return facts


_MESSAGE_RULES: dict[str, Callable[[Any], Json]] = {
    # The calls once more as text pieces, kept by the class of a merged stream; `tool_calls` has them.
    "tool_call_chunks": lambda _: None,
    "additional_kwargs": _without_raw_calls,
    "response_metadata": _provider_facts,
    "usage_metadata": _counts,
    # Python's tool messages say "success" where JavaScript's say nothing.
    "status": lambda status: status if status != "success" else None,
}


def _command(command: Mapping[str, Json]) -> dict[str, Json]:
    # Marks of the JavaScript class; and one destination is a list of one there.
    goto = command.get("goto") or []
    return {
        "_class": "Command",
        "graph": command.get("graph"),
        "update": _facts(command.get("update")),
        "goto": goto if isinstance(goto, list) else [goto],
    }


def _host_configurable(configurable: Mapping[str, Json]) -> dict[str, Json]:
    # The rest is the engine's own: namespaces and checkpoints of the graph underneath.
    return {name: configurable[name] for name in ("thread_id", "user_id", "run_id") if name in configurable}


def _host_metadata(metadata: Mapping[str, Json]) -> dict[str, Json]:
    # What the recordings' README calls the useful part; triggers, paths and namespaces are the engine's own.
    useful = ("thread_id", "run_id", "langgraph_step", "langgraph_node", "agentId", "activeAgentId", "activeAgentName")
    return {name: metadata[name] for name in (*useful, "rootAgentId", "rootAgentName") if name in metadata}


_BY_KEY: dict[str, Callable[[Mapping[str, Json]], dict[str, Json]]] = {
    "configurable": _host_configurable,
    "metadata": _host_metadata,
}


def _recorded_error(error: Mapping[str, Json]) -> dict[str, Json]:
    """Facts of a recorded JavaScript error, in the form of `error_facts`."""
    message = str(error["message"])
    match error.get("ctor", "Error"):
        case "BadRequestError":
            # This client puts the status before the provider's text.
            text = message.removeprefix(f"{error['status']} ")
            return {"class": "BadRequestError", "status": error["status"], "message": text}
        case "APIError":
            return {"class": "APIError", "message": message}
        case "TypeError" if message == "terminated":
            # What `fetch` raises when a body breaks off.
            return {"class": "APIConnectionError"}
        case "DOMException":
            return {"class": str(error["name"])}
        case "GraphRecursionError":
            return {"class": "GraphRecursionError", "message": _first_sentence(message)}
        case _:
            return {"message": message}


def error_facts(error: BaseException) -> dict[str, Json]:
    """What is compared of an exception: its class where a host tells classes apart, else its text.

    The provider's classes are compared by what they are called in the provider's own package: LangChain derives from
    them. Texts that a client library writes by itself are not compared.
    """
    match error:
        case openai.APIStatusError():
            body = error.body if isinstance(error.body, dict) else {}
            return {"class": _public_name(error), "status": error.status_code, "message": body.get("message")}
        case openai.APIConnectionError():
            return {"class": "APIConnectionError"}
        case openai.APIError():
            return {"class": "APIError", "message": error.message}
        case errors.GraphRecursionError():
            return {"class": "GraphRecursionError", "message": _first_sentence(str(error))}
        case _ if type(error).__name__ == "AbortError":
            return {"class": "AbortError"}
        case _:
            return {"message": str(error)}


def _public_name(error: openai.APIError) -> str:
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "openai")


def _first_sentence(text: str) -> str:
    # What follows names the option to change, which each language spells in its own way.
    return text.split(". ")[0]


def _request(body: Mapping[str, Json]) -> dict[str, Json]:
    facts = {name: body[name] for name in ("path", "model", "stream_options") if body.get(name) is not None}
    return {
        **facts,
        # Absent means the same as false to the provider.
        "stream": bool(body.get("stream")),
        "tools": body.get("tools") or [],
        "messages": [_sent(message) for message in body["messages"]],
    }


def _sent(message: Mapping[str, Json]) -> dict[str, Json]:
    """A message on its way to the provider, as the model class writes it."""
    facts = dict(message)
    if facts["role"] == "tool":
        # JavaScript's class sends the tool's name along, which the provider does not ask for.
        facts.pop("name", None)
        facts["content"] = _result(facts["content"])
    if calls := facts.get("tool_calls"):
        facts["tool_calls"] = [_sent_call(call) for call in calls]
        # Beside calls, no text is an empty string there and null here.
        facts["content"] = facts.get("content") or ""
    return facts


def _sent_call(call: Mapping[str, Json]) -> dict[str, Json]:
    # Python's class writes a space after each comma and colon of the arguments.
    function = call["function"]
    return {**call, "function": {**function, "arguments": compact(json.loads(function["arguments"]))}}
