"""A budget that holds for a whole tree of runs, in any process; a person raises it.

Prints::

    four agents side by side: 3 answered, 1 refused (tokens), 360 spent
    asked: tokens, 300 allowed, 360 spent
    raised to 1000: 'Tides come from the moon.', 480 spent
    lost with its process: 480 spent, and 100 that may have been
"""

import asyncio
import tempfile
from pathlib import Path

from stategraph import AgentInputs, create_run
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.budget.port import Amounts, BudgetUnit, Tree
from stategraph.governance.context import AgentRef, Budget, Principal, RuntimeSessionContext
from stategraph.governance.errors import BudgetExceeded
from stategraph.governance.session import Session
from stategraph.testing import ScriptedChatModel, reply

ASK = {"messages": [("user", "Why are there tides?")]}
ann = Principal("acme", "ann")


def agent(name: str) -> AgentInputs:
    model = ScriptedChatModel(replies=[reply("Tides come from the moon.", usage=(100, 20))])
    return AgentInputs(agent_id=name, model=model)


def session(ledger: SqlBudgetLedger, budget: Budget) -> Session:
    context = RuntimeSessionContext(ann, AgentRef("researcher"), "thread-1", budget=budget)
    # The tree is named: its runs may be in several processes, which share the ledger's database.
    return Session(context, parts=[RunBudget(ledger)], root_run_id="research")


async def side_by_side(ledger: SqlBudgetLedger) -> None:
    async def one(name: str) -> str:
        run = await create_run(
            run_id=name, agents=[agent(name)], session=session(ledger, Budget(tokens=300, on_limit="raise"))
        )
        try:
            await run.process_stream(ASK)
        except BudgetExceeded as error:
            return error.unit
        return ""

    refused = [unit for unit in await asyncio.gather(*map(one, "abcd")) if unit]
    print(
        f"four agents side by side: {4 - len(refused)} answered, {len(refused)} refused ({refused[0]}), "
        f"{await spent(ledger)} spent"
    )


async def asking(ledger: SqlBudgetLedger) -> None:
    thread = {"configurable": {"thread_id": "e"}}
    run = await create_run(
        run_id="e",
        agents=[agent("e")],
        checkpointer=in_memory_saver(),
        session=session(ledger, Budget(tokens=300, on_limit="interrupt")),
    )
    await run.process_stream(ASK, thread)
    asked = run.get_interrupts()[0].payload
    print(f"asked: {asked['unit']}, {asked['cap']:g} allowed, {asked['spent']:g} spent")
    await run.resume({"type": "raise", "to": 1000}, thread)
    print(f"raised to 1000: {run.get_run_messages()[-1].content!r}, {await spent(ledger)} spent")


async def lost(ledger: SqlBudgetLedger) -> None:
    tree = Tree("research", "acme", Budget(tokens=300))
    await ledger.reserve(tree, Amounts(tokens=100), key="a call", holds_s=-1)  # its process was killed long ago
    before = await spent(ledger)
    await ledger.reserve(tree, Amounts(tokens=1), key="the next call")
    print(f"lost with its process: {before} spent, and {await spent(ledger) - before} that may have been")


async def spent(ledger: SqlBudgetLedger) -> int:
    usage = await ledger.usage("acme", "research")
    return int(usage.units[BudgetUnit.TOKENS].spent)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqlBudgetLedger.from_url(f"sqlite:///{Path(folder) / 'budgets.db'}")
        await side_by_side(ledger)
        await asking(ledger)
        await lost(ledger)
        await ledger.aclose()


asyncio.run(main())
