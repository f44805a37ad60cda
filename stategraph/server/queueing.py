"""Runs, of which no more wait than a limit says, and of which none begins while the server stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette

from stategraph.server.hosting import Opened
from stategraph.server.service.port import Runs
from stategraph.server.service.values import Caller, RunRecord, RunRequest, UnavailableError


class BusyError(UnavailableError):
    """So many runs wait that no further one is taken."""

    status = 429


class _Bounded:
    """Runs that are begun only while the server takes them; see `port.Runs` for what it passes on."""

    def __init__(self, opened: Opened, most: int, app: Starlette) -> None:
        self._runs = opened.service.runs
        self._opened = opened
        self._most = most
        self._app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runs, name)

    async def create(self, caller: Caller, request: RunRequest) -> RunRecord:
        """Begin a run, see `port.Runs.create`.

        Raises:
            BusyError: Too many wait.
            UnavailableError: The server is stopping.
        """
        self._check(1)
        return await self._runs.create(caller, request)

    async def create_many(self, caller: Caller, requests: Sequence[RunRequest]) -> list[RunRecord]:
        """Begin several runs, see `port.Runs.create_many`."""
        self._check(len(requests))
        return await self._runs.create_many(caller, requests)

    def _check(self, number: int) -> None:
        if self._app.state.stopping:
            raise UnavailableError("The server is stopping: send the request again, it may reach another one")
        if self._opened.waiting + number > self._most:
            raise BusyError(f"{self._opened.waiting} runs wait already: send the request again later", 5.0)


def bounded(opened: Opened, most: int, app: Starlette) -> Runs:
    """Return runs of which no more wait than `most`, as of a second ago.

    Args:
        opened: The service.
        most: How many may wait.
        app: Its `state.stopping` says whether anything may begin.
    """
    made: Any = _Bounded(opened, most, app)
    runs: Runs = made
    return runs
