"""Facts about a run to the events of a response, and to the response itself.

Rules
-----
* Events are numbered from 0, the same for every reader, so that one may come back with `starting_after`.
* Items stand in the order in which they began; those of branches at the same time are told beside each other.
* A call of a tool that the request brought is a `function_call`, which the client executes. A call of a tool of the
  server is an `mcp_call`, with its output once it has one.
* Answers of agents that tools run are not told: their tool's output is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from stategraph.run.json_safe import to_json
from stategraph.server.openai import answers
from stategraph.server.projection import (
    Fact,
    Interrupted,
    MessageDiscarded,
    MessageEnded,
    MessageStarted,
    Projection,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from stategraph.server.projection.projection import Logged
from stategraph.server.turns.forms import Fields, Json
from stategraph.server.turns.questions import questions_of

_SENTENCES: Final[Mapping[str, str]] = {
    "error": "The run failed.",
    "timeout": "The run took longer than it may.",
    "dead": "The run was given up: its workers ended again and again.",
}


class Item:
    """An item of the output that is being told.

    Attributes:
        index: Its place in the output.
        fields: The item as it is now.
        is_done: Whether it is complete.
    """

    def __init__(self, index: int, fields: Json) -> None:
        self.index = index
        self.fields = fields
        self.is_done = False


class Encoder:
    """Turns the log of a run into the events of a response.

    Args:
        response: The fields of the response that the request settles: id, model, tools and so on.
        client_tools: The names of the client's tools.
        answered: Name and arguments of the calls that the request has decided about, by their ids.

    Attributes:
        response: The response as it is after the events so far.
    """

    def __init__(
        self,
        response: Fields,
        client_tools: Collection[str] = (),
        answered: Fields | None = None,
    ) -> None:
        self.response: Json = {**response, "status": "queued", "output": [], "usage": None, "error": None}
        self._client_tools = frozenset(client_tools)
        self._answered = answered or {}
        self._projection = Projection()
        self._number = 0
        self._items: list[Item] = []
        self._texts: dict[str, Item] = {}
        self._thoughts: dict[str, Item] = {}
        self._calls: dict[str, Item] = {}
        self._hidden: set[str] = set()

    def take(self, event: Logged) -> list[Json]:
        """Return the events that an event of the log gives."""
        return [each for fact in self._projection.take(event) for each in self._encode(fact)]

    def _encode(self, fact: Fact) -> Iterator[Json]:
        match fact:
            case TextDelta() | ReasoningDelta() | MessageStarted() | MessageEnded() | MessageDiscarded():
                yield from self._message(fact)
            case ToolCallStarted() | ToolCallDelta() | ToolCallEnded() | ToolResult():
                yield from self._tool(fact)
            case Interrupted(interrupt_id, payload, approvals):
                for each in questions_of(interrupt_id, payload, approvals):
                    yield from self._asked(answers.item_of(each))
            case RunStarted():
                self.response["status"] = "in_progress"
                for name in ("response.created", "response.in_progress"):
                    yield self._event(name, response=self._snapshot())
            case RunEnded():
                yield from self._ended(fact)

    def _event(self, kind: str, /, **fields: Any) -> Json:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _of(self, item: Item, kind: str, /, **fields: Any) -> Json:
        return self._event(kind, output_index=item.index, item_id=item.fields["id"], **fields)

    def _snapshot(self) -> Json:
        return {**self.response, "output": list(self.response["output"])}

    def _add(self, fields: Json) -> tuple[Item, Json]:
        item = Item(len(self._items), fields)
        self._items.append(item)
        return item, self._event("response.output_item.added", output_index=item.index, item=_copy(fields))

    def _done(self, item: Item) -> Json:
        item.is_done = True
        return self._event("response.output_item.done", output_index=item.index, item=_copy(item.fields))

    # Messages.

    def _message(
        self, fact: TextDelta | ReasoningDelta | MessageStarted | MessageEnded | MessageDiscarded
    ) -> Iterator[Json]:
        message_id = fact.message_id
        if isinstance(fact, MessageStarted):
            if fact.at.in_tool:
                self._hidden.add(message_id)
            return
        if message_id in self._hidden:
            return
        match fact:
            case TextDelta(_, text):
                yield from self._end_thought(message_id)
                yield from self._text(message_id, text)
            case ReasoningDelta(_, text):
                yield from self._thought(message_id, text)
            case MessageEnded(_, _, is_complete):
                yield from self._end_thought(message_id)
                yield from self._end_text(message_id, is_complete=is_complete)
            case MessageDiscarded():
                self._items = [
                    each if each.fields["id"] != message_id else Item(each.index, {**each.fields, "content": []})
                    for each in self._items
                ]

    def _text(self, message_id: str, text: str) -> Iterator[Json]:
        item = self._texts.get(message_id)
        if item is None:
            about = {"id": message_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
            item, added = self._add(about)
            self._texts[message_id] = item
            yield added
            yield self._of(item, "response.content_part.added", content_index=0, part=_text_part(""))
            item.fields["content"] = [_text_part("")]
        item.fields["content"][0]["text"] += text
        yield self._of(item, "response.output_text.delta", content_index=0, delta=text, logprobs=[])

    def _end_text(self, message_id: str, *, is_complete: bool) -> Iterator[Json]:
        item = self._texts.get(message_id)
        if item is None or item.is_done:
            return
        text = item.fields["content"][0]["text"]
        item.fields["status"] = "completed" if is_complete else "incomplete"
        yield self._of(item, "response.output_text.done", content_index=0, text=text, logprobs=[])
        yield self._of(item, "response.content_part.done", content_index=0, part=_text_part(text))
        yield self._done(item)

    def _thought(self, message_id: str, text: str) -> Iterator[Json]:
        item = self._thoughts.get(message_id)
        part = {"type": "reasoning_text", "text": ""}
        if item is None:
            about = {"id": f"rs_{len(self._items)}_{message_id}", "type": "reasoning", "summary": []}
            item, added = self._add({**about, "content": [], "status": "in_progress"})
            self._thoughts[message_id] = item
            yield added
            yield self._of(item, "response.content_part.added", content_index=0, part=part)
            item.fields["content"] = [dict(part)]
        item.fields["content"][0]["text"] += text
        yield self._of(item, "response.reasoning_text.delta", content_index=0, delta=text)

    def _end_thought(self, message_id: str) -> Iterator[Json]:
        item = self._thoughts.pop(message_id, None)
        if item is None:
            return
        part = dict(item.fields["content"][0])
        item.fields["status"] = "completed"
        yield self._of(item, "response.reasoning_text.done", content_index=0, text=part["text"])
        yield self._of(item, "response.content_part.done", content_index=0, part=part)
        yield self._done(item)

    # Tools.

    def _tool(self, fact: ToolCallStarted | ToolCallDelta | ToolCallEnded | ToolResult) -> Iterator[Json]:
        match fact:
            case ToolCallStarted(message_id, call_id, name):
                if message_id in self._hidden:
                    self._hidden.add(call_id)
                    return
                yield from self._end_thought(message_id)
                yield from self._call(call_id, name)
            case ToolCallDelta(call_id, text):
                if call_id not in self._hidden:
                    item = self._calls[call_id]
                    item.fields["arguments"] += text
                    yield self._of(item, f"response.{_kind(item)}_arguments.delta", delta=text)
            case ToolCallEnded(_, call_id, name, arguments):
                if call_id not in self._hidden:
                    yield from self._called(self._calls[call_id], name, arguments)
            case ToolResult():
                if fact.call_id not in self._hidden and not fact.at.in_tool:
                    yield from self._result(fact)

    def _call(self, call_id: str, name: str) -> Iterator[Json]:
        if name in self._client_tools:
            about = {"id": f"fc_{call_id}", "type": "function_call", "call_id": call_id, "name": name}
            item, added = self._add({**about, "arguments": "", "status": "in_progress"})
            yield added
        else:
            item, added = self._add(_server_call(call_id, name, ""))
            yield added
            yield self._of(item, "response.mcp_call.in_progress")
        self._calls[call_id] = item

    def _called(self, item: Item, name: str, arguments: str) -> Iterator[Json]:
        item.fields["arguments"] = arguments
        kind = _kind(item)
        named = {"name": name} if kind == "function_call" else {}
        yield self._of(item, f"response.{kind}_arguments.done", arguments=arguments, **named)
        if kind == "function_call":
            item.fields["status"] = "completed"
            yield self._done(item)
        else:
            item.fields["status"] = "calling"

    def _result(self, fact: ToolResult) -> Iterator[Json]:
        item = self._calls.get(fact.call_id)
        if item is None:  # of a call of an earlier response
            name, arguments = self._answered.get(fact.call_id) or (fact.name or "tool", {})
            item, added = self._add(_server_call(fact.call_id, name, to_json(arguments)))
            self._calls[fact.call_id] = item
            yield added
            yield self._of(item, "response.mcp_call.in_progress")
        if item.is_done:
            return
        item.fields["status"] = "failed" if fact.is_error else "completed"
        if fact.is_error:
            error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": fact.text}]}
            item.fields["error"] = error
        else:
            item.fields["output"] = fact.text
        yield self._of(item, "response.mcp_call.failed" if fact.is_error else "response.mcp_call.completed")
        yield self._done(item)

    def _asked(self, fields: Json) -> Iterator[Json]:
        item, added = self._add(fields)
        yield added
        if fields["type"] == "function_call":
            arguments, name = fields["arguments"], fields["name"]
            yield self._of(item, "response.function_call_arguments.delta", delta=arguments)
            yield self._of(item, "response.function_call_arguments.done", arguments=arguments, name=name)
        yield self._done(item)

    # The end.

    def _ended(self, fact: RunEnded) -> Iterator[Json]:
        for item in self._items:
            if not item.is_done:
                item.fields["status"] = "incomplete"
                yield self._done(item)
        output = [
            each.fields for each in self._items if each.fields.get("content") != [] or each.fields["type"] != "message"
        ]
        self.response.update(output=output, usage=_usage(fact.usage))
        match fact.status:
            case "success" | "interrupted":
                name = "response.completed"
                self.response["status"] = "completed"
            case "cancelled":
                name = "response.incomplete"
                self.response["status"] = "cancelled"
            case _:
                name = "response.failed"
                error = {"code": "server_error", "message": _SENTENCES[fact.status]}
                self.response.update(status="failed", error=error)
        yield self._event(name, response=self._snapshot())


def _kind(item: Item) -> str:
    kind: str = item.fields["type"]
    return kind


def _server_call(call_id: str, name: str, arguments: str) -> Json:
    about = {"id": f"mcp_{call_id}", "type": "mcp_call", "server_label": answers.SERVER, "name": name}
    state = {"arguments": arguments, "output": None, "error": None, "approval_request_id": None}
    return {**about, **state, "status": "in_progress"}


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _copy(fields: Fields) -> Json:
    """Return an item as it is now, which what comes later does not change."""
    content = fields.get("content")
    return {**fields, "content": [dict(each) for each in content]} if isinstance(content, list) else dict(fields)


def _usage(given: tuple[Usage, ...]) -> Json:
    taken, made = sum(each.input_tokens for each in given), sum(each.output_tokens for each in given)
    cached = sum(each.cached_tokens for each in given)
    return {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": sum(each.reasoning_tokens for each in given)},
        "total_tokens": taken + made,
    }
