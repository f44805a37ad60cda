"""Token counts of messages and of tools' descriptions.

- A counter never goes to the network unless it is told to. The vocabulary of a tokeniser is a file of some megabytes
  that `tiktoken` fetches; here it is used if it is in tiktoken's cache (`TIKTOKEN_CACHE_DIR`) with the right checksum.
- Without it, and for models whose tokeniser is not public, a counter estimates and says so: `approximate`.
- A message is 3 tokens and what it says: its text, its name (and 1), the names and arguments of its calls, and its
  blocks: text and reasoning as text, media by the rule of `_MEDIA`, other blocks as their JSON.
- A tool is the JSON that the model is shown, times a factor that providers' reports bear out.

For comparison: OpenAI's newest vocabulary packs 5 characters of English prose, 3.3 of code, 2.8 of JSON, 3.3 of
Cyrillic or Arabic and 1.3 to 1.7 of Chinese, Japanese or Korean into a token; older ones pack less.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema

from stategraph.agent.messages.truncation import compact_json
from stategraph.agent.settings.inputs import Providers, ToolDefinition
from stategraph.errors import ConfigurationError

_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1

CLAUDE: Final = "claude"
DEFAULT: Final = "o200k_base"

_SOURCE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_SHA256: Final[Mapping[str, str]] = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
"""The vocabularies of chat models, by the checksums that tiktoken demands."""

_CLAUDE_FACTOR: Final = 1.2
"""Claude's tokeniser is not public; it is reported to make 15 to 30 % more tokens of a text than OpenAI's."""

_ASCII_CHARS, _WIDE_CHARS, _OTHER_CHARS = 4, 1.25, 2.5
"""Characters a token, estimated."""
_WIDE = re.compile("[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001f000-\U0003ffff]")
"""Chinese, Japanese, Korean, emoji."""


@dataclass(frozen=True, slots=True)
class _Media:
    """Tokens of media: per character of base64, at least so many, and for media that is only referred to."""

    per_char: float
    least: int
    referred: int


_IMAGE: Final = 1_105
"""OpenAI's price of six tiles, as for a screenshot, used for every size: 85 and 170 for each."""
_CLAUDE_IMAGE: Final = 1_600
"""The largest price there is: Claude is shown larger images in a smaller size."""
_LOW_DETAIL = 85
_FILE = _Media(1_500 / 75_000, 1_500, 2_000)
"""1500 for a page, a page being 75,000 characters."""
_AUDIO = _Media(32 / 21_000, 32, 960)
"""32 for a second at 128 kbit/s; 30 seconds if the length is not known."""
_VIDEO = _Media(300 / 333_000, 300, 9_000)
"""300 for a second at 2 Mbit/s; 30 seconds if the length is not known."""

_MEDIA: Final[Mapping[str, _Media]] = {
    "audio": _AUDIO,
    "document": _FILE,
    "file": _FILE,
    "input_audio": _AUDIO,
    "input_file": _FILE,
    "video": _VIDEO,
    "video_url": _VIDEO,
}
_IMAGES: Final = frozenset({"computer_screenshot", "image", "image_file", "image_url", "input_image"})
_TEXT_OF: Final[Mapping[str, str]] = {
    "reasoning": "reasoning",
    "reasoning_content": "reasoning_content",
    "text": "text",
    "text-plain": "text",
    "think": "think",
    "thinking": "thinking",
}
"""Fields that hold the text in blocks of text."""
_CALLS: Final = frozenset({"function_call", "tool_call", "tool_use"})
_DATA_KEYS: Final = frozenset({"base64", "data", "file_data"})

_SCHEMA_FACTOR: Final = 1.4
_ANTHROPIC_SCHEMA_FACTOR: Final = 2.6


@dataclass(frozen=True, slots=True)
class MessageCounter:
    """Counts a message's tokens.

    Attributes:
        count_text: Tokens of a text.
        approximate: Whether the tokeniser is not the model's own.
        encoding: The vocabulary; for Claude the one that stands for it.
    """

    count_text: Callable[[str], int]
    approximate: bool
    encoding: str

    def __call__(self, message: BaseMessage) -> int:
        """Count.

        Args:
            message: Any message.

        Returns:
            Its tokens, at least 3.
        """
        total = _PER_MESSAGE
        if message.name:
            total += _PER_NAME + self._text(message.name)
        counted: set[str | None] = set()
        if isinstance(message, AIMessage):
            for name, arguments, call_id in _calls(message):
                counted.add(call_id)
                total += self._text(name) + self._text(arguments)
        if isinstance(message.content, str):
            total += self._text(message.content)
        else:
            total += sum(self._block(block, counted) for block in message.content)
        return math.ceil(total * _CLAUDE_FACTOR) if self.encoding == CLAUDE else total

    def _text(self, text: str) -> int:
        return self.count_text(text) if text else 0

    def _block(self, block: str | Mapping[Any, Any], counted: set[str | None]) -> int:
        if isinstance(block, str):
            return self._text(block)
        kind = str(block.get("type"))
        text = block.get(_TEXT_OF.get(kind, ""))
        if isinstance(text, str):
            return self._text(text)
        if kind in _CALLS and {block.get("id"), block.get("call_id")} & (counted - {None}):
            return 0
        medium = _medium(block, kind)
        if medium in _IMAGES:
            return self._image(block)
        media = _MEDIA.get(medium)
        return self._text(compact_json(block)) if media is None else self._media(block, media)

    def _image(self, block: Mapping[Any, Any]) -> int:
        if _is_low_detail(block):
            return _LOW_DETAIL
        return _CLAUDE_IMAGE if self.encoding == CLAUDE else _IMAGE

    def _media(self, block: Mapping[Any, Any], media: _Media) -> int:
        source = block.get("source")
        if isinstance(source, Mapping) and source.get("type") == "text":
            return self._text(str(source.get("data") or ""))
        chars = sum(_data_chars(block))
        return max(media.least, math.ceil(chars * media.per_char)) if chars else media.referred


def _calls(message: AIMessage) -> Iterator[tuple[str, str, str | None]]:
    for call in message.tool_calls:
        yield call["name"], compact_json(call["args"]), call["id"]
    for invalid in message.invalid_tool_calls:
        yield invalid["name"] or "", invalid["args"] or "", invalid["id"]


def _medium(block: Mapping[Any, Any], kind: str) -> str:
    """Return the kind of media of a block; of a block for media of any kind, that which its type says."""
    if kind != "media":
        return kind
    family = str(block.get("mime_type") or block.get("mimeType")).partition("/")[0]
    return family if family in _MEDIA or family in _IMAGES else "file"


def _is_low_detail(block: Mapping[Any, Any]) -> bool:
    url = block.get("image_url")
    return "low" in (block.get("detail"), url.get("detail") if isinstance(url, Mapping) else None)


def _data_chars(block: Mapping[Any, Any]) -> Iterator[int]:
    """Yield the lengths of data that a block itself contains, and not refers to."""
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from _data_chars(value)
        elif isinstance(value, str) and (key in _DATA_KEYS or value.startswith("data:")):
            yield len(value)


# Counters.


def token_counter_for(model: str, *, download: bool = False) -> MessageCounter:
    """Return the best counter that there is for a model.

    Loading a vocabulary takes half a second, once in a process.

    Args:
        model: The model's name; with or without a provider before it.
        download: Fetch a vocabulary that is not in the cache from its publisher.

    Returns:
        A counter that says whether it is exact.
    """
    name = model.rpartition(":")[2].rpartition("/")[2]
    if CLAUDE in name.lower():
        return create_token_counter(CLAUDE, download=download)
    known = _known_encoding(name)
    counter = create_token_counter(known or DEFAULT, download=download)
    return MessageCounter(counter.count_text, counter.approximate or known is None, counter.encoding)


def _known_encoding(model: str) -> str | None:
    """Return the vocabulary of one of OpenAI's models; None for others, and for those before chat."""
    # Lazy: 30 ms, needed only for counting.
    from tiktoken import model as table

    try:
        encoding = table.encoding_name_for_model(model)
    except KeyError:
        return None
    # Harmony has the same vocabulary with more marks between messages.
    encoding = DEFAULT if encoding == "o200k_harmony" else encoding
    return encoding if encoding in _SHA256 else None


def create_token_counter(encoding: str = DEFAULT, *, download: bool = False) -> MessageCounter:
    """Return a counter with a given vocabulary.

    Args:
        encoding: `o200k_base`, `cl100k_base`, or `claude` for an estimate by OpenAI's vocabulary.
        download: Fetch a vocabulary that is not in the cache from its publisher.

    Returns:
        The counter; one that estimates if the vocabulary is not there.

    Raises:
        ConfigurationError: The vocabulary is not known.
    """
    vocabulary = DEFAULT if encoding == CLAUDE else encoding
    if vocabulary not in _SHA256:
        known = ", ".join(sorted({*_SHA256, CLAUDE}))
        raise ConfigurationError(f"the vocabulary {encoding!r} is not known; known are {known}")
    if not download and not _is_at_hand(vocabulary):
        return MessageCounter(estimate, approximate=True, encoding=encoding)
    import tiktoken

    encode = tiktoken.get_encoding(vocabulary).encode_ordinary
    return MessageCounter(lambda text: len(encode(text)), approximate=encoding == CLAUDE, encoding=encoding)


def _is_at_hand(vocabulary: str) -> bool:
    """Return whether tiktoken can load a vocabulary without a download.

    A cached file with a wrong checksum does not count: tiktoken would fetch it again.
    """
    from tiktoken import registry

    if vocabulary in registry.ENCODINGS:
        return True
    try:
        content = _cache_file(vocabulary).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == _SHA256[vocabulary]


def _cache_file(vocabulary: str) -> Path:
    """Return the path of tiktoken's copy of a vocabulary; a folder, which cannot be read, if its cache is off."""
    own = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if own == "":
        return Path(tempfile.gettempdir())
    folder = Path(tempfile.gettempdir(), "data-gym-cache") if own is None else Path(own)
    # A name, not a protection.
    return folder / hashlib.sha1(_SOURCE.format(vocabulary).encode(), usedforsecurity=False).hexdigest()


def estimate(text: str) -> int:
    """Estimate the tokens of a text without a vocabulary.

    Args:
        text: Any text.

    Returns:
        The tokens, rounded up.
    """
    if text.isascii():
        return math.ceil(len(text) / _ASCII_CHARS)
    plain = len(text.encode("ascii", "ignore"))
    wide = len(_WIDE.findall(text))
    other = len(text) - plain - wide
    return math.ceil(plain / _ASCII_CHARS + wide / _WIDE_CHARS + other / _OTHER_CHARS)


# Tools.


@dataclass(frozen=True, slots=True)
class ToolTokens:
    """Tokens of tools' descriptions.

    Attributes:
        total: Of all.
        by_name: Of each; their sum is the total.
    """

    total: int
    by_name: Mapping[str, int]


def tool_schema_tokens(
    definitions: Sequence[Any], counter: Callable[[SystemMessage], int], provider: str, model: str = ""
) -> ToolTokens:
    """Count the tokens that the descriptions of tools take in every call.

    Args:
        definitions: LangChain tools, functions, `ToolDefinition`s, and mappings for tools that the provider runs. Of
            several with a name the first counts.
        counter: Counts a message.
        provider: The provider's name.
        model: The model's name: models of Anthropic have a dearer description elsewhere, too, but not at Bedrock.

    Returns:
        The tokens.
    """
    counts: dict[str, int] = {}
    for each in definitions:
        name, schema = _described(each)
        if name not in counts:
            counts[name] = counter(SystemMessage(compact_json(schema)))
    dear = provider != Providers.BEDROCK and (provider == Providers.ANTHROPIC or _is_anthropics(model))
    factor = _ANTHROPIC_SCHEMA_FACTOR if dear else _SCHEMA_FACTOR
    total = math.ceil(sum(counts.values()) * factor)
    return ToolTokens(total, shared_out(total, counts, factor))


def _is_anthropics(model: str) -> bool:
    return re.search("anthropic|claude", model, re.IGNORECASE) is not None


def _described(tool: Any) -> tuple[str, Mapping[str, Any]]:
    """Return a tool's name, and its description as the model is shown it."""
    match tool:
        case ToolDefinition(name=name, description=description, parameters=parameters):
            function = {"name": name, "description": description or "", "parameters": parameters or {}}
            return name, {"type": "function", "function": function}
        case Mapping():
            inner = tool.get("function")
            named: Mapping[str, Any] = inner if isinstance(inner, Mapping) else tool
            return str(named.get("name") or tool.get("type")), tool
        case BaseTool():
            return tool.name, convert_to_json_schema(tool)
        case _:
            schema = convert_to_json_schema(tool)
            return str(schema["title"]), schema


def shared_out(total: int, counts: Mapping[str, int], factor: float) -> dict[str, int]:
    """Shares of a total in whole tokens; what rounding leaves over goes to those that lost most by it.

    Args:
        total: The sum of the shares.
        counts: The counts in proportion to which it is shared.
        factor: Tokens for one of them.

    Returns:
        The shares, by the names of the counts.
    """
    shares = {name: math.floor(count * factor) for name, count in counts.items()}
    by_loss = sorted(counts, key=lambda name: shares[name] - counts[name] * factor)
    for name in by_loss[: total - sum(shares.values())]:
        shares[name] += 1
    return shares
