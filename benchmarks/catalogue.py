"""What is measured, and what is wanted. Data only: importing this file imports no engine.

A target of a ratio is the factor by which LangGraph's cost must exceed ours; a target of a growth is the factor by
which our own cost may grow at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BOTH = ("async", "sync")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: the benchmark's name, without the variant.
        variant: "async", "sync", or "" where there is only one.
        kind: "ratio" (cost of one run on both engines), "growth" (cost of ``workload`` over that of ``base``, on each
            engine), "bytes" (growth of the stored bytes in place of cost), "stored" (stored bytes), "import"
            (``code`` in new processes), "fresh" (the work once in a new process).
        workload: ``module:name`` of the work.
        base: the workload that growth is relative to.
        must: the target that has to be reached; None for a row that only informs.
        aim: the target that is hoped for.
        quick: measured in the short run as well.
        code: of an "import" row: what LangGraph's process executes.
        our_code: what ours executes; empty: the same.
    """

    name: str
    variant: str
    kind: str
    workload: str
    base: str = ""
    must: float | None = None
    aim: float | None = None
    quick: bool = False
    code: str = ""
    our_code: str = ""

    @property
    def label(self) -> str:
        """The name as printed and as matched by ``--only``."""
        return f"{self.name} {self.variant}".strip()


def _pair(
    name: str,
    module: str,
    targets: tuple[tuple[float, float], tuple[float, float]] | None = None,
    *,
    quick: bool = False,
) -> Iterator[Row]:
    for index, variant in enumerate(BOTH):
        must, aim = targets[index] if targets else (None, None)
        yield Row(name, variant, "ratio", f"{module}:{name}", must=must, aim=aim, quick=quick)


def _growth(name: str, big: str, small: str, *, must: float | None = None, quick: bool = False) -> Iterator[Row]:
    for variant in BOTH:
        aim = 1.15 if must else None
        yield Row(name, variant, "growth", f"probes:{big}", base=f"probes:{small}", must=must, aim=aim, quick=quick)


def _agent() -> Iterator[Row]:
    yield from _pair("plain_loop_100", "agent", ((10, 18), (9, 15)), quick=True)
    yield from _pair("plain_loop_100_saver_async", "agent", ((3, 5), (3, 5)), quick=True)
    yield from _pair("plain_loop_100_saver_sync", "agent")
    yield from _pair("plain_loop_100_saver_exit", "agent")
    yield from _pair("plain_loop_100_handler", "agent", ((2.5, 3.5), (2.5, 3.5)), quick=True)
    yield Row("plain_loop_100_sync_handler", "async", "ratio", "agent:plain_loop_100_sync_handler")
    yield from _pair("plain_loop_100_first_event", "agent")
    yield from _pair("token_streaming", "tokens", ((1.7, 3), (1.7, 3)), quick=True)
    yield Row("tokens_20_ms_apart", "async", "ratio", "tokens:tokens_20_ms_apart", must=2.5, aim=3, quick=True)
    for name in ("token_of_a_turn", "tool_round_of_a_turn"):
        yield Row(name, "async", "ratio", f"chat:{name}", must=2.0, aim=4.0, quick=True)


def _threads() -> Iterator[Row]:
    """Savers: each engine's own, see `workloads/savers.py`."""
    wanted = {
        "agent_memory_async": ((3.0, 5.0), (3.0, 5.0)),
        "agent_sqlite_async": ((3.0, 5.0), (3.0, 5.0)),
        "agent_sqlite_sync": ((2.0, 3.0), (2.0, 3.0)),
        "agent_their_sqlite_async": None,
        "agent_postgres_async": ((2.0, 3.0), (2.0, 3.0)),
        "agent_postgres_sync": ((2.0, 3.0), (1.0, 2.0)),
    }
    for name, targets in wanted.items():
        yield from _pair(name, "threads", targets, quick=name == "agent_sqlite_async")
    yield from _pair("short_run", "threads", ((15, 28), (15, 28)), quick=True)
    yield from _pair("short_run_memory", "threads", ((4, 6), (4, 6)), quick=True)
    yield from _pair("short_run_sqlite", "threads")
    for kind in ("memory", "sqlite"):
        for number in (10, 100, 400, 800):
            must, aim = (5.0, 20.0) if number == 800 else (None, None)
            name = f"chat_turn_{number}_{kind}"
            yield Row(name, "async", "ratio", f"threads:{name}", must=must, aim=aim)
        yield from _pair(f"long_thread_{kind}", "threads", ((3, 10), (3, 10)))
    for variant in BOTH:
        yield Row("long_thread_fresh", variant, "fresh", "threads:long_thread_fresh", must=1.2, aim=2)
    yield Row("agent_sqlite_bytes", "", "stored", "threads:agent_sqlite_bytes", must=12, aim=52, quick=True)
    yield Row("chat_turn_800_delta", "async", "ratio", "threads:chat_turn_800_delta")
    yield Row("agent_delta_bytes", "", "stored", "threads:agent_delta_bytes", quick=True)
    yield Row("chat_800_turns_delta_bytes", "", "stored", "threads:chat_turn_800_delta")
    yield Row("agent_memory_bytes", "", "stored", "threads:agent_memory_bytes")
    yield Row("chat_100_turns_bytes", "", "stored", "threads:chat_turn_100_sqlite", quick=True)
    yield Row("chat_800_turns_bytes", "", "stored", "threads:chat_turn_800_sqlite", must=57, aim=200)


def _upstream() -> Iterator[Row]:
    yield from _pair("sequential_1000", "upstream", ((30, 60), (35, 70)), quick=True)
    yield from _pair("sequential_10", "upstream")
    fan = ((15.0, 28.0), (14.0, 25.0))
    yield from _pair("fanout_to_subgraph_100x", "upstream", fan, quick=True)
    yield from _pair("fanout_to_subgraph_100x_checkpoint", "upstream", fan, quick=True)
    yield from _pair("fanout_to_subgraph_10x", "upstream")
    yield from _pair("fanout_to_subgraph_10x_checkpoint", "upstream")
    yield from _pair("react_agent_100x", "upstream", ((3, 5), (4, 8)), quick=True)
    yield from _pair("react_agent_100x_own_nodes", "own_nodes", ((4, 7), (6, 12)), quick=True)
    yield from _pair("react_agent_10x_own_nodes", "own_nodes")
    yield from _pair("react_agent_100x_checkpoint", "upstream")
    yield from _pair("react_agent_10x", "upstream")
    yield from _pair("react_agent_10x_checkpoint", "upstream")
    wide = ((2.0, 2.6), (2.2, 2.8))
    wanted = {
        "wide_state_9x1200": wide,
        "wide_dict_9x1200": wide,
        "wide_dict_25x300": ((2.5, 4.0), (3.5, 6.0)),
        "pydantic_state_9x1200": ((1.4, 1.8), (1.4, 1.8)),
        "wide_state_9x1200_checkpoint": ((1.3, 1.6), (1.3, 1.6)),
        "pydantic_state_9x1200_checkpoint": ((1.15, 1.4), (1.15, 1.4)),
    }
    for kind in ("wide_state", "wide_dict", "pydantic_state"):
        for size in ("9x1200", "15x600", "25x300"):
            for suffix in ("", "_checkpoint"):
                name = f"{kind}_{size}{suffix}"
                yield from _pair(name, "upstream", wanted.get(name), quick=name in wanted)


_ONE_NODE = """
builder = StateGraph(MessagesState)
builder.add_node("node", lambda state: {}).add_edge(START, "node").add_edge("node", END)
builder.compile()
"""


def _start_up() -> Iterator[Row]:
    yield from _pair("sequential_1000_first_event", "upstream", ((10, 25), (10, 25)), quick=True)
    yield from _pair("pydantic_state_25x300_first_event", "upstream")
    for name in ("sequential_1000", "pydantic_state_25x300", "wide_state_15x600"):
        must, aim, quick = (3.0, 6.0, True) if name == "sequential_1000" else (None, None, False)
        yield Row(f"{name}_compile", "", "ratio", f"upstream:{name}_compile", must=must, aim=aim, quick=quick)
    builder = "from langgraph.graph import END, START, MessagesState, StateGraph"
    yield Row("import", "", "import", "", must=1.5, aim=1.75, quick=True, code=builder)
    yield Row("import_and_compile", "", "import", "", must=1.5, aim=2, quick=True, code=f"{builder}\n{_ONE_NODE}")
    prebuilt, runtime = "from langgraph.prebuilt import create_react_agent", "from stategraph import AgentRuntime, sse"
    # What a chat backend imports: 1.7 s before, so 2.4x is 0.7 s and 5.7x is 0.3 s.
    yield Row("import_of_a_backend", "", "import", "", must=2.4, aim=5.7, quick=True, code=prebuilt, our_code=runtime)


def _probes() -> Iterator[Row]:
    for name in ("step_with_1000_idle_nodes", "step_with_500_idle_keys", "step_with_10000_messages"):
        yield from _pair(name, "probes")
    listened: dict[str, Any] = {
        "step_with_values_mode": None,
        "step_with_messages_mode": ((4, 6), (4, 6)),
        "step_with_1_handlers": None,
        "step_with_2_handlers": ((3.5, 5), (3.5, 5)),
        "step_with_5_handlers": None,
    }
    for name, targets in listened.items():
        yield from _pair(name, "probes", targets, quick=targets is not None)
    # As the last ones, where a step does more: it makes a message.
    for name in ("message_in_messages_mode", "message_in_updates_and_messages_mode"):
        yield from _pair(name, "listeners")
    yield Row("step_with_2_sync_handlers", "async", "ratio", "listeners:step_with_2_sync_handlers")
    for width in (10, 100, 1000):
        yield from _pair(f"task_of_fan_out_{width}", "probes")
    idle, keys = (
        ("step_with_1000_idle_nodes", "step_with_0_idle_nodes"),
        ("step_with_500_idle_keys", "step_with_0_idle_keys"),
    )
    yield from _growth("growth_1000_idle_nodes", *idle, must=1.5, quick=True)
    yield from _growth("growth_500_idle_keys", *keys, must=2, quick=True)
    yield from _growth("growth_10000_messages", "step_with_10000_messages", "step_with_10_messages")
    yield from _growth("growth_fan_out_1000", "task_of_fan_out_1000", "task_of_fan_out_10")
    yield Row("bytes_full_state_4x_rounds", "", "bytes", "agent:stored_full_100", base="agent:stored_full_25")
    delta = ("agent:stored_delta_100", "agent:stored_delta_25")
    yield Row("bytes_delta_channel_4x_rounds", "", "bytes", delta[0], base=delta[1], must=4.4, aim=4.1, quick=True)


ROWS: tuple[Row, ...] = (*_agent(), *_threads(), *_upstream(), *_start_up(), *_probes())
