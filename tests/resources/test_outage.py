"""A runtime whose PostgreSQL goes away and comes back."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import anyio
import pytest

from stategraph.resources import LoopSettings, Runtime
from stategraph.workers.registry.port import StoreUnavailableError
from tests import postgres
from tests.resources.kit import PART, Parts, part

pytestmark = pytest.mark.anyio


async def test_a_runtime_goes_on_when_its_database_is_back() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        try:
            server, url = await asyncio.to_thread(postgres.serve_on_socket, scratch)
        except postgres.UnavailableError as error:
            pytest.skip(str(error))
        try:
            runtime = Runtime.from_url(url, environment={}, settings=LoopSettings(lease_s=1.0))
            runtime.define_kind(PART, Parts())
            async with runtime:
                await runtime.apply([part("a", value=1)])
                await runtime.wait("part/a", timeout=60)
                await asyncio.to_thread(postgres.stop, server)
                with pytest.raises(StoreUnavailableError):
                    await runtime.apply([part("a", value=2)])
                assert runtime.compiled("part/a") == [1]  # what runs goes on
                server = await asyncio.to_thread(postgres.start, scratch)
                with anyio.fail_after(60):
                    while True:
                        try:
                            await runtime.apply([part("a", value=2)])
                        except StoreUnavailableError:
                            continue
                        break
                    while runtime.compiled("part/a") != [2]:
                        await anyio.lowlevel.checkpoint()
        finally:
            await asyncio.to_thread(postgres.stop, server)
