"""What the workers of `benchmarks/workers.py` run."""

from __future__ import annotations

import time
from typing import Any

from typing_extensions import TypedDict

from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel


class Number(TypedDict):
    number: int


async def nothing(given: Any) -> None:
    """Do nothing."""


def burns(given: float) -> None:
    """Use the processor for so many seconds of its own time."""
    end = time.thread_time() + given
    while time.thread_time() < end:
        sum(range(1000))


def adds(state: Number) -> Number:
    """Add one."""
    return {"number": state["number"] + 1}


def model() -> ScriptedChatModel:
    """A model that gives the same answer to every request, and keeps no requests."""

    def answer(request: script.ModelRequest[Any]) -> str:
        made.requests.clear()
        return "Hello."

    made = ScriptedChatModel(replies=script.Script([answer], repeat_last=True))
    return made
