"""Calls of models by the budget of their tree, in agents and in graphs that know nothing of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError, InvalidAnswerError
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.budget.port import Amounts, BudgetUnit, Tree
from stategraph.governance.context import Budget
from stategraph.governance.errors import BudgetExceeded
from stategraph.governance.session import Session
from stategraph.run.runtime import create_run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.workers.registry.databases import open_database
from tests.governance.budget.programs import LimitedModel, make_graph, model, session
from tests.governance.sessions import context

ASK = {"messages": [HumanMessage("hi", id="h1")]}
THREAD: Any = {"configurable": {"thread_id": "t"}}
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def ledger() -> Iterator[SqlBudgetLedger]:
    made = SqlBudgetLedger(open_database("sqlite:///:memory:"))
    try:
        yield made
    finally:
        made.close()


def spent(ledger: SqlBudgetLedger, root: str = "r", unit: str = "tokens") -> tuple[Any, Any]:
    """What was spent of a unit, and what is reserved."""
    found = ledger.usage_sync("acme", root).units[BudgetUnit(unit)]
    return found.spent, found.reserved


async def agent_run(ledger: SqlBudgetLedger, answering: Any = None, **budget: Any) -> Any:
    agents = [{"agent_id": "a", "model": answering or model()}]
    return await create_run(
        run_id="r", agents=agents, session=session(ledger, **budget), checkpointer=in_memory_saver()
    )


def test_agents_are_admitted_and_settled_by_what_they_took(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        run = await agent_run(ledger, tokens=1000)
        await run.process_stream(ASK, THREAD)
        assert spent(ledger) == (50, 0)

    asyncio.run(main())


@pytest.mark.parametrize("on_limit", ["raise", "deny"])
def test_a_budget_that_is_used_up_ends_the_run(ledger: SqlBudgetLedger, on_limit: Any) -> None:
    async def main() -> None:
        run = await create_run(
            run_id="r", graph=make_graph(calls=9), session=session(ledger, tokens=140, on_limit=on_limit)
        )
        with pytest.raises(BudgetExceeded, match="tokens=140"):
            await run.process_stream({"answers": 0}, THREAD)
        assert spent(ledger) == (150, 0)  # the third call began below the cap

    asyncio.run(main())


def test_graphs_without_an_event_loop_are_held_to_it_as_well(ledger: SqlBudgetLedger) -> None:
    with session(ledger, tokens=140, on_limit="raise").active_sync("r"), pytest.raises(BudgetExceeded):
        make_graph(calls=9).invoke({"answers": 0})
    assert spent(ledger) == (150, 0)
    make_graph(calls=9).invoke({"answers": 0})  # outside of a session nothing is limited


def test_code_in_tools_and_models_without_a_graph_are_held_to_it(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        async with session(ledger, tokens=40, on_limit="raise").active("r"):
            await model().ainvoke("hi")
            with pytest.raises(BudgetExceeded):
                await model().ainvoke("hi")
            with pytest.raises(BudgetExceeded):
                model().invoke("hi")  # blocks the loop, and is refused all the same
            with pytest.raises(BudgetExceeded):
                async for _ in model().astream("hi"):
                    pass

    asyncio.run(main())
    assert spent(ledger) == (50, 0)


@pytest.mark.parametrize("kind", ["agent", "graph"])
def test_a_person_raises_it(ledger: SqlBudgetLedger, kind: str) -> None:
    async def main() -> None:
        saver = in_memory_saver()
        ledger.settle_sync(ledger.reserve_sync(TREE, Amounts(tokens=60), key="before"), Amounts(tokens=60))
        what: dict[str, Any] = {"agents": [{"agent_id": "a", "model": model()}]} if kind == "agent" else {}
        what = what or {"graph": make_graph(calls=2)}
        given: Any = ASK if kind == "agent" else {"answers": 0}
        limited = session(ledger, tokens=50)
        run = await create_run(run_id="r", **what, session=limited, checkpointer=saver)
        await run.process_stream(given, THREAD)
        (asked,) = run.get_interrupts()
        assert asked.payload == {"type": "budget_reached", "unit": "tokens", "cap": 50, "spent": 60, "rootRunId": "r"}
        assert spent(ledger) == (60, 0)
        ledger.raise_sync(TREE, BudgetUnit.TOKENS, 61)  # by another process: the node asks the same all the same
        await run.resume({"type": "raise", "to": 100.0}, THREAD)  # as JSON may say it
        if kind == "graph":  # the second call of the node is over the cap again
            (asked,) = run.get_interrupts()
            assert (asked.payload["cap"], asked.payload["spent"]) == (100, 110)
            await run.resume({"type": "raise", "to": 1000}, THREAD)
        assert run.get_interrupts() == []
        assert spent(ledger)[1] == 0

    asyncio.run(main())


TREE = Tree("r", "acme", Budget(tokens=50))


def test_a_person_refuses(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        ledger.settle_sync(ledger.reserve_sync(TREE, Amounts(tokens=60), key="before"), Amounts(tokens=60))
        saver = in_memory_saver()
        run = await create_run(run_id="r", graph=make_graph(), session=session(ledger, tokens=50), checkpointer=saver)
        await run.process_stream({"answers": 0}, THREAD)
        for wrong in ({"type": "raise", "to": 50}, {"type": "raise", "to": True}, {"type": "raise", "to": 60.5}, "yes"):
            await run.resume(wrong, THREAD)
            (asked,) = run.get_interrupts()
            assert "above 50" in asked.payload["problem"]
        with pytest.raises(InvalidAnswerError, match="more than 64 bits"):
            await run.resume({"type": "raise", "to": 10**40}, THREAD)
        with pytest.raises(BudgetExceeded, match="a person did not raise it"):
            await run.resume({"type": "end"}, THREAD)

    asyncio.run(main())


def test_a_call_that_fails_gives_back_what_was_reserved(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        def fail(_: script.ModelRequest[Any]) -> script.Reply:
            raise RuntimeError("the provider is away")

        failing = LimitedModel(replies=script.Script([fail], repeat_last=True))
        async with session(ledger, tokens=1000).active("r"):
            with pytest.raises(RuntimeError, match="away"):
                await failing.ainvoke("hi")
        assert spent(ledger) == (0, 0)

    asyncio.run(main())


def test_a_call_that_is_stopped_takes_what_was_reserved(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        loop, began, gate = asyncio.get_running_loop(), asyncio.Event(), script.Gate()

        def hold(_: script.ModelRequest[Any]) -> script.Reply:
            loop.call_soon_threadsafe(began.set)
            return script.reply("Half ", script.Hold(gate), "of it.")

        slow = LimitedModel(replies=script.Script([hold], repeat_last=True))
        async with session(ledger, tokens=1000).active("r"):
            task = asyncio.create_task(slow.ainvoke("hi"))
            async with asyncio.timeout(60):
                await began.wait()
            task.cancel()
            await asyncio.wait((task,))
        taken, held = spent(ledger)
        assert held == 0
        assert taken >= 20

    asyncio.run(main())


def test_calls_wait_for_those_that_are_under_way_and_may_leave_room(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        async with session(ledger, tokens=100, on_limit="raise").active("r"):
            # Each may take 88 tokens and takes 15: one after the other they fit, beside each other they would not.
            answers = await asyncio.gather(*(model(10, 5).ainvoke("hi") for _ in range(6)))
            assert len(answers) == 6
        assert spent(ledger) == (90, 0)

    asyncio.run(main())


def test_dollars_are_limited_by_the_prices_of_the_run(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        prices: Any = {"models": [{"model": "*", "input": 1000, "output": 1000}], "known": False}
        from stategraph.agent.settings.limits import Prices

        part = RunBudget(ledger, prices=Prices(**prices))
        limited = Session(context(budget=Budget(usd=0.08, on_limit="raise")), parts=[part])
        async with limited.active("r"):
            await model().ainvoke("hi")
            assert ledger.flush_sync() is None
            assert spent(ledger, unit="usd") == (Decimal("0.05"), 0)
            await model().ainvoke("hi")
            with pytest.raises(BudgetExceeded, match=r"usd=0\.08: 0\.1 was spent"):
                await model().ainvoke("hi")
        unpriced = RunBudget(ledger, prices=Prices(known=False))
        async with Session(context(budget=Budget(usd=1)), parts=[unpriced]).active("s"):
            with pytest.raises(ConfigurationError, match="price"):
                await model().ainvoke("hi")

    asyncio.run(main())


def test_a_model_that_reports_no_usage_takes_what_was_reserved(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        silent = ScriptedChatModel(replies=script.Script(["yes"], repeat_last=True))
        async with session(ledger, tokens=1000).active("r"):
            await silent.ainvoke("hi")
        taken, _ = spent(ledger)
        assert taken > 100  # the message, and the tokens that are assumed where a model has no maximum

    asyncio.run(main())


def test_subagents_and_runs_inside_of_a_run_share_its_budget(ledger: SqlBudgetLedger) -> None:
    async def main() -> None:
        async with session(ledger, tokens=1000).active("outer"):
            run = await agent_run(ledger, tokens=5)
            await run.process_stream(ASK, THREAD)
        assert spent(ledger, "outer") == (50, 0)
        assert ledger.usage_sync("acme", "r").units == {}

    asyncio.run(main())


class SlowLedger(SqlBudgetLedger):
    """A ledger whose database takes its time."""

    def __init__(self) -> None:
        super().__init__(open_database("sqlite:///:memory:"))
        self.asked, self.answers = threading.Event(), threading.Event()

    def reserve_sync(self, *given: Any, **more: Any) -> Any:
        self.asked.set()
        assert self.answers.wait(60)
        return super().reserve_sync(*given, **more)


def test_a_reservation_whose_caller_is_cancelled_is_given_back() -> None:
    async def main() -> None:
        slow = SlowLedger()
        async with asyncio.timeout(60), session(slow, tokens=60).active("r"):
            task = asyncio.create_task(model().ainvoke("hi"))
            assert await asyncio.to_thread(slow.asked.wait, 60)
            task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled()
            slow.answers.set()
            while not slow.usage_sync("acme", "r").units or spent(slow) != (0, 0):  # noqa: ASYNC110  its row
                await asyncio.sleep(0.01)
        await slow.aclose()

    asyncio.run(main())


def test_twenty_agents_in_two_processes_never_pass_the_cap_by_more_than_one_reservation(tmp_path: Path) -> None:
    url, cap, most = f"sqlite:///{tmp_path / 'budgets.db'}", 1000, 2 + 64 + 20
    watcher = SqlBudgetLedger.from_url(url)
    tree = Tree("parent", "acme", Budget(tokens=cap))
    watcher.settle_sync(watcher.reserve_sync(tree, Amounts(tokens=1), key="parent"), Amounts(tokens=10))
    program = [sys.executable, "-m", "tests.governance.budget.programs", url, "parent"]
    started = [
        subprocess.Popen([*program, name, "10", "5", str(cap)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for name in ("a", "b")
    ]
    highest = 0
    while any(each.poll() is None for each in started):
        state = watcher.usage_sync("acme", "parent").units[BudgetUnit.TOKENS]
        highest = max(highest, int(state.spent + state.reserved))
        time.sleep(0.002)
    counts = [int(json.loads(each.communicate()[0])) for each in started]
    assert [each.returncode for each in started] == [0, 0]
    state = watcher.usage_sync("acme", "parent").units[BudgetUnit.TOKENS]
    watcher.close()
    print(f"budget: cap {cap}, at most {highest} spent and reserved, {state.spent} spent at the end")  # `pytest -s`
    assert highest < cap + most
    assert (state.spent, state.reserved) == (10 + 15 * sum(counts), 0)
    assert cap <= state.spent < cap + 15
