"""Limits hold over random trees of agents, however their calls come together."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from stategraph.agent.limits.errors import LimitReachedError
from stategraph.run.run import Run
from stategraph.run.turn.budget import REASONS
from tests.properties import examples
from tests.run.hosting import THREAD, ask
from tests.run.trees import Tree

LIMITS = st.fixed_dictionaries(
    {"model_calls": st.integers(0, 30)},
    optional={
        "tool_calls": st.integers(0, 20),
        "input_tokens": st.integers(0, 6000),
        "output_tokens": st.integers(0, 6000),
        "total_tokens": st.integers(0, 9000),
        "cost": st.integers(0, 9000).map(lambda millis: millis / 1000),
    },
)
#: A dollar for a thousand tokens.
PRICES = {"models": [{"model": "*", "input": 1000, "output": 1000}], "known": False}


async def make(tree: Tree, **limits: Any) -> Run:
    graph = {"type": "multi-agent", "agents": tree.agents, "edges": tree.edges}
    return await Run.create({"run_id": "r", "graph_config": graph, "limits": limits, "prices": PRICES})


def check(tree: Tree, run: Run, limits: dict[str, Any]) -> None:
    """Check what the tree really took against limits, and against what the run says."""
    taken = tree.taken
    calls = taken.calls
    for name, of_call in (
        ("input_tokens", [read for _, read, _ in calls]),
        ("output_tokens", [written for _, _, written in calls]),
        ("total_tokens", taken.tokens()),
        ("cost", [tokens / 1000 for tokens in taken.tokens()]),
    ):
        if name in limits:
            assert sum(of_call) <= limits[name] + max(of_call, default=0) + 1e-9, name
    assert len(calls) <= limits["model_calls"]
    usage = run.usage
    assert taken.tools <= usage.total.tool_calls <= limits.get("tool_calls", usage.total.tool_calls)
    assert usage.total.model_calls == len(calls)
    assert usage.total.model_calls == sum(each.model_calls for each in usage.by_agent.values())
    assert usage.total.total_tokens == sum(each.total_tokens for each in usage.by_model.values())


@given(st.integers(0, 2**32), LIMITS, st.booleans(), st.sampled_from(["end", "ask", "raise"]))
@examples(60)
# Two agents that wait side by side, of which one would ask about another limit when it runs again.
@example(16804, {"model_calls": 1, "tool_calls": 1, "cost": 0.0}, False, "ask")
def test_a_tree_takes_at_most_the_limit_and_what_one_call_takes(
    seed: int, limits: dict[str, Any], bounded: bool, on_limit: str
) -> None:
    tree = Tree.drawn(seed, 200 if bounded else None)
    allowed = dict(limits)

    async def turn() -> tuple[Run, str]:
        run = await make(tree, **limits, on_limit=on_limit)
        try:
            await asyncio.wait_for(run.process_stream(ask(), THREAD), 60)
            for _ in range(5):
                answers = raised(run, allowed, tree.taken.chance)
                if not answers:
                    break
                await asyncio.wait_for(run.resume(answers, THREAD), 60)
            for _ in iter(run.get_interrupts, []):
                answers = {each.interrupt_id: {"type": "end"} for each in run.get_interrupts()}
                await asyncio.wait_for(run.resume(answers, THREAD), 60)
        except ConnectionError:
            return run, "failed"
        except LimitReachedError:
            return run, "raised"
        return run, run.get_halt_reason() or "done"

    run, end = asyncio.run(turn())
    check(tree, run, allowed)
    if end == "raised":
        assert on_limit == "raise"
    elif end == "done":
        assert run.usage.total.total_tokens == sum(tree.taken.tokens())
    elif end != "failed":
        assert on_limit != "raise"
        assert end in REASONS
        assert run.usage.total.total_tokens == sum(tree.taken.tokens())


def raised(run: Run, allowed: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Answer what a run asks, and note what it is allowed then."""
    answers = {}
    for each in run.get_interrupts():
        payload: Any = each.payload
        more = payload["allowed"] + chance.randrange(1, 10) / (1 if payload["limit"] != "cost" else 10)
        allowed[payload["limit"]] = max(allowed[payload["limit"]], more)
        answers[each.interrupt_id] = {"type": "raise", "to": more}
    return answers
