"""Summaries of what does not fit: when, and of what.

- Not summarised are the newest turns, each led by a message of a person; the newest one always, unless the host
  wants nothing left. If that is everything, the beginning of the oldest of them is summarised, up to between two rounds
  of tools: a single turn can fill a context, too.
- A summary is made once for a number of messages, and not again in a turn in which it failed: the run then goes on with
  what fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.agent import Summarising
from stategraph.agent.context.context_window import Prompt
from stategraph.agent.settings import usage
from stategraph.agent.settings.inputs import RetainRecent
from stategraph.agent.state import is_synthetic

#: Of a single turn that is too long, so much of the context is left as it is.
_SHARE_LEFT = 0.16

PROMPT = """\
There is no room left for the messages above, so they are about to be replaced by notes, and you will go on from your \
notes alone. Write those notes now, and nothing else: no answer, no greeting, no comment on this request.

Write what you would need to carry on without a break, under these headings; leave out a heading with nothing under it.

## Task
What I asked for, and what you made of it.

## Rules
What I want or do not want, and how things are set up.

## Done
What you did and what came of it. For every tool that you called: its name, what you gave it, what it returned.

## Under way
What you had begun.

## Decisions
What was decided, and why.

## Next
What is left to do, in order.

## Details
Names, identifiers, addresses, figures and error messages, letter by letter.

Take results of tools as they are; where one looks cut off, only its display was. Keep sentences short."""

UPDATE_PROMPT = """\
There is no room left again. Below are the notes that you wrote the last time. Bring them up to date with the messages \
above, and write the whole of the new notes and nothing else: they replace both.

Keep the headings, and about the same length: say what is recent in full, and older things in a line. Move what is \
done by now to what is done, and put what is left in its order of today. Keep names, identifiers, addresses, figures \
and error messages letter by letter. Take results of tools as they are."""


def due(how: Summarising, prompt: Prompt) -> bool:
    """Return whether messages are to be summarised before a call.

    Args:
        how: How the agent summarises.
        prompt: The prompt without a summary.

    Returns:
        False where everything fits, where the host's trigger says so, or where there is nothing to summarise.
    """
    trimmed, context_state, messages = prompt.trimmed, prompt.context_state, prompt.messages
    if trimmed is None or prompt.settings is None:
        return False
    size = prompt.settings.max_context_tokens
    instructions = prompt.corrected.total
    if len(messages) <= context_state.summarised_at or instructions >= size:
        return False
    if context_state.failed_after == newest_turn(messages):
        return False
    if not usage.should_summarise(
        len(trimmed.to_refine),
        trigger=how.trigger,
        max_context_tokens=size,
        context_tokens=trimmed.context_tokens,
        instruction_tokens=instructions,
    ):
        return False
    first, end = span(messages, how.retain, lambda message: context_state.counts.get(message.id or "", 0), size)
    return end > first


def newest_turn(messages: Sequence[AnyMessage]) -> str:
    """Return the id of the newest message of a person; empty if there is none."""
    return next((message.id or "" for message in reversed(messages) if _leads_a_turn(message)), "")


def span(
    messages: Sequence[AnyMessage], retain: RetainRecent, count: Callable[[AnyMessage], int], max_context_tokens: int
) -> tuple[int, int]:
    """Choose the messages that a summary is to cover.

    Args:
        messages: A conversation in which every call has its result.
        retain: The messages that are not summarised.
        count: Tokens of a message.
        max_context_tokens: Size of the context.

    Returns:
        The positions of the first one and of the first one after them, which are the same if there is nothing.
    """
    first = 1 if messages and isinstance(messages[0], SystemMessage) else 0
    turns = [index for index, message in enumerate(messages) if _leads_a_turn(message)]
    if retain.turns == 0 or not turns:
        return first, len(messages)
    begin = turns[-1]
    left = sum(map(count, messages[begin:]))
    for start in reversed(turns[-retain.turns : -1]):
        left += sum(map(count, messages[start:begin]))
        if retain.tokens is not None and left > retain.tokens:
            break
        begin = start
    if begin > turns[0]:
        return first, begin
    end = turns[1] if len(turns) > 1 else len(messages)
    room = retain.tokens or max(1, math.floor(max_context_tokens * _SHARE_LEFT))
    return first, _between_rounds(messages, begin, end, count, room) or first


def _leads_a_turn(message: AnyMessage) -> bool:
    return isinstance(message, HumanMessage) and not is_synthetic(message)


def _between_rounds(
    messages: Sequence[AnyMessage], begin: int, end: int, count: Callable[[AnyMessage], int], room: int
) -> int | None:
    """Find the last place in a turn between a result and an answer that leaves at least `room` tokens after it."""
    left = sum(map(count, messages[end:]))
    for index in reversed(range(begin, end)):
        left += count(messages[index])
        after_results = isinstance(messages[index], AIMessage) and isinstance(messages[index - 1], ToolMessage)
        if after_results and left >= room:
            return index
    return None
