"""The routes of schedules."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stategraph.server.langgraph import answers, schemas
from stategraph.server.langgraph.answers import answer, caller_of
from stategraph.server.langgraph.checks import body_of, checked_id, id_of
from stategraph.server.service.port import Service
from stategraph.server.service.values import Cron, MalformedError, NotFoundError


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of schedules."""
    own = CronRoutes(service)
    one = "/runs/crons/{cron_id}"
    return [
        Route("/threads/{thread_id}/runs/crons", own.create, methods=["POST"]),
        Route("/runs/crons", own.create, methods=["POST"]),
        Route("/runs/crons/search", own.search, methods=["POST"]),
        Route("/runs/crons/count", own.count, methods=["POST"]),
        Route(one, own.get),
        Route(one, own.update, methods=["PATCH"]),
        Route(one, own.delete, methods=["DELETE"]),
    ]


class CronRoutes:
    """The endpoints of schedules.

    Args:
        service: What they call.
    """

    def __init__(self, service: Service) -> None:
        self._crons = service.crons

    async def create(self, request: Request) -> Response:
        """Make a schedule, of runs on the thread in the path or each on its own."""
        thread_id = id_of(request, "thread_id", "thread") if "thread_id" in request.path_params else None
        body = await body_of(request, schemas.CRON_CREATE)
        try:
            made = await self._crons.create(caller_of(request), body, thread_id=thread_id)
        except NotFoundError as error:
            if thread_id is not None and thread_id in str(error):
                raise NotFoundError(
                    f"Thread with ID '{thread_id}' not found. Please verify the ID is correct and the thread hasn't "
                    "been deleted or expired."
                ) from None
            raise
        return answer(record(made))

    async def get(self, request: Request) -> Response:
        """Return a schedule."""
        cron_id = id_of(request, "cron_id", "cron")
        try:
            return answer(record(await self._crons.get(caller_of(request), cron_id)))
        except NotFoundError:
            raise NotFoundError("Not Found") from None

    async def update(self, request: Request) -> Response:
        """Change a schedule."""
        cron_id = id_of(request, "cron_id", "cron")
        body = await body_of(request, schemas.CRON_PATCH)
        if not body:
            raise MalformedError("Request body cannot be empty")
        try:
            return answer(record(await self._crons.update(caller_of(request), cron_id, body)))
        except NotFoundError:
            raise NotFoundError("Not Found") from None

    async def delete(self, request: Request) -> Response:
        """Delete a schedule."""
        try:
            await self._crons.delete(caller_of(request), id_of(request, "cron_id", "cron"))
        except NotFoundError:
            raise NotFoundError("Not Found") from None
        return answers.nothing()

    async def search(self, request: Request) -> Response:
        """List schedules."""
        body = await body_of(request, schemas.CRON_SEARCH)
        page = answers.page_of(body)
        found = await self._crons.search(
            caller_of(request),
            **_searched(body),
            enabled=body.get("enabled"),
            page=answers.further(page),
        )
        return answers.listed([record(each) for each in found], page, body.get("select"))

    async def count(self, request: Request) -> Response:
        """Count schedules."""
        body = await body_of(request, schemas.CRON_COUNT)
        return answer(await self._crons.count(caller_of(request), **_searched(body)))


def _searched(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"metadata": body.get("metadata")}
    for name, of in (("assistant_id", "assistant"), ("thread_id", "thread")):
        if body.get(name) is not None:
            found[name] = checked_id(body[name], of)
    return found


def record(cron: Cron) -> dict[str, Any]:
    """Return a schedule as JSON."""
    return {
        "cron_id": cron.cron_id,
        "assistant_id": cron.assistant_id,
        "thread_id": cron.thread_id,
        "user_id": cron.user_id,
        "end_time": cron.payload.get("end_time") if cron.end_time is not None else None,
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "payload": cron.payload,
        "next_run_date": answers.moment(cron.next_run_at),
        "metadata": cron.metadata,
        "on_run_completed": cron.on_completion,
        "enabled": cron.enabled,
        "created_at": answers.moment(cron.created_at),
        "updated_at": answers.moment(cron.updated_at),
    }
