"""``make bench``, last part: what telemetry costs when it is off and when it is on.

    python -m benchmarks.telemetry               about half a minute on a quiet machine
    python -m benchmarks.telemetry --rounds 5    shorter

Needs the SDK of OpenTelemetry; its spans are dropped at their end. Measured is the time of the processor. The variants
take turns, so that what else the machine does falls on all of them; "off, again" shows how exact that is.
Never exits with 1 because of a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from stategraph import END, START, StateGraph
from stategraph.run.run import Run
from stategraph.telemetry import Telemetry
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

TOOL_ROUNDS: Final = 20
TOKENS: Final = 300
STEPS: Final = 200

Variant = Telemetry | None


def variants() -> dict[str, Variant]:
    """The telemetry of each column."""
    providers: dict[str, Any] = {
        "tracer_provider": TracerProvider(),
        "meter_provider": MeterProvider([InMemoryMetricReader()]),
    }
    return {
        "off": None,
        "off, again": None,
        "on": Telemetry(**providers),
        "on, no metrics": Telemetry(metrics=False, **providers),
        "on, nodes": Telemetry(nodes=True, **providers),
        "on, content": Telemetry(content=True, **providers),
    }


@tool
def look_up(query: str) -> str:
    """Look something up."""
    return query


async def turn(telemetry: Variant) -> None:
    """A turn of an agent: tool rounds, then an answer of many pieces."""
    rounds = [
        script.reply(script.call("look_up", {"query": str(index)}), usage=(10, 5)) for index in range(TOOL_ROUNDS)
    ]
    model = ScriptedChatModel(replies=[*rounds, script.reply("word " * TOKENS, usage=(10, TOKENS))])
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {"agents": [{"agent_id": "a", "model": model, "tools": [look_up]}]},
            "telemetry": telemetry,
            "event_log_size": 0,
        }
    )
    await run.process_stream({"messages": [HumanMessage("hi")]}, {"recursionLimit": 1000})


def loop() -> Callable[[Variant], Awaitable[None]]:
    """A graph of two plain nodes that take turns."""

    async def count(state: dict[str, int]) -> dict[str, int]:
        return {"n": state["n"] + 1}

    builder: Any = StateGraph(dict)
    builder.add_node("a", count).add_node("b", count).add_edge(START, "a").add_edge("a", "b")
    builder.add_conditional_edges("b", lambda state: "a" if state["n"] < STEPS else END, ["a", END])
    graph = builder.compile()

    async def work(telemetry: Variant) -> None:
        config: dict[str, Any] = {"recursion_limit": 10 * STEPS}
        if telemetry is not None:
            config["callbacks"] = [telemetry.handler()]
        await graph.ainvoke({"n": 0}, config)

    return work


async def measure(work: Callable[[Variant], Awaitable[None]], rounds: int) -> dict[str, float]:
    """Medians of each variant, in milliseconds of the processor."""
    took: dict[str, list[float]] = {name: [] for name in variants()}
    several = variants()
    for number in range(rounds + 1):
        for name, telemetry in several.items():
            gc.collect()
            began = time.process_time()
            await work(telemetry)
            if number:  # the first round warms up
                took[name].append((time.process_time() - began) * 1000)
    return {name: statistics.median(each) for name, each in took.items()}


async def main(arguments: argparse.Namespace) -> None:
    """Print the table."""
    rows = {
        f"turn with {TOOL_ROUNDS} tool rounds, {TOKENS} tokens": turn,
        f"graph of {STEPS} plain steps": loop(),
    }
    for name, work in rows.items():
        figures = await measure(work, arguments.rounds)
        off = figures["off"]
        shown = ", ".join(f"{variant} {took:.1f} ms ({took / off:.2f}x)" for variant, took in figures.items())
        print(f"{name}: {shown}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="how often each variant is measured")
    asyncio.run(main(parser.parse_args()))
