"""Random fan-outs with a policy, and a reference model of how they end.

The model knows nothing of the engine: it hears one branch after the other end, in any order it is given.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from hypothesis import strategies as st

from stategraph import START, Send, StateGraph
from stategraph.scheduling import FanOut, Scheduling, fail_fast, quorum, settle, until


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    name: str


@dataclass(frozen=True)
class Race:
    """A fan-out with a node behind it.

    Attributes:
        fails: For each branch whether it fails.
        kind: The policy.
        number: What the policy counts, or the branch that is enough for `until`; 0: nothing.
        sends: Whether the branches are packets.
        scheduling: Of the graph.
    """

    fails: tuple[bool, ...]
    kind: Literal["fail_fast", "settle", "quorum", "until"]
    number: int
    sends: bool
    scheduling: Scheduling

    @property
    def names(self) -> list[str]:
        """The branches, in the order in which what they write is applied."""
        return [f"b{index}" for index in range(len(self.fails))]

    def policy(self) -> FanOut:
        match self.kind:
            case "fail_fast":
                return fail_fast()
            case "settle":
                return settle(self.number or None)
            case "quorum":
                return quorum(self.number)
        wanted = f"b{self.number}"
        return until(lambda branch: branch.update["log"] == [wanted])


@st.composite
def races(draw: st.DrawFn) -> Race:
    count = draw(st.integers(2, 5))
    kind = draw(st.sampled_from(["fail_fast", "settle", "quorum", "until"]))
    number = draw(st.integers(1 if kind == "quorum" else 0, count))
    fails = tuple(draw(st.booleans()) for _ in range(count))
    return Race(fails, kind, number, draw(st.booleans()), draw(st.sampled_from(["barrier", "dataflow"])))  # type: ignore[arg-type]


class Runs:
    """A race as a graph, whose branches end in a given order.

    Attributes:
        began: The branches that began, in order.
    """

    def __init__(self, race: Race, order: Sequence[int], wait: Any = asyncio.sleep) -> None:
        self._race = race
        self._wait = wait
        self._rank = {f"b{index}": rank for rank, index in enumerate(order, 1)}
        self.began: list[str] = []

    async def _branch(self, name: str) -> dict[str, Any]:
        self.began.append(name)
        await self._wait(self._rank[name])
        if self._race.fails[int(name[1:])]:
            raise ValueError(name)
        return {"log": [name]}

    def compile(self, saver: Any = None) -> Any:
        race, graph = self._race, StateGraph(State)
        graph.add_node("join", lambda state: {"log": ["join"]})
        if race.sends:

            async def packet(state: State) -> dict[str, Any]:
                return await self._branch(state["name"])

            graph.add_node("each", packet).add_edge("each", "join")
            packets = [Send("each", {"name": name}) for name in race.names]
            graph.add_conditional_edges(START, lambda state: packets, ["each"], policy=race.policy())
        else:
            for name in race.names:
                graph.add_node(name, self._node(name)).add_edge(name, "join")
            graph.add_edge(START, race.names, policy=race.policy())
        return graph.compile(saver, scheduling=race.scheduling)

    def _node(self, name: str) -> Any:
        async def node(state: State) -> dict[str, Any]:
            return await self._branch(name)

        return node


@dataclass(frozen=True)
class Ended:
    """How a race ends.

    Attributes:
        log: What the state has in the end; empty if it failed.
        failed: The branches whose failures are raised.
        began: How many of the branches it was given had begun.
    """

    log: tuple[str, ...] = ()
    failed: frozenset[str] = frozenset()


def model(race: Race, order: Sequence[int], well: Collection[str] = (), *, decided: bool = False) -> Ended:
    """Say how a race ends.

    Args:
        race: The race.
        order: The branches in the order of their ends.
        well: Those that have succeeded already, as is recorded.
        decided: Whether it is recorded that another one was given up.
    """
    won, failed = set(well), list[str]()
    left = [f"b{index}" for index in order if f"b{index}" not in won]
    while (verdict := True if decided else _verdict(race, won, failed, len(left))) is None:
        name = left.pop(0)
        if race.fails[int(name[1:])]:
            failed.append(name)
        else:
            won.add(name)
    if verdict:
        return Ended((*(name for name in race.names if name in won), "join"))
    return Ended(failed=frozenset(failed))


def _verdict(race: Race, won: set[str], failed: list[str], left: int) -> bool | None:
    """Return whether the run goes on (True) or fails; None while that is open."""
    if race.kind == "fail_fast":
        return False if failed else None if left else True
    if race.kind == "quorum":
        return True if len(won) >= race.number else None if len(won) + left >= race.number else False
    if race.kind == "until" and f"b{race.number}" in won:
        return True
    if left:
        return None
    return not failed or (race.kind == "settle" and 0 < race.number <= len(won))
