"""A client of the server that writes down what each of its calls came to."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from langgraph_sdk import get_client

from tests.server.projection import Projection

CALL_S = 60.0
GROUPS = ("assistants", "threads", "runs", "crons", "store")
NOT_ANSWERED = "no answer in time"


@dataclass(frozen=True, slots=True)
class Row:
    """One call and what it came to, projected."""

    scenario: str
    call: str
    answer: Any


@dataclass(slots=True)
class Session:
    """The calls of one scenario.

    Attributes:
        client: The SDK's client.
        scenario: Names the rows.
        rows: What has been called so far.
    """

    client: Any
    scenario: str
    rows: list[Row] = field(default_factory=list)
    _project: Projection = field(default_factory=Projection)

    async def __call__(self, call: str, *args: Any, note: str = "", **options: Any) -> Any:
        """Make a call by its dotted name, such as `runs.stream`; write down the answer or the error, and return it.

        Args:
            call: Which.
            *args: Its positional arguments.
            note: Tells the row from others of the same call.
            **options: Its named arguments.
        """
        group, name = call.split(".")
        method = getattr(getattr(self.client, group), name)
        answer = await attempt(lambda: whole(method(*args, **options)))
        self.note(f"{call} {note}".rstrip(), answer)
        return answer

    def note(self, call: str, answer: Any) -> None:
        """Write down a row."""
        self.rows.append(Row(self.scenario, call, self._project(answer)))

    async def settled(self, thread_id: str, run_id: str) -> str:
        """Wait for the end of a run without writing it down, and return its status."""
        for _ in range(300):
            status = (await self.client.runs.get(thread_id, run_id))["status"]
            if status not in ("pending", "running"):
                return str(status)
            await asyncio.sleep(0.1)
        return NOT_ANSWERED


async def whole(answer: Any) -> Any:
    """Await an answer, or collect a stream of parts."""
    if inspect.isawaitable(answer):
        return await answer
    return [[part.event, part.data] async for part in answer]


async def attempt(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a call answers, or its error as data."""
    try:
        try:
            return await asyncio.wait_for(call(), CALL_S)
        except (httpx.ReadError, httpx.RemoteProtocolError):  # after a 500 the server closes a connection that is kept
            return await asyncio.wait_for(call(), CALL_S)
    except TimeoutError:
        return {"error": NOT_ANSWERED}
    except httpx.HTTPStatusError as error:
        return {"error": error.response.status_code, "says": said(error.response)}
    except Exception as error:
        return {"error": type(error).__name__, "says": str(error)}


def said(response: httpx.Response) -> Any:
    """Return the body of an error."""
    with contextlib.suppress(Exception):
        return response.json()
    with contextlib.suppress(Exception):
        return response.text
    return None


def sdk_calls() -> Iterator[str]:
    """List every public call of the SDK's client by its dotted name."""
    client = get_client(url="http://127.0.0.1:1", api_key=None)
    for group in GROUPS:
        calls = getattr(client, group)
        for name in dir(calls):
            if not name.startswith("_") and callable(getattr(calls, name)) and name != "http":
                yield f"{group}.{name}"


async def first_part(parts: AsyncIterator[Any], event: str) -> Any:
    """Read a stream up to the first part of a kind."""
    async for part in parts:
        if part.event == event:
            return part
    return None
