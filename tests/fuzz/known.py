"""Differences that are meant, each with the row of docs/compatibility.md that gives its reason."""

from __future__ import annotations

import json
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

    A router also fails when the state that it is to see cannot be made of its node's update. What the node wrote is
    then stored beside the error.
    """
    if not any(graph.get("routers") for graph in case.get("graphs", ())):
        return False
    failed = [message for _, message in _failures(expected, difference, inclusive=False)]
    return bool(failed) and (
        any(message.startswith("route_") for message in failed) or _error_beside_writes(expected, found)
    )


def _error_beside_writes(*reports: Report) -> bool:
    """Tell whether a step left an error and values of channels, on either engine."""
    for report in reports:
        for space in report.get("stored", ()):
            for entry in space["checkpoints"]:
                channels = {write[0] for write in entry["writes"]}
                if "__error__" in channels and any(not name.startswith("__") for name in channels):
                    return True
    return False


def _failed_beside(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """A step failed whose tasks run at the same time, here or before: which of them had begun is left to timing."""
    if case.get("sequential"):
        return False
    place = _step_of(difference)
    return any(
        isinstance(step["found"], dict) and "raised" in step["found"] and len(step["ran"]) > 1
        for report in (expected, found)
        for step in report.get("steps", ())[: place + 1]
    )


def unnamed(case: Case) -> list[int]:
    """Return the numbers of the steps that answer without naming an interrupt."""
    return [n for n, step in enumerate(case["script"]) if step["op"] == "answer" and step.get("by", "value") == "value"]


def _answer_spent(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """A run goes on behind an answer that names no interrupt, or such an answer comes with further tasks."""
    answered = unnamed(case)
    if not answered:
        return False
    place = _step_of(difference)
    script = case["script"]
    with_tasks = any(script[n].get("goto") or script[n].get("values") for n in answered if n <= place)
    goes_on = any(step["op"] in ("run", "answer") for step in script[answered[0] + 1 : place + 1])
    return with_tasks or goes_on


def _refused_at_exit(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """The updates of a step were refused, and what was applied of them is stored at the end of the run."""
    for number, step in enumerate(expected.get("steps", ())[: _step_of(difference)]):
        end = step["found"]
        if case["script"][number].get("durability") != "exit":
            continue
        if any("InvalidUpdateError" in json.dumps(seen) for seen in step["ran"] if seen[0].endswith("_handler")):
            return True  # within a nested graph
        if not isinstance(end, dict) or "raised" not in end:
            continue
        by_reducer = end["raised"] == "ValueError" and not OWN.fullmatch(end["message"])
        if end["raised"] == "InvalidUpdateError" or by_reducer or end["message"] == "picky":
            return True
    return False


def _live_value(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """What accumulates differs itself, or what a join made of it after a run that waited."""
    if "topics" in case["channels"] and ".topics" in difference:
        return True
    before = case["script"][: _step_of(difference)]
    return has_joins(case) and any(step.get("durability") in ("exit", "async") for step in before)


def has_joins(case: Case) -> bool:
    """Tell whether an edge of a case waits for several nodes."""
    return any(isinstance(edge["from"], list) for graph in case.get("graphs", ()) for edge in graph["edges"])


def _handled_again(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """LangGraph runs an error handler again that had finished in a step which failed."""
    place = _step_of(difference)
    handlers = [{seen[0] for seen in step["ran"] if seen[0].endswith("_handler")} for step in expected.get("steps", ())]
    before: set[str] = set().union(*handlers[:place])
    return bool(before) and any(handlers[number] & before for number in range(1, min(place + 1, len(handlers))))


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
    """LangGraph raised an AttributeError from within, or a handler or a node saw one."""
    seen = json.dumps(expected.get("steps", ())[: _step_of(difference) + 1])
    return "PregelLoop' object has" in seen


def _untracked_at_exit(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """With ``durability="exit"`` LangGraph stores among the writes of a waiting step those to untracked values."""
    if not any(step.get("durability") == "exit" for step in case["script"]):
        return False
    place = _step_of(difference)
    loose = not {"loose", "looses"}.isdisjoint(case["channels"])
    if loose and 0 < place < len(expected.get("steps", ())):
        # Both that write and the one of the task that waited count when the run goes on.
        end = expected["steps"][place]["found"]
        return isinstance(end, dict) and end.get("raised") == "InvalidUpdateError"
    return plain.difference(_tracked(expected), _tracked(found)) is None


def _untracked_alone(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """A task that wrote nothing but untracked values is stored as finished."""
    if {"loose", "looses"}.isdisjoint(case["channels"]):
        return False
    return plain.difference(_without_ends(expected), _without_ends(found)) is None


def _without_ends(value: Any) -> Any:
    """Leave out that a task ended which wrote nothing."""
    if isinstance(value, dict):
        return {key: None if key == "result" and item == {} else _without_ends(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_ends(item) for item in value if item != ["__no_writes__", None]]
    return value


def _tracked(value: Any) -> Any:
    """Leave out what was written to untracked values."""
    loose = ("loose", "looses")
    if isinstance(value, dict):
        return {key: _tracked(item) for key, item in value.items() if key not in loose}
    if isinstance(value, list):
        return [_tracked(item) for item in value if not (isinstance(item, list) and item and item[0] in loose)]
    return value


def _input_shared(case: Case, expected: Report, found: Report, difference: str) -> bool:
    """Of two nodes on one channel, one takes its value and the other a dictionary of it."""
    ways: dict[str, set[bool]] = {}
    for node in case.get("nodes", ()):
        if len(node["on"]) == 1 and not node.get("reads"):
            ways.setdefault(node["on"][0], set()).add(bool(node.get("only")))
    return any(len(found) > 1 for found in ways.values())


KNOWN: tuple[Known, ...] = (
    Known('`durability="sync"` without a checkpointer', _sync_without_saver),
    Known("nodes of a `Pregel` on one channel", _input_shared),
    Known("what is stored of a join that waits, and of an accumulating `Topic`", _live_value),
    Known("interrupt of a task that a node calls", _asked_twice),
    Known("resume: a finished task whose writes went to untracked values only", _untracked_alone),
    Known('`durability="exit"`: writes to untracked values', _untracked_at_exit),
    Known("resume: an error handler has finished", _handled_again),
    Known("resume: a router fails behind a node that wrote something", _router_failed),
    Known("resume: an answer that names no interrupt", _answer_spent),
    Known('`durability="exit"`: what is stored when the updates of the last step are refused', _refused_at_exit),
    Known("a reader leaves a stream", _left_early),
    Known("tasks of one step that run one nested graph with `checkpointer=True`", _shared_history),
    Known("a node fails beside others in threads", _failed_beside),
)


def explain(case: Case, expected: Report, found: Report, difference: str) -> str | None:
    """Name the known difference that explains one, or return None."""
    for one in KNOWN:
        if one.applies(case, expected, found, difference):
            return one.row
    return None
