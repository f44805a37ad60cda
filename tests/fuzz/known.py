"""Differences that are meant, each with the row of docs/compatibility.md that gives its reason.

Rules
-----
* A case is looked at up to the step that makes the difference; see `judge`. Everything before is the same on both.
* Where a row says that something else is shown or stored, `allow` makes just that the same in both reports, and
  nothing else may be left. Several rows may meet in one case.
* Where a row says that a run goes another way, `departs` finds the evidence of it in what the step ran, asked or
  returned; see `departures`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.fuzz import departures, reports
from tests.fuzz.differences import Difference, has_error, unnamed
from tests.fuzz.reports import Report, bag
from tests.interop import plain

OWN = re.compile(r"picky|[\w.]+ \d+")  # the message of an error that a program raises itself
LOOSE = frozenset(("loose", "looses"))
REFUSED_LOOSE = ("At key 'loose':", "At key 'looses':", "At key '':")  # a `Pregel` gives its channels no keys
BRIEF = frozenset(("in", "brief", "briefs", "topic", "same", "any"))  # channels that lose their value by a step


SYNC_WITHOUT_SAVER = '`durability="sync"` without a checkpointer'
SHARED_HISTORY = "tasks of one step that run one nested graph with `checkpointer=True`"


@dataclass(frozen=True, slots=True)
class Known:
    """One deliberate difference.

    Attributes:
        row: words that its row of docs/compatibility.md begins with.
        departs: whether the step goes another way as the row says.
        allow: makes the same in both reports what the row says is not.
    """

    row: str
    departs: Callable[[Difference], bool] | None = None
    allow: Callable[[Difference], None] | None = None


def explain(difference: Difference) -> str | None:
    """Name the known difference that explains one, or return None.

    None is about a graph that can be built on one engine alone: it has no steps to compare.
    """
    if departures.grown_together(difference):
        return SHARED_HISTORY
    if "too much" in difference.found and departures.sync_without_saver(difference):
        return SYNC_WITHOUT_SAVER
    if not ("steps" in difference.expected and "steps" in difference.found):
        return None
    left = Difference(difference.case, copy.deepcopy(difference.expected), copy.deepcopy(difference.found))
    names = []
    for known in KNOWN:
        if known.allow is None:
            continue
        before = plain.spelled(left[1:])
        known.allow(left)
        if plain.spelled(left[1:]) != before:
            names.append(known.row)
            if reports.same(left.expected, left.found):
                return names[0]
    for known in KNOWN:
        if known.departs is not None and known.departs(difference):
            return known.row
    return None


# -- what is shown or stored -------------------------------------------------------------------------------------


def _untracked_alone(left: Difference) -> None:
    """A task is shown as finished that wrote untracked values alone, and what it had asked as answered."""
    if LOOSE.isdisjoint(left.case["channels"]):
        return
    for expected, found in reports.snapshots(left.expected, left.found):
        ended = [
            (one, other)
            for one, other in reports.tasks(expected, found)
            if (one["result"], other["result"]) == (None, {}) and one["error"] == other["error"]
        ]
        for one, other in ended:
            one["result"] = {}
            one["interrupts"] = one["interrupts"] if other["interrupts"]["items"] else other["interrupts"]
        if ended:
            expected["interrupts"]["items"] = _asked_by(expected)
        if ended and expected["next"] != found["next"]:
            expected["next"]["items"] = reports.unfinished(expected)
        if ended and isinstance(expected["values"], dict) and isinstance(found["values"], dict):
            for name in BRIEF & expected["values"].keys() - found["values"].keys():
                del expected["values"][name]
    for expected, found in reports.checkpoints(left.expected, left.found):
        ends = ["__no_writes__", None]
        for _ in range(found["writes"].count(ends) - expected["writes"].count(ends)):
            found["writes"].remove(ends)


def _asked_by(snapshot: dict[str, Any]) -> list[Any]:
    """List the questions of a snapshot's tasks."""
    return [asked for task in snapshot["tasks"]["items"] for asked in task["interrupts"]["items"]]


def _untracked_at_exit(left: Difference) -> None:
    """What a waiting step wrote to untracked values is stored, and counts when the thread is read."""
    if LOOSE.isdisjoint(left.case["channels"]) or left.step.get("durability") != "exit":
        return
    for expected, found in reports.checkpoints(left.expected, left.found):
        for write in (bag(expected["writes"]) - bag(found["writes"])).elements():
            if json.loads(write)[0] in LOOSE:
                expected["writes"].remove(json.loads(write))
    for expected, found in reports.snapshots(left.expected, left.found):
        for one, other in [(expected["values"], found["values"])] + [
            (one["result"], other["result"]) for one, other in reports.tasks(expected, found)
        ]:
            if isinstance(one, dict) and isinstance(other, dict):
                for name in LOOSE & one.keys() - other.keys():
                    del one[name]
    state = left.expected.get("state", {})
    if state.get("raised") == "InvalidUpdateError" and state["message"] in REFUSED_LOOSE:
        _unread(left)


def _unread(left: Difference) -> None:
    """LangGraph cannot read the thread; see what else there is."""
    for part in ("state", "history"):
        left.found[part] = left.expected[part]


def _next_named(left: Difference) -> None:
    """A thread that was cut names what would run next."""
    commanded = any(step.get("goto") for step in left.case["script"])
    deferred = {node["name"] for graph in left.case.get("graphs", ()) for node in graph["nodes"] if node.get("defer")}
    for expected, found in reports.snapshots(left.expected, left.found):
        one, other = expected["next"]["items"], found["next"]["items"]
        ended = bool(expected["tasks"]["items"]) and not reports.unfinished(expected)
        replaced = deferred | _sent(expected)  # a command's packets take the place of those that wait
        if one != other and ((not one and ended) or (commanded and set(one) - set(other) <= replaced)):
            found["next"]["items"] = one


def _sent(snapshot: dict[str, Any]) -> set[str]:
    """Name the tasks of a snapshot that were sent to a node."""
    return {task["name"] for task in snapshot["tasks"]["items"] if "__pregel_push" in json.dumps(task.get("path"))}


def _live_value(left: Difference) -> None:
    """LangGraph's join or accumulating topic has values more: those of the step behind the checkpoint."""
    joined = set()
    for expected, found in reports.checkpoints(left.expected, left.found):
        for name in expected["values"].keys() & found["values"].keys():
            live = name.startswith("join:") or name in ("topics", "barrier")
            if live and _cut(expected["values"], found["values"], name):
                joined.add(name.rpartition(":")[2])
    for expected, found in reports.snapshots(left.expected, left.found):
        if joined:
            _start_less(expected, found, joined)
        one, other = expected["values"], found["values"]
        if isinstance(one, dict) and isinstance(other, dict) and "topics" in one.keys() & other.keys():
            _cut(one, other, "topics")


def _cut(expected: dict[str, Any], found: dict[str, Any], name: str) -> bool:
    cut = expected[name] != found[name] and _holds(expected[name], found[name])
    if cut:
        expected[name] = found[name]
    return cut


def _start_less(expected: dict[str, Any], found: dict[str, Any], joined: set[str]) -> None:
    """Leave out the nodes that are due on LangGraph alone, as their join is complete there."""
    there = {task["name"] for task in found["tasks"]["items"]}
    more = {task["name"] for task in expected["tasks"]["items"]} & joined - there
    expected["tasks"]["items"] = [task for task in expected["tasks"]["items"] if task["name"] not in more]
    expected["next"]["items"] = [name for name in expected["next"]["items"] if name not in more]


def _holds(more: Any, less: Any) -> bool:
    """Tell whether a set has all of another, or a list begins with another."""
    match more, less:
        case list(), list():
            return more[: len(less)] == less
        case {"!": "set", "items": left}, {"!": "set", "items": right}:
            return not bag(right) - bag(left)
        case {"!": "tuple", "items": [left, left_over]}, {"!": "tuple", "items": [right, right_over]}:
            return left_over == right_over and _holds(left, right)
    return False


def _asked_twice(left: Difference) -> None:
    """LangGraph lists an interrupt twice that is one: of a task which a node calls and waits for."""
    if not left.case.get("tasks"):
        return
    for report in left[1:]:
        _ask_once(report)
        if not left.case.get("sequential"):  # parts are sorted
            for step in report.get("steps", ()):
                if isinstance(step["found"], list):
                    step["found"].sort(key=plain.spelled)


def _ask_once(value: Any) -> None:
    """Leave each question in a list once, as far as they can be told from each other."""
    if isinstance(value, list) and all(isinstance(item, dict) and "response_schema" in item for item in value):
        once = {plain.spelled(item): item for item in value}
        value[:] = [once[spelled] for spelled in sorted(once)]
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _ask_once(item)


def _router_failed(left: Difference) -> None:
    """The task of a node behind which a router failed counts as done."""
    if not any(graph.get("routers") for graph in left.case.get("graphs", ())):
        return
    failed = False
    unread = "raised" in left.expected.get("state", ())
    for expected, found in reports.checkpoints(left.expected, left.found):
        theirs, ours = bag(expected["writes"]), bag(found["writes"])
        # What a node wrote behind which a router failed may be refused, and the thread not be read: then a task beside
        # it, which LangGraph cancelled, may have got further here.
        if theirs - ours and (unread or not ours - theirs) and has_error(found):
            found["writes"], failed = expected["writes"], True
    for expected, found in reports.snapshots(left.expected, left.found):
        ended = [
            (one, other)
            for one, other in reports.tasks(expected, found)
            if one["error"] and one["error"] == other["error"] and one["result"] is not None and other["result"] is None
        ]
        for one, other in ended:
            other["result"], other["interrupts"] = one["result"], one["interrupts"]
        if ended:
            found["interrupts"]["items"] = _asked_by(found)
        if ended and expected["next"] != found["next"]:  # not in the history
            found["next"]["items"] = reports.unfinished(found)
            found["values"] = expected["values"]
    if failed and unread:
        _unread(left)
    read, end = left.last("found")
    if failed and isinstance(read, list) and _is_error(end, left.found) and len(read) == left.step.get("stop"):
        left.found["steps"][left.number]["found"] = read  # its reader left with the update that counts there alone


def _is_error(end: Any, report: Report) -> bool:
    """Tell whether a step failed with the error of a task of the newest step of the thread."""
    newest = [space["checkpoints"][0]["writes"] for space in report["stored"] if not space["namespace"]]
    errors = [error for writes in newest for channel, error in writes if channel == "__error__"]
    return isinstance(end, dict) and f"{end.get('raised')}({end.get('message')})" in errors


def _refused_at_exit(left: Difference) -> None:
    """What had been applied of a step whose updates were refused is stored at the end of the run, and starts nodes."""
    end, ran = left.last("found")[0], left.last("ran")[0]
    refused = _is_refusal(end) or _saw_refusal(ran)
    if left.step.get("durability") != "exit" or not (refused or _catches(left.case)):
        return
    newest: set[int] = set()
    for report in (left.expected, left.found):
        newest |= {id(space["checkpoints"][0]) for space in report["stored"] if refused or space["namespace"]}
    for expected, found in reports.checkpoints(left.expected, left.found):
        if {id(expected), id(found)} <= newest:
            found.update({part: expected[part] for part in ("values", "versions", "updated")})
    latest = left.expected["state"].get("config")
    for expected, found in reports.snapshots(left.expected, left.found):
        if expected["config"] == found["config"]:
            found["values"] = expected["values"]
            if expected["config"] == latest and refused and expected["next"] != found["next"]:  # a join is complete
                found.update({part: expected[part] for part in ("next", "tasks")})


def _is_refusal(end: Any) -> bool:
    if not isinstance(end, dict) or "raised" not in end:
        return False
    by_reducer = end["raised"] == "ValueError" and not OWN.fullmatch(end["message"])
    by_reducer = by_reducer or (end["raised"] == "TypeError" and end["message"].startswith("can only concatenate"))
    return bool(by_reducer or end["raised"] == "InvalidUpdateError" or end["message"] == "picky")


def _catches(part: Any) -> bool:
    """Tell whether a node catches what a graph fails with that it calls."""
    if isinstance(part, dict) and part.get("do") == "catch":
        return any(step["do"] == "call" for step in part["body"])
    return any(map(_catches, part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()))


def _saw_refusal(ran: list[Any]) -> bool:
    return any("InvalidUpdateError" in json.dumps(seen) for seen in ran if seen[0].endswith("_handler"))


def _cancelled_again(left: Difference) -> None:
    """A task that does not begin gets `CancelledError()`, which is blotted out, in place of what it had before.

    In a stream it then shows neither questions nor a result, and one with an error handler is noted as the source of an
    error. So does one that a reader left behind.
    """
    steps = left.case["script"][: left.number + 1]
    if left.case.get("sequential") and left.case.get("async"):
        return
    if not (_has_failed(left) or any(step.get("stop") for step in steps)):
        return
    earlier = json.dumps([step["found"] for step in left.expected["steps"][: left.number]])
    for expected, found in reports.checkpoints(left.expected, left.found):
        for write in bag(found["writes"]) - bag(expected["writes"]):
            channel, error = json.loads(write)
            if channel == "__error__" and json.dumps(_message(error))[1:-1] in earlier:
                found["writes"].remove([channel, error])
        for write in bag(expected["writes"]) - bag(found["writes"]):
            if json.loads(write)[0] == "__error_source_node__":
                expected["writes"].remove(json.loads(write))
    for snapshots in reports.snapshots(left.expected, left.found):
        for one, other in reports.tasks(*snapshots):
            if one["error"] is None and other["error"] and json.dumps(_message(other["error"]))[1:-1] in earlier:
                other["error"] = None
    for one, other in reports.streamed_tasks(*left.last("found")):
        if one.get("interrupts") == {"!": "tuple", "items": []} and "interrupts" in other:
            other["interrupts"] = one["interrupts"]
            if "result" not in one:
                other.pop("result", None)


def _has_failed(difference: Difference) -> bool:
    """Tell whether a step failed, the one that makes the difference or one before it."""
    ends = [step["found"] for step in difference.expected["steps"][: difference.number + 1]]
    return any(isinstance(end, dict) and "raised" in end for end in ends)


def _message(error: str) -> str:
    """Take the message out of an error that is spelled as a call of its class."""
    return error.partition("(")[2].removesuffix(")")


LATER_ANSWER = re.compile(r"yes .*")  # names its question; one that names none is "yes" alone


def _answered_anew(left: Difference) -> None:
    """A task that failed after an answer which names no interrupt takes a later one in its place."""
    if not any(number < left.number for number in unnamed(left.case)) or not _has_failed(left):
        return
    both = _with_one_answer(left.expected), _with_one_answer(left.found)
    if reports.same(*both):
        left.expected.update(both[0])
        left.found.update(both[1])


def _with_one_answer(value: Any) -> Any:
    if isinstance(value, str):
        return LATER_ANSWER.sub("yes", value)
    if isinstance(value, list):
        return [_with_one_answer(item) for item in value]
    return {key: _with_one_answer(item) for key, item in value.items()} if isinstance(value, dict) else value


def _message_given_twice(left: Difference) -> None:
    """Of a message that tasks give which run at the same time the one is shown that comes first, another one here."""
    read = left.last("found")
    if left.case.get("sequential") or not all(isinstance(end, list) for end in read):
        return
    more, mine = ((bag(one) - bag(other)).elements() for one, other in (read, reversed(read)))
    shown = {place[0]: (place[1], json.loads(part)) for part in more if (place := _message_in(json.loads(part)))}
    for part in map(json.loads, mine):
        if (place := _message_in(part)) and place[0] in shown and shown[place[0]][0] != place[1]:
            read[1][read[1].index(part)] = shown.pop(place[0])[1]
    read[1].sort(key=plain.spelled)


def _message_in(part: Any) -> tuple[str, str] | None:
    """Return the id of the message in a part of a stream, and the place of the task that gave it."""
    match part:
        case {"items": [{"id": str(given)}, {"langgraph_node": _, **rest}]}:
            told = (part["items"][1]["langgraph_node"], rest.get("langgraph_path"), rest.get("langgraph_checkpoint_ns"))
            return given, plain.spelled(told)
        case {"items": [*_, inner]} | {"type": "messages", "data": inner}:
            return _message_in(inner)
    return None


def _changed_when_read(left: Difference) -> None:
    """The counters in the metadata of a nested checkpoint that a stream tells of are those of a later save."""
    if left.step.get("durability") != "exit":
        return
    for expected, found in zip(*map(_told_inside, left.last("found")), strict=False):
        if expected.get("source") == found.get("source") and expected.get("step") == found.get("step"):
            found.pop("counters_since_delta_snapshot", None)
            if "counters_since_delta_snapshot" in expected:
                found["counters_since_delta_snapshot"] = expected["counters_since_delta_snapshot"]


def _told_inside(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the metadata of the checkpoints of nested graphs that a stream tells of."""
    match part:
        case {"source": _, "step": _, "parents": {"": _}}:
            yield part
        case dict():
            for item in part.values():
                yield from _told_inside(item)
        case list():
            for item in part:
                yield from _told_inside(item)


KNOWN: tuple[Known, ...] = (
    Known("interrupts of tasks that a node calls", allow=_asked_twice),
    Known("resume: a finished task whose writes went to untracked values only", allow=_untracked_alone),
    Known('`durability="exit"`: writes to untracked values', allow=_untracked_at_exit),
    Known("a node fails while others of its step run", allow=_cancelled_again),
    Known("resume: a router fails behind a node that wrote something", allow=_router_failed),
    Known("`get_state` of a run that was cut", allow=_next_named),
    Known("what is stored of a join that waits, and of an accumulating `Topic`", allow=_live_value),
    Known('`durability="exit"`: what is stored when the updates of the last step are refused', allow=_refused_at_exit),
    Known("resume: an answer that names no interrupt", allow=_answered_anew),
    Known('`stream_mode="messages"`: messages of one id', allow=_message_given_twice),
    Known('`stream_mode="checkpoints"` and `"debug"` with `durability="exit"`', allow=_changed_when_read),
    Known(SYNC_WITHOUT_SAVER, departs=departures.sync_without_saver),
    Known("nodes of a `Pregel` on one channel", departs=departures.input_shared),
    Known("resume: an error handler has finished", departs=departures.handled_again),
    Known("resume: an answer that names no interrupt", departs=departures.answer_spent),
    Known(
        "a subgraph with `checkpointer=True` and a history, in a step that is gone on with",
        departs=departures.told_to_go_on,
    ),
    Known('`invoke(version="v2")` of a graph', departs=departures.validated_late),
    Known("node cache: what a task wrote", departs=departures.cached_later),
    Known("a reader leaves a stream", departs=departures.left_early),
    Known(SHARED_HISTORY, departs=departures.shared_history),
    Known("a node fails while others of its step run", departs=departures.failed_beside),
)
