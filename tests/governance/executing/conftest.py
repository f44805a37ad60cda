"""Worlds to act in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.governance.executing.kit import World, world


@pytest.fixture
def office(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture(params=["sync", "async"])
def act(request: pytest.FixtureRequest) -> Any:
    """Carry out an action, by either body of the executor."""
    import asyncio

    if request.param == "sync":
        return lambda executor, asked: executor.act_sync(asked)
    return lambda executor, asked: asyncio.run(executor.act(asked))
