"""Actions by the budget of their run's tree, where the executor has the part that sessions have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import InvalidAnswerError
from stategraph.governance import session as sessions
from stategraph.governance.actions import ActionOutcome, ActionRequest
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.budget.port import BudgetUnit
from stategraph.governance.budget.questions import BudgetQuestion, read_answer
from stategraph.governance.capabilities.functions import capability, offer
from stategraph.governance.context import Budget
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.graph.state import StateGraph
from stategraph.run.runtime import create_run
from stategraph.workers.registry.databases import open_database
from tests.governance.sessions import context

THREAD: Any = {"configurable": {"thread_id": "t"}}


@pytest.fixture
def part() -> Iterator[RunBudget]:
    ledger = SqlBudgetLedger(open_database("sqlite:///:memory:"))
    try:
        yield RunBudget(ledger)
    finally:
        ledger.close()


class Desk:
    """Two capabilities, and an executor that keeps the budget."""

    def __init__(self, part: RunBudget) -> None:
        self.done: list[str] = []

        @capability(risk="read", source="desk")
        def look(order: str) -> str:
            """Look an order up."""
            self.done.append(order)
            return f"{order} is on its way"

        @capability(risk="read", source="desk")
        def fail(order: str) -> str:
            """Fail."""
            raise RuntimeError(order)

        self.executor = ActionExecutor(Registry(offer(look), offer(fail)), budgets=part)

    async def act(self, name: str, order: str) -> ActionOutcome:
        active = sessions.current()
        request = ActionRequest(name, {"order": order}, f"call-{order}", active.run, active.context)
        return await self.executor.act(request)


def spent(part: RunBudget) -> tuple[Any, Any]:
    part.ledger.flush_sync()
    found = part.ledger.usage_sync("acme", "r").units[BudgetUnit.TOOL_CALLS]
    return found.spent, found.reserved


def limited(part: RunBudget, on_limit: Any) -> Session:
    return Session(context(budget=Budget(tool_calls=2, on_limit=on_limit)), parts=[part])


def test_an_action_beyond_the_cap_is_refused_with_a_reason_for_the_model(part: RunBudget) -> None:
    async def main() -> None:
        desk = Desk(part)
        async with limited(part, "deny").active("r"):
            outcomes = [await desk.act("look", each) for each in ("a", "b", "c")]
        assert [each.status for each in outcomes] == ["completed", "completed", "rejected"]
        assert outcomes[2].reason == "budget_exceeded"
        assert desk.done == ["a", "b"]
        assert spent(part) == (2, 0)

    asyncio.run(main())


def test_what_was_executed_counts_and_what_was_refused_before_it_does_not(part: RunBudget) -> None:
    async def main() -> None:
        desk = Desk(part)
        async with limited(part, "deny").active("r"):
            assert (await desk.act("unknown", "x")).status == "rejected"
            assert spent(part) == (0, 0) if part.ledger.usage_sync("acme", "r").units else True
            assert (await desk.act("fail", "y")).status == "failed"
        assert spent(part) == (1, 0)

    asyncio.run(main())


def test_a_person_is_asked_for_more_actions(part: RunBudget) -> None:
    class State(TypedDict, total=False):
        outcomes: list[str]

    async def main() -> None:
        desk = Desk(part)

        async def act(_: State) -> State:
            made = [await desk.act("look", each) for each in ("a", "b", "c")]
            return {"outcomes": [each.status for each in made]}

        graph = StateGraph(State)
        graph.add_node("act", act)
        graph.add_edge(START, "act")
        graph.add_edge("act", END)
        run = await create_run(
            run_id="r",
            graph=graph.compile(),
            session=limited(part, "interrupt"),
            checkpointer=in_memory_saver(),
        )
        await run.process_stream({"outcomes": []}, THREAD)
        (asked,) = run.get_interrupts()
        assert (asked.payload["unit"], asked.payload["cap"], asked.payload["spent"]) == ("tool_calls", 2, 2)
        for senseless in (1e40, 10**19, float("inf"), float("nan"), True, 2):
            await run.resume({"type": "raise", "to": senseless}, THREAD)
            (again,) = run.get_interrupts()
            assert "expected {'type': 'raise', 'to': n} with n above 2 and up to 1e+18" in again.payload["problem"]
        await run.resume({"type": "raise", "to": 10}, THREAD)
        assert run.graph.values["outcomes"] == ["completed"] * 3
        assert spent(part)[1] == 0

    asyncio.run(main())


@pytest.mark.parametrize("unit", ["tokens", "usd", "tool_calls", "wall_s"])
def test_a_raise_that_no_ledger_can_store_is_no_answer(unit: str) -> None:
    question = BudgetQuestion(type="budget_reached", unit=unit, cap=5, spent=5, rootRunId="r")
    for to in (10**40, 10**400, 10**5000, 1e40, 10**18 + 1, float("nan"), True, "9", 5):
        with pytest.raises(InvalidAnswerError, match=r"'to': n\} with n above 5 and up to 1e"):
            read_answer(question, {"type": "raise", "to": to})
    assert read_answer(question, {"type": "raise", "to": 6}) == 6
