"""Two checkpoints, runs or threads beside each other: how their states differ, what ran, and where they first part.

Rules
-----
* Two that came from one checkpoint part behind the newest one that both have. Others are compared from the inputs of
  their last runs on, step by step.
* Messages are compared by their ids. Two runs that have none in common gave the same words other ids: theirs are
  compared by position, without ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.runnables import RunnableConfig

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_THREAD_ID, START
from stategraph.core import status
from stategraph.engine.checkpoints.pump import Procedure
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.state.account import accounting, words
from stategraph.engine.state.account.accounting import Asked, Run
from stategraph.engine.state.account.behind import Planned
from stategraph.engine.state.account.differences import Difference, Differences
from stategraph.engine.state.account.facts import as_json
from stategraph.engine.state.account.outline import is_of_state
from stategraph.engine.state.account.shown import Glimpses, is_message, plain

_IDS: Final = ("id", "tool_call_id")


@dataclass(frozen=True, slots=True)
class Side:
    """One of two that are compared.

    Attributes:
        thread_id: Its thread.
        namespace: That of a nested graph; empty for the graph itself.
        checkpoint_id: The checkpoint that it ends with.
        steps: Its checkpoints behind the shared one, or of its run.
    """

    thread_id: str
    namespace: str
    checkpoint_id: str
    steps: int


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """A place of the state whose value is not the same.

    Attributes:
        path: Where it is, as in `messages[2].content`; the key of the state comes first.
        kind: `added`, `removed` or `changed`, from the one to the other.
        old: The value of the one, as text; empty if it is added.
        new: The value of the other; empty if it is removed.
    """

    path: str
    kind: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class NodeRuns:
    """A node that did not run as often in both.

    Attributes:
        node: The node.
        one: How often it ran in the one.
        other: How often it ran in the other.
    """

    node: str
    one: int
    other: int


@dataclass(frozen=True, slots=True)
class Parting:
    """The first step that is not the same.

    Attributes:
        kind: `nodes`: others ran; `writes`: the same nodes ran and wrote something else; `ends`: one of them has no
            such step; `update`: one was updated from outside.
        step: The number of the step, from 1, behind the shared checkpoint or the input.
        one: The nodes of the one's step.
        other: The nodes of the other's.
        channels: For `writes`, the keys of the state that were written differently, as `node.key`.
        one_id: The checkpoint of the one's step; empty if there is none.
        other_id: That of the other's.
    """

    kind: str
    step: int
    one: tuple[str, ...]
    other: tuple[str, ...]
    channels: tuple[str, ...] = ()
    one_id: str = ""
    other_id: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two checkpoints, runs or threads beside each other. `str()` of it is words, `to_json()` JSON.

    Attributes:
        one: The one.
        other: The other.
        shared: The newest checkpoint that both came from; empty: there is none in the runs.
        parting: The first step that is not the same; None if all are.
        nodes: The nodes that did not run as often in both.
        differences: How the states differ at their ends, from the one to the other.
        more: Whether there are more differences.
        unknown: What cannot be known, in sentences.
    """

    one: Side
    other: Side
    shared: str
    parting: Parting | None
    nodes: tuple[NodeRuns, ...]
    differences: tuple[ValueDifference, ...]
    more: bool
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; what is empty is left out."""
        told: dict[str, Any] = as_json(self)
        return told

    @property
    def is_same(self) -> bool:
        """True if nothing differs that is known."""
        return not self.differences and not self.nodes and self.parting is None


def compared(
    graph: CompiledGraph | None, asked: Asked, one: RunnableConfig, other: RunnableConfig
) -> Procedure[Comparison]:
    """Compare two checkpoints, or the newest ones of two threads.

    Args:
        graph: The graph; None if it is not known.
        asked: What is asked for.
        one: Names the one.
        other: Names the other.

    Raises:
        ValueError: Nothing is stored of one of them.
    """
    runs: list[Run] = []
    for config in (one, other):
        run = yield from accounting.loaded(graph, asked, config)
        if not run.line:
            raise ValueError(
                f"Nothing is stored of thread '{config[CONF][CONFIG_KEY_THREAD_ID]}' at that checkpoint: name "
                "another thread or checkpoint"
            )
        runs.append(run)
    first, second = runs
    shared = _shared(first, second)
    begins = [_begin(run, shared) for run in runs]
    found = _differences(first, second)
    glimpses = Glimpses(asked.redact)
    return Comparison(
        _side(first, begins[0]),
        _side(second, begins[1]),
        shared,
        _parting(first, second, *begins),
        tuple(_node_runs(first, second, *begins)),
        tuple(_shown(each, glimpses) for each in found.found),
        found.more,
        tuple(dict.fromkeys(sentence for run in runs for sentence in _unknown(run))),
    )


def _side(run: Run, begin: int) -> Side:
    conf = run.line[-1].saved.config[CONF]
    namespace = str(conf.get(CONFIG_KEY_CHECKPOINT_NS) or "")
    return Side(str(conf[CONFIG_KEY_THREAD_ID]), namespace, run.line[-1].id, len(run.line) - begin)


def _shared(one: Run, other: Run) -> str:
    """Return the newest checkpoint that both came from; two threads have none, though a copy keeps its ids."""
    places = [run.line[-1].saved.config[CONF] for run in (one, other)]
    if len({(str(each[CONFIG_KEY_THREAD_ID]), each.get(CONFIG_KEY_CHECKPOINT_NS) or "") for each in places}) > 1:
        return ""
    known = {each.id for each in other.line}
    return next((each.id for each in reversed(one.line) if each.id in known), "")


def _begin(run: Run, shared: str) -> int:
    """Return the place of the first checkpoint that is compared: behind the shared one, or behind the input."""
    return next((at + 1 for at, each in enumerate(run.line) if each.id == shared), 1 if run.line[0].parent_id else 0)


def _unknown(run: Run) -> Iterator[str]:
    if run.is_cut:
        yield f"Only the last {len(run.line)} checkpoints of a run are looked at"
    missing = sorted(
        name
        for name in run.line[-1].saved.checkpoint["channel_versions"]
        if is_of_state(name)
        and name in ((run.line[-1].saved.metadata or {}).get("counters_since_delta_snapshot") or {})
    )
    if run.graph is None and missing:
        yield f"{', '.join(missing)}: stored as deltas, whose values only the graph can make"


# -- states -----------------------------------------------------------------------


def _differences(one: Run, other: Run) -> Differences:
    states = [plain(run.behinds[-1].values) for run in (one, other)]
    ids = [set(_message_ids(state)) for state in states]
    if not ids[0] & ids[1]:
        states = [_without_ids(state) for state in states]
    return Differences.of(*states)


def _message_ids(value: Any) -> Iterator[str]:
    if is_message(value) and value.get("id"):
        yield str(value["id"])
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _message_ids(each)
    elif isinstance(value, list):
        for each in value:
            yield from _message_ids(each)


def _without_ids(value: Any) -> Any:
    """Return a plain value whose messages have no ids of their own or of calls."""
    if is_message(value):
        told = {name: each for name, each in value.items() if name not in _IDS}
        if isinstance(calls := told.get("tool_calls"), list):
            told["tool_calls"] = [
                {name: each for name, each in call.items() if name != "id"} if isinstance(call, Mapping) else call
                for call in calls
            ]
        return told
    if isinstance(value, Mapping):
        return {name: _without_ids(each) for name, each in value.items()}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value


def _shown(found: Difference, glimpses: Glimpses) -> ValueDifference:
    sides = found.sides()
    name = found.path.rpartition(".")[2]
    old, new = (glimpses.of(sides[side], name) if side in sides else "" for side in ("old", "new"))
    return ValueDifference(found.path, found.kind, old, new)


# -- steps ------------------------------------------------------------------------


def _made(run: Run, at: int) -> list[Planned]:
    return [task for task in run.made(at) if task.node != START]


def _node_runs(one: Run, other: Run, begin: int, other_begin: int) -> Iterator[NodeRuns]:
    counts = [
        Counter(task.node for at in range(first, len(run.line)) for task in _made(run, at) if task.node)
        for run, first in ((one, begin), (other, other_begin))
    ]
    for node in sorted(counts[0].keys() | counts[1].keys()):
        if counts[0][node] != counts[1][node]:
            yield NodeRuns(node, counts[0][node], counts[1][node])


def _steps(run: Run, begin: int) -> list[int]:
    """Return the places of the checkpoints that nodes or an update have made."""
    return [
        at
        for at in range(begin, len(run.line))
        if run.line[at].source == "update" or _made(run, at)
    ]  # fmt: skip


def _parting(one: Run, other: Run, begin: int, other_begin: int) -> Parting | None:
    steps, others = _steps(one, begin), _steps(other, other_begin)
    for number in range(max(len(steps), len(others))):
        at = steps[number] if number < len(steps) else None
        at_other = others[number] if number < len(others) else None
        names = [_nodes(one, at), _nodes(other, at_other)]
        ids = ["" if place is None else run.line[place].id for run, place in ((one, at), (other, at_other))]
        if at is None or at_other is None:
            return Parting("ends", number + 1, names[0], names[1], (), *ids)
        if {one.line[at].source, other.line[at_other].source} >= {"update", "loop"}:
            return Parting("update", number + 1, names[0], names[1], (), *ids)
        if sorted(names[0]) != sorted(names[1]):
            return Parting("nodes", number + 1, names[0], names[1], (), *ids)
        if channels := _written_differently(_made(one, at), _made(other, at_other)):
            return Parting("writes", number + 1, names[0], names[1], tuple(channels), *ids)
    return None


def _nodes(run: Run, at: int | None) -> tuple[str, ...]:
    return () if at is None else tuple(task.node for task in _made(run, at))


def _written_differently(ones: Sequence[Planned], others: Sequence[Planned]) -> list[str]:
    """Return what tasks of the same nodes wrote differently, as `node.key`."""
    found: dict[str, None] = {}
    for one, other in zip(_sorted(ones), _sorted(others), strict=True):
        written = [_without_ids(plain(_writes(task))) for task in (one, other)]
        for channel in dict.fromkeys([*written[0], *written[1]]):
            if written[0].get(channel) != written[1].get(channel):
                found[f"{one.node}.{channel}"] = None
    return list(found)


def _sorted(tasks: Sequence[Planned]) -> list[Planned]:
    return sorted(tasks, key=lambda task: (task.node, task.index))


def _writes(task: Planned) -> dict[str, list[Any]]:
    written: dict[str, list[Any]] = {}
    for channel, value in task.writes:
        if is_of_state(channel) and channel not in status.CONTROL:
            written.setdefault(channel, []).append(value)
    return written


# -- words ------------------------------------------------------------------------


def _lines(found: Comparison) -> Iterator[str]:
    yield f"from thread '{found.one.thread_id}', checkpoint {found.one.checkpoint_id}"
    yield f"to   thread '{found.other.thread_id}', checkpoint {found.other.checkpoint_id}"
    yield from step_lines(found)
    for value in found.differences:
        if value.kind == "added":
            yield f"+ {value.path}: {value.new}"
        elif value.kind == "removed":
            yield f"- {value.path}: {value.old}"
        else:
            yield f"~ {value.path}: {value.old} -> {value.new}"
    if not found.differences:
        yield "The states are the same."
    if found.more:
        yield "There are more differences."
    yield from (f"Not known: {sentence}" for sentence in found.unknown)


def step_lines(found: Comparison) -> Iterator[str]:
    """Yield by lines where two first part, and which nodes did not run as often in both."""
    if found.shared:
        yield f"Both came from checkpoint {found.shared}."
    yield _parting_text(found.parting)
    for each in found.nodes:
        yield f"{each.node} ran {_times(each.one)} in the one, {_times(each.other)} in the other."


def _times(count: int) -> str:
    return {0: "not at all", 1: "once"}.get(count, f"{count} times")


def _parting_text(parting: Parting | None) -> str:
    if parting is None:
        return "They have the same steps."
    one, other = words.listed(parting.one), words.listed(parting.other)
    match parting.kind:
        case "ends":
            longer = f"the other has {other}" if not parting.one_id else f"the one has {one}"
            return f"They part at step {parting.step}: {longer}, and there is no such step on the other side."
        case "update":
            return f"They part at step {parting.step}: an update from outside on one side."
        case "nodes":
            return f"They part at step {parting.step}: {one} ran in the one, {other} in the other."
    channels = ", ".join(parting.channels)
    return f"They part at step {parting.step}: the same nodes ran ({one}) and wrote {channels} differently."
