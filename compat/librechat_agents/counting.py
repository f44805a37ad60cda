"""Tokens and limits: counters of messages, images, budgets."""

import base64
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import AnyMessage, BaseMessage

from stategraph.agent.context import calibration, tokens
from stategraph.agent.messages import truncation
from stategraph.agent.settings import usage

from .constants import HARD_MAX_TOOL_CALL_INPUT_CHARS, HARD_MAX_TOTAL_TOOL_OUTPUT_SIZE, MIN_JSON_VALUE_CHARS

__all__ = [
    "TokenEncoderManager",
    "apportionTokenCounts",
    "calculateMaxToolCallInputChars",
    "calculateMaxToolResultChars",
    "calculateMaxTotalToolOutputSize",
    "calculateTotalTokens",
    "clampCalibrationRatio",
    "createTokenCounter",
    "encodingForModel",
    "encodingOfTokenCounter",
    "estimateAnthropicImageTokens",
    "estimateOpenAIImageTokens",
    "extractImageDimensions",
    "getTokenCountForMessage",
    "truncateToolInput",
    "truncateToolResultContent",
]

_LOW_DETAIL, _TILE, _PER_TILE = 85, 512, 170
_LEAST_OF_ANTHROPIC, _PIXELS_PER_TOKEN = 1_024, 750

truncateToolInput = truncation.truncate_tool_input
truncateToolResultContent = truncation.truncate_tool_result
calculateTotalTokens = usage.total_usage
clampCalibrationRatio = calibration.within


async def createTokenCounter(encoding: str = tokens.DEFAULT) -> Callable[[AnyMessage], int]:
    """`create_token_counter`; awaited, as the original reads its vocabulary then."""
    return tokens.create_token_counter(encoding)


class TokenEncoderManager:
    """Vocabularies, which are read when a counter first needs them: there is nothing to do here."""

    @staticmethod
    async def initialize() -> None:
        """Do nothing."""

    @staticmethod
    def reset() -> None:
        """Do nothing."""

    @staticmethod
    def isInitialized() -> bool:
        """Return True."""
        return True


def encodingForModel(model: str) -> str:
    """Return the encoding by which a model's tokens are counted."""
    return tokens.CLAUDE if tokens.CLAUDE in model.lower() else tokens.DEFAULT


def apportionTokenCounts(rawCounts: Mapping[str, int], multiplier: float, targetTotal: int) -> dict[str, int]:
    """Scale counts so that they add up to a total, or to more: what rounding leaves goes to the largest remainders."""
    scaled = {name: count * multiplier for name, count in rawCounts.items()}
    made = {name: math.floor(value) for name, value in scaled.items()}
    by_remainder = sorted(made, key=lambda name: made[name] - scaled[name])
    left = targetTotal - sum(made.values())
    for number in range(left if by_remainder else 0):
        made[by_remainder[number % len(by_remainder)]] += 1
    return made


def calculateMaxToolResultChars(contextWindowTokens: int | None = None) -> int:
    """Return the longest result of a tool that goes into a context, in characters."""
    return truncation.max_tool_result_chars(contextWindowTokens)


def calculateMaxToolCallInputChars(maxContextTokens: int | None = None) -> int:
    """Return the longest arguments of a call that go into a context, in characters."""
    if not maxContextTokens or maxContextTokens < 0:
        return HARD_MAX_TOOL_CALL_INPUT_CHARS
    return max(MIN_JSON_VALUE_CHARS, min(int(maxContextTokens * 0.15) * 4, HARD_MAX_TOOL_CALL_INPUT_CHARS))


def calculateMaxTotalToolOutputSize(maxOutputSize: int | None = None) -> int:
    """Return the most that the results of all tools may have together, in characters."""
    if not maxOutputSize or maxOutputSize < 0:
        return HARD_MAX_TOTAL_TOOL_OUTPUT_SIZE
    return min(maxOutputSize * 2, HARD_MAX_TOTAL_TOOL_OUTPUT_SIZE)


def estimateAnthropicImageTokens(width: int, height: int) -> int:
    """Return about how many tokens an image takes of a model of Anthropic."""
    return max(_LEAST_OF_ANTHROPIC, math.ceil(width * height / _PIXELS_PER_TOKEN))


def estimateOpenAIImageTokens(width: int, height: int, detail: str = "high") -> int:
    """Return about how many tokens an image takes of a model of OpenAI."""
    if detail == "low":
        return _LOW_DETAIL
    return _LOW_DETAIL + math.ceil(width / _TILE) * math.ceil(height / _TILE) * _PER_TILE


def extractImageDimensions(base64Data: str) -> dict[str, int] | None:
    """Read width and height from the first bytes of a PNG, JPEG, GIF or WebP; None if they are not there."""
    text = base64Data.partition(",")[2] if base64Data.startswith("data:") else base64Data
    if len(text) < 32:
        return None
    try:
        head = base64.b64decode(text[:80] + "=" * (-len(text[:80]) % 4))
    except ValueError:
        return None
    size = _size(head)
    return None if size is None else {"width": size[0], "height": size[1]}


def _size(head: bytes) -> tuple[int, int] | None:
    if head[:2] == b"\x89P":
        return struct.unpack(">II", head[16:24])
    if head[:3] == b"GIF":
        return struct.unpack("<HH", head[6:10])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) > 29:
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if head[:2] == b"\xff\xd8":
        for at in range(2, len(head) - 9):
            if head[at] == 0xFF and head[at + 1] in (0xC0, 0xC2):
                height, width = struct.unpack(">HH", head[at + 5 : at + 9])
                return width, height
    return None


def getTokenCountForMessage(
    message: BaseMessage, getTokenCount: Callable[[str], int], encoding: str = tokens.DEFAULT
) -> int:
    """Count the tokens of a message by a function that counts those of texts."""
    return tokens.MessageCounter(getTokenCount, True, encoding)(message)


def encodingOfTokenCounter(tokenCounter: Any) -> str | None:
    """Return the encoding by which a counter counts; None of one that is the host's own."""
    return tokenCounter.encoding if isinstance(tokenCounter, tokens.MessageCounter) else None
