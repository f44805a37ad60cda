"""Calls beside each other in one task: an answer counts for the call that people were shown, and for no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from stategraph import Command
from stategraph.constants import INTERRUPT
from stategraph.errors import GraphInterrupt
from stategraph.governance.actions import ActionOutcome
from stategraph.governance.approval.port import Approval
from stategraph.governance.errors import GovernanceError
from stategraph.governance.session import Session
from stategraph.governance.view import CapabilityGraph
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.executing.kit import ANN, BOB, World, asked, session

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

THREAD: Any = {"configurable": {"thread_id": "t"}}
MINE = session(ANN, approver=BOB)
YES: Any = Command(resume=[{"type": "approve"}])


def refund(order: str, cents: int = 500) -> Any:
    return script.call("refund", {"order": order, "cents": cents}, id=order)


def agent(office: World, version: Any, *calls: Any) -> Any:
    from langgraph.prebuilt import create_react_agent

    executor = office.executor()
    tools = CapabilityGraph.build(executor.registry, MINE).tools(executor, MINE)
    replies: Any = [script.reply("", *calls), script.reply("Done.")]
    model = ScriptedChatModel(replies=replies)
    return create_react_agent(model, tools, checkpointer=InMemorySaver(), version=version)


def graph_of(node: Any) -> Any:
    graph: Any = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
    return graph.compile(checkpointer=InMemorySaver())


@pytest.fixture(params=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Any:
    if request.param == "sync":
        return lambda graph, given: graph.invoke(given, THREAD)
    return lambda graph, given: asyncio.run(graph.ainvoke(given, THREAD))


def shown(state: Any) -> list[str]:
    return [each["tool_call_id"] for one in state.get(INTERRUPT, ()) for each in one.value["action_requests"]]


def approved(office: World) -> set[str]:
    return {
        each.call_id for each in office.approvals.newest("acme") if any(one.word == "approve" for one in each.votes)
    }


def test_calls_of_one_task_that_need_approval_are_refused_before_people_are_asked(office: World, go: Any) -> None:
    state = go(agent(office, "v1", refund("1"), refund("2")), {"messages": [("user", "hi")]})
    assert shown(state) == []
    results = [str(each.content) for each in state["messages"] if isinstance(each, ToolMessage)]
    assert len(results) == 2
    assert all("approval_unavailable" in each and "ToolCallGate" in each for each in results)
    assert all('version="v2"' in each for each in results)
    assert office.office.done == [] and office.approvals.newest("acme") == []


def test_one_call_that_needs_approval_asks_beside_others_that_do_not(office: World, go: Any) -> None:
    graph = agent(office, "v1", refund("1"), refund("2", 5), script.call("look_up", {"order": "3"}, id="3"))
    assert shown(go(graph, {"messages": [("user", "hi")]})) == ["1"]
    assert shown(go(graph, YES)) == []
    refunds = [each for each in office.office.done if each[0] == "refund"]
    assert sorted(refunds) == [("refund", "1", 500), ("refund", "2", 5)]


def test_calls_that_are_tasks_of_their_own_wait_together(office: World, go: Any) -> None:
    graph = agent(office, "v2", refund("1"), refund("2"))
    state = go(graph, {"messages": [("user", "hi")]})
    assert sorted(shown(state)) == ["1", "2"]
    answers = {
        one.id: [{"type": "approve" if shown({INTERRUPT: [one]}) == ["1"] else "reject"}] for one in state[INTERRUPT]
    }
    go(graph, Command(resume=answers))
    assert office.office.done == [("refund", "1", 500)]


@pytest.mark.parametrize("surfaces", [0, 1])
@pytest.mark.parametrize("then", [("A", "B"), ("B", "A")])
def test_an_action_that_comes_after_one_that_waits_neither_asks_nor_reads_its_answer(
    office: World, surfaces: int, then: tuple[str, str]
) -> None:
    executor, orders = office.executor(), [("A", "B"), then]
    ends: list[dict[str, Any]] = []

    def node(state: Any) -> Any:
        ended: dict[str, Any] = {}
        for each in orders[len(ends)]:
            try:
                ended[each] = executor.act_sync(asked("refund", each, MINE, order=each, cents=500))
            except (GraphInterrupt, GovernanceError) as error:
                ended[each] = error
        ends.append(ended)
        waits = [each for each in ended.values() if isinstance(each, GraphInterrupt)]
        if waits:
            raise waits[min(surfaces, len(waits) - 1)]
        return {}

    graph: Any = (
        StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(checkpointer=InMemorySaver())
    )
    first = graph.invoke({"messages": []}, THREAD)
    assert shown(first) == ["A"]
    assert isinstance(ends[0]["B"], GovernanceError) and "ToolCallGate" in str(ends[0]["B"])
    graph.invoke(YES, THREAD)
    assert approved(office) <= {"A"}
    assert ("refund", "B", 500) not in office.office.done
    if then == ("A", "B"):
        assert isinstance(ends[1]["A"], ActionOutcome) and office.office.done == [("refund", "A", 500)]
    else:
        assert isinstance(ends[1]["B"], GovernanceError)


class Slow:
    """A store that finds the requests of the call `A` once another action has ended."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.reached = threading.Event()
        self.ended = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def of_call(self, tenant: str, scope: str, place: str, call_id: str) -> Sequence[Approval]:
        if call_id == "A":
            self.reached.set()
            assert self.ended.wait(60)
        found: Sequence[Approval] = self._store.of_call(tenant, scope, place, call_id)
        return found


def test_actions_that_are_looked_at_at_once_are_refused_before_either_asks(office: World) -> None:
    store = Slow(office.approvals)
    executor = office.executor(approvals=store)

    async def act(name: str) -> Any:
        return await executor.act(asked("refund", name, MINE, order=name, cents=500))

    async def after() -> Any:
        await asyncio.to_thread(store.reached.wait, 60)
        try:
            return await act("B")
        finally:
            store.ended.set()

    ends: list[Any] = []

    async def node(state: Any) -> Any:
        ends.extend(await asyncio.gather(act("A"), after(), return_exceptions=True))
        raise next((each for each in ends if isinstance(each, GraphInterrupt)), ends[0])

    graph: Any = (
        StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(checkpointer=InMemorySaver())
    )

    async def main() -> None:
        async with Session(MINE).active("run-1", "t"):
            with pytest.raises(GovernanceError, match="ToolCallGate"):
                await graph.ainvoke({"messages": []}, THREAD)

    asyncio.run(main())
    assert [type(each) for each in ends] == [GovernanceError, GovernanceError]
    assert approved(office) == set() and office.office.done == []
