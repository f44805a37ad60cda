"""Errors that a worker does not expect cost the run an attempt, and nobody else anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from stategraph.workers import leases
from stategraph.workers.leases import RunStatus
from stategraph.workers.registry.port import ConflictError
from tests.workers.test_worker import LIMIT_S, Site, gates, reached, site

__all__ = ("gates", "site")

pytestmark = pytest.mark.anyio


async def test_an_error_with_a_sign_that_no_database_stores_ends_its_run_alone(site: Site) -> None:
    broken = await site.submit("raising", {"done": [r"a\0b"]}, thread="broken")
    fine = await site.submit("steps", thread="fine")
    async with site.worker():
        assert await site.ended(broken) == RunStatus.ERROR
        assert await site.ended(fine) == RunStatus.SUCCESS
    assert (await site.registry.get(broken)).error == "ValueError: a\ufffdb"


async def test_half_of_a_character_in_an_error_is_stored_as_none(site: Site) -> None:
    run_id = await site.submit("steps")
    claimed = await site.registry.claim("me", "default")
    assert claimed is not None
    await site.registry.finish(claimed.lease, RunStatus.ERROR, "ValueError: half \ud83d")
    assert (await site.registry.get(run_id)).error == "ValueError: half ?"


async def test_the_reason_of_a_cancellation_may_have_any_signs(site: Site, gates: dict[str, asyncio.Event]) -> None:
    run_id = await site.submit("holding")
    async with site.worker():
        await reached(gates["waits"])
        assert await site.registry.cancel(run_id, "no\0more")
        assert await site.ended(run_id) == RunStatus.CANCELLED


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *errors: Exception) -> Iterator[list[Exception]]:
    """Have a method raise some errors, one a call, before it works again; yields those that are left."""
    left = list(errors)
    works = getattr(owner, name)

    async def called(*arguments: Any, **named: Any) -> Any:
        if left:
            raise left.pop(0)
        return await works(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, called)
        yield left


async def test_a_run_whose_end_cannot_be_told_is_tried_again_and_the_worker_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "backoff_s", lambda _: 0.0)
    run_id = await site.submit("steps")
    with failing(monkeypatch, site.registry, "finish", TypeError("planted")):
        async with site.worker() as made:
            assert await site.ended(run_id) == RunStatus.SUCCESS
            assert "planted" in str(made.health().last_error)
    assert (await site.registry.get(run_id)).attempt == 2
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info and record.exc_info[1]] == [
        ("planted",)
    ]


async def test_a_run_that_can_never_be_told_ends_as_dead(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "backoff_s", lambda _: 0.0)
    run_id = await site.submit("steps")
    with failing(monkeypatch, site.registry, "finish", *[TypeError("planted")] * 20):
        async with site.worker():
            assert await site.ended(run_id) == RunStatus.DEAD
    assert "planted" in str((await site.registry.get(run_id)).error)


async def test_a_run_that_cannot_be_given_back_either_is_claimed_when_its_lease_is_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []
    run_id = await site.submit("steps")
    with (
        failing(monkeypatch, site.registry, "finish", TypeError("planted")),
        failing(monkeypatch, site.registry, "release", ConflictError("planted as well")) as left,
    ):
        async with site.worker() as made:
            made._observer = lambda notice: kinds.append(notice.kind)
            with anyio.fail_after(LIMIT_S):
                while left:  # noqa: ASYNC110 # the worker does it
                    await anyio.sleep(0.01)
            assert await site.ended(run_id) == RunStatus.SUCCESS
    assert [each for each in kinds if each != "claimed"] == ["abandoned", "ended"]


@pytest.mark.parametrize("name", ["claim", "heartbeat"])
async def test_a_worker_outlives_errors_of_claims_and_heartbeats(
    site: Site, monkeypatch: pytest.MonkeyPatch, gates: dict[str, asyncio.Event], name: str
) -> None:
    with failing(monkeypatch, site.registry, name, ConflictError("deadlock"), TypeError("planted")) as left:
        run_id = await site.submit("holding")
        async with site.worker():
            await reached(gates["waits"])
            with anyio.fail_after(LIMIT_S):
                while left:  # noqa: ASYNC110 # the worker does it
                    await anyio.sleep(0.01)
            gates["go"].set()
            assert await site.ended(run_id) == RunStatus.SUCCESS
