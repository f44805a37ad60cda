"""Hooks and gates around the tools of graphs that the host made."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool

from stategraph.constants import END, START
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.config.context import get_config
from stategraph.errors import GraphBubbleUp
from stategraph.graph.message import MessagesState
from stategraph.graph.state import StateGraph
from stategraph.run.graphs.tool_hooks import ToolDeniedError, run_tool
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Command

THREAD: dict[str, Any] = {"configurable": {"thread_id": "t"}}
ASK = {"messages": [("user", "hi")]}

ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@tool
def send(to: str) -> str:
    """Sends."""
    ran.append(to)
    if to == "nobody":
        raise ValueError("no such person")
    return f"Sent to {to}"


@dataclass(frozen=True)
class Request:
    """What langgraph-prebuilt gives a wrapper."""

    tool_call: Any
    runtime: Any

    def override(self, **changes: Any) -> Request:
        return replace(self, **changes)


Wrapper = Callable[[Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]


def graph_of(*replies: Any, wrapper: Wrapper | None = None, saver: Any = None, handles: bool = False) -> Any:
    """An agent whose tools node executes calls as a ToolNode does."""
    llm = ScriptedChatModel(replies=list(replies))

    async def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    async def execute(request: Any) -> Any:
        call = request.tool_call
        try:
            return await send.ainvoke({**call, "type": "tool_call"})
        except GraphBubbleUp:
            raise
        except Exception as error:
            if not handles and not isinstance(error, ValueError):
                raise
            return ToolMessage(str(error), name=call["name"], tool_call_id=call["id"], status="error")

    async def tools(state: MessagesState) -> Any:
        results: list[Any] = []
        for call in state["messages"][-1].tool_calls:  # type: ignore[union-attr]
            request = Request(call, SimpleNamespace(config=get_config()))
            given = await (execute(request) if wrapper is None else wrapper(request, execute))
            results.extend(given.update["messages"] if isinstance(given, Command) else [given])
        return {"messages": results}

    builder = StateGraph(MessagesState)
    builder.add_node("model", speak)
    builder.add_node("tools", tools)
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model",
        lambda state: "tools" if state["messages"][-1].tool_calls else END,  # type: ignore[attr-defined]
        ["tools", END],
    )
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=saver)


def calling(to: str = "ada") -> Any:
    return script.reply("", script.call("send", {"to": to}, id="c"))


async def run_of(graph: Any, hooks: Mapping[str, Any], **settings: Any) -> Run:
    registry = HookRegistry()
    for event, hook in hooks.items():
        registry.register(event, hook)
    return await Run.create({"run_id": "r", "graph": graph, "hooks": registry, **settings})


def results(run: Run) -> list[tuple[str, str]]:
    return [(each.text, each.status) for each in run.get_run_messages() if isinstance(each, ToolMessage)]


# A node that executes its calls by `run_tool`


def test_a_denied_call_does_not_run_and_the_model_is_told() -> None:
    async def main() -> None:
        denied: list[Any] = []
        hooks = {
            "PreToolUse": lambda about: {"decision": "deny", "reason": "not today"},
            "PermissionDenied": lambda about: denied.append((about["toolUseId"], about["reason"])),
        }
        run = await run_of(graph_of(calling(), "Then not.", wrapper=run_tool), hooks)
        await run.process_stream(ASK, THREAD)
        assert ran == []
        assert results(run) == [("Blocked: not today", "error")]
        assert denied == [("c", "not today")]

    asyncio.run(main())


def test_hooks_change_arguments_and_results_and_add_messages() -> None:
    async def main() -> None:
        seen: list[Any] = []

        def before(about: Mapping[str, Any]) -> dict[str, Any]:
            seen.append((about["toolName"], about["toolInput"], about["turn"], bool(about["stepId"]), about["agentId"]))
            return {"updatedInput": {"to": "bob"}}

        hooks = {
            "PreToolUse": before,
            "PostToolUse": lambda about: {"updatedOutput": f"{about['toolOutput']}!", "additionalContext": "Be quick."},
        }
        run = await run_of(graph_of(calling(), "Done.", wrapper=run_tool), hooks)
        await run.process_stream(ASK, THREAD)
        assert seen == [("send", {"to": "ada"}, 0, True, "model")]
        assert ran == ["bob"]
        assert results(run) == [("Sent to bob!", "success")]
        assert "Be quick." in [each.text for each in run.get_run_messages()][2]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ([{"type": "approve"}], ("Sent to ada", "success")),
        ([{"type": "reject", "reason": "no"}], ("Blocked: no", "error")),
        ([{"type": "edit", "updated_input": {"to": "eve"}}], ("Sent to eve", "success")),
        ([{"type": "respond", "response_text": "sent before"}], ("sent before", "success")),
    ],
)
def test_a_person_decides_about_a_call(answer: Any, wanted: tuple[str, str]) -> None:
    async def main() -> None:
        graph = graph_of(calling(), "Done.", wrapper=run_tool, saver=in_memory_saver())
        hooks = {"PreToolUse": lambda about: {"decision": "ask", "reason": "sure?"}}
        run = await run_of(graph, hooks, human_in_the_loop={"enabled": True})
        await run.process_stream(ASK, THREAD)
        assert ran == []
        (question,) = run.get_interrupts()
        assert question.payload["action_requests"][0]["name"] == "send"  # type: ignore[index]
        await run.resume(answer, THREAD)
        assert results(run) == [wanted]

    asyncio.run(main())


def test_a_failure_is_told_to_hooks_as_one() -> None:
    async def main() -> None:
        failures: list[Any] = []
        hooks = {"PostToolUseFailure": lambda about: failures.append(about["error"])}
        run = await run_of(graph_of(calling("nobody"), "Oh.", wrapper=run_tool), hooks)
        await run.process_stream(ASK, THREAD)
        assert failures == ["no such person"]
        assert results(run) == [("no such person", "error")]

    asyncio.run(main())


@tool
def command(what: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
    """Returns its result in a command, or raises."""
    if what == "raise":
        raise KeyError("gone")
    said = [ToolMessage("secret", tool_call_id=tool_call_id), HumanMessage("Beside it.")]
    several = Command(update={"messages": said})
    return [several] if what == "list" else several


@pytest.mark.parametrize("what", ["one", "list"])
def test_results_in_commands_are_shown_to_hooks_and_changed(what: str) -> None:
    async def main() -> None:
        async def tools(state: MessagesState) -> Any:
            (call,) = state["messages"][-1].tool_calls  # type: ignore[union-attr]
            request = Request(call, SimpleNamespace(config=get_config()))
            given = await run_tool(request, lambda given: command.ainvoke({**given.tool_call, "type": "tool_call"}))
            return given[0] if what == "list" else given

        seen: list[Any] = []

        def after(about: Mapping[str, Any]) -> dict[str, Any]:
            seen.append(about["toolOutput"])
            return {"updatedOutput": "***", "additionalContext": "Be quick."}

        builder = StateGraph(MessagesState)
        builder.add_node("tools", tools)
        builder.add_edge(START, "tools")
        run = await run_of(builder.compile(), {"PostToolUse": after})
        asked = AIMessage("", tool_calls=[{"name": "command", "args": {"what": what}, "id": "c"}])
        await run.process_stream({"messages": [("user", "hi"), asked]}, THREAD)
        assert seen == ["secret"]
        told = [each.text for each in run.get_run_messages()]
        assert told[:2] == ["***", "Beside it."]
        assert "Be quick." in told[2]

    asyncio.run(main())


def test_a_failure_that_the_graph_does_not_handle_is_told_to_hooks() -> None:
    async def main() -> None:
        failures: list[Any] = []

        async def node(state: MessagesState) -> Any:
            call = {"name": "command", "args": {"what": "raise"}, "id": "c", "type": "tool_call"}
            request = Request(call, SimpleNamespace(config=get_config()))
            return await run_tool(request, lambda given: command.ainvoke(given.tool_call))

        builder = StateGraph(MessagesState)
        builder.add_node("node", node)
        builder.add_edge(START, "node")
        hooks = {"PostToolUseFailure": lambda about: failures.append(about["error"])}
        run = await run_of(builder.compile(), hooks)
        with pytest.raises(KeyError, match="gone"):
            await run.process_stream(ASK, THREAD)
        assert failures == ["'gone'"]

    asyncio.run(main())


def test_the_wrapper_just_executes_outside_of_a_run() -> None:
    graph = graph_of(calling(), "Done.", wrapper=run_tool)
    state = asyncio.run(graph.ainvoke(ASK))
    assert [each.text for each in state["messages"]][2:] == ["Sent to ada", "Done."]


# Any other node


def test_hooks_see_calls_and_results_of_any_langchain_tool() -> None:
    async def main() -> None:
        seen: list[Any] = []
        hooks = {
            "PreToolUse": lambda about: seen.append(("before", about["toolInput"])),
            "PostToolUse": lambda about: seen.append(("after", about["toolOutput"])),
        }
        run = await run_of(graph_of(calling(), "Done."), hooks)
        await run.process_stream(ASK, THREAD)
        assert seen == [("before", {"to": "ada"}), ("after", "Sent to ada")]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"decision": "deny", "reason": "not today"}, "was not let through .Blocked: not today., and here neither"),
        ({"decision": "ask", "reason": "sure?"}, "was not let through .Blocked: sure"),
        ({"updatedInput": {"to": "bob"}}, "was to run with other arguments"),
    ],
)
def test_a_call_that_may_not_run_as_it_is_does_not_run(said: Any, why: str) -> None:
    async def main() -> None:
        graph = graph_of(calling(), "Done.", saver=in_memory_saver())
        hooks = {"PreToolUse": lambda about: said}
        run = await run_of(graph, hooks, human_in_the_loop={"enabled": True})
        with pytest.raises(ToolDeniedError, match=why) as raised:
            await run.process_stream(ASK, THREAD)
        assert ran == []
        assert "run_tool" in str(raised.value)
        # A graph that handles errors of tools tells its model.
        handled = await run_of(graph_of(calling(), "I see.", handles=True), hooks)
        await handled.process_stream(ASK, THREAD)
        assert ran == []
        ((text, status),) = results(handled)
        assert re.search(why, text)
        assert status == "error"

    asyncio.run(main())


@pytest.mark.parametrize("how", ["async tool", "sync tool in a thread", "sync tool in the loop", "sync node"])
def test_a_denial_holds_however_a_tool_is_called(how: str) -> None:
    @tool
    async def asend(to: str) -> str:
        """Sends."""
        ran.append(to)
        return to

    call: Any = {"name": "send", "args": {"to": "ada"}, "id": "c", "type": "tool_call"}

    async def anode(state: MessagesState) -> dict[str, Any]:
        if how == "async tool":
            await asend.ainvoke(call)
        elif how == "sync tool in the loop":
            send.invoke(call)
        else:
            await send.ainvoke(call)
        return {}

    def node(state: MessagesState) -> dict[str, Any]:
        send.invoke(call)
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node if how == "sync node" else anode)
    builder.add_edge(START, "node")

    async def main() -> None:
        async def deny(about: Any) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"decision": "deny", "reason": "no"}

        run = await run_of(builder.compile(), {"PreToolUse": deny})
        with pytest.raises(ToolDeniedError, match="Blocked: no"):
            await asyncio.wait_for(run.process_stream(ASK, THREAD), 20)
        assert ran == []

    asyncio.run(main())


def test_what_cannot_be_done_after_a_call_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        run = await run_of(graph_of(calling(), "Done."), {"PostToolUse": lambda about: {"updatedOutput": "else"}})
        await run.process_stream(ASK, THREAD)
        assert results(run) == [("Sent to ada", "success")]

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert "What a hook or gate wants after the call c of the tool 'send' cannot be done here" in caplog.text


def test_hooks_around_the_turn_are_called() -> None:
    async def main() -> None:
        said = iter([{"decision": "block", "additionalContext": "Go on."}, None])
        hooks = {"UserPromptSubmit": lambda about: {"additionalContext": about["prompt"]}, "Stop": lambda _: next(said)}
        run = await run_of(graph_of("One.", "Two.", saver=in_memory_saver()), hooks)
        await run.process_stream(ASK, THREAD)
        assert [each.text for each in run.get_run_messages() if each.type == "ai"] == ["One.", "Two."]
        denied = await run_of(graph_of("Never."), {"UserPromptSubmit": lambda _: {"decision": "deny"}})
        assert await denied.process_stream(ASK, THREAD) is None
        assert denied.get_halt_reason() == "prompt_denied"

    asyncio.run(main())
