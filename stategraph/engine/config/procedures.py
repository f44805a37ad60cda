"""Procedures: what a sync and an async caller do, written once.

A procedure is a generator that yields requests and is sent their answers: it decides, its caller acts. Here a request
is a call without arguments, or a context to be in until the procedure ends; `pump` performs calls of savers and graphs
by the names of their methods.

    def first_row(lock, connection):
        yield Enter(lock)
        rows = yield partial(connection.fetch, "SELECT ...")
        return rows[0]

    perform(first_row(threading.Lock(), connection))
    await aperform(first_row(asyncio.Lock(), async_connection))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Enter:
    """Enter a context, and leave it when the procedure ends; answered with what entering it returns.

    Attributes:
        context: A context manager, async if the caller is.
    """

    context: AbstractContextManager[Any] | AbstractAsyncContextManager[Any]


@dataclass(frozen=True, slots=True)
class Within:
    """Perform another procedure and leave its contexts; answered with what it returns, or what leaving raises.

    Attributes:
        procedure: The other one.
    """

    procedure: Procedure[Any]


Request = Callable[[], object] | Enter | Within
"""The result of a call is awaited by an async caller."""

Procedure = Generator[Request, Any, T]


class Requests(Generic[R, T]):
    """The requests of a procedure, each of which is answered before the next one is taken.

    Attributes:
        result: What the procedure returned, once there are no more requests.
    """

    __slots__ = ("_answer", "_go_on", "_procedure", "result")

    result: T

    def __init__(self, procedure: Generator[R, Any, T]) -> None:
        self._procedure = procedure
        self._go_on: Callable[[Any], R] = procedure.send
        self._answer: object = None

    def __iter__(self) -> Iterator[R]:
        try:
            while True:
                request = self._go_on(self._answer)
                self._go_on, self._answer = self._procedure.send, None
                yield request
        except StopIteration as end:
            self.result = end.value
        finally:
            self._answer = None  # an error refers to this frame

    def answer(self, value: object) -> None:
        """Set what the procedure is sent for the request; None if nothing is set."""
        self._answer = value

    def fail(self, error: BaseException) -> None:
        """Set the error that the request raises in the procedure."""
        self._go_on, self._answer = self._procedure.throw, error


def drive(procedure: Generator[R, Any, T], act: Callable[[R], object]) -> T:
    """Run a procedure whose requests are carried out by a function.

    Args:
        procedure: The procedure.
        act: Returns the answer of a request, or raises what the request is to raise in the procedure.

    Raises:
        BaseException: What the procedure raises.
    """
    # What `adrive` does, without the objects of `Requests`, as a run that loads from memory waits for nothing else.
    send: Callable[[Any], R] = procedure.send
    go_on: Callable[[Any], R] = send
    answer: object = None
    try:
        while True:
            request = go_on(answer)
            try:
                go_on, answer = send, act(request)
            except BaseException as error:
                go_on, answer = procedure.throw, error
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        del answer  # an error refers to this frame


async def adrive(procedure: Generator[R, Any, T], act: Callable[[R], Awaitable[object]]) -> T:
    """Run a procedure as `drive`, awaiting what the function returns."""
    requests = Requests(procedure)
    for request in requests:
        try:
            requests.answer(await act(request))
        except BaseException as error:
            requests.fail(error)
    return requests.result


def perform(procedure: Procedure[T]) -> T:
    """Perform a procedure.

    Raises:
        BaseException: What the procedure raises, or leaving one of its contexts.
    """
    with ExitStack() as contexts:
        return drive(procedure, partial(_answer, contexts.enter_context, perform))


async def aperform(procedure: Procedure[T]) -> T:
    """Like `perform`, awaiting what calls return and entering async contexts."""
    async with AsyncExitStack() as contexts:
        return await adrive(procedure, partial(_answer, contexts.enter_async_context, aperform))


def _answer(enter: Callable[[Any], object], within: Callable[[Procedure[Any]], object], request: Request) -> Any:
    match request:
        case Enter(context=context):
            return enter(context)
        case Within(procedure=procedure):
            return within(procedure)
    return request()
