"""A provider's refusal of a request that is too long: how it is known, and how far to shorten the request.

- It is known by LangChain's `ContextOverflowError`, else by the status and by words of providers' messages: the table.
- Refusals for other reasons mention limits too: of requests per minute, of the answer, of money. They are not these.
- Where a message tells figures, they are used: the real limit, and how many tokens the provider counted. Where it tells
  none, the next try is shorter by a fixed part.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from langchain_core.exceptions import ContextOverflowError

from stategraph.agent.messages import problems

#: So often is a request made shorter before the provider's error is raised.
MOST_RECOVERIES = 2
_NEXT_TRY = 0.7


def _row(pattern: str) -> re.Pattern[str]:
    """Compile a row of the table; `<limit>`, `<prompt>`, `<answer>` and `<total>` match numbers of tokens."""
    for name in ("limit", "prompt", "answer", "total"):
        pattern = pattern.replace(f"<{name}>", rf"(?P<{name}>\d[\d,_]*)")
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


_REFUSALS = (
    # Anthropic; the second where the room for the answer is too much on top.
    _row(r"prompt is too long(?:: <prompt> tokens > <limit> maximum)?"),
    _row(r"input length and `?max_tokens`? exceed context limit: <prompt> \+ <answer> > <limit>"),
    # OpenAI, DeepSeek, OpenRouter, vLLM and others that follow OpenAI.
    _row(r"maximum context length is <limit> tokens.{1,40}messages resulted in <prompt> tokens"),
    _row(
        r"maximum context length is <limit> tokens.{1,40}requested (?:about )?<total> tokens"
        r" \(<prompt> (?:in the messages|of text input|in your prompt)"
    ),
    _row(r"maximum context length is <limit> tokens"),
    _row(r"input tokens exceed the configured limit of <limit> tokens.{1,40}resulted in <prompt> tokens"),
    _row(r"exceeds the context window|context_length_exceeded"),
    # A limit a minute that this one request exceeds: waiting does not help.
    _row(r"request too large.{1,200}tokens per min.{1,40}limit <limit>, requested <total>"),
    # xAI.
    _row(r"maximum prompt length is <limit> but the request contains <total> tokens"),
    # Mistral.
    _row(r"prompt contains <prompt> tokens.{1,80}too large for model with <limit> maximum context length"),
    # Google.
    _row(r"input token count(?: \(<prompt>\))? exceeds the maximum number of tokens allowed(?: \(<limit>\))?"),
    # Bedrock.
    _row(r"input is too long for requested model|number of input tokens exceeds maximum length|input tokens exceeded"),
    # Cohere.
    _row(r"total number of tokens in the prompt exceeds the limit of <limit>"),
    # llama.cpp and Groq.
    _row(r"exceeds? the available context size|reduce the length of the messages"),
)

_OTHER = re.compile(
    r"rate limit reached|requests per (?:min|day)|quota|billing|credit balance"
    r"|max_(?:completion_)?tokens (?:is too large|must be|cannot)|maximum number of output tokens",
    re.IGNORECASE,
)

#: A refusal of the request itself; a gateway may say nothing else than that it is too large.
_STATUSES = (400, 413, 422, 429)
_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class Overflow:
    """Figures from a provider's refusal.

    Attributes:
        limit: Tokens that a prompt may have; None: not told.
        prompt: Tokens that it had as the provider counts; None: not told.
    """

    limit: int | None = None
    prompt: int | None = None


def recognise(error: BaseException) -> Overflow | None:
    """Recognise a refusal of a request because it is too long.

    Args:
        error: An error of a model.

    Returns:
        None if it failed for another reason.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status not in _STATUSES:
        return None
    cause = "" if error.__cause__ is None else problems.text(error.__cause__)
    text = f"{problems.text(error)} {getattr(error, 'code', '')} {cause}"
    if _OTHER.search(text):
        return None
    for row in _REFUSALS:
        if (found := row.search(text)) is not None:
            return _told({name: _number(value) for name, value in found.groupdict().items() if value})
    known = isinstance(error, ContextOverflowError) or status == _TOO_LARGE
    return Overflow() if known else None


def _number(text: str) -> int:
    return int(re.sub(r"[,_]", "", text))


def _told(figures: dict[str, int]) -> Overflow | None:
    limit, prompt, total = figures.get("limit"), figures.get("prompt"), figures.get("total")
    if limit is not None and total is not None and prompt is None and total <= limit:
        # It would fit if others were not using the same allowance: waiting does help.
        return None
    answer = figures.get("answer", 0)
    if total is not None and prompt is not None:
        answer = max(0, total - prompt)
    return Overflow(None if limit is None else limit - answer, prompt)


def smaller(told: Overflow, max_context_tokens: int, sent: int, instruction_tokens: int) -> int | None:
    """Return the size of the context to assume from now on.

    Args:
        told: The figures of the refusal.
        max_context_tokens: The size that was assumed.
        sent: Tokens of the refused request as counted here.
        instruction_tokens: Those of them that cannot be shortened.

    Returns:
        No more than before; the same where only the counts were wrong. None: there would be no room for messages.
    """
    size = float(max_context_tokens if told.limit is None else min(told.limit, max_context_tokens))
    if told.prompt is None:
        size = min(size, sent * _NEXT_TRY)
    found = math.floor(size)
    return found if found > instruction_tokens else None
