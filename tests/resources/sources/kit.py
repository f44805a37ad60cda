"""A runtime in memory, and waiting for what other tasks and processes bring about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from stategraph.resources import Condition, Runtime
from stategraph.testing import ScriptedChatModel

DEADLINE_S = 60.0


class Models:
    """Scripted models by the resource that uses them."""

    def __init__(self, **replies: Any) -> None:
        self.replies = {name.replace("__", "/"): each for name, each in replies.items()}
        self.made: dict[str, ScriptedChatModel] = {}

    def __call__(self, request: Any) -> ScriptedChatModel:
        if request.used_by not in self.made:
            replies = self.replies.get(request.used_by, ["ok"] * 50)
            self.made[request.used_by] = ScriptedChatModel(replies=replies, model_name=request.name)
        return self.made[request.used_by]


@asynccontextmanager
async def running(text: str, url: str = "memory:", **settings: Any) -> AsyncIterator[Runtime]:
    """Run a runtime with some manifests, which are reconciled once."""
    async with Runtime.from_url(url, **{"allow": ("tests.",), "model_factory": Models(), **settings}) as runtime:
        await runtime.load_from_string(text, timeout=DEADLINE_S)
        yield runtime


async def eventually(met: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until something awaitable is true, and return it."""
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await met()):  # noqa: ASYNC110 - other tasks bring it about
            await asyncio.sleep(0.01)
    return found


async def said(runtime: Runtime, name: str, type: str, status: str) -> Condition:
    """Wait until a condition of a resource has a status, and return it."""

    async def found() -> Condition | None:
        resource = await runtime.get(name)
        known = None if resource is None else resource.condition(type)
        return known if known is not None and known.status == status else None

    condition: Condition = await eventually(found)
    return condition


async def called(runtime: Runtime, tool: str, **arguments: Any) -> Any:
    """Call a tool of the runtime, as a step does."""
    return await runtime.compiled(f"tool/{tool}").tool.ainvoke(arguments)
