"""A tool that ran keeps its result, although a handler that is told of its end fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, HandlerError
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import ProcessOptions, Run
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import THREAD, ask, calls

pytestmark = pytest.mark.anyio


def fails(*_: Any) -> None:
    raise RuntimeError("the display is gone")


class Shop:
    """A shop that counts what is paid."""

    def __init__(self, *names: str) -> None:
        self.paid: list[str] = []
        self.model = ScriptedChatModel(replies=[calls(*(("buy", {"what": name}) for name in names)), "Done."])
        self.saver = in_memory_saver()

    async def buy(self, what: str) -> str:
        """Buy something."""
        if what == "nothing":
            raise LookupError("sold out")
        self.paid.append(what)
        return f"bought {what}"

    def agent(self) -> dict[str, Any]:
        return {"agent_id": "a", "model": self.model, "tools": [self.buy]}

    async def run(self, run_id: str, **settings: Any) -> Run:
        options = {"checkpointer": self.saver}
        config = {"run_id": run_id, "graph_config": {"agents": [self.agent()], "compile_options": options}}
        return await Run.create({**config, **settings})


@pytest.mark.parametrize("names", [("tea",), ("tea", "milk")])
@pytest.mark.parametrize("way", ["handler", "callback"])
async def test_a_tool_that_ran_keeps_its_result_where_a_handler_of_its_end_fails(
    names: tuple[str, ...], way: str
) -> None:
    shop = Shop(*names)
    run = await shop.run("1", **({"custom_handlers": {"on_tool_end": fails}} if way == "handler" else {}))
    callbacks: ProcessOptions = {"callbacks": {"handle_tool_end": fails}} if way == "callback" else {}
    with pytest.raises(HandlerError, match="the display is gone"):
        await run.process_stream(ask("Buy."), THREAD, callbacks)
    first = run.get_run_messages()[1]
    assert (shop.paid[0], first.content) == ("tea", "bought tea")
    later = await shop.run("2")
    await later.process_stream(ask("Go on."), THREAD)
    (sent,) = [each for each in shop.model.requests[-1].messages if getattr(each, "tool_call_id", "") == "call_1"]
    assert sent.content == "bought tea"


@pytest.mark.parametrize("names", [("tea",), ("tea", "milk")])
@pytest.mark.parametrize("event", ["on_tool_end", "on_run_step_completed"])
@pytest.mark.parametrize("stored", [True, False])
async def test_a_tool_that_ran_keeps_its_result_where_the_run_is_stopped_while_its_end_is_told(
    event: str, names: tuple[str, ...], stored: bool
) -> None:
    shop = Shop(*names)

    async def stops(*_: Any) -> None:
        run.abort("enough")
        await asyncio.sleep(60)

    run = await shop.run("1", custom_handlers={event: stops})
    if not stored:
        run = await shop.run("1", custom_handlers={event: stops}, graph_config={"agents": [shop.agent()]})
    with pytest.raises(AbortError, match="enough"):
        await run.process_stream(ask("Buy."), THREAD)
    results = {each.tool_call_id: each for each in run.get_run_messages() if isinstance(each, ToolMessage)}
    assert len(results) == len(names)
    for number, name in enumerate(names, 1):
        if name in shop.paid:
            assert results[f"call_{number}"].content == f"bought {name}"
    if stored:
        later = await shop.run("2")
        await later.process_stream(ask("Go on."), THREAD)
        (sent,) = [each for each in shop.model.requests[-1].messages if getattr(each, "tool_call_id", "") == "call_1"]
        assert sent.content == "bought tea"


async def test_a_result_that_hooks_have_not_reviewed_is_not_kept_as_it_is() -> None:
    shop, hooks = Shop("tea"), HookRegistry()
    hooks.register("PostToolUse", lambda _: {"updatedOutput": "[redacted]"})

    async def stops(*_: Any) -> None:
        run.abort()
        await asyncio.sleep(60)

    run = await shop.run("1", custom_handlers={"on_tool_end": stops}, hooks=hooks)
    with pytest.raises(AbortError):
        await run.process_stream(ask("Buy."), THREAD)
    (result,) = [each for each in run.get_run_messages() if isinstance(each, ToolMessage)]
    assert "The tool has run" in str(result.content)
    assert "tea" not in str(result.content)


async def test_a_failure_of_a_tool_is_kept_where_a_callback_that_is_told_of_it_fails() -> None:
    shop = Shop("nothing")
    run = await shop.run("1")
    with pytest.raises(HandlerError, match="handle_tool_error"):
        await run.process_stream(ask("Buy."), THREAD, {"callbacks": {"handle_tool_error": fails}})
    assert "sold out" in run.get_run_messages()[1].content


async def test_a_tool_that_is_not_told_to_begin_does_not_run() -> None:
    shop = Shop("tea")
    run = await shop.run("1", custom_handlers={"on_tool_start": fails})
    with pytest.raises(HandlerError, match="the display is gone"):
        await run.process_stream(ask("Buy."), THREAD)
    assert (shop.paid, run.get_run_messages()[1].status) == ([], "error")  # type: ignore[union-attr]
