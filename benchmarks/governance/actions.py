"""Actions through the pipeline, over a bare call of the same tool: alone, with a policy, with a log in SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from langchain_core.tools import tool

from benchmarks.governance.rows import Row
from stategraph.governance.actions import ActionRequest, RunRef
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.capability import Risk
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.policy.files import parse_policy
from stategraph.governance.registry import Registry
from stategraph.workers.ledger.effects import EffectLedger
from stategraph.workers.registry.runs import RunRegistry

CONTEXT = RuntimeSessionContext(Principal("acme", "ann"), AgentRef("desk"), "thread-1")
RUN = RunRef("run-1", "thread-1")
POLICY = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: desk}
spec:
  defaults: {read: allow, write: allow, destructive: deny, external: escalate}
  rules:
    - {name: large, at: [pre_tool_call], when: 'tool.name == "note" && args.cents > 5000', then: {decision: escalate}}
"""


async def note(order: str, cents: int) -> str:
    """Note something."""
    return order


BARE = tool(note)
ARGUMENTS: dict[str, Any] = {"order": "A1", "cents": 5}


def registry(risk: Risk) -> Registry:
    """Return a registry of the tool, at this risk."""
    return Registry(offer(note, Traits(source="desk", risk=risk)))


class Calls:
    """Calls of an executor, each with an id of its own."""

    def __init__(self, executor: ActionExecutor) -> None:
        self.executor = executor
        self.number = 0

    async def __call__(self) -> None:
        """Make one."""
        self.number += 1
        request = ActionRequest("note", ARGUMENTS, f"call-{self.number}", RUN, CONTEXT)
        outcome = await self.executor.act(request)
        assert outcome.status == "completed", outcome


async def bare() -> None:
    """Call the tool as a tool node does."""
    await BARE.ainvoke({"name": "note", "args": ARGUMENTS, "id": "call", "type": "tool_call"})


def over_bare(call: Callable[[], Awaitable[None]], rounds: int, calls: int) -> float:
    """Return the microseconds that a call takes more than a bare one: medians of rounds, one beside the other."""

    async def measure() -> float:
        found = []
        for _ in range(rounds + 1):  # the first warms up
            gc.collect()
            each = []
            for made in (bare, call):
                begun = time.perf_counter_ns()
                for _ in range(calls):
                    await made()
                each.append((time.perf_counter_ns() - begun) / calls / 1000)
            found.append(each[1] - each[0])
        return statistics.median(found[1:])

    return asyncio.run(measure())


def without_policy(rounds: int) -> float:
    """Measure an executor with nothing but capabilities."""
    return over_bare(Calls(ActionExecutor(registry("write"))), rounds, 500)


def with_policy(rounds: int) -> float:
    """Measure one with a policy."""
    return over_bare(Calls(ActionExecutor(registry("write"), parse_policy(POLICY))), rounds, 500)


def with_audit(risk: Risk, *, ledger: bool) -> Callable[[int], float]:
    """Return the measure of an executor with a policy and a log in SQLite, and perhaps the effect ledger."""

    def measure(rounds: int) -> float:
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            log = stack.enter_context(AuditLog(f"sqlite:///{Path(folder) / 'audit.db'}"))
            runs = RunRegistry.from_url(f"sqlite:///{Path(folder) / 'runs.db'}")
            stack.callback(runs.operations.close)
            effects = EffectLedger(runs) if ledger else None
            executor = ActionExecutor(registry(risk), parse_policy(POLICY), ledger=effects, audit=log)
            return over_bare(Calls(executor), rounds, 100)

    return measure


def rows() -> list[Row]:
    """Return the rows."""
    return [
        Row("an action without a policy, over a bare call", without_policy, most=150),
        Row("with a policy of one rule", with_policy),
        Row("reading, with a policy and a SQLite audit log", with_audit("read", ledger=False), most=1000),
        Row("writing, with a policy and a SQLite audit log", with_audit("write", ledger=False), most=1000),
        Row("the same, claimed in a SQLite effect ledger", with_audit("write", ledger=True)),
    ]
