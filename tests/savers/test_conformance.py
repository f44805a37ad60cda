"""The suite of `langgraph-checkpoint-conformance`, which every saver may be held against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from stategraph.savers import AsyncSqliteSaver


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["compact", "plain"])
async def test_the_sqlite_saver_conforms(mode: Any, capsys: pytest.CaptureFixture[str]) -> None:
    @checkpointer_test(name="SqliteSaver")
    async def saver() -> AsyncIterator[AsyncSqliteSaver]:
        async with AsyncSqliteSaver.from_conn_string(":memory:", mode=mode) as made:
            yield made

    report = await validate(saver)
    failures = {name: result.failures for name, result in report.results.items() if result.passed is False}
    assert failures == {}
    assert report.passed_all_base()
