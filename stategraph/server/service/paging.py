"""The order and the pages of lists, as SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stategraph.server.service.values import InvalidError, Page

#: Rows of a page at most.
MOST = 1000


def checked(page: Page) -> Page:
    """Return a page that can be asked for.

    Raises:
        InvalidError: It cannot.
    """
    if not 1 <= page.limit <= MOST + 1:  # one more says whether there is another page
        raise InvalidError(f"The limit is {page.limit}; expected a number from 1 to {MOST}")
    if page.offset < 0:
        raise InvalidError(f"The offset is {page.offset}; expected 0 or more")
    if page.sort_order not in (None, "asc", "desc"):
        raise InvalidError(f"The order is '{page.sort_order}'; expected 'asc' or 'desc'")
    return page


def ordered(page: Page, columns: Mapping[str, str], default: str, last: str) -> str:
    """Return `ORDER BY ... LIMIT ? OFFSET ?` for a page.

    Args:
        page: The page.
        columns: By the name of a field, its column.
        default: The field that is meant where none is named.
        last: The column that decides between equal rows.

    Raises:
        InvalidError: There is no such field, or the page makes no sense.
    """
    checked(page)
    field = page.sort_by or default
    if field not in columns:
        raise InvalidError(f"The list cannot be sorted by '{field}'; expected one of: {', '.join(columns)}")
    way = "ASC" if page.sort_order == "asc" else "DESC"
    by = "" if columns[field] == last else f"{columns[field]} {way} NULLS LAST, "
    return f"ORDER BY {by}{last} {way} LIMIT ? OFFSET ?"


def limits(page: Page) -> tuple[Any, ...]:
    """Return the parameters of what `ordered` returned."""
    return (page.limit, page.offset)
