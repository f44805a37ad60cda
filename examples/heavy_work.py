"""What `17_workers.py` runs in other processes: workers import it by its name."""

import os
import time

from langchain_core.tools import tool
from typing_extensions import TypedDict

from stategraph import get_stream_writer
from stategraph.testing import call, reply
from stategraph.testing.chat_model import ScriptedChatModel


class State(TypedDict, total=False):
    host: int
    page: str
    words: int
    elsewhere: bool


def count_words(state: State) -> State:
    """Work that needs the processor, in a process of its own."""
    get_stream_writer()("counting")
    return {"words": len(state["page"].split()), "elsewhere": os.getpid() != state["host"]}


def hang(state: State) -> State:
    """Work that never ends."""
    while True:
        time.sleep(60)


@tool
def is_elsewhere(host: int) -> str:
    """Whether the tool runs in another process than the host."""
    return str(os.getpid() != host)


def model(host: int) -> ScriptedChatModel:
    """A model that calls the tool, then answers."""
    return ScriptedChatModel(replies=[reply(call("is_elsewhere", host=host)), "Done."])
