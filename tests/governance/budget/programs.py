"""Agents and graphs whose models report what they take, for tests of budgets in this process and in others."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from langchain_core.messages import AIMessage
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.context import Budget
from stategraph.governance.errors import BudgetExceeded
from stategraph.governance.session import Session
from stategraph.graph.state import StateGraph
from stategraph.run.runtime import create_run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.sessions import context


class LimitedModel(ScriptedChatModel):
    """A scripted model whose settings say how long an answer may be, in tokens."""

    max_tokens: int | None = 20


def model(read: int = 30, written: int = 20, *, max_tokens: int | None = 20, text: str = "yes") -> Any:
    """A model that says how many tokens it takes; its answer may be as long as `max_tokens`."""

    def answer(_: script.ModelRequest[Any]) -> script.Reply:
        return script.reply(text, usage=(read, written))

    return LimitedModel(replies=script.Script([answer], repeat_last=True), max_tokens=max_tokens)


def session(ledger: SqlBudgetLedger, root: str | None = None, wait_s: float = 60.0, **budget: Any) -> Session:
    part = RunBudget(ledger, wait_s=wait_s, assumed_tokens=100)
    return Session(context(budget=Budget(**budget)), parts=[part], root_run_id=root)


class State(TypedDict, total=False):
    answers: int


def make_graph(calls: int = 1, checkpointer: Any = None, answering: Any = None) -> Any:
    """A graph that knows nothing of budgets, and calls a model several times in one node."""
    asked = answering or model()

    async def call(_: State) -> State:
        for _number in range(calls):
            said = await asked.ainvoke("hi")
            assert isinstance(said, AIMessage)
        return {"answers": calls}

    def call_sync(_: State) -> State:
        for _number in range(calls):
            asked.invoke("hi")
        return {"answers": calls}

    graph = StateGraph(State)
    from langchain_core.runnables import RunnableLambda

    graph.add_node("call", RunnableLambda(call_sync, afunc=call))
    graph.add_edge(START, "call")
    graph.add_edge("call", END)
    return graph.compile(checkpointer=checkpointer)


async def agents(url: str, root: str, names: list[str], calls: int, cap: int) -> None:
    """Run agents beside each other until each has called its model so often, or the budget is used up."""
    ledger = SqlBudgetLedger.from_url(url)

    async def one(name: str) -> int:
        for number in range(calls):
            run = await create_run(
                run_id=f"{name}/{number}",
                agents=[{"agent_id": name, "model": model(10, 5, max_tokens=20)}],
                session=session(ledger, root, tokens=cap, on_limit="raise"),
            )
            try:
                await run.process_stream({"messages": [("user", "hi")]}, {"configurable": {"thread_id": name}})
            except BudgetExceeded:
                return number
        return calls

    async with asyncio.timeout(120):
        counts = await asyncio.gather(*map(one, names))
    await ledger.aclose()
    print(sum(counts), flush=True)


if __name__ == "__main__":
    address, root_id, first, count, each, most = sys.argv[1:]
    asyncio.run(agents(address, root_id, [f"{first}{n}" for n in range(int(count))], int(each), int(most)))
