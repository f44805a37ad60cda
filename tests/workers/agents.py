"""Agents that workers run in the tests: models and tools by their import paths."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from stategraph.run.questions import ask_user_question
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.workers import imported
from tests.workers.jobs import tenant


class Invoice(BaseModel):
    """An invoice."""

    total: float


@dataclass
class Refusal:
    """Why there is none."""

    reason: str


Totals: TypeAlias = list[Invoice]

HOST_TOOL = {"name": "lookup", "description": "Looks up.", "parameters": {"type": "object", "properties": {}}}


def agent(*replies: Any, **more: Any) -> dict[str, Any]:
    """An agent with a model that `scripted` makes."""
    return {"agent_id": "a", "model": imported("tests.workers.agents:scripted", replies=list(replies)), **more}


def scripted(replies: list[Any]) -> ScriptedChatModel:
    """A model that gives its answer number n after n answers, in whichever process it is asked.

    Args:
        replies: Texts, or lists of a text and tool calls, each a name and arguments.
    """

    def answer(request: script.ModelRequest[Any]) -> script.Reply:
        number = sum(isinstance(each, AIMessage) for each in request.messages)
        said = replies[number]
        if isinstance(said, str):
            return script.reply(said, usage=(10, number + 1))
        text, *calls = said
        made = [script.call(name, args, id=f"call_{number}_{index}") for index, (name, args) in enumerate(calls)]
        return script.reply(text, *made, usage=(10, number + 1))

    return ScriptedChatModel(replies=script.Script([answer], repeat_last=True))


def halting(goes_on: str) -> ScriptedChatModel:
    """A model that halts in the middle of its answer, unless a file is there."""

    def answer(request: script.ModelRequest[Any]) -> script.Reply:
        if Path(goes_on).exists():
            return script.reply("Whole.")
        return script.reply("Half ", script.Hold(script.Gate()), "of it.")

    return ScriptedChatModel(replies=script.Script([answer], repeat_last=True))


@tool
def write_down(file: str, word: str) -> str:
    """Write a word into a file."""
    with Path(file).open("a") as opened:
        opened.write(f"{word}\n")
    return word


@tool
async def ask_then_wait(question: str, file: str, goes_on: str) -> str:
    """Ask a person, write the answer into a file, and wait until another file is there."""
    answer = ask_user_question(question)["answer"]
    with Path(file).open("a") as opened:  # noqa: ASYNC230 (a word)
        opened.write(f"{answer}\n")
    while not Path(goes_on).exists():  # noqa: ASYNC110, ASYNC240 (the test makes it)
        await asyncio.sleep(0.02)
    return f"They said {answer}"


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"


@tool
def process() -> str:
    """The process that it runs in."""
    return str(os.getpid())


@tool
def die() -> str:
    """Kill the process, as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@tool
async def wait() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return "never"


@tool
def who() -> str:
    """The tenant that the run is for."""
    return tenant.get("nobody")


@tool
def ask(question: str) -> str:
    """Ask a person."""
    return f"They said {ask_user_question(question)['answer']}, in process {os.getpid()}"


@tool
def fail() -> str:
    """Fail."""
    raise ValueError("no luck")


def count(message: Any) -> int:
    return len(str(message.content))
