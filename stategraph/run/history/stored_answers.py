"""One stored answer as messages: what was said, calls and their results, and what a person said meanwhile.

- A text that announces calls (`tool_call_ids`) is the message that makes them; texts before it, which announce none, go
  with it. Calls without such a text get a message without text. Every call is followed by its result.
- Other texts go together into the message at the end, as parts, or as one text if there were thoughts.
- Thoughts are left out, or go with the next message or call as `reasoning_content`, which some models want back.
- What a person said while the answer was made (`steer`) ends what was said before, and is a message of the user.
- Tools that Anthropic executes are blocks of the message, each right before its result; one without a result counts
  only in the last message of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from stategraph.run.history import stored_parts
from stategraph.run.history.stored_parts import (
    FOR_READERS,
    REASONING,
    Indexed,
    Part,
    Source,
    is_empty_text,
    provenance,
    text_of,
    thought,
)
from stategraph.run.history.stored_tools import preferred

_OF_ANTHROPIC: Final = "srvtoolu_"
"""The beginning of the ids of calls that Anthropic executes."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """Settings for formatting answers.

    Attributes:
        provider: The provider of the model that will read them; empty: any.
        keeps_reasoning: Whether thoughts go along.
        is_last: Whether the answer is the last stored message.
    """

    provider: str = ""
    keeps_reasoning: bool = False
    is_last: bool = False

    @property
    def for_anthropic(self) -> bool:
        """True if Anthropic's models will read them."""
        return self.provider.lower() == "anthropic"


@dataclass(slots=True)
class Made:
    """A message in the making.

    Attributes:
        content: What it says.
        sources: Who said what of it.
        calls: The calls that it makes.
        result_of: The call whose result it is; None: it is none.
        steer: Whether a person said it.
        reasoning: The thoughts that go along.
    """

    content: str | list[Any]
    sources: list[Source]
    calls: list[dict[str, Any]] = field(default_factory=list)
    result_of: Mapping[str, Any] | None = None
    steer: bool = False
    reasoning: str = ""

    def message(self, source_id: str | None, first: bool) -> AnyMessage:
        """Return the message.

        Args:
            source_id: The id of the stored message.
            first: Whether it is the first that became of it, and so has its id.
        """
        known: dict[str, Any] = provenance(source_id, self.sources, "model")
        own_id = source_id if first else None
        if self.result_of is not None:
            return ToolMessage(
                content=self.content,
                tool_call_id=self.result_of.get("id") or "",
                name=self.result_of.get("name"),
                id=own_id,
                additional_kwargs=known,
            )
        if self.steer:
            return HumanMessage(
                content=self.content, id=own_id, additional_kwargs={"role": "user", "source": "steer", **known}
            )
        if self.reasoning:
            known = {"reasoning_content": self.reasoning, **known}
        return AIMessage(content=self.content, tool_calls=self.calls, id=own_id, additional_kwargs=known)


def messages_of(parts: Sequence[Indexed], form: AnswerForm) -> list[Made]:
    """Return what becomes of the parts of a stored answer."""
    answer = _Answer(parts, form)
    for index, part in parts:
        if part is not None:
            answer.take(index, part)
    return answer.finish()


class _Answer:
    """The messages that parts have become so far."""

    def __init__(self, parts: Sequence[Indexed], form: AnswerForm) -> None:
        self._form = form
        self._made: list[Made] = []
        self._waiting: list[tuple[Part, Source]] = []
        self._caller: Made | None = None
        self._thought = False
        self._thoughts = ""
        self._thoughts_from: list[Source] = []
        self._preferred = preferred(parts) if form.for_anthropic else None
        self._on_server: dict[str, tuple[Part, Source]] = {}
        self._answered = {_use_id(part) for _, part in parts if part is not None and _is_server_result(part)}
        self._emitted: set[str] = set()

    def take(self, index: int, part: Part) -> None:
        """Take the next part."""
        kind = part.get("type")
        if kind in FOR_READERS:
            return
        if _is_server_result(part):
            self._server_result(index, part)
        elif kind == "tool_call":
            self._call(index, part)
        elif kind in REASONING:
            self._thought = True
            self._thoughts += thought(part)
            self._thoughts_from.append(("model", index))
        elif kind == "steer":
            self._steer(index, part)
        elif kind == "text" and part.get("tool_call_ids"):
            self._announce(index, part)
        elif not is_empty_text(part):
            self._waiting.append((part, ("model", index)))

    # What was said.

    def _say(self, content: str | list[Any], sources: Sequence[Source]) -> Made:
        """Add a message of the model, with the thoughts before it."""
        thoughts, before = self._take_thoughts()
        made = Made(content, [*before, *sources], reasoning=thoughts)
        self._made.append(made)
        return made

    def _take_thoughts(self) -> tuple[str, list[Source]]:
        if not (self._form.keeps_reasoning and self._thoughts):
            return "", []
        taken = self._thoughts, self._thoughts_from
        self._thoughts, self._thoughts_from = "", []
        return taken

    def _announce(self, index: int, part: Part) -> None:
        """Add the message that will make calls."""
        waiting = self._flush()
        own: Source = ("model", index)
        if not waiting:
            self._caller = self._say(text_of(part), [own])
            return
        blocks, sources = [each for each, _ in waiting], [source for _, source in waiting]
        if _are_texts(blocks):
            said = "".join(f"{text_of(each)}\n" for each in blocks)
            self._caller = self._say(f"{said}\n{text_of(part)}".strip(), [*sources, own])
        else:
            self._caller = self._say([dict(each) for each in (*blocks, part)], [*sources, own])

    def _flush(self) -> list[tuple[Part, Source]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _say_waiting(self, *, as_text: bool) -> None:
        """Add what waits as a message."""
        waiting = self._flush()
        blocks, sources = [each for each, _ in waiting], [source for _, source in waiting]
        if not (as_text and _are_texts(blocks)):
            self._say([dict(each) for each in blocks], sources)
        elif said := "".join(f"{text_of(each)}\n" for each in blocks).strip():
            self._say(said, sources)

    def _steer(self, index: int, part: Part) -> None:
        """Add what a person said; what comes after it is a new answer."""
        if self._waiting:
            self._say_waiting(as_text=True)
        elif self._form.keeps_reasoning and self._thoughts:
            self._say("", [])
        media = part.get("media")
        content = [dict(each) for each in media] if isinstance(media, list) and media else part.get("steer") or ""
        self._made.append(Made(content, [("user", index)], steer=True))
        self._caller, self._thought = None, False
        self._thoughts, self._thoughts_from = "", []

    def finish(self) -> list[Made]:
        """Add what is left, and return all."""
        for use, source in self._on_server.values():
            self._waiting.append((use, source))
        if self._waiting:
            self._say_waiting(as_text=self._thought)
        return self._made

    # Calls.

    def _call(self, index: int, part: Part) -> None:
        call = part.get("tool_call") or {}
        name, call_id, output = call.get("name"), call.get("id"), call.get("output")
        if name is None or (name == "" and output in (None, "")):
            return
        if self._preferred is not None and call_id and self._preferred.get(call_id) != index:
            return
        if self._form.for_anthropic and isinstance(call_id, str) and call_id.startswith(_OF_ANTHROPIC):
            self._server_call(index, call, call_id)
            return
        if self._caller is None:
            self._caller = self._say("", [("model", index)])
        else:
            thoughts, before = self._take_thoughts()
            self._caller.reasoning += thoughts
            self._caller.sources += [*before, ("model", index)]
        self._caller.calls.append({"id": call_id, "name": name, "args": stored_parts.arguments(call.get("args"))})
        self._made.append(Made(stored_parts.result(output), [("tool", index)], result_of=call))

    def _server_call(self, index: int, call: Part, call_id: str) -> None:
        """Keep a call that Anthropic executed until its result comes."""
        if call_id in self._emitted or (call_id not in self._answered and not self._form.is_last):
            return
        given = stored_parts.arguments(call.get("args"))
        use = {"type": "server_tool_use", "id": call_id, "name": call.get("name"), "input": given}
        self._on_server.setdefault(call_id, (use, ("model", index)))

    def _server_result(self, index: int, part: Part) -> None:
        use = self._on_server.pop(_use_id(part), None)
        if use is not None:
            self._waiting.append(use)
            self._emitted.add(_use_id(part))
        self._waiting.append((part, ("tool" if use is not None else "model", index)))


def _use_id(part: Part) -> str:
    return str(part.get("tool_use_id") or "")


def _is_server_result(part: Part) -> bool:
    return _use_id(part).startswith(_OF_ANTHROPIC)


def _are_texts(blocks: Sequence[Part]) -> bool:
    return all(block.get("type") == "text" for block in blocks)
