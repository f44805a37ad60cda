"""What every generated program begins with: noting what runs, and playing the steps of its script."""

# ruff: noqa: F401 - the program that follows uses what is imported here

import asyncio
import inspect
import operator
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.cache.memory import InMemoryCache
from langgraph.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    DeltaChannel,
    EphemeralValue,
    LastValue,
    NamedBarrierValue,
    Topic,
    UntrackedValue,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.errors import NodeError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.managed import IsLastStep, RemainingSteps
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.runtime import Runtime
from langgraph.types import CachePolicy, Command, Interrupt, Overwrite, RetryPolicy, Send, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

RAN = []  # what ran, in order, with what it saw
GROWN = []  # what ran although its program does more than a case should
TRIES = Counter()  # how often each place was reached that fails at first


class TooMuch(BaseException):
    """A program does more than a case is meant to."""


class Boom(Exception):
    """An error that no policy of the engine knows."""


def freeze(value):
    """Keep a value as it is now."""
    return repr(value)


def ran(name, *seen):
    """Note that something runs, and what it sees."""
    if len(RAN) > 200 or count(seen[0]) > 500:
        GROWN.append(name)
        raise TooMuch
    RAN.append([name, *map(freeze, seen)])


def place(config):
    """Return what a config says about the place of a task in its run."""
    keys = ("langgraph_step", "langgraph_node", "langgraph_triggers", "langgraph_path", "langgraph_checkpoint_ns")
    return {key: config["metadata"].get(key) for key in keys}


def read(state, name, otherwise=None):
    """Read a key of a state, of whichever schema."""
    found = state.get(name) if isinstance(state, dict) else getattr(state, name, None)
    return otherwise if found is None else found


def count(state, name="log"):
    """Count the entries of a list in a state."""
    return len(read(state, name, ()))


def tag(name, state):
    """Make a value that tells who wrote it, and after how much."""
    return f"{name}{count(state)}"


def fails(name, times, error):
    """Raise at the first ``times`` calls of a place."""
    TRIES[name] += 1
    if TRIES[name] <= times:
        raise error(f"{name} {TRIES[name]}")


def joined(left, right):
    """Merge two dictionaries."""
    return {**left, **right}


def picky(left, right):
    """Keep the greater string, and refuse one of them."""
    if right == "bad":
        raise Boom("picky")
    return max(left, right)


def extended(state, writes):
    """Append batches of writes to a list."""
    return [*state, *(item for write in writes for item in write)]


def said(error):
    """Describe an error the way it is compared: its class and its first words."""
    return {"raised": type(error).__name__, "message": (str(error).splitlines() or [""])[0]}


def play(steps):
    """Play the steps of a script and yield what each returned or raised, and what ran in it."""
    with asyncio.Runner() as runner:
        for step in steps:
            RAN.clear()
            try:
                found = runner.run(step()) if inspect.iscoroutinefunction(step) else step()
            except Exception as error:
                found = said(error)
            if GROWN:
                raise TooMuch
            yield step.__name__, freeze(found), list(RAN)
