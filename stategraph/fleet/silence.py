"""Endpoints that say nothing: each is asked whether it is there, so that one that was cut off is left soon.

An agent may need long for its first byte, and a machine whose cable is cut ends no connection: from the request alone
they are the same. So one that is silent is asked for something that every server answers at once.

Rules
-----
* An endpoint is asked once nothing was heard of it for a while, whatever for: one question serves all that wait.
* It is gone if it does not answer twice in a row: three times the time of silence after the last word. A connection
  that is refused is no answer either, and no sooner: a server that stops listening may still end what it began.
* One that is there may take its time. A question that fails for another reason tells nothing of the endpoint.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, Self, runtime_checkable

from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.errors import EndpointError
from stategraph.fleet.standing import Standing

logger = logging.getLogger("stategraph.fleet")

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
        misses, why, has_logged = 0, "", False
        while misses < _MOST_MISSES:
            left_s = self._silent_s - (self._clock() - self._standing.heard_at)
            if not misses and left_s > 0:
                await asyncio.sleep(left_s)  # another request, or a question, heard of it
                continue
            try:
                why = await self._missing()
            except Exception:  # of whatever transport
                if not has_logged:
                    has_logged = True
                    logger.exception("'%s' could not be asked whether it is there", self._standing.endpoint.key)
                await asyncio.sleep(self._silent_s)
                continue
            if why:
                misses += 1
            else:
                misses = 0
                self._standing.heard_at = self._clock()
        self.gone = why
        self._limit.reschedule(asyncio.get_running_loop().time())

    async def _missing(self) -> str:
        """Ask the endpoint, and return after its time why there was no answer; empty, and at once: there was one."""
        why = ""
        try:
            async with asyncio.timeout(self._silent_s):
                try:
                    await self._reach(self._standing.endpoint)
                except (EndpointError, OSError) as error:
                    why = str(error) or type(error).__name__
                    await asyncio.sleep(self._silent_s)  # until the time is over
                else:
                    return ""
        except TimeoutError:
            pass
        return why or f"it did not say within {self._silent_s:.3g} s that it is there"
