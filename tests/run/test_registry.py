"""Handlers: what is taken, what is refused, and how several become one."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.errors import HandlerError
from stategraph.run.events.handler_registry import EventHandlerRegistry, compose_event_handlers
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import WEATHER, ask, calls, get_weather, run_of

pytestmark = pytest.mark.anyio


async def test_handlers_of_an_event_are_called_in_turn_sync_and_async() -> None:
    heard: list[str] = []

    class Second:
        async def handle(self, *_: Any) -> None:
            heard.append("second")

    handlers = compose_event_handlers(
        {"on_message_delta": lambda *_: heard.append("first")}, {"on_message_delta": Second()}
    )
    run = await run_of("Hi.", custom_handlers=handlers)
    await run.process_stream(ask())
    assert heard == ["first", "second"]


async def test_the_one_of_several_handlers_that_failed_is_named() -> None:
    def well(*_: Any) -> None:
        pass

    def ill(*_: Any) -> None:
        raise ValueError("no")

    run = await run_of("Hi.", custom_handlers=compose_event_handlers({"on_run_step": well}, {"on_run_step": ill}))
    with pytest.raises(HandlerError, match=r"<locals>\.ill' of 'on_run_step' failed: ValueError: no"):
        await run.process_stream(ask())


def weather(text: str) -> Any:
    """A handler of `on_tool_execute` that returns the results."""
    return lambda event, data, *_: [{"toolCallId": call["id"], "content": text} for call in data["toolCalls"]]


def awaited(handler: Any) -> Any:
    """The same handler, async."""

    async def handle(*about: Any) -> Any:
        return handler(*about)

    return handle


def nothing(*_: Any) -> None:
    """A handler that only listens."""


@pytest.mark.parametrize(
    ("runtimes", "own"),
    [
        (nothing, weather("Sunny")),
        (weather("Sunny"), nothing),
        (awaited(nothing), awaited(weather("Sunny"))),
        (awaited(weather("Sunny")), awaited(nothing)),
        (weather("Rainy"), awaited(weather("Sunny"))),
    ],
)
async def test_the_results_that_one_of_several_handlers_returns_are_the_answer(runtimes: Any, own: Any) -> None:
    model = ScriptedChatModel(replies=[calls(("get_weather", {"city": "Rome"})), "Fine."])
    async with AgentRuntime(custom_handlers={"on_tool_execute": runtimes}) as runtime:
        run = await runtime.create_run(
            run_id="r",
            agents=[{"agent_id": "a", "model": model, "tool_definitions": [WEATHER]}],
            custom_handlers={"on_tool_execute": own},
        )
        await run.process_stream(ask())
    assert [message.content for message in run.get_run_messages()] == ["", "Sunny", "Fine."]


async def test_several_handlers_are_named_where_what_they_return_is_no_result() -> None:
    composed = compose_event_handlers({"on_tool_execute": nothing}, {"on_tool_execute": lambda *_: "Sunny"})
    reply = calls(("get_weather", {"city": "Rome"}))
    run = await run_of(reply, agent={"tool_definitions": [WEATHER]}, custom_handlers=composed)
    with pytest.raises(HandlerError, match=r"'nothing, .*<lambda>' of 'on_tool_execute' failed: ValueError: resolve"):
        await run.process_stream(ask())


async def test_handlers_that_were_made_one_are_made_one_with_others_again() -> None:
    heard: list[str] = []

    def hear(name: str) -> Any:
        return lambda *_: heard.append(name)

    def ill(*_: Any) -> None:
        raise ValueError("no")

    two = compose_event_handlers({"on_run_step": hear("a")}, {"on_run_step": awaited(hear("b"))})
    await (await run_of("Hi.", custom_handlers=compose_event_handlers(two, {"on_run_step": hear("c")}))).process_stream(
        ask()
    )
    assert heard == ["a", "b", "c"]
    bad = compose_event_handlers(two, compose_event_handlers({"on_run_step": ill}, {"on_run_step": hear("d")}))
    with pytest.raises(HandlerError, match=r"<locals>\.ill' of 'on_run_step' failed: ValueError: no") as raised:
        await (await run_of("Hi.", custom_handlers=bad)).process_stream(ask())
    assert isinstance(raised.value.__cause__, ValueError)
    assert heard == ["a", "b", "c", "a", "b"]


async def test_handlers_that_were_made_one_share_their_metadata_and_no_other_event_does() -> None:
    seen: list[Any] = []

    def note(event: str, data: Any, metadata: Any, graph: Any) -> None:
        seen.append(metadata.pop("noted", None))
        metadata["noted"] = True

    composed = compose_event_handlers(*[dict.fromkeys(("on_run_step", "on_message_delta"), note)] * 2)
    await (await run_of("One two.", custom_handlers=composed)).process_stream(ask())
    assert seen == [None, True] * (len(seen) // 2)
    assert len(seen) >= 4


async def test_handlers_that_were_made_one_can_be_called() -> None:
    def ill(*_: Any) -> None:
        raise ValueError("no")

    handlers = compose_event_handlers({"x": awaited(lambda *_: "first")}, {"x": lambda *_: "last"}, {"x": nothing})
    handle: Any = handlers["x"]
    assert await handle("x", {}, None, None) == "last"
    failing: Any = compose_event_handlers(handlers, {"x": ill})["x"]
    with pytest.raises(HandlerError, match="ill' of 'x' failed: ValueError: no"):
        await failing("x", {}, None, None)


def test_what_is_no_handler_is_refused_before_a_run() -> None:
    with pytest.raises(TypeError, match=r"'on_run_step' is int; expected a function"):
        compose_event_handlers({"on_run_step": print}, {"on_run_step": 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"'on_run_step' is int; expected a function"):
        EventHandlerRegistry({"on_run_step": 3})  # type: ignore[dict-item]


async def test_a_handler_that_is_taken_away_in_the_middle_is_called_no_more() -> None:
    heard: list[str] = []

    def once(event: str, data: Any, metadata: Any, graph: Any) -> None:
        heard.append(data["delta"]["content"][0]["text"])
        graph.handler_registry.unregister(event)

    run = await run_of("One two three.", custom_handlers={"on_message_delta": once})
    await run.process_stream(ask())
    assert len(heard) == 1


@pytest.mark.parametrize("name", ["handle_tool_start", "handle_tool_end"])
async def test_a_callback_that_fails_fails_the_run_under_its_name(name: str) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no")

    reply = script.reply(script.call("get_weather", {"city": "Rome"}))
    run = await run_of(reply, "Fine.", agent={"tools": [get_weather]})
    with pytest.raises(HandlerError, match=f"callback '{name}' failed: ValueError: no"):
        await run.process_stream(ask(), {}, {"callbacks": {name: fail}})  # type: ignore[misc]


async def test_a_run_takes_a_registry_as_its_handlers_and_uses_it_as_it_is() -> None:
    seen: list[str] = []
    handlers = EventHandlerRegistry({"on_run_step": lambda event, *_: seen.append(event)})
    run = await run_of("Hello.", custom_handlers=handlers)
    assert run.handler_registry is handlers
    handlers.register("on_run_step_closed", lambda event, *_: seen.append(event))
    await run.process_stream(ask())
    assert seen == ["on_run_step", "on_run_step_closed"]
    assert (len(handlers), list(handlers)) == (2, seen)


async def test_a_runtime_takes_registries_as_well() -> None:
    seen: list[str] = []
    shared = EventHandlerRegistry({"on_run_step": lambda *_: seen.append("shared")})
    own = EventHandlerRegistry({"on_run_step": lambda *_: seen.append("own")})
    agent = {"agent_id": "a", "model": ScriptedChatModel(replies=["Hello."])}
    async with AgentRuntime(custom_handlers=shared) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent], custom_handlers=own)
        await run.process_stream(ask())
    assert seen == ["shared", "own"]


def test_who_watches_a_registry_is_told_of_each_change_until_it_leaves() -> None:
    registry = EventHandlerRegistry()
    told: list[Any] = []
    leave = registry.watch(lambda: told.append(sorted(registry.events)))
    registry.register("on_run_step", print)
    registry.register("on_message_delta", print)
    assert registry.unregister("on_run_step") is print
    assert registry.unregister("on_run_step") is None
    assert told[:3] == [["on_run_step"], ["on_message_delta", "on_run_step"], ["on_message_delta"]]
    assert (registry.get_handler("on_run_step"), registry.get_handle("on_run_step")) == (None, None)
    assert (registry.name_of("on_message_delta"), registry.name_of("on_run_step")) == ("print", "")
    leave()
    number = len(told)
    registry.unregister("on_message_delta")
    assert len(told) == number
    assert len(registry) == 0
