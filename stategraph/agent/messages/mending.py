"""Answers of models, repaired before they are reported.

Models leave out ids, use one twice, leave out names, break off in the middle of arguments, and cut texts between the
halves of a surrogate pair. Providers, savers and front ends refuse any of these, and results are matched to calls by id
alone. So an answer is mended piece by piece as it comes, and steps, parts, events, messages and the stored conversation
all have the mended ids and texts.

- A call without an id, or with that of an earlier call of the answer, is given one. So is an answer whose id an earlier
  message of the conversation has: the one would take the place of the other.
- A call whose arguments cannot be read goes to `invalid_tool_calls`, with the reason as its `error`: it does not run.
- Of a surrogate pair that was cut the first half is held back until the other one comes.
"""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.messages.tool import invalid_tool_call, tool_call

from stategraph.agent.messages import arguments, encodable, reasoning
from stategraph.engine.config import environment

NAMELESS = "nameless_tool"
"""Stands for a name that the model left out: providers refuse an empty one."""

_TEXTS_OF_BLOCKS = ("text", "thinking", "reasoning")

#: Prefix of LangChain's ids of runs, which are different for every answer.
_UNIQUE = "lc_run-"

_id = attrgetter("id")


# Whole answers.


def mended(message: AIMessage, history: Sequence[AnyMessage] = ()) -> AIMessage:
    """Mend a whole answer.

    Args:
        message: The answer. It is not changed.
        history: The conversation before it.

    Returns:
        The same object if nothing is wrong with it.
    """
    update: dict[str, Any] = {}
    if message.id and _is_taken(message.id, history):
        update["id"] = environment.current().unique()
    if (content := encodable.encodable_value(message.content)) is not message.content:
        update["content"] = content
    if (others := encodable.encodable_value(message.additional_kwargs)) is not message.additional_kwargs:
        update["additional_kwargs"] = others
    if not _is_sound(message):
        update |= _calls(cast("Sequence[Any]", [*message.tool_calls, *message.invalid_tool_calls]))
        # Providers' own copies of the calls would be sent in their place.
        update["additional_kwargs"] = {key: value for key, value in others.items() if key != "tool_calls"}
    return message.model_copy(update=update) if update else message


def is_mended(calls: Sequence[Any]) -> bool:
    """Return whether every call has a name and a unique id."""
    ids = [call.get("id") for call in calls]
    return all(isinstance(each, str) and each for each in ids) and len(set(ids)) == len(ids) and all(map(_name, calls))


def _is_taken(message_id: str, history: Sequence[AnyMessage]) -> bool:
    return not message_id.startswith(_UNIQUE) and message_id in map(_id, history)


def _is_sound(message: AIMessage) -> bool:
    if message.invalid_tool_calls:
        return False
    return is_mended(message.tool_calls) and all(map(_is_readable, message.tool_calls))


def _is_readable(call: Any) -> bool:
    try:
        return arguments.read(call["args"]) is call["args"]
    except arguments.UnreadableArgumentsError:
        return False


def _calls(given: Sequence[Any]) -> dict[str, Any]:
    """Return the calls of an answer, those that can run and those that cannot, each with a name and an id."""
    sound: list[Any] = []
    unreadable: list[Any] = []
    taken: set[str] = set()
    for call in given:
        call_id, name, raw = call.get("id"), _name(call) or NAMELESS, call.get("args")
        if not isinstance(call_id, str) or not call_id or call_id in taken:
            call_id = _new_id()
        taken.add(call_id)
        try:
            sound.append(tool_call(name=name, args=arguments.read(raw), id=call_id))
        except arguments.UnreadableArgumentsError as error:
            # Unreadable arguments are kept up to a length that a person may want to see.
            text = encodable.encodable(raw if isinstance(raw, str) else reprlib.repr(raw))
            unreadable.append(invalid_tool_call(name=name, args=text, id=call_id, error=str(error)))
    return {"tool_calls": sound, "invalid_tool_calls": unreadable}


def _name(call: Any) -> str:
    name = call.get("name")
    return encodable.encodable(name) if isinstance(name, str) else ""


def _new_id() -> str:
    return f"call_{environment.current().ids.unique().hex[-24:]}"


# Streamed answers.


@dataclass(slots=True)
class _Call:
    """A call that is being streamed.

    Attributes:
        id: Its id, perhaps made here.
        given: Its id as the provider has it.
        index: Its place among the calls, as told.
        name: As much of its name as came.
    """

    id: str
    given: str
    index: object
    name: str = ""

    def is_followed_by(self, call_id: str, name: str) -> bool:
        """Return whether a fragment with the same index, of this id and name, begins another call."""
        return bool(name and call_id and call_id != self.given and (self.given or self.name))

    def corrections(self, index: object, call_id: str, name: str) -> dict[str, Any]:
        """Return what to change in a further fragment: providers repeat names and ids, which would be joined.

        Args:
            index: The fragment's index.
            call_id: Its id; empty if it has none.
            name: Its name, or part of a name; empty if it has none.
        """
        update: dict[str, Any] = {}
        if index != self.index:
            update["index"] = self.index
        if name and name == self.name:
            update["name"] = name = ""
        if name and not self.name:
            update["id"] = self.id
        elif call_id and call_id != self.id:
            update["id"] = None
        return update


class Mender:
    """Mends one answer while it is streamed.

    Args:
        history: The conversation before it.
    """

    def __init__(self, history: Sequence[AnyMessage] = ()) -> None:
        self._history = history
        self._pieces: list[AIMessage] = []
        self._sound_id: str | None = None
        self._new_message_id: tuple[str, str] | None = None
        self._halves: dict[Hashable, str] = {}
        self._calls: list[_Call] = []
        self._by_index: dict[Any, _Call] = {}

    @property
    def is_empty(self) -> bool:
        """True if no piece of an answer has arrived."""
        return not self._pieces

    def piece(self, chunk: AIMessage) -> AIMessage:
        """Mend a piece of the answer, and keep it.

        Args:
            chunk: The next piece; of a model that does not stream, the whole answer.

        Returns:
            The piece as it is to be told; the same object if nothing is wrong with it.
        """
        made: AIMessage
        if self._is_usual(chunk):
            made = chunk
        elif not isinstance(chunk, AIMessageChunk):
            made = mended(chunk, self._history)
        else:
            update = self._texts(chunk)
            if chunk.id and (message_id := self._message_id(chunk.id)) != chunk.id:
                update["id"] = message_id
            else:
                self._sound_id = chunk.id
            made = chunk.model_copy(update=update) if update else chunk
            if chunk.tool_call_chunks:
                made = self._with_fragments(chunk, made)
        self._pieces.append(made)
        return made

    def so_far(self) -> AIMessage | None:
        """Return the pieces that have come as one, with the usage in them; None if there are none."""
        first, *others = self._pieces or (None,)
        if not isinstance(first, AIMessageChunk):
            return first
        return add_ai_message_chunks(first, *(each for each in others if isinstance(each, AIMessageChunk)))

    def whole(self) -> AIMessage:
        """Put the pieces together.

        Returns:
            The answer, mended.
        """
        first, *others = self._pieces
        if not isinstance(first, AIMessageChunk):
            return first
        chunks = [first, *(each for each in others if isinstance(each, AIMessageChunk))]
        merged = add_ai_message_chunks(chunks[0], *chunks[1:])
        message = cast("AIMessage", message_chunk_to_message(merged))
        # LangChain has completed arguments that break off: what the model wrote counts.
        return (
            mended(message.model_copy(update=_calls(merged.tool_call_chunks))) if merged.tool_call_chunks else message
        )

    def _is_usual(self, chunk: AIMessage) -> bool:
        """Return whether a piece is of the kind that most are, with which nothing can be wrong; once per token."""
        text = chunk.content
        return (
            type(chunk) is AIMessageChunk
            and type(text) is str
            and text.isascii()
            and not (self._halves or chunk.tool_call_chunks or chunk.additional_kwargs)
            and chunk.id == self._sound_id
        )

    def _message_id(self, given: str) -> str:
        if self._new_message_id is None or self._new_message_id[0] != given:
            self._new_message_id = (given, environment.current().unique() if _is_taken(given, self._history) else given)
        return self._new_message_id[1]

    # Texts.

    def _texts(self, chunk: AIMessageChunk) -> dict[str, Any]:
        """Return what of a chunk changes so that its texts can be encoded."""
        update: dict[str, Any] = {}
        content = chunk.content
        if isinstance(content, str):
            if (text := self._text("content", content)) is not content:
                update["content"] = text
        else:
            blocks = content
            for place, block in enumerate(content):
                if (made := self._block(place, block)) is not block:
                    blocks = [*blocks[:place], made, *blocks[place + 1 :]]
            if blocks is not content:
                update["content"] = blocks
        others = chunk.additional_kwargs
        for key in reasoning.KEYS:
            thought = others.get(key)
            if isinstance(thought, str) and (text := self._text(key, thought)) is not thought:
                others = update["additional_kwargs"] = {**others, key: text}
        return update

    def _block(self, place: int, block: Any) -> Any:
        if isinstance(block, str):
            return self._text(("block", place), block)
        changed = {}
        for key in _TEXTS_OF_BLOCKS:
            text = block.get(key)
            # Once per token: the usual text is known to be fine without a key for its half.
            if not isinstance(text, str) or (text.isascii() and not self._halves):
                continue
            if (made := self._text((block.get("index", place), key), text)) is not text:
                changed[key] = made
        return {**block, **changed} if changed else block

    def _text(self, where: Hashable, text: str) -> str:
        if not self._halves and text.isascii():
            return text
        text, half = encodable.without_open_half(self._halves.pop(where, "") + text)
        if half:
            self._halves[where] = half
        return text

    # Calls.

    def _with_fragments(self, chunk: AIMessageChunk, made: AIMessageChunk) -> AIMessageChunk:
        fragments = [self._fragment(each) for each in chunk.tool_call_chunks]
        if all(map(is_, fragments, chunk.tool_call_chunks)):
            return made
        fields = {name: getattr(made, name) for name in type(made).model_fields}
        fresh = {"tool_call_chunks": fragments, "tool_calls": [], "invalid_tool_calls": []}
        return type(made)(**{**fields, **fresh})

    def _fragment(self, given: Any) -> Any:
        """Mend a fragment; the same object if nothing is wrong with it."""
        index, call_id, name = given.get("index"), given.get("id") or "", given.get("name") or ""
        call = None if index is None else self._by_index.get(index)
        if call is None or call.is_followed_by(call_id, name):
            return self._first_fragment(given)
        update = call.corrections(index, call_id, name)
        call.name += update.get("name", name)
        return {**given, **update} if update else given

    def _first_fragment(self, given: Any) -> Any:
        index, call_id, name = given.get("index"), given.get("id") or "", given.get("name") or ""
        is_new = bool(call_id) and all(call_id != each.id for each in self._calls)
        place = index
        if index is not None and index in self._by_index:
            # Calls with one index would be merged into one.
            place = 1 + max((each.index for each in self._calls if isinstance(each.index, int)), default=0)
        call = _Call(call_id if is_new else _new_id(), call_id, place, name)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return given if call.id == call_id and place == index else {**given, "id": call.id, "index": place}
