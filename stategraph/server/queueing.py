"""A service of whose runs no more wait than a limit says, and in which nothing begins while the server stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

from starlette.applications import Starlette

from stategraph.server.hosting import Opened
from stategraph.server.service.port import Service
from stategraph.server.service.values import Caller, NotBegunError, RunRecord, RunRequest


class BusyError(NotBegunError):
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
            NotBegunError: The server is stopping.
        """
        self._check(1)
        return await self._runs.create(caller, request)

    async def create_many(self, caller: Caller, requests: Sequence[RunRequest]) -> list[RunRecord]:
        """Begin several runs, see `port.Runs.create_many`."""
        self._check(len(requests))
        return await self._runs.create_many(caller, requests)

    def _check(self, number: int) -> None:
        _check_stays(self._app)
        if self._opened.waiting + number > self._most:
            raise BusyError(f"{self._opened.waiting} runs wait already: send the request again later", 5.0)


class _Closing:
    """A part of the service, in which nothing is made while the server stops.

    Args:
        part: The part.
        app: Its `state.stopping` says whether anything may begin.
    """

    def __init__(self, part: Any, app: Starlette) -> None:
        self._part = part
        self._app = app

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in _MAKING:
            return found

        async def checked(*given: Any, **named: Any) -> Any:
            _check_stays(self._app)
            return await found(*given, **named)

        return checked


#: Calls that make something which its client goes on with, and which has to reach a server that stays.
_MAKING: Final = frozenset({"create", "copy"})


def _check_stays(app: Starlette) -> None:
    """Make sure that the server is not stopping.

    Raises:
        NotBegunError: It is.
    """
    if app.state.stopping:
        raise NotBegunError("The server is stopping: send the request again, it may reach another one")


def bounded(opened: Opened, most: int, app: Starlette) -> Service:
    """Return a service whose runs wait in a queue of a length, and in which nothing begins while the server stops.

    Args:
        opened: The service.
        most: How many runs may wait, as of a second ago.
        app: Its `state.stopping` says whether anything may begin.
    """
    service = opened.service
    parts: dict[str, Any] = {name: _Closing(getattr(service, name), app) for name in ("threads", "assistants", "crons")}
    return replace(service, runs=cast("Any", _Bounded(opened, most, app)), **parts)
