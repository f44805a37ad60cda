"""Stored content parts as messages for a model again.

- Errors, marks of agents, labels, outputs and holes are for readers: a model is not sent them, nor what has no content.
- A summary stands for what came before it, see `stored_summaries`.
- Calls of tools that the agent does not have are left out with their results, see `stored_tools`.
- What became of an answer is decided in `stored_answers`. If it ends with words of a person, and another message of a
  person follows, a message of the model stands between: providers insist on turns.
- What skills say is told again behind the answer that read them, if the host gives it.
- Token counts follow: those of a stored message are shared out among what became of it by length of text.
- The first message that became of a stored one has its id, and each says in `additional_kwargs` where it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from stategraph.run.history import stored_answers, stored_summaries, stored_tools
from stategraph.run.history.stored_answers import AnswerForm
from stategraph.run.history.stored_parts import Indexed, message_id, provenance, text_of, weight
from stategraph.run.history.stored_summaries import HistorySummary, TokenAdjustment

_BETWEEN: Final = "_"
"""What the model says between two messages of a person; some providers refuse an empty message."""
_MEDIA: Final = ("documents", "videos", "audios", "image_urls")
"""Fields of a user's message with parts to add, in their order."""


class FormattedHistory(NamedTuple):
    """A history as messages.

    Attributes:
        messages: Without those that the summary stands for.
        index_token_count_map: Tokens of the messages by position; None if no counts were given.
        summary: None if there is none.
        boundary_token_adjustment: The count that was reduced because a summary stands for the beginning of a message;
            None if none was.
    """

    messages: list[AnyMessage]
    index_token_count_map: dict[int, int] | None
    summary: HistorySummary | None
    boundary_token_adjustment: TokenAdjustment | None = None


def format_agent_messages(
    payload: Sequence[Mapping[str, Any]],
    index_token_count_map: Mapping[int, int] | None = None,
    tools: Collection[str] | None = None,
    skills: Mapping[str, str] | None = None,
    *,
    provider: str = "",
    legacy_content: bool = False,
    preserve_reasoning_content: bool | None = None,
    skip_skill_body_names: Collection[str] = (),
) -> FormattedHistory:
    """Turn stored messages into those that a model is sent.

    Args:
        payload: Stored messages: a `role` ("user", "assistant" or "system") and `content`, a text or a list of parts.
            Without a role, `sender` decides: `user`, or else the assistant; without `content`, `text` counts.
        index_token_count_map: Tokens of the stored messages by position, as far as they are known. None: not counted.
        tools: Names of the agent's tools; tools that a stored search has found count as well. Calls of others are left
            out. Transfers, outputs and calls of subagents stay in any case. None: all calls stay.
        skills: What skills say, by name: told behind each answer that called the tool `skill` for them.
        provider: The provider of the model that will read them. For Anthropic's, tools that it has executed are
            blocks of the messages, and of calls that are stored twice the one with a result counts.
        legacy_content: Whether content of text alone is one text, for models that take nothing else.
        preserve_reasoning_content: Whether thoughts before a message or a call go along as `reasoning_content`. None:
            for DeepSeek, whose models want them back.
        skip_skill_body_names: Skills that the host tells by itself in this turn.

    Returns:
        The messages, their token counts and the summary, if there is one.

    Raises:
        ValueError: A message has another role.
    """
    boundary = stored_summaries.boundary(payload)
    keeps = provider.lower() == "deepseek" if preserve_reasoning_content is None else preserve_reasoning_content
    told = {name: body for name, body in (skills or {}).items() if body and name not in skip_skill_body_names}
    history = _History(stored_tools.KnownTools(tools), told, AnswerForm(provider, keeps), is_flat=legacy_content)
    counts: dict[int, int] = {}
    adjustment: TokenAdjustment | None = None
    for position in range(boundary.first, len(payload)):
        skip = boundary.skip if position == boundary.first else 0
        weights = history.add(payload[position], position, skip, is_last=position == len(payload) - 1)
        known = None if index_token_count_map is None else index_token_count_map.get(position)
        if known is None:
            continue
        if skip:
            adjustment = stored_summaries.adjusted(known, payload[position]["content"], skip)
            known = known if adjustment is None else adjustment.adjusted
        indices, sizes = [index for index, _ in weights], [size for _, size in weights]
        counts.update(zip(indices, _share_out(known, sizes), strict=True))
    shown = None if index_token_count_map is None else counts
    return FormattedHistory(history.messages, shown, boundary.summary, adjustment)


@dataclass(slots=True)
class _History:
    """The messages so far.

    Attributes:
        tools: The tools that are known.
        skills: What skills say.
        form: How answers are formatted.
        is_flat: Whether content of text alone is one text.
        messages: The messages.
        steered: Whether the last stored message ended with words of a person.
    """

    tools: stored_tools.KnownTools
    skills: Mapping[str, str]
    form: AnswerForm
    is_flat: bool = False
    messages: list[AnyMessage] = field(default_factory=list)
    steered: bool = False

    def add(self, stored: Mapping[str, Any], position: int, skip: int, *, is_last: bool) -> list[tuple[int, int]]:
        """Add what becomes of a stored message; returns the position of each message and its weight."""
        role = _role(stored, position)
        content = stored.get("content")
        if content is None:
            content = stored.get("text") or ""
        parts: list[Indexed] = list(enumerate(content))[skip:] if isinstance(content, list) else _text(content)
        if not parts:
            return []
        if role != "assistant":
            self._before(role)
            self.messages.append(self._shown(_of_person(stored, role, parts)))
            return [(len(self.messages) - 1, 1)]
        return self._answer(stored, parts, replace(self.form, is_last=is_last))

    def _answer(self, stored: Mapping[str, Any], parts: list[Indexed], form: AnswerForm) -> list[tuple[int, int]]:
        parts = self.tools.kept(parts)
        made = stored_answers.messages_of(parts, form)
        if not made:
            return []
        self._before("user" if made[0].steer else "assistant")
        source_id, start = message_id(stored), len(self.messages)
        shown = [self._shown(each.message(source_id, first=not index)) for index, each in enumerate(made)]
        self.messages += shown
        self.steered = made[-1].steer
        for name in stored_tools.skills(parts) if self.skills else ():
            if name in self.skills:
                about = {"role": "user", "isMeta": True, "source": "skill", "skillName": name}
                self.messages.append(
                    HumanMessage(self.skills[name], additional_kwargs={**about, **provenance(None, ())})
                )
        return [(start + index, _weight(each)) for index, each in enumerate(shown)]

    def _shown(self, message: AnyMessage) -> AnyMessage:
        return _flat(message) if self.is_flat else message

    def _before(self, role: str) -> None:
        """Put a message of the model between two of a person."""
        if self.steered and role != "assistant":
            self.messages.append(AIMessage(_BETWEEN, additional_kwargs=provenance(None, ())))
        self.steered = False


def _weight(message: AnyMessage) -> int:
    return weight(message.content, message.tool_calls if isinstance(message, AIMessage) else ())


def _text(content: str) -> list[Indexed]:
    return [(0, {"type": "text", "text": content})]


def _role(stored: Mapping[str, Any], position: int) -> str:
    role = stored.get("role")
    if role is None:
        return "user" if str(stored.get("sender") or "").lower() == "user" else "assistant"
    if role not in ("assistant", "user", "system"):
        raise ValueError(f"Stored message {position} has the role {role!r}, expected 'user', 'assistant' or 'system'")
    return str(role)


def _of_person(stored: Mapping[str, Any], role: str, parts: Sequence[Indexed]) -> AnyMessage:
    """Return a message of the user or of the host."""
    kept = [(index, dict(part)) for index, part in parts if part is not None]
    source_id = message_id(stored)
    about: dict[str, Any] = {
        "id": source_id,
        "additional_kwargs": provenance(source_id, [("user" if role == "user" else "synthetic", at) for at, _ in kept]),
    }
    if stored.get("_name"):
        about["name"] = re.sub(r"[^a-zA-Z0-9_-]", "_", str(stored["_name"]))[:64]
    content: list[Any] = [part for _, part in kept]
    if role == "system":
        return SystemMessage(content=content, **about)
    return HumanMessage(content=[*content, *_media(stored)], **about)


def _media(stored: Mapping[str, Any]) -> Iterator[Any]:
    for key in _MEDIA:
        found = stored.get(key)
        yield from found if isinstance(found, list) else ()


def _flat(message: AnyMessage) -> AnyMessage:
    """Return a message whose content is one text, if it is text alone."""
    content = message.content
    if message.type == "tool" or not isinstance(content, list):
        return message
    if not all(isinstance(block, dict) and block.get("type") == "text" for block in content):
        return message
    text = "".join(f"{text_of(block)}\n" for block in content if isinstance(block, dict)).strip()
    return message.model_copy(update={"content": text})


def _share_out(tokens: int, weights: Sequence[int]) -> list[int]:
    """Shares in whole tokens; what rounding leaves over goes to the last one, so that the sum stays."""
    if not weights:
        return []
    total = sum(weights)
    shares = [tokens * weight // total if total else tokens // len(weights) for weight in weights]
    shares[-1] += tokens - sum(shares)
    return shares
