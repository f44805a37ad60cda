"""Answers of the LangGraph API: JSON, pages with their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from stategraph.server.service.plain import plain_json
from stategraph.server.service.values import ANYONE, Caller, Page

#: Where the scope of a request has its caller.
_CALLER: Final = "stategraph.server.caller"

#: How many there are, as far as that is known, and where the next page begins.
TOTAL: Final = "X-Pagination-Total"
NEXT: Final = "X-Pagination-Next"


def caller_of(request: HTTPConnection) -> Caller:
    """Return who has sent a request."""
    caller: Caller = request.scope.get(_CALLER, ANYONE)
    return caller


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(plain_json(value), status, media_type="application/json", headers=headers)


def nothing() -> Response:
    """Return the answer without a body."""
    return Response(status_code=204)


def page_of(body: Mapping[str, Any]) -> Page:
    """Return the page that a body asks for."""
    return Page(int(body.get("limit", 10)), int(body.get("offset", 0)), body.get("sort_by"), body.get("sort_order"))


def further(page: Page) -> Page:
    """Return a page with one row more, which says whether there is another page."""
    return Page(page.limit + 1, page.offset, page.sort_by, page.sort_order)


def listed(rows: Sequence[Mapping[str, Any]], page: Page, select: Sequence[str] | None = None) -> Response:
    """Return the rows of a page.

    Args:
        rows: At most one more than the page has.
        page: The page.
        select: The fields that are asked for; None: all.
    """
    shown = rows[: page.limit]
    headers = {TOTAL: str(page.offset + len(rows))}
    if len(rows) > page.limit:
        headers[NEXT] = str(page.offset + page.limit)
    return answer([selected(row, select) for row in shown], headers=headers)


def selected(row: Mapping[str, Any], select: Sequence[str] | None) -> Mapping[str, Any]:
    """Return the fields of a row that are asked for."""
    return row if not select else {name: value for name, value in row.items() if name in select}


def moment(time: datetime | None) -> str | None:
    """Return a time as text; None for None."""
    return None if time is None else time.isoformat()
