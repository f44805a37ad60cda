"""Messages and content parts: made of each other, labelled, flattened, looked at.

`formatAgentMessages` is `stategraph`'s; the others are small functions that hosts call around it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.context.discovery import discovered
from stategraph.run.history.stored_messages import format_agent_messages
from stategraph.run.history.stored_parts import REASONING
from stategraph.run.hooks.injected import injected_message

__all__ = [
    "coalesceAdjacentUserTurns",
    "convertInjectedMessages",
    "convertMessagesToContent",
    "extractToolDiscoveries",
    "flattenLegacyContent",
    "formatAgentMessages",
    "formatContentStrings",
    "formatFromLangChain",
    "formatLangChainMessages",
    "formatMediaMessage",
    "formatMessage",
    "hasNonEmptyTextContent",
    "hasToolSearchInCurrentTurn",
    "isLegacyConvertible",
    "isReasoningContentBlock",
    "labelContentByAgent",
    "shiftIndexTokenCountMap",
]

_Content = Sequence[Mapping[str, Any]]
_OF_CLASSES = {"SystemMessage": "system", "HumanMessage": "user", "AIMessage": "assistant"}
_MEDIA = ("documents", "videos", "audios", "image_urls")


# Stored messages.


def formatAgentMessages(
    payload: Any,
    indexTokenCountMap: Any = None,
    tools: Any = None,
    skills: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`format_agent_messages` as a mapping; what there is none of is left out.

    `options` may have `provider`, `legacyContent`, `preserveReasoningContent` and `skipSkillBodyNames`.
    """
    given = options or {}
    made = format_agent_messages(
        payload,
        indexTokenCountMap,
        tools,
        skills,
        provider=str(given.get("provider") or ""),
        legacy_content=bool(given.get("legacyContent")),
        preserve_reasoning_content=given.get("preserveReasoningContent"),
        skip_skill_body_names=given.get("skipSkillBodyNames") or (),
    )
    found: dict[str, Any] = {"messages": made.messages, "indexTokenCountMap": made.index_token_count_map}
    if made.summary is not None:
        found["summary"] = made.summary
    if made.boundary_token_adjustment is not None:
        found["boundaryTokenAdjustment"] = made.boundary_token_adjustment
    return found


def shiftIndexTokenCountMap(indexTokenCountMap: Mapping[int, int], instructionsTokenCount: int) -> dict[int, int]:
    """Return counts by position with another message before all others."""
    return {0: instructionsTokenCount, **{int(index) + 1: count for index, count in indexTokenCountMap.items()}}


def labelContentByAgent(
    contentParts: _Content,
    agentIdMap: Mapping[int, str] | None = None,
    agentNames: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Say in stored content which agent said what.

    Args:
        contentParts: The parts.
        agentIdMap: Agents by the position of their parts; None or empty: nothing is changed.
        agentNames: Names of agents by their ids.
        options: With `labelNonTransferContent`, what each agent said becomes one text. Else what an agent said after a
            transfer becomes the result of the call that transferred to it.
    """
    parts = [dict(part) for part in contentParts]
    if not agentIdMap:
        return parts
    everywhere = bool((options or {}).get("labelNonTransferContent"))
    labels = _Labels({int(key): agent for key, agent in agentIdMap.items()}, agentNames or {}, everywhere=everywhere)
    for index, part in enumerate(parts):
        if part.get("type") != "activity_label":
            labels.take(index, part)
    labels.flush()
    return labels.made


class _Labels:
    """The parts so far, and those of the agent that speaks."""

    def __init__(self, agents: Mapping[int, str], names: Mapping[str, str], *, everywhere: bool) -> None:
        self.made: list[dict[str, Any]] = []
        self._agents = agents
        self._names = names
        self._everywhere = everywhere
        self._agent: str | None = None
        self._said: list[dict[str, Any]] = []
        self._transfer: dict[str, Any] | None = None

    def take(self, index: int, part: dict[str, Any]) -> None:
        agent = self._agents.get(index)
        if self._agent is not None and agent != self._agent:
            self.flush()
        self._agent = agent
        call = part.get("tool_call") or {}
        if not self._everywhere and str(call.get("name") or "").startswith("lc_transfer_to_"):
            self.flush()
            self._transfer = {**call}
            self.made.append({**part, "tool_call": self._transfer})
            self._agent = None
        elif part.get("type") == "steer":
            self.flush()
            self.made.append(part)
            if not self._everywhere:
                self._agent = None
        else:
            self._said.append(part)

    def flush(self) -> None:
        """End what the agent says."""
        said, self._said = self._said, []
        if not said:
            return
        transfer, self._transfer = self._transfer, None
        name = self._names.get(self._agent or "") or self._agent
        if name and self._everywhere:
            lines = [f"--- {name} ---", *self._lines(name, said), f"--- End of {name} ---"]
            self.made.append({"type": "text", "text": "\n\n".join(lines)})
        elif name and transfer is not None:
            lines = [f"--- Transfer to {name} ---", *self._lines(name, said), f"--- End of {name} response ---"]
            transfer["output"] = "\n\n".join(lines)
        else:
            self.made += said

    def _lines(self, name: str, said: list[dict[str, Any]]) -> list[str]:
        lines = []
        for part in said:
            kind = part.get("type")
            if kind == "text" and part.get("text"):
                lines.append(part["text"] if self._everywhere else _json({"type": "text", "text": part["text"]}))
            elif kind == "think" and (part.get("think") or not self._everywhere):
                lines.append(_json({"type": "think", "think": part.get("think")}))
            elif kind == "tool_call":
                lines.append(_json({"type": "tool_call", "tool_call": part.get("tool_call")}))
        return [f"{name}: {line}" for line in lines]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# Single messages.


def formatMessage(params: Mapping[str, Any]) -> Any:
    """Make a message of OpenAI's form, or with `langChain` one of LangChain's, of what a host knows of it.

    Args:
        params: `message` (with `role` or `sender`, `content` or `text`, `_name`, media), and `userName`,
            `assistantName`, `endpoint`, `langChain`.
    """
    message, is_langchain = params["message"], bool(params.get("langChain"))
    role = _role(message, is_langchain)
    content = message.get("content")
    made: dict[str, Any] = {"role": role, "content": (message.get("text") or "") if content is None else content}
    names = {"user": params.get("userName"), "assistant": params.get("assistantName")}
    if name := names.get(role) or message.get("_name"):
        made["name"] = re.sub(r"[^a-zA-Z0-9_-]", "_", str(name))[:64]
    media = [part for key in _MEDIA for part in message.get(key) or ()]
    if media and role == "user":
        text = made["content"] if isinstance(made["content"], str) else ""
        about = {"message": {**made, "content": text}, "endpoint": params.get("endpoint"), "mediaParts": media}
        made = formatMediaMessage(about)
    return _of_langchain(made) if is_langchain else made


def _role(message: Mapping[str, Any], is_langchain: bool) -> str:
    path: Sequence[str] = message.get("lc_id") or ()
    named = None if is_langchain or len(path) < 3 else _OF_CLASSES.get(path[2])
    role = named or message.get("role")
    if role is not None:
        return str(role)
    return "user" if str(message.get("sender") or "").lower() == "user" else "assistant"


def _of_langchain(made: Mapping[str, Any]) -> AnyMessage:
    kind = {"user": HumanMessage, "assistant": AIMessage}.get(made["role"], SystemMessage)
    return kind(content=made["content"], **({"name": made["name"]} if "name" in made else {}))  # type: ignore[no-any-return]


def formatMediaMessage(params: Mapping[str, Any]) -> dict[str, Any]:
    """Put media around the text of a message: before it for Anthropic, behind it for others."""
    message, media = params["message"], list(params.get("mediaParts") or ())
    text = {"type": "text", "text": message["content"]}
    content = [*media, text] if params.get("endpoint") == "anthropic" else [text, *media]
    return {**message, "content": content}


def formatLangChainMessages(messages: _Content, formatOptions: Mapping[str, Any]) -> list[Any]:
    """`formatMessage` of each, as messages of LangChain."""
    return [formatMessage({**formatOptions, "message": each, "langChain": True}) for each in messages]


def formatFromLangChain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a serialised message of LangChain, with the additional ones beside the others."""
    kwargs = dict(message.get("lc_kwargs") or message.get("kwargs") or {})
    more = kwargs.pop("additional_kwargs", None) or {}
    return {**kwargs, **more}


def convertInjectedMessages(messages: _Content) -> list[HumanMessage]:
    """Make messages of those that a host or a hook hands in; empty ones are left out."""
    return [injected_message(each) for each in messages if _says_something(each["content"])]


def _says_something(content: Any) -> bool:
    if isinstance(content, str):
        return bool(content.strip())
    return any(block.get("type") != "text" or str(block.get("text") or "").strip() for block in content)


# Content as one text.


def isLegacyConvertible(message: BaseMessage) -> bool:
    """Return whether the content of a message is text alone, in parts."""
    if message.type not in ("human", "ai", "system") or not isinstance(message.content, list):
        return False
    return all(isinstance(block, dict) and block.get("type") == "text" for block in message.content)


def flattenLegacyContent(blocks: _Content) -> str:
    """Join the texts of parts, each on a line."""
    return "".join(f"{each.get('text') or ''}\n" for each in blocks if each.get("type") == "text").strip()


def formatContentStrings(payload: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return messages whose content is one text where it is text alone."""
    return [
        each.model_copy(update={"content": flattenLegacyContent(each.content)}) if isLegacyConvertible(each) else each  # type: ignore[arg-type]
        for each in payload
    ]


def hasNonEmptyTextContent(content: Any) -> bool:
    """Return whether content says something in words."""
    if isinstance(content, str):
        return bool(content.strip())
    return any(block.get("type") == "text" and str(block.get("text") or "").strip() for block in content or ())


def isReasoningContentBlock(block: Mapping[str, Any]) -> bool:
    """Return whether a part holds thoughts."""
    return block.get("type") in REASONING


# Lists of messages.


def coalesceAdjacentUserTurns(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Join messages of a person that follow each other, for providers that insist on turns."""
    made: list[BaseMessage] = []
    for message in messages:
        if made and message.type == "human" and made[-1].type == "human":
            last = made.pop()
            marks = dict(message.additional_kwargs)
            message = HumanMessage(content=_joined(last.content, message.content), id=last.id, additional_kwargs=marks)
        made.append(message)
    return made


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}" if first else second
    return [*_blocks(first), *_blocks(second)]


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [*content]


def convertMessagesToContent(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Make content parts of the messages that a run has brought; those of persons are left out."""
    parts: list[dict[str, Any]] = []
    calls: dict[str, Mapping[str, Any]] = {}
    announcing: dict[str, Any] = {}
    for message in messages:
        if isinstance(message, ToolMessage):
            call = calls.get(message.tool_call_id)
            announcing.setdefault("tool_call_ids", []).append(message.tool_call_id)
            about: dict[str, Any] = {"id": message.tool_call_id, "name": message.name, "args": {}}
            about |= {} if call is None else {key: call[key] for key in ("id", "name", "args")}
            parts.append({"type": "tool_call", "tool_call": {**about, "output": message.content}})
        elif isinstance(message, AIMessage):
            text = _add_said(parts, message)
            calls |= {call["id"]: call for call in message.tool_calls if call["id"]}
            if message.tool_calls:
                if text is None:
                    text = {"type": "text", "text": ""}
                    parts.append(text)
                announcing = text
    return parts


def _add_said(parts: list[dict[str, Any]], message: AIMessage) -> dict[str, Any] | None:
    """Add what a message says, and return its last text."""
    content = _blocks(message.content)
    thoughts = message.additional_kwargs.get("reasoning_content")
    if isinstance(thoughts, str) and thoughts and not any(isReasoningContentBlock(each) for each in content):
        parts.append({"type": "think", "think": thoughts})
    said = [dict(block) for block in content if block.get("type") != "tool_use"]
    parts += said
    return next((block for block in reversed(said) if block.get("type") == "text"), None)


def extractToolDiscoveries(messages: Sequence[AnyMessage]) -> list[str]:
    """Return the tools that the search of the last round has found."""
    return list(discovered([each for each in _last_round(messages) if each.name == "tool_search"]))


def hasToolSearchInCurrentTurn(messages: Sequence[AnyMessage]) -> bool:
    """Return whether the last round has searched for tools."""
    return any(each.name == "tool_search" for each in _last_round(messages))


def _last_round(messages: Sequence[AnyMessage]) -> list[ToolMessage]:
    """Return the results of the calls of the last answer, if the messages end with one of them."""
    last = messages[-1] if messages else None
    if not isinstance(last, ToolMessage):
        return []
    for index in reversed(range(len(messages))):
        message = messages[index]
        ids = [call["id"] for call in message.tool_calls] if isinstance(message, AIMessage) else []
        if last.tool_call_id in ids:
            behind = messages[index + 1 :]
            return [each for each in behind if isinstance(each, ToolMessage) and each.tool_call_id in ids]
    return []
