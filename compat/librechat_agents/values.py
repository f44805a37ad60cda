"""Small functions about values, providers, errors and signals."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from stategraph import AbortController, AbortSignal
from stategraph.agent.context import overflow
from stategraph.agent.settings import usage

__all__ = [
    "checkValidNumber",
    "composeAbortSignals",
    "extractErrorMessage",
    "findLastIndex",
    "getContextOverflowInfo",
    "isAnthropicLike",
    "isContextOverflowError",
    "isGoogleLike",
    "isLikelyContextOverflowError",
    "isOpenAILike",
    "isPresent",
    "joinKeys",
    "parseBooleanEnv",
    "resetIfNotEmpty",
    "shouldTriggerSummarization",
    "sleep",
    "unescapeObject",
]

T = TypeVar("T")

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_OPENAI = frozenset({"openAI", "azureOpenAI", "openrouter", "xai", "deepseek"})
_GOOGLE = frozenset({"google", "vertexai"})


def isPresent(value: str | None) -> bool:
    """Return whether a text is there and not empty."""
    return value is not None and value != ""


def parseBooleanEnv(value: str | None) -> bool | None:
    """Read a setting of the environment; None if it is neither on nor off."""
    return None if value is None else _WORDS.get(value.strip().lower())


def unescapeObject(obj: Any, key: str = "") -> Any:
    """Replace escapes in the texts of a value; a `filePath` loses the quotes around it, too."""
    if isinstance(obj, str):
        text = re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), obj)
        quoted = key == "filePath" and re.fullmatch(r'"(.+)"', text) is not None
        return text[1:-1] if quoted else text
    if isinstance(obj, list | tuple):
        return [unescapeObject(each, "filePath" if key == "contextPaths" else "") for each in obj]
    if isinstance(obj, Mapping):
        return {name: unescapeObject(each, name) for name, each in obj.items()}
    return obj


def resetIfNotEmpty(value: Any, resetValue: Any) -> Any:
    """Return another value in place of one that has something in it."""
    if isinstance(value, list | tuple | set | frozenset | dict):
        return resetValue if value else value
    return value if value is None else resetValue


def joinKeys(args: Sequence[str | int | None]) -> str:
    """Join parts of a key."""
    return "_".join("" if each is None else str(each) for each in args)


async def sleep(ms: float) -> None:
    """Wait for so many milliseconds."""
    await asyncio.sleep(ms / 1000)


def findLastIndex(array: Sequence[T], predicate: Callable[[T], Any]) -> int:
    """Return the position of the last value for which a predicate holds; -1 if there is none."""
    return next((index for index in reversed(range(len(array))) if predicate(array[index])), -1)


def checkValidNumber(value: Any) -> bool:
    """Return whether a value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def isOpenAILike(provider: str | None = None) -> bool:
    """Return whether a provider's API is OpenAI's."""
    return provider in _OPENAI


def isGoogleLike(provider: str | None = None) -> bool:
    """Return whether a provider's API is Google's."""
    return provider in _GOOGLE


def isAnthropicLike(provider: str | None = None, clientOptions: Mapping[str, Any] | None = None) -> bool:
    """Return whether the model is one of Anthropic's, also on Bedrock."""
    if provider != "bedrock":
        return provider == "anthropic"
    model = (clientOptions or {}).get("model")
    return model is None or "claude" in str(model).lower()


def extractErrorMessage(error: Any) -> str:
    """Return what an error says, whatever it is."""
    if error is None:
        return ""
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping):
        nested = error.get("error")
        told = (error.get("message"), nested, nested.get("message") if isinstance(nested, Mapping) else None)
        found = next((each for each in told if isinstance(each, str)), None)
        return found if found is not None else json.dumps(error, separators=(",", ":"), default=str)
    return str(error)


def getContextOverflowInfo(error: BaseException, context: Any = None) -> dict[str, Any] | None:
    """Return what a provider said of a prompt that is too long; None if that was not the error."""
    told = overflow.recognise(error)
    if told is None:
        return None
    figures = {"limitTokens": told.limit, "promptTokens": told.prompt}
    return {"kind": "context_window", **{name: value for name, value in figures.items() if value is not None}}


def isContextOverflowError(error: Any = None, context: Any = None) -> bool:
    """Return whether a provider refused a prompt as too long."""
    return isinstance(error, BaseException) and overflow.recognise(error) is not None


isLikelyContextOverflowError = isContextOverflowError


def composeAbortSignals(a: AbortSignal | None, b: AbortSignal | None) -> AbortSignal | None:
    """Return a signal that aborts when one of two does."""
    if a is None or b is None or a is b:
        return a or b
    both = AbortController()
    for each in (a, b):
        if each.aborted:
            both.abort(each.reason)
        else:
            each.listen(lambda each=each: both.abort(each.reason))  # type: ignore[misc]
    return both.signal


def shouldTriggerSummarization(params: Mapping[str, Any]) -> bool:
    """Return whether messages that do not fit are to be summarised; the arguments as one mapping."""
    trigger = params.get("trigger")
    return usage.should_summarise(
        params.get("messagesToRefineCount", 0),
        trigger=None if trigger is None else usage.SummaryTrigger(trigger.get("type"), trigger.get("value")),
        max_context_tokens=params.get("maxContextTokens"),
        context_tokens=params.get("prePruneContextTokens"),
    )
