"""Messages of the assistant, put together from what the log shows of them, each told once.

Rules
-----
* A message that a model streams comes in pieces with one id; some providers give the first piece an id of their own and
  the others that of the call. It ends with its last piece, or when the state has it.
* A message that no model streamed comes whole. One that was told already is not told again.
* Ids are unique in a run: of two messages, or calls, with one id the later gets another one.
* After a takeover the new worker runs the tasks again that had not been stored. The messages of such a task are
  compared with those that the attempts before told in it, in their order. As long as the text agrees, only what is new
  is told, under the old id. If it does not, the old message is discarded, and the new one is told from its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage

from stategraph.agent.messages.truncation import compact_json, text_of
from stategraph.run.events import chunk_text
from stategraph.server.projection.facts import (
    Fact,
    MessageDiscarded,
    MessageEnded,
    MessageStarted,
    Place,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
)

#: A task, and the graphs around it, without what changes from attempt to attempt.
TaskKey: TypeAlias = tuple[object, ...]

#: Ids that LangChain gives a message after the call of the model.
_OF_CALL: Final = ("lc_run-", "run-")


@dataclass(slots=True, eq=False)
class Call:
    """A tool call of a message: its id as told, its name, and its arguments as JSON, in pieces."""

    call_id: str = ""
    name: str = ""
    args: list[str] = field(default_factory=list)
    given_id: str = ""
    number: int = 0
    is_told: bool = False
    followed: int = 0

    @property
    def arguments(self) -> str:
        """The JSON of the arguments."""
        return "".join(self.args)


@dataclass(slots=True, eq=False)
class Message:
    """A message that is being told, or was.

    Attributes:
        message_id: The id under which it is told.
        scope: The graphs around it, as in the log.
        at: Where it comes from.
        metadata: Of its first piece.
        text: Its text, in pieces; `reasoning` likewise.
        calls: Its calls by their index.
        is_open: Whether more may come.
        old: The message of an earlier attempt that it agrees with so far; None: it is told by itself.
        text_followed: How many characters of the old text it has repeated; `reasoning_followed` likewise.
        is_matched: Whether a later attempt has repeated it.
    """

    message_id: str
    scope: str
    at: Place
    metadata: Mapping[str, Any]
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[object, Call] = field(default_factory=dict)
    is_open: bool = True
    old: Message | None = None
    text_followed: int = 0
    reasoning_followed: int = 0
    is_matched: bool = False
    ids: list[str] = field(default_factory=list)


class Messages:
    """The messages and tool results of a run.

    Attributes:
        waiting: The calls without a result, with the graphs around them, in the order in which they were made.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[str, Call]] = {}
        self._by_id: dict[tuple[str, str], Message] = {}
        self._in_task: dict[str, list[Message]] = {}
        self._told: dict[TaskKey, list[Message]] = {}
        self._earlier: dict[TaskKey, list[Message]] = {}
        self._used: set[str] = set()
        self._known: set[str] = set()
        self._answered: set[tuple[str, str]] = set()

    def take_over(self) -> None:
        """Take note that another attempt begins: what follows may repeat what was told."""
        for key, messages in self._told.items():
            again = [each.old or each for each in messages]
            for each in again:
                each.is_matched = False
            left = [each for each in self._earlier.get(key, ()) if not each.is_matched and each not in again]
            self._earlier[key] = again + left
        self._told = {}
        self._by_id.clear()
        self._in_task.clear()

    def knows(self, message_id: str | None) -> bool:
        """Return whether a message was told, or was in the thread before the run."""
        return message_id in self._known

    def note(self, message_id: str | None) -> None:
        """Take note of a message that is told, or that the thread had before the run."""
        if message_id is not None:
            self._known.add(message_id)
            self._used.add(message_id)

    def piece(
        self, seq: int, scope: str, chunk: AIMessageChunk, metadata: Mapping[str, Any], at: Place
    ) -> Iterator[Fact]:
        """Tell a piece of a message that a model streams."""
        task = str(metadata.get("langgraph_checkpoint_ns") or scope)
        message = self._find(task, chunk.id)
        if message is None:
            message = self._begin(seq, scope, task, chunk.id, metadata, at)
            if message.old is None:
                yield MessageStarted(message.message_id, at, metadata)
        yield from self._write(seq, message, chunk)
        if chunk.chunk_position == "last":
            yield from self._end(message)

    def whole(self, seq: int, scope: str, given: AIMessage, metadata: Mapping[str, Any], at: Place) -> Iterator[Fact]:
        """Tell a message that a node returned, unless it was told; end it if it was streamed."""
        task = str(metadata.get("langgraph_checkpoint_ns") or scope)
        if given.id is not None and given.id in self._known:
            yield from self.settle(given.id)
            return
        message = self._begin(seq, scope, task, given.id, metadata, at)
        if message.old is None:
            yield MessageStarted(message.message_id, at, metadata)
        yield from self._write(seq, message, given)
        yield from self._end(message)

    def settle(self, message_id: str | None) -> Iterator[Fact]:
        """End a message that is in the state, if it is still open."""
        for (_, each), message in list(self._by_id.items()):
            if each == message_id and message.is_open:
                yield from self._end(message)

    def result(self, scope: str, message: ToolMessage, at: Place, *, only_waiting: bool = False) -> Iterator[Fact]:
        """Tell the result of a call, unless it was told.

        Args:
            scope: The graphs around it.
            message: The result.
            at: Where.
            only_waiting: Whether to leave out results of calls that are not known to wait.
        """
        if message.id is not None and message.id in self._known:
            return
        waits = self._waiting_call(scope, message.tool_call_id)
        if waits is None:
            if only_waiting or (scope, message.tool_call_id) in self._answered:
                return
            call_id, name, where = message.tool_call_id, message.name or "", scope
        else:
            where, call = waits
            call_id, name = call.call_id, message.name or call.name
            del self.waiting[call_id]
        self.note(message.id)
        self._answered.add((where, message.tool_call_id))
        self._answered.add((scope, message.tool_call_id))
        yield ToolResult(
            message.id or f"result_{call_id}",
            call_id,
            name,
            message.content,
            text_of(message.content),
            message.status == "error",
            at,
        )

    def arguments(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Return name and arguments of the calls without a result, by the id under which they were told."""
        found: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for call_id, (_, call) in self.waiting.items():
            try:
                args = json.loads(call.arguments)
            except ValueError:
                continue
            if isinstance(args, dict):
                found[call_id] = call.name, args
        return found

    def end(self) -> Iterator[Fact]:
        """End what was cut off by the end of the run."""
        for messages in [*self._in_task.values(), *self._earlier.values()]:
            for each in messages:
                if each.is_open and each.old is None:
                    yield from self._close(each, is_complete=False)

    # Identity.

    def _find(self, task: str, message_id: str | None) -> Message | None:
        found = self._by_id.get((task, message_id or ""))
        if found is not None:
            return found if found.is_open else None
        if message_id is None:
            return None
        of_call = message_id.startswith(_OF_CALL)
        for each in self._in_task.get(task, ()):
            if each.is_open and len(each.ids) == 1 and each.ids[0].startswith(_OF_CALL) != of_call:
                self._name(task, each, message_id)
                return each
        return None

    def _name(self, task: str, message: Message, message_id: str | None) -> None:
        message.ids.append(message_id or "")
        self._by_id[task, message_id or ""] = message
        self.note(message_id)

    def _begin(
        self, seq: int, scope: str, task: str, message_id: str | None, metadata: Mapping[str, Any], at: Place
    ) -> Message:
        key = _key(task, metadata)
        told = self._told.setdefault(key, [])
        earlier = self._earlier.get(key, ())
        old = next((each for each in earlier if not each.is_matched), None)
        if old is not None:
            old.is_matched = True
        name = old.message_id if old is not None else self._unique(message_id or f"msg_{seq}")
        message = Message(name, scope, at, metadata, old=old)
        told.append(message)
        self._in_task.setdefault(task, []).append(message)
        self._name(task, message, message_id)
        return message

    def _unique(self, wanted: str) -> str:
        found, number = wanted, 1
        while found in self._used:
            number += 1
            found = f"{wanted}:{number}"
        self._used.add(found)
        return found

    def _waiting_call(self, scope: str, call_id: str) -> tuple[str, Call] | None:
        same = [each for each in self.waiting.values() if each[1].given_id == call_id]
        here = [each for each in same if each[0] == scope]
        found = here or same
        return found[-1] if found else None

    # Content.

    def _write(self, seq: int, message: Message, chunk: AIMessage) -> Iterator[Fact]:
        for is_reasoning, text in chunk_text.of(chunk):
            if text:
                yield from self._text(message, is_reasoning, text)
        if isinstance(chunk, AIMessageChunk):
            for number, each in enumerate(chunk.tool_call_chunks):
                index = each.get("index")
                where = (seq, number) if index is None else index
                yield from self._call(seq, message, where, each.get("id"), each.get("name"), each.get("args") or "")
        else:
            for number, call in enumerate(chunk.tool_calls):
                args = compact_json(call["args"])
                yield from self._call(seq, message, number, call["id"], call["name"], args)

    def _text(self, message: Message, is_reasoning: bool, text: str) -> Iterator[Fact]:
        (message.reasoning if is_reasoning else message.text).append(text)
        old = message.old
        if old is None:
            delta = ReasoningDelta if is_reasoning else TextDelta
            yield delta(message.message_id, text)
            return
        told, at = (old.reasoning, message.reasoning_followed) if is_reasoning else (old.text, message.text_followed)
        before = "".join(told)
        same = before[at : at + len(text)]
        rest = text[len(same) :]
        if not text.startswith(same) or (rest and not old.is_open):
            yield from self._part(message, old)
            return
        if is_reasoning:
            message.reasoning_followed += len(text)
        else:
            message.text_followed += len(text)
        if rest:
            told.append(rest)
            delta = ReasoningDelta if is_reasoning else TextDelta
            yield delta(message.message_id, rest)

    def _call(
        self, seq: int, message: Message, index: object, call_id: str | None, name: str | None, args: str
    ) -> Iterator[Fact]:
        call = message.calls.get(index)
        if call is None:
            call = message.calls[index] = Call(number=len(message.calls))
        call.given_id = call.given_id or call_id or ""
        call.name = call.name or name or ""
        if args:
            call.args.append(args)
        old = message.old
        if old is None:
            yield from self._tell_call(seq, message, call, args)
            return
        before = list(old.calls.values())
        if call.number >= len(before):
            if not old.is_open:
                yield from self._part(message, old)
                return
            before.append(Call(number=call.number))
            old.calls[seq, call.number] = before[-1]
        yield from self._follow(seq, message, old, call, before[call.number], args)

    def _follow(self, seq: int, message: Message, old: Message, call: Call, told: Call, args: str) -> Iterator[Fact]:
        """Tell what a call has more than the one that it repeats."""
        named = told.is_told and bool(call.name and call.given_id)
        before = told.arguments
        same = before[call.followed : call.followed + len(args)]
        rest = args[len(same) :]
        differs = named and (call.name, call.given_id) != (told.name, told.given_id)
        if differs or not args.startswith(same) or (rest and not old.is_open):
            yield from self._part(message, old)
            return
        call.followed += len(args)
        call.call_id, call.is_told = told.call_id, told.is_told
        if not told.is_told:
            told.given_id, told.name = call.given_id, call.name
        if rest:
            told.args.append(rest)
        yield from self._tell_call(seq, old, told, rest)
        call.call_id, call.is_told = told.call_id, told.is_told

    def _tell_call(self, seq: int, message: Message, call: Call, args: str) -> Iterator[Fact]:
        """Tell the beginning of a call as soon as its name is known, then more of its arguments."""
        if call.is_told:
            if args:
                yield ToolCallDelta(call.call_id, args)
            return
        if not call.name:
            return
        call.given_id = call.given_id or f"call_{seq}_{len(message.calls)}"
        call.call_id = self._unique(call.given_id)
        call.is_told = True
        yield ToolCallStarted(message.message_id, call.call_id, call.name)
        if call.args:
            yield ToolCallDelta(call.call_id, call.arguments)

    # The end.

    def _end(self, message: Message) -> Iterator[Fact]:
        old = message.old
        if old is not None and _is_shorter(message, old):
            yield from self._part(message, old)
        elif old is not None:
            message.is_open = False
            if old.is_open:
                yield from self._close(old)
            return
        if message.is_open:
            yield from self._close(message)

    def _close(self, message: Message, *, is_complete: bool = True) -> Iterator[Fact]:
        message.is_open = False
        for call in message.calls.values():
            if call.is_told:
                if not call.args:
                    call.args.append("{}")
                    yield ToolCallDelta(call.call_id, "{}")
                yield ToolCallEnded(message.message_id, call.call_id, call.name, call.arguments)
                if is_complete and (message.scope, call.given_id) not in self._answered:
                    self.waiting[call.call_id] = message.scope, call
        yield MessageEnded(message.message_id, "".join(message.text), is_complete)

    def _part(self, message: Message, old: Message) -> Iterator[Fact]:
        """Discard a message that is not repeated, and tell the one in its place from its beginning."""
        if old.is_open:
            yield from self._close(old, is_complete=False)
        for call in old.calls.values():
            self.waiting.pop(call.call_id, None)
        yield MessageDiscarded(old.message_id)
        message.old = None
        message.message_id = self._unique(next((each for each in message.ids if each), old.message_id))
        yield MessageStarted(message.message_id, message.at, message.metadata)
        if message.reasoning:
            yield ReasoningDelta(message.message_id, "".join(message.reasoning))
        if message.text:
            yield TextDelta(message.message_id, "".join(message.text))
        for call in message.calls.values():
            call.is_told = False
            yield from self._tell_call(0, message, call, "")


def _is_shorter(message: Message, old: Message) -> bool:
    """Return whether a message ends before the one that it repeats."""
    return (
        message.text_followed < sum(map(len, old.text))
        or message.reasoning_followed < sum(map(len, old.reasoning))
        or len(message.calls) < len(old.calls)
        or any(
            each.followed < len(told.arguments) and told.arguments != "{}"
            for each, told in zip(message.calls.values(), old.calls.values(), strict=False)
        )
    )


def _key(task: str, metadata: Mapping[str, Any]) -> TaskKey:
    """Return what a task that runs again has in common with its first run: ids of nested graphs' tasks are new."""
    first, *nested = task.split("|")
    return first, *(each.partition(":")[0] for each in nested), metadata.get("langgraph_step")
