"""Databases of both kinds, and a service on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from stategraph import END, START, StateGraph, interrupt
from tests.server.service.assembly import Assembly, assembled
from tests.workers.conftest import postgres, server, url

__all__ = ("postgres", "server", "url")


def joined(left: list[str], right: list[str]) -> list[str]:
    """Append."""
    return [*left, *right]


class Steps(TypedDict, total=False):
    """A log."""

    log: Annotated[list[str], joined]


def first(state: Steps) -> Any:
    """Say so."""
    return {"log": ["first"]}


def asks(state: Steps) -> Any:
    """Ask."""
    return {"log": [str(interrupt("which?"))]}


steps = (
    StateGraph(Steps)
    .add_node("first", first)
    .add_node("asks", asks)
    .add_edge(START, "first")
    .add_edge("first", "asks")
    .add_edge("asks", END)
    .compile()
)


@pytest.fixture
async def assembly(url: str) -> AsyncIterator[Assembly]:
    """A service that serves the graph `steps`."""
    async with assembled(url, {"steps": steps}) as opened:
        yield opened
