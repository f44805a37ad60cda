"""Random graphs, random orders of completion, crashes at any line, and replays, against a model in plain Python."""

from __future__ import annotations

import asyncio
import operator
import random
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, Send, StateGraph, interrupt
from stategraph.replay import ReplayMismatch, areplay, record, recorded
from tests.properties import examples


class State(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]


Shape = tuple[tuple[int, ...], Literal["barrier", "dataflow"], int, bool]
"""Nodes of each layer, how they are scheduled, branches of a `Send` in the end, and whether the last node asks."""

shapes = st.tuples(
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    st.sampled_from(["barrier", "dataflow"]),
    st.integers(0, 3),
    st.booleans(),
)


class Outside:
    """Answers calls after a random number of turns of the event loop, and counts them."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.calls: defaultdict[str, int] = defaultdict(int)

    async def ask(self, what: str) -> str:
        self.calls[what] += 1
        for _ in range(self.draw.randrange(6)):
            await asyncio.sleep(0)
        return f"{what}!"


def compiled(shape: Shape, outside: Outside) -> Any:
    layers, scheduling, width, asks = shape
    call = recorded(outside.ask, name="ask")
    builder = StateGraph(State)

    def node(name: str) -> Any:
        async def work(state: State) -> State:
            return {"notes": [await call(name)]}

        return work

    async def branch(state: Any) -> State:
        return {"notes": [await call(f"branch{state['number']}")]}

    before: list[str] = [START]
    for number, size in enumerate(layers):
        names = [f"n{number}_{place}" for place in range(size)]
        for name in names:
            builder.add_node(name, node(name))
            if before == [START]:
                builder.add_edge(START, name)
            else:
                builder.add_edge(before, name)
        before = names
    builder.add_node("last", lambda state: {"notes": [interrupt("Go on?")] if asks else ["end"]})
    builder.add_edge(before, "last")
    if width:
        builder.add_node("branch", branch)
        builder.add_conditional_edges(
            "last", lambda state: [Send("branch", {"number": each}) for each in range(width)], ["branch"]
        )
    options = {"scheduling": "dataflow"} if scheduling == "dataflow" else {}
    return builder.compile(InMemorySaver(), **options)


def expected(shape: Shape) -> list[str]:
    """Return what the notes have in the end, sorted: each node's, and each branch's, once."""
    layers, _, width, asks = shape
    nodes = [f"n{number}_{place}!" for number, size in enumerate(layers) for place in range(size)]
    return sorted([*nodes, "yes" if asks else "end", *(f"branch{number}!" for number in range(width))])


async def recorded_run(path: Path, shape: Shape, outside: Outside) -> list[Any]:
    config: Any = {"configurable": {"thread_id": "1"}}
    parts = []
    async with record(path, compiled(shape, outside)) as recorder:
        for given_input in [{"notes": []}, Command(resume="yes")] if shape[3] else [{"notes": []}]:
            stream = recorder.astream(given_input, config, stream_mode=["updates", "values", "tasks"])
            parts.append([part async for part in stream])
    return parts


def cut_at(path: Path, cut: float) -> None:
    """Leave out the end of a recording, from this share of what is behind its first call on."""
    data = path.read_bytes()
    first = data.index(b"\n", data.index(b'"kind":"begin"')) + 1
    path.write_bytes(data[: first + int(cut * (len(data) - first))])


@examples(30)
@given(shape=shapes, seed=st.integers(0, 10_000), cut=st.floats(0, 1))
def test_a_replay_is_equal_and_a_crash_at_any_line_is_told(shape: Shape, seed: int, cut: float) -> None:
    async def whole() -> None:
        outside, again = Outside(seed), Outside(seed + 1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.jsonl"
            parts = await recorded_run(path, shape, outside)
            assert set(outside.calls.values()) == {1}
            found = await areplay(path, compiled(shape, again))
            assert found.parts == parts
            assert sorted(found.state["notes"]) == expected(shape)
            cut_at(path, cut)
            await crashed(path)
            assert not again.calls

    async def crashed(path: Path) -> None:
        again = Outside(seed)
        try:
            found = await areplay(path, compiled(shape, again))
        except ReplayMismatch as difference:
            told = str(difference)
            assert "recording ends" in told or "graph ends here" in told or "ended here" in told, told
        else:
            assert found.calls <= 1 + shape[3]
        assert not again.calls

    asyncio.run(whole())
