"""What the runs of `24_runs_over_nats.py` execute: nodes import it by its name."""

import time
from pathlib import Path

from langchain_core.tools import tool

from stategraph.testing import call, reply
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.script import ModelRequest, Reply, Script


@tool
def book_train(city: str, orders: str) -> str:
    """Book a train, by a line in a file."""
    with Path(orders).open("a") as file:
        file.write(f"{city}\n")
    return f"A train to {city} is booked."


@tool
def find_hotel(city: str, found: str) -> str:
    """Look for a hotel for as long as it takes, which is until a file is there."""
    while not Path(found).exists():
        time.sleep(0.05)
    return f"There is a room in {city}."


def model(folder: str) -> ScriptedChatModel:
    """A model that calls one tool after the other, then answers."""

    def answer(request: ModelRequest) -> Reply:
        match sum(message.type == "ai" for message in request.messages):
            case 0:
                return reply(call("book_train", city="Rome", orders=f"{folder}/orders", id="train"))
            case 1:
                return reply(call("find_hotel", city="Rome", found=f"{folder}/found", id="hotel"))
        return reply("Your train is booked, and you have a room.")

    return ScriptedChatModel(replies=Script([answer], repeat_last=True))
