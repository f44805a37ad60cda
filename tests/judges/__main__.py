"""``make judges``: suites that nobody here wrote, held against the server, and against their reference beside it.

    python -m tests.judges                     all
    python -m tests.judges --only mcp          those with the word in their name
    python -m tests.judges --stopped           against a server that is not there: every line has to say 0
    python -m tests.judges --ours              without the references

Each judge has an environment of its own, made from `requirements/`, and is in a folder beside this file, whose
`judge.py` lists its `JUDGES`. It prints a line for each of its verdicts; the notes below say what was wrong.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.judges import servers
from tests.judges.frame import ROOT, Asked, Judge, JudgeError, Verdict, base_python

HERE = Path(__file__).resolve().parent
NOTES = 12


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold suites of others against the server.")
    parser.add_argument("--only", default="", help="judges with this word in their name")
    parser.add_argument("--stopped", action="store_true", help="against a server that is not there")
    parser.add_argument("--ours", action="store_true", help="leave the references out")
    parser.add_argument("--notes", type=int, default=NOTES, help="lines about what was wrong, of each verdict")
    options = parser.parse_args()
    chosen = [each for each in judges() if options.only in each.name]
    if not chosen:
        print(f"there is no judge '{options.only}'; there are {', '.join(each.name for each in judges())}")
        return 2
    good = True
    for judge in chosen:
        began = time.monotonic()
        try:
            verdicts = list(stopped(judge) if options.stopped else judged(judge, references=not options.ours))
        except JudgeError as error:
            print(f"{judge.name}: not judged: {error}")
            good = False
            continue
        for line, notes, is_good in verdicts:
            print(f"{line}  ({time.monotonic() - began:.0f} s)", flush=True)
            for note in notes[: options.notes]:
                print(f"    {note}")
            good &= is_good
    return 0 if good else 1


def judges() -> list[Judge]:
    """Return all judges, by the folders in which they are."""
    found: list[Judge] = []
    for file in sorted(HERE.glob("*/judge.py")):
        found.extend(importlib.import_module(f"tests.judges.{file.parent.name}.judge").JUDGES)
    return found


def judged(judge: Judge, *, references: bool) -> Iterator[tuple[str, Sequence[str], bool]]:
    """Ask a judge about our server, and about its reference; yield lines, notes, and whether they are good."""
    with tempfile.TemporaryDirectory(prefix="stategraph-judges-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        python, of_server = environment(judge.requirements), environment(judge.server_requirements)
        server: Any = judge.server
        if server is None:
            graphs = judge.graphs() if callable(judge.graphs) else judge.graphs
            url = stack.enter_context(servers.ours(of_server, folder / "ours", graphs, judge.settings))
        else:
            url = stack.enter_context(server(folder / "ours", of_server))
        own = judge.judge(Asked(url, python, made(folder / "judge")))
        others: dict[str, Verdict] = {}
        if references and judge.reference is not None:
            reference: Any = judge.reference(folder / "reference", python)
            asked = Asked(stack.enter_context(reference), python, made(folder / "judge-of-reference"), True)
            others = {each.name: each for each in judge.judge(asked)}
        for each in own:
            beside = f" (reference {others[each.name].figures()})" if each.name in others else ""
            yield f"{each.name}: {each.figures()}{beside}", each.notes, each.is_good


def stopped(judge: Judge) -> Iterator[tuple[str, Sequence[str], bool]]:
    """Ask a judge about a server that is not there: nothing may be right."""
    with tempfile.TemporaryDirectory(prefix="stategraph-judges-") as scratch, servers.nobody() as url:
        for each in judge.judge(Asked(url, environment(judge.requirements), made(Path(scratch) / "judge"))):
            yield f"{each.name}: {each.passed} with no server", each.notes if each.passed else (), not each.passed


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def environment(requirements: str) -> Path:
    """Make an environment, unless it is there, and return its Python.

    Raises:
        JudgeError: It cannot be made.
    """
    if not requirements:
        return Path(sys.executable)
    folder = ROOT / f".venv-{requirements}"
    command = [base_python(), "scripts/environment.py", str(folder), f"requirements/{requirements}.txt", "--link"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise JudgeError(f"the environment of requirements/{requirements}.txt cannot be made here")
    return folder / "bin" / "python"


if __name__ == "__main__":
    sys.exit(main())
