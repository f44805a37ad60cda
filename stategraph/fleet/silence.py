"""Endpoints that say nothing: each is asked whether it is there, so that one that was cut off is left soon.

An agent may need long for its first byte, and a machine whose cable is cut ends no connection: from the request alone
they are the same. So one that is silent is asked for something that every server answers at once.

Rules
-----
* An endpoint is asked once nothing was heard of it for a while, whatever for: one question serves all that wait.
* It is gone if it does not answer twice in a row. One that is there may take its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, Self, runtime_checkable

from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.errors import EndpointError
from stategraph.fleet.standing import Standing

#: Time without a word after which an endpoint is asked whether it is there, and that it has for an answer, in seconds.
SILENT_S: Final = 1.0

#: Questions in a row without an answer until an endpoint is gone.
_MOST_MISSES: Final = 2


@runtime_checkable
class Asking(Protocol):
    """A transport that can ask an endpoint whether it is there, such as `A2aTransport`."""

    async def reach(self, endpoint: AgentEndpoint) -> None:
        """Return once the endpoint answers anything at all.

        Raises:
            EndpointError: It cannot be reached.
        """


class Watch:
    """Watches an endpoint whose first byte is waited for, as long as the block runs; then ends the wait if it is gone.

    Args:
        standing: The endpoint.
        reach: Asks it whether it is there.
        limit: The limit of the wait, which is over at once if the endpoint is gone.
        silent_s: Time without a word after which it is asked, and that it has for an answer.
        clock: The clock of `standing`.

    Attributes:
        gone: Why it counts as gone; empty: it does not.
    """

    __slots__ = ("_asking", "_clock", "_limit", "_reach", "_silent_s", "_standing", "_timer", "gone")

    def __init__(
        self,
        standing: Standing,
        reach: Callable[[AgentEndpoint], Awaitable[None]],
        limit: asyncio.Timeout,
        silent_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._standing = standing
        self._reach = reach
        self._limit = limit
        self._silent_s = silent_s
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self.gone = ""

    async def __aenter__(self) -> Self:
        # A timer, as nearly all answers come before it: a task for each would cost more than all else here.
        self._timer = asyncio.get_running_loop().call_later(self._silent_s, self._begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _begin(self) -> None:
        self._asking = asyncio.create_task(self._ask(), name="stategraph silent agent")

    async def _ask(self) -> None:
        misses = 0
        while misses < _MOST_MISSES:
            if not misses and self._clock() - self._standing.heard_at < self._silent_s:
                await asyncio.sleep(self._silent_s)  # another request heard of it
                continue
            why = await self._missing()
            if why:
                misses += 1
                continue
            misses = 0
            self._standing.heard_at = self._clock()
            await asyncio.sleep(self._silent_s)
        self.gone = why
        self._limit.reschedule(asyncio.get_running_loop().time())

    async def _missing(self) -> str:
        """Ask the endpoint, and return why there was no answer; empty: there was one."""
        try:
            async with asyncio.timeout(self._silent_s):
                await self._reach(self._standing.endpoint)
        except EndpointError as error:
            return str(error)
        except TimeoutError:
            return f"it did not say within {self._silent_s:.3g} s that it is there"
        return ""
