"""Both engines on one case, and the verdict."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz import differences, known
from tests.fuzz.program import Case
from tests.interop import plain, processes

PROGRAM = ("-m", "tests.fuzz.worker")
# Sets of names have the same order in every process.
VARIABLES = (("PYTHONHASHSEED", "0"), ("STATEGRAPH_LOG", "error"))
REPEATS = 4
LIMIT_S = 30.0
"""How long a case may take; then the process ends, and says where it was."""
HANGS = "STATEGRAPH_FUZZ_HANGS"
"""The variable that names the file where it says so."""


@dataclass(slots=True)
class Verdict:
    """What became of one case.

    Attributes:
        kind: "equal"; "skipped" (it does more than a case should, on both); "stuck" (LangGraph hangs: its tasks wait
            for each other in too few threads); "timing" (an engine differs from itself in the same way); "known" (a
            difference of the list); "different", also if this engine alone hangs or does more than a case should.
        detail: the first difference, the name of the known one, where an engine hangs, or nothing.
        ends: how its steps ended on LangGraph.
    """

    kind: str
    detail: str = ""
    ends: list[str] = field(default_factory=list)


class Engines:
    """A warm worker of each engine, side by side."""

    def __init__(self, python: str, activate: str, *, quiet: bool) -> None:
        self._traces = tempfile.TemporaryDirectory()

        def start(engine: processes.Engine) -> processes.Worker:
            variables = (*VARIABLES, (HANGS, self._trace_of(engine)))
            placed = processes.Engine(engine.label, engine.python, engine.activate, PROGRAM, processes.ROOT, variables)
            return processes.Worker(placed, quiet=quiet, timeout_s=2 * LIMIT_S)

        self.theirs = start(processes.Engine("LangGraph", python, "none"))
        try:
            if self.theirs.description.get("engine") != "langgraph":
                raise processes.HarnessError(f"{python} has no LangGraph: {self.theirs.description}")
            self.ours = processes.start_ours(python, activate, start=start)
        except BaseException:
            self.theirs.close()
            raise

    def close(self) -> None:
        """End both workers."""
        self.theirs.close()
        self.ours.close()
        self._traces.cleanup()

    def _trace_of(self, engine: processes.Engine) -> str:
        return str(Path(self._traces.name) / engine.label)

    def _hang(self, worker: processes.Worker) -> str:
        """Return where a worker was that did not come to an end, its innermost frames first."""
        file = Path(self._trace_of(worker.engine))
        trace = file.read_text(encoding="utf-8")
        file.write_text("", encoding="utf-8")
        return trace[:3000]

    def digests(self, case: Case) -> list[dict[str, Any]]:
        """Play a case on both at once; returns the digest of each, LangGraph's first."""
        both = (self.theirs, self.ours)
        for worker in both:
            worker.send({"case": case})
        return [worker.receive() for worker in both]

    def reports(self) -> list[dict[str, Any]]:
        """Return all of what the last case came to on each."""
        return [worker.ask({"last": True}) for worker in (self.theirs, self.ours)]

    def judge(self, case: Case, *, repeat: bool = True) -> Verdict:
        """Play a case on both engines and compare; ``repeat`` asks whether timing explains a difference."""
        theirs, ours = self.digests(case)
        ends = theirs.get("ends", [])
        grown = ["too much" in answer.get("ends", ()) for answer in (theirs, ours)]
        if all(grown):
            return Verdict("skipped")
        if "died" in theirs:
            return Verdict("stuck", self._hang(self.theirs))
        for worker, found in ((self.ours, ours), (self.theirs, theirs)):
            if "digest" not in found:
                what = found.get("error") or f"{found['died']}\n{self._hang(worker)}"
                return Verdict("different", f"no report of {worker.engine.label}: {what}")
        if theirs["digest"] == ours["digest"]:
            return Verdict("equal", ends=ends)
        expected, found = self.reports()
        difference = plain.difference(expected, found) or "the order of keys"
        if any(grown):
            difference = f"too much on {'LangGraph' if grown[0] else 'stategraph'} alone"
        if name := known.explain(self._beginning(case, expected, found)):
            return Verdict("known", name, ends)
        if repeat and self._timing(case, theirs["digest"], ours["digest"]):
            return Verdict("timing", difference, ends)
        return Verdict("different", difference, ends)

    def _beginning(self, case: Case, expected: dict[str, Any], found: dict[str, Any]) -> differences.Difference:
        """Find the step that makes the difference: the last one of the shortest script that shows one.

        What a step leaves in the saver may show only in what a later one does. Everything before it is the same on
        both, so what explains a difference has to lie in this step.
        """
        for number in range(1, len(case["script"])):
            if shown := self._shown_by(case, number):
                return shown
        whole = differences.Difference(case, expected, found)
        for _ in range(REPEATS if whole.number + 1 < len(case["script"]) else 0):  # timing hid it just now
            if shown := self._shown_by(case, whole.number + 1):
                return shown
        return whole

    def _shown_by(self, case: Case, steps: int) -> differences.Difference | None:
        """Return the difference that the first steps of a case show, if they do."""
        shorter = {**case, "script": case["script"][:steps]}
        theirs, ours = self.digests(shorter)
        differs = "digest" in theirs and "digest" in ours and theirs["digest"] != ours["digest"]
        return differences.Difference(shorter, *self.reports()) if differs else None

    def _timing(self, case: Case, theirs: str, ours: str) -> bool:
        """Tell whether timing decides what this case comes to: an engine then differs from itself, too.

        A case in which ours varies and LangGraph does not is a difference all the same.
        """
        seen = {theirs}
        mine = {ours}
        for _ in range(REPEATS):
            again, also = self.digests(case)
            seen.add(again.get("digest", ""))
            mine.add(also.get("digest", ""))
        return len(seen) > 1 or bool(seen & mine)


def kind_of(difference: str) -> str:
    """Reduce a difference to its kind, so that a shrunk case still shows the one it began with."""
    path, _, what = difference.partition(":")
    keys = [part.split("[")[0] for part in path.split(".")]
    return ".".join(keys[:3]) + what[:12]
