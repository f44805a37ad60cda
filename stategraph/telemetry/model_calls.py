"""Attributes of the span of a model's call, from what LangChain tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult

from stategraph.telemetry import content, names

_MADE_UP_IDS = ("lc_run-", "lc_", "run-")


class Request(NamedTuple):
    """A call that begins.

    Attributes:
        model: The model's name; None if it is not known.
        attributes: Of its span.
    """

    model: str | None
    attributes: dict[str, Any]


def request(
    metadata: Mapping[str, Any] | None, parameters: Mapping[str, Any] | None, conversation: str | None
) -> Request:
    """Describe a call.

    Args:
        metadata: Of LangChain's run; keys that begin with `ls_` describe the model.
        parameters: What the provider's client is given. Only those that the conventions name are read.
        conversation: The conversation; None: not known.
    """
    known = {key.removeprefix("ls_"): value for key, value in (metadata or {}).items() if key.startswith("ls_")}
    given = {**known, **(parameters or {})}
    model = known.get("model_name") or given.get("model") or given.get("model_name") or given.get("model_id")
    provider = str(known.get("provider") or given.get("_type") or "unknown").lower()
    attributes: dict[str, Any] = {
        names.PROVIDER: names.PROVIDERS.get(provider, provider),
        names.REQUEST_MODEL: model if isinstance(model, str) else None,
        names.CONVERSATION: conversation,
    }
    for key, name in names.REQUEST_PARAMETERS.items():
        value = given.get(key)
        if name not in attributes and (told := _parameter(name, value)) is not None:
            attributes[name] = told
    return Request(attributes[names.REQUEST_MODEL], attributes)


def _parameter(name: str, value: object) -> object:
    """Return a parameter as the conventions have it; None if it is not of that type, or the default."""
    if name == names.STOP_SEQUENCES:
        several = [value] if isinstance(value, str) else value
        return [str(each) for each in several] if isinstance(several, list | tuple) and several else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return None if name == names.CHOICES and value == 1 else value


def response(result: LLMResult, *, with_content: bool) -> dict[str, Any]:
    """Describe an answer.

    Args:
        result: The answer.
        with_content: Whether to tell what it says.
    """
    first = next((each for several in result.generations for each in several), None)
    message = getattr(first, "message", None)
    if not isinstance(message, BaseMessage):
        return _of_text(result)
    about: Mapping[str, Any] = message.response_metadata or {}
    reasons = _reasons(result)
    found = about.get("id") or message.id
    attributes: dict[str, Any] = {
        names.RESPONSE_MODEL: _text(about.get("model_name") or about.get("model")),
        names.RESPONSE_ID: None if found is None or str(found).startswith(_MADE_UP_IDS) else str(found),
        names.FINISH_REASONS: reasons or None,
    }
    if isinstance(message, AIMessage) and message.usage_metadata is not None:
        attributes |= _usage(message.usage_metadata)
    if with_content:
        attributes[names.OUTPUT_MESSAGES] = content.answer(message, reasons[0] if reasons else None)
    return attributes


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    into, out = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    counts = {
        names.INPUT_TOKENS: usage.get("input_tokens"),
        names.OUTPUT_TOKENS: usage.get("output_tokens"),
        names.CACHE_READ_TOKENS: into.get("cache_read"),
        names.CACHE_CREATION_TOKENS: into.get("cache_creation"),
        names.REASONING_TOKENS: out.get("reasoning"),
    }
    return {name: count for name, count in counts.items() if isinstance(count, int)}


def _of_text(result: LLMResult) -> dict[str, Any]:
    """Describe the answer of a model that completes texts."""
    usage = (result.llm_output or {}).get("token_usage") or {}
    counts = {names.INPUT_TOKENS: usage.get("prompt_tokens"), names.OUTPUT_TOKENS: usage.get("completion_tokens")}
    return {name: count for name, count in counts.items() if isinstance(count, int)}


def _reasons(result: LLMResult) -> list[str]:
    found = (_reason(getattr(each, "message", None), each.generation_info) for each in result.generations[0])
    return [reason for reason in found if reason is not None]


def _reason(message: object, info: Mapping[str, Any] | None) -> str | None:
    about = getattr(message, "response_metadata", None) or {}
    for each in (about, info or {}):
        for key in ("finish_reason", "stop_reason", "stopReason"):
            if isinstance(each.get(key), str) and each[key]:
                return str(each[key])
    return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
