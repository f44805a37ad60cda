"""Where a run goes another way as a row of docs/compatibility.md says: the evidence of it in a difference."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.fuzz import reports
from tests.fuzz.differences import Difference, has_error, unnamed
from tests.fuzz.program import Case
from tests.fuzz.reports import Report, bag
from tests.interop import plain


def sync_without_saver(difference: Difference) -> bool:
    """LangGraph raised an AttributeError from within, or a handler or a node saw one."""
    return "PregelLoop' object has" in json.dumps(difference.expected.get("steps", ())[-1:])


def input_shared(difference: Difference) -> bool:
    """Of two nodes on one channel, one takes its value and the other a dictionary of it; what they see differs.

    A reader that leaves before they run is shown that all the same.
    """
    ways: dict[str, dict[str, bool]] = {}
    for node in difference.case.get("nodes", ()):
        if len(node["on"]) == 1 and not node.get("reads"):
            ways.setdefault(node["on"][0], {})[f"raw_{node['name']}"] = bool(node.get("only"))
    shared = {name for found in ways.values() if len(set(found.values())) > 1 for name in found}
    expected, found = difference.last("ran")
    # They are listed by their names, so that a node that saw what such a node had written may come before it.
    return any(
        one != other and one[0] == other[0] and one[0] in shared
        for one, other in [
            *zip(expected, found, strict=False),
            *zip(*map(_shown, difference.last("found")), strict=False),
        ]
    )


def _shown(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tasks that a stream shows as about to run, by the functions that they call, and their inputs."""
    match part:
        case {"name": str(name), "input": given, "triggers": _}:
            yield f"raw_{name}", given
        case dict():
            for item in part.values():
                yield from _shown(item)
        case list():
            for item in part:
                yield from _shown(item)


def handled_again(difference: Difference) -> bool:
    """LangGraph runs an error handler again that had finished in an earlier step."""
    ran, mine = difference.last("ran")
    earlier = {seen[0] for step in difference.expected["steps"][: difference.number] for seen in step["ran"]}
    return any(_count(ran, name) > _count(mine, name) for name in earlier if name.endswith("_handler"))


def _count(items: list[Any], name: str, key: Any = 0) -> int:
    return sum(item[key] == name for item in items)


def answer_spent(difference: Difference) -> bool:
    """A question waits here that LangGraph answered, with an answer that names none and was spent here."""
    if not any(number <= difference.number for number in unnamed(difference.case)):
        return False
    asked, mine = (set(_waiting(report.get("state", {}))) for report in difference[1:])
    if mine - asked:
        return True
    for expected, found in reports.checkpoints(*difference[1:], first="oldest"):
        if _asked(found) - _asked(expected):
            return True
        # The same question waits in both, of a later call there: the earlier ones have returned.
        fewer = not _returned(found) - _returned(expected)
        if _asked(found) and fewer and _returned(expected) - _returned(found):
            return True
    goes_on = difference.step["op"] == "run" and difference.step.get("input") is None
    spaces = reports.namespaces(*difference[1:])
    return goes_on and any(len(theirs) > len(ours) and _asked(ours[0]) for theirs, ours in spaces)


def _waiting(snapshot: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the questions that wait in a snapshot and in those inside it, each behind the place of its task."""
    if not isinstance(snapshot, dict):
        return
    for task in snapshot.get("tasks", {}).get("items", ()):
        here = f"{place}/{plain.spelled(task.get('path'))}"
        for question in task["interrupts"]["items"]:
            yield here, plain.spelled(question)
        yield from _waiting(task.get("state"), here)


def _asked(checkpoint: dict[str, Any]) -> Any:
    """Count the questions that were asked in the step behind a checkpoint."""
    asked = [value for channel, value in checkpoint["writes"] if channel == "__interrupt__"]
    return bag(question["value"] for questions in asked for question in questions)


def _returned(checkpoint: dict[str, Any]) -> Any:
    """Count the results of functions in the step behind a checkpoint."""
    return bag(plain.spelled(value) for channel, value in checkpoint["writes"] if channel == "__return__")


def validated_late(difference: Difference) -> bool:
    """LangGraph refuses to make a state of the values after an early step; here the run goes on to its end."""
    expected, (ran, mine) = difference.last("found")[0], map(bag, difference.last("ran"))
    return (
        isinstance(expected, dict)
        and expected.get("raised") == "ValidationError"
        and (difference.step.get("version"), difference.step.get("how", "invoke")) == ("v2", "invoke")
        and bool(mine - ran and not ran - mine)
    )


def cached_later(difference: Difference) -> bool:
    """LangGraph runs again what it had run with the same input, as its result is not in the cache yet.

    A router may then choose another way, and anything may follow on either engine; a task that asks is not asked again,
    and what calls it gets further here.
    """
    expected, found = (bag(seen[:2] for seen in ran) for ran in difference.last("ran"))  # wherever it ran
    more = expected - found
    again = [
        spelled for spelled in more.keys() & found.keys() if _may_be_cached(difference.case, json.loads(spelled)[0])
    ]
    routed = any(graph.get("routers") for graph in difference.case.get("graphs", ()))
    further = found - expected if not difference.case.get("tasks") else {}
    return bool(again and (routed or not (further or more.keys() - found.keys())))


def _may_be_cached(case: Case, function: str) -> bool:
    """Tell whether the results of a function are put into a cache, or those of a graph around it may be."""
    if not case.get("cache") or function.startswith("route_"):
        return False
    graphs = case.get("graphs", ())
    if any("cached" in graph.get("defaults", ()) for graph in graphs):
        return True
    nodes = {f"{graph['name']}_{node['name']}": node for graph in graphs for node in graph["nodes"]}
    tasks = {task["name"]: task for task in case.get("tasks", ())}
    return "cached" in (nodes | tasks).get(function, ())


def left_early(difference: Difference) -> bool:
    """A reader leaves a stream, and one of the engines has got further by then."""
    ends, ran = difference.last("found"), difference.last("ran")
    if not difference.step.get("stop") or not all(isinstance(end, list) for end in ends):
        return False
    read = len(ends[0]) == len(ends[1]) == difference.step["stop"]
    if not difference.case.get("sequential"):
        return read
    one, other = bag(ran[0]), bag(ran[1])
    return read and ends[0] == ends[1] and (not one - other or not other - one)


def told_to_go_on(difference: Difference) -> bool:
    """In a step that is gone on with LangGraph goes on in a nested graph that has a history, and had not begun.

    It does nothing there, or takes up again what a command had left; here it runs with its input.
    """
    goes_on = difference.step["op"] == "answer" or difference.step.get("input", 0) is None
    retried = any("retry" in node for graph in difference.case.get("graphs", ()) for node in graph["nodes"])
    inside = tuple(f"{name}_" for name in _with_history(difference.case))
    if not (inside and (goes_on or retried)):
        return False
    earlier = any(_ran_in(inside, step["ran"]) for step in difference.expected["steps"][: difference.number])
    ran, mine = (_ran_in(inside, ran) for ran in difference.last("ran"))
    return earlier and bool(mine - ran) and ran.total() <= mine.total()


def _ran_in(graphs: tuple[str, ...], ran: list[Any]) -> Counter[str]:
    """Count the nodes and routers that ran in graphs, by what the names of those begin with."""
    return bag(seen for seen in ran if seen[0].removeprefix("route_").startswith(graphs))


def _with_history(case: Case) -> set[str]:
    """Name the nested graphs that have a history of their own."""
    return {graph["name"] for graph in case.get("graphs", ()) if graph.get("persist") == "own"} - {"graph"}


def shared_history(difference: Difference) -> bool:
    """Packets of one step went to a node that runs a nested graph with a history of its own."""
    found = _sent_to_history(difference.case)
    return any(all(_met(report, difference.number, *node) for report in difference[1:]) for node in found)


def grown_together(difference: Difference) -> bool:
    """The same, if LangGraph alone has shown too much for a report: such a history may double with each packet."""
    steps = range(len(difference.found.get("steps", ())))
    found = _sent_to_history(difference.case)
    grown = "too much" in difference.expected
    return grown and any(_met(difference.found, number, *node) for number in steps for node in found)


def _sent_to_history(case: Case) -> list[tuple[str, str, str]]:
    """Find nodes that packets go to and that run a graph with a history, if a step's tasks run at the same time.

    Returns:
        The function of each, the graph that it is, and its name.
    """
    if case.get("sequential"):
        return []
    graphs = {graph["name"]: graph for graph in case.get("graphs", ())}
    own = _with_history(case)
    for _ in graphs:  # as deep as they can be nested
        own |= {name for name, graph in graphs.items() if any(_runs(node, own) for node in graph["nodes"])}
    meant = set(_packets(case))
    return [
        (f"{graph['name']}_{node['name']}", node.get("graph", ""), node["name"])
        for graph in graphs.values()
        for node in graph["nodes"]
        if node["name"] in meant and _runs(node, own)
    ]


def _met(report: Report, number: int, function: str, graph: str, node: str) -> bool:
    """Tell whether two tasks of a node may have run in one step: both are shown, or the node ran at least twice."""
    if any(_count(step["tasks"]["items"], node, "name") > 1 for step in reports.of_kind("StateSnapshot", report)):
        return True
    ran = [seen[0].removeprefix("route_") for seen in report["steps"][number]["ran"]]
    return ran.count(function) > 1 or (graph != "" and sum(name.startswith(f"{graph}_") for name in ran) > 1)


def _runs(part: Any, graphs: set[str]) -> bool:
    """Tell whether a node is one of these graphs, or calls one."""
    if isinstance(part, dict):
        return part.get("graph") in graphs or any(_runs(item, graphs) for item in part.values())
    return isinstance(part, list) and any(_runs(item, graphs) for item in part)


def _packets(part: Any) -> Iterator[str]:
    """Yield the nodes that a `Send` goes to."""
    if isinstance(part, dict) and "send" in part:
        yield part["send"]
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _packets(item)


def failed_beside(difference: Difference) -> bool:
    """A step failed whose tasks run at the same time: how far the others get is left to timing, and nothing else is.

    Where asyncio fixes their order, nothing but an error handler may begin.
    """
    ends, ran = difference.last("found"), difference.last("ran")
    if not all(isinstance(end, dict) and "raised" in end for end in ends):
        return False
    if difference.case.get("sequential"):
        more = [seen[0] for seen in ran[0] if seen not in ran[1]]
        handled = bool(more) and all(name.endswith("_handler") for name in more)
        return bool(difference.case.get("async") and handled and not bag(ran[1]) - bag(ran[0]))
    told = any(
        any(one[part] != other[part] for part in ("error", "result", "interrupts"))
        for snapshots in reports.snapshots(*difference[1:])
        for one, other in reports.tasks(*snapshots)
    )
    within = [[space for space in report.get("stored", ()) if space["namespace"]] for report in difference[1:]]
    others = told or bag(ran[0]) != bag(ran[1]) or bag(within[0]) != bag(within[1]) or _recorded_beside(difference)
    return others and _before_its_open_step(difference.expected) == _before_its_open_step(difference.found)


def _recorded_beside(difference: Difference) -> bool:
    """Tell whether more is recorded here beside the error of a task, which leaves nothing else: another one's writes.

    It need not be shown, if a command had it begin in a step that was open already.
    """
    newest = next(reports.checkpoints(*difference[1:]), None)
    if newest is None or not all(map(has_error, newest)):
        return False
    expected, found = (bag(checkpoint["writes"]) for checkpoint in newest)
    return expected < found


def _before_its_open_step(report: Report) -> Any:
    """Return what is stored of a thread but for what the tasks of its open step have done."""
    root = [space["checkpoints"] for space in report.get("stored", ()) if not space["namespace"]]
    return [[{**entry, "writes": None if entry is one[0] else entry["writes"]} for entry in one] for one in root]
