"""The child process: plays cases on the engine that it got, over the line protocol of the interchange tests.

A request is ``{"case": ...}``; its report has the digest of everything that was seen. ``{"last": true}`` asks for all
of what the last case came to.
"""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import json
import linecache
import os
import re
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from xxhash import xxh3_128_hexdigest

from tests.fuzz import differences, known, program, turns
from tests.fuzz.judge import HANGS, LIMIT_S
from tests.interop import plain

MODULE = "fuzz_case"
FILE = "<case>"
MOST_VALUES = 100_000
MOST_BYTES = 1_000_000
"""How much a case may show, and have in its saver: some 100 times as much as nearly all do."""
QUESTION = re.compile(r"\b([0-9a-f]{32})\b")
PRELUDE = compile(program.PRELUDE, "<prelude>", "exec")


def report(case: program.Case) -> dict[str, Any]:
    """Play a case and return what two engines are to have in common; see `normal`."""
    alone = case.get("sequential", True)
    return normal(
        perform(case),
        sequential=alone,
        threads=not (alone and case.get("async")),
        unnamed=bool(differences.unnamed(case)),
    )


def perform(case: program.Case) -> dict[str, Any]:
    """Play a case and return everything that can be seen of it, as plain JSON."""
    module = sys.modules[MODULE] = types.ModuleType(MODULE)
    space = module.__dict__
    exec(PRELUDE, space)
    space["freeze"] = _encoder(space)
    text = program.source(case)
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    try:
        exec(compile(text, FILE, "exec"), space)
    except Exception as error:
        return {"built": space["said"](error)}
    steps = []
    try:
        for name, ended, seen in space["play"](space["STEPS"]):
            steps.append({"step": name, "found": ended, "ran": seen})
            if space["saver"] is not None and _bytes_in(space["saver"]) > MOST_BYTES:
                return {"too much": True}
    except space["TooMuch"]:
        return {"too much": True}
    found = {"steps": steps, **_afterwards(space)}
    if space["saver"] is None:
        return found
    tasks = [
        (entry.config["configurable"]["checkpoint_ns"], write[0])
        for entry in space["saver"].list({"configurable": {"thread_id": "t"}})
        for write in entry.pending_writes or ()
    ]
    return _name_questions(found, set(tasks), _names(case))


def _encoder(space: dict[str, Any]) -> Callable[[Any], Any]:
    """Return a ``plain.encode`` that ends a case once it has shown too much, as one does whose values double."""
    shown = 0

    def encode(value: Any) -> Any:
        nonlocal shown
        found = plain.encode(value)
        shown += _values_in(found)
        if shown > MOST_VALUES:
            space["GROWN"].append("values")
            raise space["TooMuch"]
        return found

    return encode


def _values_in(part: Any) -> int:
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return 1 + sum(map(_values_in, inner))


def _bytes_in(saver: InMemorySaver) -> int:
    values = sum(len(data) for _, data in saver.blobs.values())
    return values + sum(len(data) for writes in saver.writes.values() for _, _, (_, data), _ in writes.values())


def _names(part: Any) -> set[str]:
    """Collect the names of all nodes and tasks of a case."""
    if isinstance(part, dict):
        own = {part["name"]} if "name" in part else {"graph"}
        return own.union(*map(_names, part.values()))
    return set().union(*map(_names, part)) if isinstance(part, list) else set()


def _name_questions(report: dict[str, Any], tasks: set[tuple[str, str]], names: set[str]) -> dict[str, Any]:
    """Replace the ids of questions, digests of whose they are and how many were answered before, by these two.

    Both engines must make the same, or a thread could not be answered on the other one.

    Args:
        report: what the steps, the state and the history came to.
        tasks: namespace and id of the tasks that wrote something.
        names: what tasks may be called.
    """
    kept = {part: value for part, value in report.items() if part != "stored"}
    text = json.dumps(kept)
    sought = set(QUESTION.findall(text))
    known_as: dict[str, str] = {}
    for space in _spaces(tasks, names):
        if not sought:
            break
        name = space.rpartition("|")[2].partition(":")[0]
        for answered in range(4):
            digest = xxh3_128_hexdigest((f"{space}|{answered}" if answered else space).encode())
            if digest in sought:
                sought.remove(digest)
                known_as[digest] = f"<question {answered} of {name}>"
    spelled = QUESTION.sub(lambda match: known_as.get(match[1], match[1]), text)
    return {**json.loads(spelled), **{part: report[part] for part in report.keys() - kept.keys()}}


def _spaces(tasks: set[tuple[str, str]], names: set[str]) -> Iterator[str]:
    """Yield what may be the namespace of something that asks: of a task, then of one that a task without one calls."""
    first = {f"{space}|{name}:{task}" if space else f"{name}:{task}" for space, task in tasks for name in names}
    yield from first
    for outer in first:
        for space, task in tasks:
            if not space:
                yield from (f"{outer}|{name}:{task}" for name in names)


def _afterwards(space: dict[str, Any]) -> dict[str, Any]:
    """Look at the thread, and at what lies in the saver."""
    if space["saver"] is None:
        return {}
    graph, thread = space["graph"], space["THREAD"]
    try:
        state = plain.encode(graph.get_state(thread, subgraphs=True))
        history = plain.encode(list(graph.get_state_history(thread)))
    except Exception as error:
        state, history = space["said"](error), []
    entries = list(space["saver"].list({"configurable": {"thread_id": "t"}}))
    return {"state": state, "history": history, "stored": plain.stored(entries)}


SPELLED = re.compile(r"(\w*(?:Error|Boom|Command))\((.*)\)", re.DOTALL)


def brief(value: Any) -> Any:
    """Keep of the message of an engine's error its first words; those of a program's own errors stay whole."""
    if isinstance(value, list):
        return [brief(item) for item in value]
    if isinstance(value, str):
        spelled = SPELLED.fullmatch(value)
        return f"{spelled[1]}({'' if spelled[1] == 'KeyError' else _words(spelled[2])})" if spelled else value
    if not isinstance(value, dict):
        return value
    if value.get("raised") == "KeyError" or value.get("!") == "KeyError":
        return {**value, "message": ""}  # LangGraph's is the key alone
    if set(value) == {"raised", "message"} or (set(value) == {"!", "message"} and not value["!"].endswith("Message")):
        return {**value, "message": _words(value["message"])}
    return {key: brief(item) for key, item in value.items()}


def _words(message: str) -> str:
    bare = message.strip("'\",")
    if bare.startswith("No synchronous function provided") or '" is async only: ' in bare:
        return "is async"  # in other words on both
    if bare.startswith("Command("):
        return "Command("  # spelled in another way
    return bare if known.OWN.fullmatch(bare) else " ".join(bare.split()[:3])


CANCELLED = "CancelledError()"


def _begun(value: Any) -> Any:
    """Leave out which tasks were cancelled before they began, or while they ran in a thread."""
    if isinstance(value, list):
        return [_begun(item) for item in value if item != ["__error__", CANCELLED]]
    if isinstance(value, dict):
        found = {key: None if key == "error" and item == CANCELLED else _begun(item) for key, item in value.items()}
        if value.get("error") == CANCELLED and "interrupts" not in found:  # a task in a part of a stream
            del found["error"]
            found["interrupts"] = {"!": "tuple", "items": []}
        return found
    return value


def _without_answers(report: Any) -> Any:
    """Leave out how answers are recorded: one that names no interrupt is stored in a form of its own."""
    for space in report.get("stored", ()):
        for entry in space["checkpoints"]:
            entry["writes"] = [write for write in entry["writes"] if write[0] != "__resume__"]
    return report


def normal(report: dict[str, Any], *, sequential: bool, threads: bool = False, unnamed: bool = False) -> dict[str, Any]:
    """Blot out of a report what may differ between two runs of the same program.

    In a case whose tasks run one after the other, ids are numbered by their order of appearance, so links between them
    stay visible. In others what parallel tasks did is sorted.

    Args:
        report: what ``perform`` returned.
        sequential: whether tasks ran one after the other.
        threads: whether nodes ran in threads: those that a failing one kept from beginning are then not told from
            those that it cancelled.
        unnamed: whether an answer named no interrupt: how answers are recorded is then left out.
    """
    report = brief(report)
    if unnamed:
        report = _without_answers(report)
    if threads:
        report = _begun(report)
    if sequential:
        found: dict[str, Any] = plain.blot(report)
        return found
    found = plain.blot(plain.settle(report), number=False)
    for step in found.get("steps", ()):
        step["ran"].sort(key=plain.spelled)
        if isinstance(step["found"], list):
            step["found"].sort(key=plain.spelled)
    return found


def main() -> None:
    """Serve requests until stdin closes."""
    import langgraph.graph

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    hangs = open(os.environ[HANGS], "a", encoding="utf-8")  # noqa: SIM115 - faulthandler keeps its number

    def reply(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    ours = langgraph.graph.StateGraph.__module__.startswith("stategraph")
    if not ours:
        turns.driver_first()
    reply({"engine": "stategraph" if ours else "langgraph", "modules": langgraph.graph.__file__})
    gc.freeze()  # what the engine consists of need not be looked at again
    last: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request.get("last"):
                reply({"report": last})
                continue
            case = request["case"]
            faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=hangs)
            last = report(case)
            digest = hashlib.sha256(json.dumps(last, sort_keys=True).encode()).hexdigest()
            faulthandler.cancel_dump_traceback_later()
            reply({"report": {"digest": digest, "ends": _ends(last)}})
        except Exception:
            faulthandler.cancel_dump_traceback_later()
            reply({"error": traceback.format_exc()})


def _ends(report: dict[str, Any]) -> list[str]:
    """Say in a word how each step ended, for the summary of what the cases came to."""
    if "too much" in report:
        return ["too much"]
    if "built" in report:
        return [f"not built: {report['built']['raised']}"]
    return [
        step["found"]["raised"] if isinstance(step["found"], dict) and "raised" in step["found"] else "returned"
        for step in report["steps"]
    ]


if __name__ == "__main__":
    main()
