"""Progress and log lines of a call, from the log of its run.

A node may write `{"type": "progress", "progress": 3, "total": 10, "message": "..."}` and `{"type": "log", "level":
"info", "data": ...}` to its stream. Until one writes progress, each step of the graph is progress by one. Progress that
does not grow is not told, as the protocol wants it to.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPDeprecationWarning

from stategraph.run.json_safe import to_json
from stategraph.server.service.port import Caller, LoggedEvent, RunRecord, Service

_LEVELS: Final = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})


class Watching:
    """Tells a client how a call gets on.

    Args:
        context: The call.
    """

    def __init__(self, context: ServerRequestContext[Any, Any]) -> None:
        self._context = context
        self._last = -1.0
        self._steps = 0
        self._has_own = False

    async def follow(self, service: Service, caller: Caller, run: RunRecord) -> None:
        """Tell of a run until its end."""
        async with aclosing(service.runs.events(caller, run.run_id)) as events:
            async for event in events:
                await self._tell(event)

    async def _tell(self, event: LoggedEvent) -> None:
        data = event.data
        if not isinstance(data, Mapping):
            return
        if event.type == "custom" and data.get("type") == "progress":
            self._has_own = True
            await self._progress(data.get("progress"), data.get("total"), data.get("message"))
        elif event.type == "custom" and data.get("type") == "log":
            await self._log(data)
        elif event.type == "updates" and not self._has_own:
            for node in data:
                if node != "__interrupt__":
                    self._steps += 1
                    await self._progress(self._steps, None, str(node))

    async def _progress(self, progress: Any, total: Any, message: Any) -> None:
        if isinstance(progress, bool) or not isinstance(progress, (int, float)) or progress <= self._last:
            return
        self._last = progress
        whole = total if isinstance(total, (int, float)) and not isinstance(total, bool) else None
        await self._context.session.report_progress(progress, whole, None if message is None else str(message))

    async def _log(self, data: Mapping[str, Any]) -> None:
        level = data.get("level")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            await self._context.session.send_log_message(
                level if level in _LEVELS else "info",
                _plain(data.get("data")),
                data.get("logger") if isinstance(data.get("logger"), str) else None,
                self._context.request_id,
            )


def _plain(value: Any) -> Any:
    return json.loads(to_json(value))
