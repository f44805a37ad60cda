"""Databases for the tests of budgets: SQLite in a file, and a PostgreSQL of our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stategraph.governance.budget.ledger import SqlBudgetLedger
from tests.workers.conftest import postgres as postgres
from tests.workers.conftest import server as server
from tests.workers.conftest import url as url


@pytest.fixture
def ledger(url: str) -> Iterator[SqlBudgetLedger]:
    """A ledger in an empty database of either kind."""
    made = SqlBudgetLedger.from_url(url)
    try:
        yield made
    finally:
        made.close()
