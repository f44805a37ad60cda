"""The liveness of an operator over HTTP, also of one that waits for another to go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from stategraph.errors import ConfigurationError


@asynccontextmanager
async def answering(address: str | None, state: Callable[[], str]) -> AsyncIterator[None]:
    """Answer at an address for a block.

    Args:
        address: Such as `http://0.0.0.0:8080/healthz`; None: nobody asks.
        state: Returns what the operator does: `waits` or `leads`.

    Raises:
        ConfigurationError: It is no address, or in use.
    """
    if address is None:
        yield
        return
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise ConfigurationError(f"--liveness is an address such as http://0.0.0.0:8080/healthz; found '{address}'")
    from aiohttp import web  # comes with kopf

    async def answer(request: web.Request) -> web.Response:
        del request
        return web.json_response({"state": state()})

    application = web.Application()
    application.router.add_get(parts.path or "/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, parts.hostname, parts.port).start()
        except OSError as error:
            raise ConfigurationError(f"--liveness {address}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()
