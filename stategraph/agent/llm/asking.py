"""Procedures that ask models, run by a sync or an async node.

A procedure is a generator that yields what to ask, is sent the answers, and returns its result: it decides, the two
functions here wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")


def run(procedure: Generator[Q, A, R], ask: Callable[[Q], A]) -> R:
    """Run a procedure to its end.

    Args:
        procedure: The procedure.
        ask: Answers one question; what it raises ends the procedure.
    """
    try:
        question = next(procedure)
        while True:
            question = procedure.send(ask(question))
    except StopIteration as end:
        result: R = end.value
        return result


async def arun(procedure: Generator[Q, A, R], ask: Callable[[Q], Awaitable[A]]) -> R:
    """Like `run`, awaiting each answer."""
    try:
        question = next(procedure)
        while True:
            question = procedure.send(await ask(question))
    except StopIteration as end:
        result: R = end.value
        return result
