"""Calls that the host executes: what it is asked, and what becomes of its answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolCall

from stategraph.agent.facts import ModelCall, Place
from stategraph.agent.ports import HostResult, ToolBatch
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.events.listener import RunListener
from stategraph.run.events.step_list import StepList
from stategraph.run.events.steps import StepTracker
from stategraph.run.turn.client_tools import RunToolHost

pytestmark = pytest.mark.anyio

AT = Place("a", "Anna", "agent=a", {"thread_id": "t"})
CALLS = [ToolCall(name=name, args={"x": number}, id=f"c{number}") for number, name in enumerate(("n", "m", "n"))]


class Asked:
    """A tool host, and the requests that its handler was given."""

    def __init__(self, *, handler: bool = True, **configurable: Any) -> None:
        self.requests: list[Any] = []
        ids = iter(range(100))
        tracker = StepTracker(StepList("r", new_id=lambda prefix: f"{prefix}{next(ids)}", now_ms=lambda: 0))
        about = ModelCall(AT, "openai", "m", [HumanMessage("hi")], 1)
        list(tracker.end(about, AIMessage("", tool_calls=CALLS)))
        handlers = EventHandlerRegistry({"on_tool_execute": self._answer} if handler else {})
        agents = [SimpleNamespace(id="root", name="Root")]
        graph: Any = SimpleNamespace(tracker=tracker, handler_registry=handlers, agents=agents)
        self.tracker = tracker
        self.host = RunToolHost(RunListener("r", graph), tracker, {"a": ["n", "m"]})
        self.batch = ToolBatch(AT, CALLS, {"configurable": configurable} if configurable else {})

    def _answer(self, event: str, request: Any, metadata: Any, graph: Any) -> list[HostResult]:
        self.requests.append(request)
        return [HostResult(call["id"], "done") for call in request["toolCalls"]]

    async def execute(self) -> Any:
        async def early(result: HostResult) -> None:
            raise AssertionError("no result comes before the others")

        return await self.host.execute(self.batch, early)


async def test_the_host_is_asked_about_all_calls_of_an_answer_with_where_they_are_from() -> None:
    asked = Asked(user_id="u", thread_id="t", __pregel_task_id="inner")
    assert await asked.execute() == [HostResult(call["id"], "done") for call in CALLS]
    (request,) = asked.requests
    assert request == {
        "toolCalls": [
            {"id": "c0", "name": "n", "args": {"x": 0}, "stepId": asked.tracker.step_id(AT, "c0"), "turn": 0},
            {"id": "c1", "name": "m", "args": {"x": 1}, "stepId": asked.tracker.step_id(AT, "c1"), "turn": 0},
            {"id": "c2", "name": "n", "args": {"x": 2}, "stepId": asked.tracker.step_id(AT, "c2"), "turn": 1},
        ],
        "userId": "u",
        "agentId": "a",
        "callerCapabilityProjection": {
            "version": 1,
            "directToolNames": ["n", "m"],
            "codeExecutionToolNames": [],
            "directOnlyToolNames": ["n", "m"],
            "codeExecutionOnlyToolNames": [],
        },
        "configurable": {"run_id": "r", "user_id": "u", "thread_id": "t"},
        "metadata": {
            "thread_id": "t",
            "run_id": "r",
            "agentId": "a",
            "activeAgentId": "a",
            "activeAgentName": "Anna",
            "rootAgentId": "root",
            "rootAgentName": "Root",
        },
        "signal": asked.host.signal,
    }
    assert all(call["stepId"] for call in request["toolCalls"])
    assert not asked.host.signal.aborted


async def test_a_request_of_nobody_known_names_no_user() -> None:
    asked = Asked()
    await asked.execute()
    (request,) = asked.requests
    assert "userId" not in request
    assert request["configurable"] == {"run_id": "r"}


async def test_an_agent_without_tools_of_its_own_projects_none() -> None:
    asked = Asked()
    asked.batch = ToolBatch(Place("b", "Ben", "agent=b", {}), CALLS, {})
    await asked.execute()
    (request,) = asked.requests
    assert request["callerCapabilityProjection"]["directToolNames"] == []
    assert request["agentId"] == "b"


async def test_calls_that_no_handler_executes_are_named_once_each() -> None:
    with pytest.raises(LookupError, match="Agent 'a' called m, n, which only the host can execute, and no handler"):
        await Asked(handler=False).execute()
