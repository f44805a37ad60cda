"""Time limits of one attempt of a model: until its answer begins, between its pieces, and for the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from langchain_core.messages import AIMessage

from stategraph.agent.settings.model_settings import ModelTimeouts
from stategraph.errors import ModelTimeoutError

T = TypeVar("T")

#: Fields of a chunk that say something; a provider may send an empty one at once and think for long.
_SAYS = ("content", "tool_call_chunks", "tool_calls", "additional_kwargs")


def says_something(piece: AIMessage) -> bool:
    """Return whether a piece of an answer has text, thinking or a part of a call."""
    return any(getattr(piece, name, None) for name in _SAYS)


async def timed(pieces: AsyncIterator[AIMessage], limits: ModelTimeouts, model: str) -> AsyncGenerator[AIMessage, None]:
    """Yield the pieces of an answer for as long as they come in time.

    Args:
        pieces: The answer.
        limits: The time limits.
        model: The model's name, for the message.

    Raises:
        ModelTimeoutError: A limit ran out; the model's stream is closed.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    whole = None if limits.total_s is None else began + limits.total_s
    first = None if limits.first_token_s is None else began + limits.first_token_s
    async with aclosing(cast("Any", pieces)):
        while True:
            between = None if limits.between_tokens_s is None else loop.time() + limits.between_tokens_s
            due = [each for each in (whole, first, None if first is not None else between) if each is not None]
            try:
                async with asyncio.timeout_at(min(due, default=None)) as limit:
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if not limit.expired():
                    raise  # the model's own
                which = "total" if min(due) == whole else "between" if first is None else "first"
                raise _error(limits, model, which) from error
            if first is not None and says_something(piece):
                first = None
            yield piece


async def within(ask: Callable[..., Awaitable[T]], arguments: tuple[Any, ...], limits: ModelTimeouts, model: str) -> T:
    """Ask for an answer that is not streamed, and wait for it.

    Args:
        ask: Asks.
        arguments: With these.
        limits: The time limits.
        model: The model's name, for the message.

    Raises:
        ModelTimeoutError: The limit for the whole ran out.
    """
    if limits.total_s is None:
        return await ask(*arguments)
    try:
        async with asyncio.timeout(limits.total_s) as limit:
            return await ask(*arguments)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise _error(limits, model, "total") from error


def _error(limits: ModelTimeouts, model: str, which: str) -> ModelTimeoutError:
    match which:
        case "total":
            said = f"did not answer within {limits.total_s:g} s (model_timeouts.total_s)"
        case "first":
            said = f"did not begin its answer within {limits.first_token_s:g} s (model_timeouts.first_token_s)"
        case _:
            said = f"said nothing for {limits.between_tokens_s:g} s (model_timeouts.between_tokens_s)"
    return ModelTimeoutError(f"The model '{model}' {said}")
