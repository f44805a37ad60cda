"""Drawing cases: programs and the scripts of calls on them, as plain data, the same for the same seed and index."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.fuzz.program import Case

Draw = random.Random
NAMES = "abcdef"
LIST_VALUES = ("topic", "topics", "delta", "deltas")
EXTRA_CHANNELS = (
    "total",
    "last",
    "other",
    "same",
    "brief",
    "briefs",
    "loose",
    "looses",
    "topic",
    "topics",
    "delta",
    "deltas",
    "merged",
    "best",
    "messages",
)
MANAGED = ("steps_left", "is_last")
MODES = ("values", "updates", "tasks", "checkpoints", "custom", "debug", "messages")
DURABILITY = (None, None, "sync", "async", "exit")


def case(seed: int, index: int) -> Case:
    """Draw the case of a seed with this number."""
    draw = random.Random(f"{seed}:{index}")
    kind = draw.choices(("graph", "functional", "pregel"), (80, 12, 8))[0]
    found: Case = {"kind": kind, "async": draw.random() < 0.4}
    found["saver"] = draw.random() < 0.85
    # LangGraph's synchronous driver has no order of its own unless one task runs at a time, and then cannot stream
    # these modes: the thread that waits for parts takes the only place.
    found["sequential"] = draw.random() < 0.75
    found["limit"] = draw.choice((4, 7, 10, 10))
    found["cache"] = draw.random() < 0.1
    found["plain_nodes"] = not found["async"] or draw.random() < 0.3
    {"graph": _graphs, "functional": _functional, "pregel": _raw}[kind](draw, found)
    if found["sequential"]:
        if found.get("tasks") and ((kind == "graph" and not found["async"]) or found["plain_nodes"]):
            found["sequential"] = False
        elif not found["async"]:
            found["concurrency"] = 1
        elif found["plain_nodes"] or found.get("tasks") or len(found.get("graphs", ())) > 1 or _routed(found):
            found["sequential"] = False  # how tasks alternate that await more than once is not fixed
    if not found["sequential"]:
        _calm(found)
    if _aliased(found):
        found["durabilities"] = ["sync"] if _asks(found) and not chance(draw, 0.1) else ["sync", "exit"]
    if not chance(draw, 0.1):  # LangGraph cannot run what has no history with "sync"
        for graph in found["graphs"][:-1]:
            if "durabilities" in found and graph["persist"] == "none":
                graph["persist"] = "inherit"
        if any(graph["persist"] == "none" for graph in found["graphs"][:-1]):
            found["durabilities"] = [None, "async", "exit"]
    found["script"] = _script(draw, found)
    del found["plain_nodes"]
    found.pop("durabilities", None)
    return found


def _routed(case_: Case) -> bool:
    return any(graph["routers"] for graph in case_.get("graphs", ()))


def _calm(part: Any) -> None:
    """Let no task of a case fail for good whose tasks run at the same time: what else had begun is left to timing."""
    if isinstance(part, list):
        part[:] = [item for item in part if not (isinstance(item, dict) and item.get("do") == "fail")]
        for item in part:
            _calm(item)
    elif isinstance(part, dict):
        part.pop("fails", None)
        part.pop("nowhere", None)
        if part.get("best") == "bad":
            part["best"] = "zz"
        if part.get("form") == "odd":
            part["form"] = "none"
        for item in part.values():
            _calm(item)


def _asks(part: Any) -> bool:
    """Tell whether anything in a part of a case asks a question."""
    if isinstance(part, dict):
        return part.get("do") == "ask" or any(map(_asks, part.values()))
    return isinstance(part, list) and any(map(_asks, part))


def _aliased(case_: Case) -> bool:
    """Tell whether LangGraph may store a value of a later step, as it hands the live one to a save beside the run."""
    joins = any(isinstance(edge["from"], list) for graph in case_["graphs"] for edge in graph["edges"])
    return joins or not {"topics", "barrier"}.isdisjoint(case_["channels"])


def chance(draw: Draw, probability: float) -> bool:
    """Say yes this often."""
    return draw.random() < probability


# -- values ------------------------------------------------------------------------------------------------------


def _value(draw: Draw, channel: str, who: str) -> Any:
    if channel == "log":
        return {"tags": who}
    if channel == "total":
        return draw.choice((1, 2, 5))
    if channel == "merged":
        return {draw.choice("xyz"): {"tag": who}}
    if channel == "best":
        return draw.choices((who, "zz", "bad"), (8, 4, 1))[0]
    if channel == "messages":
        if chance(draw, 0.15):
            return {"remove": draw.choice(("m1", "m2", "__remove_all__"))}
        return {"message": who, "id": draw.choice(("m1", "m2", "m3"))}
    if channel in ("topic", "topics") and chance(draw, 0.3):
        return {"tag": who}
    if channel in LIST_VALUES:
        return [{"tag": who}]
    return draw.choice(({"tag": who}, {"tag": who}, who, None))


def _update(draw: Draw, case_: Case, who: str, most: int = 2) -> dict[str, Any]:
    update: dict[str, Any] = {}
    if chance(draw, 0.9):
        update["log"] = {"tags": who}
    others = [name for name in case_["channels"] if name != "log" and name in EXTRA_CHANNELS]
    for channel in draw.sample(others, min(len(others), draw.randint(0, most))):
        update[channel] = _value(draw, channel, who)
    if chance(draw, 0.04):
        channel = draw.choice([name for name in update if name in ("log", "total", "merged", "delta")] or ["log"])
        update[channel] = {"overwrite": update.get(channel, ["over"])}
    if chance(draw, 0.02):
        update["nowhere"] = 1
    return update


def _payload(draw: Draw, who: str, number: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"log": {"grown": f"{who}>{number}"}}
    return {**payload, "last": who} if chance(draw, 0.3) else payload


def _targets(draw: Draw, nodes: list[str], who: str) -> list[Any]:
    form = draw.choices(("one", "end", "several", "sends", "mixed"), (5, 2, 2, 3, 1))[0]
    if form == "one":
        return [draw.choice(nodes)]
    if form == "end":
        return ["END"]
    if form == "several":
        return [draw.choice(nodes) for _ in range(2)]
    node = draw.choice(nodes)
    sends = [{"send": node, "payload": _payload(draw, who, n)} for n in range(draw.randint(1, 3))]
    return [*sends, draw.choice(nodes)] if form == "mixed" else sends


# -- graphs ------------------------------------------------------------------------------------------------------


def _graphs(draw: Draw, case_: Case) -> None:
    case_["channels"] = ["log", *draw.sample(EXTRA_CHANNELS, draw.randint(1, 5))]
    if chance(draw, 0.08):
        case_["channels"].append(draw.choice(MANAGED))
    case_["schema"] = draw.choices(("typeddict", "dataclass", "pydantic"), (84, 8, 8))[0]
    if chance(draw, 0.1):
        case_["tasks"] = _tasks(draw, case_)
    graphs: list[dict[str, Any]] = []
    inner = draw.choices((0, 1, 2), (50, 38, 12))[0]
    for number in range(inner):
        graphs.append(_graph(draw, case_, f"inner{number}", graphs, draw.randint(1, 3)))
    graphs.append(_graph(draw, case_, "graph", graphs, draw.randint(2, 5)))
    case_["graphs"] = graphs


def _graph(draw: Draw, case_: Case, name: str, others: list[dict[str, Any]], size: int) -> dict[str, Any]:
    nodes = list(NAMES[:size]) if name == "graph" else [f"{name[-1]}{letter}" for letter in NAMES[:size]]
    graph: dict[str, Any] = {"name": name, "persist": draw.choices(("inherit", "own", "none"), (6, 3, 1))[0]}
    graph["nodes"] = [_node(draw, case_, node, nodes, others, name != "graph") for node in nodes]
    graph["edges"], graph["routers"] = [], []
    _connect(draw, case_, graph, nodes)
    for option in ("before", "after"):
        if chance(draw, 0.06):
            graph[option] = draw.choice((["*"], draw.sample(nodes, 1), draw.sample(nodes, min(2, size))))
            graph[option] = "*" if graph[option] == ["*"] else graph[option]
    if chance(draw, 0.06):
        graph["output"] = draw.sample([name for name in case_["channels"] if name not in MANAGED], 1)
    if chance(draw, 0.04):
        graph["input"] = ["log"]
    if chance(draw, 0.05):
        graph["defaults"] = draw.choice(({"retry": 2}, {"retry": 2, "retry_on": "Boom"}, {"cached": True}))
    return graph


def _connect(draw: Draw, case_: Case, graph: dict[str, Any], nodes: list[str]) -> None:
    if chance(draw, 0.15):
        graph["routers"].append({"from": "START", **_router(draw, case_, nodes, "start")})
    else:
        for first in draw.sample(nodes, min(len(nodes), draw.choices((1, 2, 3), (7, 3, 1))[0])):
            graph["edges"].append({"from": "START", "to": first})
    for place, node in enumerate(nodes):
        later = nodes[place + 1 :]
        form = draw.choices(("next", "any", "router", "both", "nothing", "end"), (45, 8, 25, 6, 14, 4))[0]
        if form in ("next", "both") and later:
            for target in draw.sample(later, min(len(later), draw.choices((1, 2), (4, 1))[0])):
                graph["edges"].append({"from": node, "to": target})
        if form == "any":
            graph["edges"].append({"from": node, "to": draw.choice(nodes)})
        if form == "end":
            graph["edges"].append({"from": node, "to": "END"})
        if form in ("router", "both"):
            graph["routers"].append({"from": node, **_router(draw, case_, nodes, node)})
    if len(nodes) > 2 and chance(draw, 0.3):
        *sources, target = draw.sample(nodes, 3)
        graph["edges"].append({"from": sorted(sources), "to": target})


def _router(draw: Draw, case_: Case, nodes: list[str], who: str) -> dict[str, Any]:
    router: dict[str, Any] = {"then": _targets(draw, nodes, who)}
    if len(router["then"]) > 1 or chance(draw, 0.7):
        router["when"] = draw.randint(2, 7)
        router["else"] = draw.choice((["END"], ["END"], [draw.choice(nodes)]))
    if case_["async"] and not case_["plain_nodes"]:
        router["async"] = True
    if chance(draw, 0.04):
        router["fails"] = draw.choice((1, 9))
    if chance(draw, 0.2):
        ways = (["END", *nodes], {"__end__": "__end__", **{node: node for node in nodes}}, nodes)
        router["map"] = draw.choices(ways, (6, 6, 1))[0]  # the last has no way to the end
        if isinstance(router["map"], list):
            router["map"] = ["__end__" if node == "END" else node for node in router["map"]]
    return router


def _node(
    draw: Draw, case_: Case, name: str, nodes: list[str], others: list[dict[str, Any]], inner: bool
) -> dict[str, Any]:
    node: dict[str, Any] = {"name": name}
    if others and chance(draw, 0.25):
        node["graph"] = draw.choice(others)["name"]
        if chance(draw, 0.1):
            node["retry"] = 2
        return node
    if case_["async"] and not (case_["plain_nodes"] and chance(draw, 0.5)):
        node["async"] = True
    if chance(draw, 0.12):
        node["defer"] = True
    if chance(draw, 0.15):
        node["config"] = True
    if chance(draw, 0.06):
        node["sees"] = draw.sample(case_["channels"], 1)
    if case_["cache"] and chance(draw, 0.6):
        node["cached"] = True
    node["does"] = _does(draw, case_, name, others, may_call="async" in node or not case_["async"])
    if any(step["do"] == "fail" for step in node["does"]):
        if chance(draw, 0.5):
            node["retry"] = draw.choice((2, 3))
            node["retry_on"] = draw.choice(("Boom", "ValueError", None))
        if chance(draw, 0.35):
            node["handler"] = {"does": [], "gives": _gives(draw, case_, f"{name}h", nodes, inner)}
    node["gives"] = _gives(draw, case_, name, nodes, inner)
    return node


def _does(
    draw: Draw, case_: Case, who: str, others: list[dict[str, Any]], *, may_call: bool = True
) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if chance(draw, 0.16):
        for number in range(draw.choices((1, 2), (3, 1))[0]):
            steps.append({"do": "ask", "text": f"{who}{number}?", "rich": chance(draw, 0.2)})
    if chance(draw, 0.15):
        steps.append({"do": "tell", "text": who})
    if chance(draw, 0.12):
        error = draw.choice(("ValueError", "Boom", "ConnectionError"))
        steps.append({"do": "fail", "times": draw.choice((1, 1, 2, 9)), "error": error})
    if others and may_call and chance(draw, 0.25):
        call = {"do": "call", "graph": draw.choice(others)["name"]}
        if chance(draw, 0.15):
            call["config"] = True
        elif chance(draw, 0.1):
            call["thread"] = "u"
        steps.append(call)
        if chance(draw, 0.2):
            steps.append(dict(call))
    if case_.get("tasks") and may_call and chance(draw, 0.5):
        steps.append(_task_calls(draw, case_))
    draw.shuffle(steps)
    if steps and chance(draw, 0.06):
        steps = [{"do": "catch", "body": steps}]
    return steps


def _gives(draw: Draw, case_: Case, who: str, nodes: list[str], inner: bool) -> dict[str, Any]:
    forms = ("dict", "command", "list", "none", "parent", "odd")
    form = draw.choices(forms, (70, 16, 3, 4, 6 if inner else 0.4, 0.6))[0]
    gives: dict[str, Any] = {"form": form}
    if form not in ("none", "odd"):
        gives["update"] = _update(draw, case_, who)
    if form == "command" and chance(draw, 0.7):
        gives["goto"] = _targets(draw, nodes, who)
    if form in ("command", "parent", "list"):
        gives["until"] = draw.randint(3, 7)
    if form == "parent":
        gives["goto"] = draw.choice(([], _targets(draw, list("abc"), who)))
    if form == "list":
        gives["second"] = _update(draw, case_, who, 1)
        gives["goto"] = draw.choice(([], _targets(draw, nodes, who)))
    return gives


# -- tasks and entrypoints ---------------------------------------------------------------------------------------


def _tasks(draw: Draw, case_: Case) -> list[dict[str, Any]]:
    tasks = []
    for number in range(draw.randint(1, 3)):
        task: dict[str, Any] = {"name": f"job{number}", "async": case_["async"], "does": []}
        if chance(draw, 0.2):
            task["does"].append({"do": "ask", "text": f"job{number}?"})
        if chance(draw, 0.2):
            task["does"].append({"do": "tell", "text": f"job{number}"})
        if chance(draw, 0.25):
            error = draw.choice(("ValueError", "Boom"))
            task["does"].append({"do": "fail", "times": draw.choice((1, 1, 9)), "error": error})
            if chance(draw, 0.5):
                task["retry"], task["retry_on"] = 2, "Exception"
        if case_["cache"] and chance(draw, 0.5):
            task["cached"] = True
        if number and chance(draw, 0.2) and (case_["async"] or not case_["sequential"]):
            task["does"].append({"do": "tasks", "calls": [["job0", "nested"]]})
        tasks.append(task)
    return tasks


def _task_calls(draw: Draw, case_: Case) -> dict[str, Any]:
    calls = [[draw.choice(case_["tasks"])["name"], draw.choice(("x", "y"))] for _ in range(draw.randint(1, 3))]
    return {"do": "tasks", "calls": calls, "together": chance(draw, 0.5)}


def _functional(draw: Draw, case_: Case) -> None:
    case_["channels"] = ["log"]
    case_["tasks"] = _tasks(draw, case_)
    case_["graphs"] = []
    flow: dict[str, Any] = {"async": case_["async"], "does": [_task_calls(draw, case_)]}
    for number in range(draw.randint(0, 3)):
        flow["does"].append(
            draw.choice(
                (
                    _task_calls(draw, case_),
                    {"do": "ask", "text": f"flow{number}?"},
                    {"do": "tell", "text": "flow"},
                    {"do": "fail", "times": 1, "error": "Boom"},
                    {"do": "catch", "body": [_task_calls(draw, case_)]},
                )
            )
        )
    draw.shuffle(flow["does"])
    flow["final"] = draw.choice((None, "saved", "notes"))
    case_["flow"] = flow


def _raw(draw: Draw, case_: Case) -> None:
    kinds = ("one", "two", "sum", "topic", "topics", "any", "loose", "brief", "delta", "barrier")
    channels = ["in", *draw.sample(kinds, draw.randint(2, 5))]
    nodes: list[dict[str, Any]] = []
    for name in NAMES[: draw.randint(2, 4)]:
        node: dict[str, Any] = {"name": name, "does": _does(draw, case_, name, [])}
        if case_["async"] and not (case_["plain_nodes"] and chance(draw, 0.5)):
            node["async"] = True
        node["on"] = draw.sample(channels, 1 if chance(draw, 0.8) else 2)
        if len(node["on"]) == 1 and chance(draw, 0.5):
            node["only"] = True
        elif chance(draw, 0.4):
            node["reads"] = draw.sample(channels, 1)
        node["writes"] = draw.sample(channels[1:], draw.randint(1, 2))
        if chance(draw, 0.4):
            node["quiet_after"] = draw.choice((40, 80, 200))
        nodes.append(node)
    nodes[0]["on"] = ["in"]
    nodes[0].pop("reads", None)
    if not chance(draw, 0.1):
        for node in nodes:  # LangGraph gives the same to all nodes that only a channel starts
            same = [other for other in nodes if other["on"] == node["on"] and not other.get("reads")]
            if not node.get("reads"):
                node["only"] = bool(same[0].get("only"))
    for option in ("before", "after"):
        if chance(draw, 0.08):
            case_[option] = [draw.choice(nodes)["name"]]
    case_.update(channels=channels, nodes=nodes, graphs=[])
    case_["input"] = draw.choice(("in", ["in"], ["in", channels[1]]))
    case_["output"] = draw.choice((channels[1], channels[1:], [channels[1]]))


# -- scripts -----------------------------------------------------------------------------------------------------


def _input(draw: Draw, case_: Case) -> Any:
    if case_["kind"] == "functional":
        return draw.choice(({"log": ["in"]}, "in", 3))
    if case_["kind"] == "pregel":
        return ["in"] if case_["input"] == "in" else {name: ["in"] for name in case_["input"] if name != "barrier"}
    update: dict[str, Any] = {"log": ["in"]}
    others = [name for name in case_["channels"] if name != "log" and name in EXTRA_CHANNELS]
    for channel in draw.sample(others, min(len(others), draw.randint(0, 2))):
        update[channel] = {"raw": "['in']"} if channel in LIST_VALUES else _value(draw, channel, "in")
    if chance(draw, 0.03):
        return draw.choice(({}, {"nowhere": 1}, []))
    return update


def _all_nodes(case_: Case) -> list[str]:
    graphs = case_.get("graphs") or [{"nodes": case_.get("nodes", [{"name": "graph"}])}]
    return [node["name"] for node in graphs[-1]["nodes"]]


def _way(draw: Draw, case_: Case) -> dict[str, Any]:
    """Draw how a run is called."""
    way: dict[str, Any] = {}
    waits = case_.get("concurrency") != 1 or case_["async"]
    if chance(draw, 0.6):
        way["how"] = "stream"
        modes = MODES if waits else [mode for mode in MODES if mode not in ("custom", "messages")]
        many = draw.sample(modes, draw.randint(1, 4))
        way["modes"] = draw.choice((many, many, many[0]))
        way["subgraphs"] = waits and chance(draw, 0.5)
        if chance(draw, 0.05):
            way["stop"] = draw.randint(1, 4)
    elif chance(draw, 0.15):
        way["modes"] = draw.choice(MODES[:4])
    if chance(draw, 0.15):
        way["version"] = "v2"
    durability = draw.choice(case_.get("durabilities", DURABILITY))
    if durability and case_["saver"]:
        way["durability"] = durability
    for option in ("before", "after"):
        if chance(draw, 0.05):
            way[option] = draw.choice(("*", [draw.choice(_all_nodes(case_))]))
    if chance(draw, 0.04) and case_["kind"] == "graph":
        way["keys"] = draw.choice(("log", ["log"]))
    return way


def _again(draw: Draw, case_: Case) -> dict[str, Any]:
    """Draw a step behind the first run."""
    steps: dict[str, tuple[int, Callable[[], dict[str, Any]]]] = {
        "continue": (14, lambda: {"op": "run", "input": None, **_way(draw, case_)}),
        "answer": (26, lambda: _answer(draw, case_)),
        "run": (10, lambda: {"op": "run", "input": _input(draw, case_), **_way(draw, case_)}),
        "state": (8, lambda: {"op": "state", "subgraphs": chance(draw, 0.6), **_at(draw, 0.3)}),
        "history": (4, lambda: {"op": "history", **draw.choice(({}, {"limit": 2}, {"filter": {"source": "loop"}}))}),
        "fork": (10, lambda: _fork(draw, case_)),
        "update": (12, lambda: _edit(draw, case_)),
        "bulk": (4, lambda: _bulk(draw, case_)),
        "clear": (2 if case_["cache"] else 0, lambda: {"op": "clear"}),
        "other": (2, lambda: {"op": "run", "input": _input(draw, case_), "thread": "u", **_way(draw, case_)}),
    }
    name = draw.choices(list(steps), [weight for weight, _ in steps.values()])[0]
    return steps[name][1]()


def _at(draw: Draw, probability: float) -> dict[str, Any]:
    return {"at": draw.randint(0, 6)} if chance(draw, probability) else {}


def _answer(draw: Draw, case_: Case) -> dict[str, Any]:
    step: dict[str, Any] = {"op": "answer", **_way(draw, case_)}
    step["by"] = draw.choices(("value", "ids", "first", "last", "unknown"), (40, 40, 8, 6, 2))[0]
    if case_["kind"] == "graph" and chance(draw, 0.08):
        step["values"] = _update(draw, case_, "answer")
    if case_["kind"] == "graph" and chance(draw, 0.06):
        step["goto"] = _targets(draw, _all_nodes(case_), "answer")
    return step


def _fork(draw: Draw, case_: Case) -> dict[str, Any]:
    if chance(draw, 0.2):
        return {**_answer(draw, case_), "at": draw.randint(0, 6)}
    given = None if chance(draw, 0.8) else _input(draw, case_)
    return {"op": "run", "input": given, "at": draw.randint(0, 6), **_way(draw, case_)}


def _edit(draw: Draw, case_: Case) -> dict[str, Any]:
    values = draw.choice((_update(draw, case_, "edit"), _update(draw, case_, "edit"), None))
    step: dict[str, Any] = {"op": "update", "values": values, **_at(draw, 0.3)}
    as_node = draw.choices((None, "node", "__end__", "__input__", "__copy__", "nobody"), (30, 50, 6, 5, 5, 2))[0]
    if as_node == "node":
        as_node = draw.choice(_all_nodes(case_))
    if as_node:
        step["as"] = as_node
    if chance(draw, 0.08) and len(case_.get("graphs", ())) > 1:
        step.pop("at", None)
        step["inside"] = 1
        step["as"] = draw.choice([node["name"] for node in case_["graphs"][0]["nodes"]])
    return step


def _bulk(draw: Draw, case_: Case) -> dict[str, Any]:
    def one() -> dict[str, Any]:
        return {"values": _update(draw, case_, "bulk"), "as": draw.choice([None, *_all_nodes(case_)])}

    return {"op": "bulk", "steps": [[one() for _ in range(draw.randint(1, 2))] for _ in range(draw.randint(1, 2))]}


def _script(draw: Draw, case_: Case) -> list[dict[str, Any]]:
    script: list[dict[str, Any]] = [{"op": "run", "input": _input(draw, case_), **_way(draw, case_)}]
    if not case_["saver"]:
        if chance(draw, 0.02):
            script[0]["durability"] = "sync"
        if chance(draw, 0.3):
            script.append({"op": "run", "input": _input(draw, case_), **_way(draw, case_)})
        return script
    script += [_again(draw, case_) for _ in range(draw.randint(1, 4))]
    return _calm_answers(draw, script)


def _calm_answers(draw: Draw, script: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let few scripts run on behind an answer that names no interrupt: it counts for later questions in LangGraph."""
    by_value = [place for place, step in enumerate(script) if step["op"] == "answer" and step["by"] == "value"]
    if not by_value or chance(draw, 0.15):
        return script
    first = by_value[0] + 1
    return script[:first] + [step for step in script[first:] if step["op"] not in ("run", "answer")]
