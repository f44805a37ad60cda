"""Procedures that ask models, run by a sync or an async node.

A procedure is a generator that yields what to ask, is sent the answers, and returns its result: it decides, the two
functions here wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

from stategraph.engine.config.procedures import Requests

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")


def run(procedure: Generator[Q, A, R], ask: Callable[[Q], A]) -> R:
    """Run a procedure to its end.

    Args:
        procedure: The procedure.
        ask: Answers one question; what it raises is raised in the procedure where it asked.
    """
    requests = Requests(procedure)
    for question in requests:
        try:
            requests.answer(ask(question))
        except BaseException as error:
            requests.fail(error)
    return requests.result


async def arun(procedure: Generator[Q, A, R], ask: Callable[[Q], Awaitable[A]]) -> R:
    """Like `run`, awaiting each answer."""
    requests = Requests(procedure)
    for question in requests:
        try:
            requests.answer(await ask(question))
        except BaseException as error:
            requests.fail(error)
    return requests.result
