"""Differences that are meant, each with the row of docs/compatibility.md that gives its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fuzz.program import Case
from tests.interop import plain

OWN = re.compile(r"picky|[\w.]+ \d+")  # the message of an error that a program raises itself
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """One deliberate difference.

    Attributes:
        row: words that its row of docs/compatibility.md begins with.
        applies: whether it explains a difference between LangGraph's report and ours of a case.
    """

    row: str
    applies: Callable[[Case, Report, Report, str], bool]


def _step_of(difference: str) -> int:
    """Return the number of the step that a difference is in; one behind all steps if it is in what is left."""
    found = re.match(r"\.steps\[(\d+)\]", difference)
    return int(found[1]) if found else 1000


def _failures(expected: Report, difference: str, *, inclusive: bool) -> list[tuple[str, str]]:
    """Return class and message of what the steps up to this place raised."""
    last = _step_of(difference) + inclusive
    found = [step["found"] for step in expected.get("steps", ())[:last]]
    return [(f["raised"], f["message"]) for f in found if isinstance(f, dict) and "raised" in f]


def _router_failed(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """A step before this place, or the one whose traces these are, failed while a router was asked.

    A router also fails when the state that it is to see cannot be made of its node's update.
    """
    if not any(graph.get("routers") for graph in case.get("graphs", ())):
        return False
    refused = {"ValueError", "InvalidUpdateError", "ValidationError", "KeyError", "TypeError", "NotImplementedError"}
    return any(
        message.startswith(("route_", "picky")) or (name in refused and not OWN.fullmatch(message))
        for name, message in _failures(expected, difference, inclusive=False)
    )


def _failed_beside(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """A node failed beside others in threads: which of them had begun is for LangGraph's threads to say."""
    failed = _failures(expected, difference, inclusive=True)
    threads = not case.get("async") or not case.get("sequential")
    nested = len(case.get("graphs", ())) > 1
    if threads and nested and _error_kept(expected):
        return True
    return threads and any(nested or OWN.fullmatch(message) for _, message in failed)


def _error_kept(report: Report) -> bool:
    """Tell whether a task of a nested graph failed, also if the node that called it went on."""
    return any(
        write[0] == "__error__"
        for space in report.get("stored", ())
        if space["namespace"]
        for entry in space["checkpoints"]
        for write in entry["writes"]
    )


def _answer_spent(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """What is recorded of an answer that names no interrupt, and whom it answers in later steps."""
    answered = [
        n for n, step in enumerate(case["script"]) if step["op"] == "answer" and step.get("by", "value") == "value"
    ]
    if not answered or answered[0] > _step_of(difference):
        return False
    place = _step_of(difference)
    more = place < len(case["script"]) and (case["script"][place].get("goto") or case["script"][place].get("values"))
    if answered[0] < place < 1000 or (place in answered and more):
        return True
    left = plain.difference(_without_answers(expected), _without_answers(found), ".stored")
    return left is None or any(
        one.applies(case, expected, found, left) for one in KNOWN if one.applies is not _answer_spent
    )


def _without_answers(report: Report) -> Any:
    """Return what is stored without the answers among the pending writes."""
    spaces = []
    for space in report.get("stored", ()):
        kept = [
            {**entry, "writes": [write for write in entry["writes"] if write[0] != "__resume__"]}
            for entry in space["checkpoints"]
        ]
        spaces.append(kept)
    return spaces


def _refused_at_exit(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """The updates of a step were refused, and what was applied of them is stored at the end of the run."""
    for number, step in enumerate(expected.get("steps", ())[: _step_of(difference)]):
        failed = isinstance(step["found"], dict) and step["found"].get("raised")
        if case["script"][number].get("durability") == "exit" and failed in (
            "InvalidUpdateError",
            "Boom",
            "ValueError",
        ):
            return True
    return False


def _live_topic(case: Case, expected: Report, found: Report, difference: str) -> bool:
    return "topics" in case["channels"] and ".topics" in difference


def _left_early(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """A reader leaves a stream: how far the run had got by then is nobody's promise."""
    steps = case["script"][: _step_of(difference) + 1]
    return any(step.get("stop") for step in steps) and not (case.get("sequential") and not case.get("async"))


def _shared_history(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """Tasks of one step run the same nested graph with a history of its own."""
    own = any(graph.get("persist") == "own" for graph in case.get("graphs", ()))
    return own and not case.get("sequential")


def _asked_twice(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """LangGraph lists an interrupt twice that is one: of a task which a node calls and waits for."""
    return bool(case.get("tasks")) and "nterrupt" in difference


def _sync_without_saver(case: Case, expected: Report, found: Report, difference: str) -> bool:
    failed = _failures(expected, difference, inclusive=True)
    return ("AttributeError", "SyncPregelLoop' object has") in failed or (
        "AttributeError",
        "AsyncPregelLoop' object has",
    ) in failed


def _untracked_at_exit(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """With ``durability="exit"`` LangGraph stores among the writes of a waiting step those to untracked values."""
    exits = any(step.get("durability") == "exit" for step in case["script"])
    loose = not {"loose", "looses"}.isdisjoint(case["channels"])
    return exits and loose and ("writes" in difference or ".result" in difference or ".loose" in difference)


def _input_shared(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """Of two nodes on one channel, one takes its value and the other a dictionary of it."""
    ways: dict[str, set[bool]] = {}
    for node in case.get("nodes", ()):
        if len(node["on"]) == 1 and not node.get("reads"):
            ways.setdefault(node["on"][0], set()).add(bool(node.get("only")))
    return any(len(found) > 1 for found in ways.values())


KNOWN: tuple[Known, ...] = (
    Known("a node fails beside others in threads", _failed_beside),
    Known("resume: a router fails behind a node that wrote something", _router_failed),
    Known("resume: an answer that names no interrupt", _answer_spent),
    Known("what is stored of a join that waits, and of an accumulating `Topic`", _live_topic),
    Known('`durability="exit"`: what is stored when the updates of the last step are refused', _refused_at_exit),
    Known("a reader leaves a stream", _left_early),
    Known("tasks of one step that run one nested graph with `checkpointer=True`", _shared_history),
    Known("interrupt of a task that a node calls", _asked_twice),
    Known('`durability="sync"` without a checkpointer', _sync_without_saver),
    Known('`durability="exit"`: writes to untracked values', _untracked_at_exit),
    Known("nodes of a `Pregel` on one channel", _input_shared),
)


def explain(case: Case, expected: Report, found: Report, difference: str) -> str | None:
    """Name the known difference that explains one, or return None."""
    for one in KNOWN:
        if one.applies(case, expected, found, difference):
            return one.row
    return None
