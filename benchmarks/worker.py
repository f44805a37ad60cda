"""The child process: one engine, kept warm, asked for checks and samples over a line protocol.

Requests and answers are one JSON object a line, on stdin and on the stdout the process was started with; whatever the
measured code prints goes to stderr. Requests: ``{"op": "check" | "sample" | "drop", "workload": ..., ...}``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import warnings
from dataclasses import asdict
from importlib import metadata
from typing import Any

from benchmarks.workloads import base


def describe_engine() -> dict[str, Any]:
    """Say which engine this process got, and which modules of the original it has loaded although ours is active."""
    import langgraph.graph

    ours = langgraph.graph.StateGraph.__module__.startswith("stategraph")
    try:
        distribution = metadata.distribution("langgraph")
        version: str | None = distribution.version
        theirs = {str(distribution.locate_file(path)) for path in distribution.files or ()}
    except metadata.PackageNotFoundError:
        version, theirs = None, set()
    loaded = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    mixed = sorted(name for name, path in loaded.items() if path in theirs) if ours else []
    return {
        "engine": "stategraph" if ours else "langgraph",
        "langgraph_installed": version,
        "mixed": mixed,
        "python": ".".join(map(str, sys.version_info[:3])),
        "loop": base.LOOP.kind,
    }


class Worker:
    """Builds workloads on demand and keeps them until they are dropped."""

    def __init__(self) -> None:
        self._built: dict[tuple[str, str], base.Workload] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request asks."""
        key = request["workload"], request["variant"]
        match request["op"]:
            case "check":
                return {"result": self._get(key).check()}
            case "sample":
                return asdict(self._get(key).sample(request["budget_s"]))
            case "drop":
                workload = self._built.pop(key, None)
                if workload is not None:
                    workload.close()
                return {}
            case unknown:
                raise ValueError(f"unknown request {unknown!r}")

    def _get(self, key: tuple[str, str]) -> base.Workload:
        if key not in self._built:
            (module, _, name), variant = key[0].partition(":"), key[1]
            found = importlib.import_module(f"benchmarks.workloads.{module}").WORKLOADS
            self._built[key] = found[name](variant)
        return self._built[key]


def main() -> None:
    """Serve requests until stdin closes."""
    # LangGraph's own settings pass a durability to graphs without a saver as well.
    warnings.filterwarnings("ignore", message="`durability` has no effect")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()

    def reply(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        reply(describe_engine())
    except Exception:
        reply({"error": traceback.format_exc()})
        return
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "describe":
            reply(describe_engine())
            continue
        try:
            reply(worker.answer(request))
        except Exception:
            reply({"error": traceback.format_exc()})


if __name__ == "__main__":
    main()
