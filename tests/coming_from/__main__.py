"""The programs of `docs/coming-from.md`, before and after: both are run, and print the same.

    python -m tests.coming_from --python .venv-peers/bin/python [--node PROGRAM --packages FOLDER] [--only words]

The programs before are run as they stand in the page, and find a loopback server by the variables that OpenAI's clients
read. All that is printed is held against the docstring of the program here, and both have to send the model the same
results and texts. Those in JavaScript are run if there is a folder with the packages.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from stategraph.testing import FakeOpenAIServer
from tests.coming_from.page import ROOT, Pair, pairs
from tests.coming_from.scripts import SCRIPTS, never_sent
from tests.examples.promises import promised

LIMIT_S = 300
FLAGS = ("STATEGRAPH_RUNTIME", "MOSS_AGENT_RUNTIME")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.coming_from", description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the environment with the frameworks in Python")
    parser.add_argument("--node", type=Path, help="a Node that can run the packages")
    parser.add_argument("--packages", type=Path, help="a folder whose node_modules has the frameworks in JavaScript")
    parser.add_argument("--only", default="", help="frameworks with these words in their names")
    options = parser.parse_args()
    chosen = [pair for pair in pairs() if options.only in pair.name]
    wrong = 0
    for pair in chosen:
        told = [f"after {_verdict(pair, _after(options.python, pair))}"]
        if pair.language == "python":
            told.insert(0, f"before {_verdict(pair, _before(options.python, pair, None))}")
        elif options.node and options.packages:
            told.insert(0, f"before {_verdict(pair, _before(options.node, pair, options.packages))}")
        else:
            told.insert(0, "before not run (JavaScript)")
        wrong += sum("FAILED" in each for each in told)
        print(f"{pair.title:25} {', '.join(told)}", flush=True)
    print(f"coming from: {len(chosen)} frameworks, {wrong} programs failed")
    return bool(wrong) or not chosen


def _before(program: Path, pair: Pair, folder: Path | None) -> subprocess.CompletedProcess[str]:
    """Run the program of the other framework against a server that is scripted for it.

    Args:
        program: Runs files of its language.
        pair: Has the program.
        folder: Where the file has to be, so that Node finds the packages.
    """
    ending = {"python": ".py", "js": ".mjs"}[pair.language]
    with tempfile.TemporaryDirectory(dir=folder) as scratch, FakeOpenAIServer(SCRIPTS[pair.name]) as server:
        file = Path(scratch) / f"before{ending}"
        file.write_text(pair.before, encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if name not in FLAGS}
        environment |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-example-key"}
        done = _run([str(program.absolute()), str(file)], environment)
    requests = [json.dumps(each.messages, ensure_ascii=False) for each in server.requests]
    missing = never_sent(pair.name, requests)
    if not done.returncode and (missing or len(requests) != len(SCRIPTS[pair.name])):
        done.returncode, done.stderr = 1, f"{len(requests)} requests; the model was never sent {missing}"
    return done


def _after(python: Path, pair: Pair) -> subprocess.CompletedProcess[str]:
    """Run the program here, on this engine."""
    command = [str(python.absolute()), "-m", "tests.coming_from.after", str(pair.path)]
    return _run(command, {**os.environ, "STATEGRAPH_RUNTIME": "true"})


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def _verdict(pair: Pair, done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == 0 and done.stdout == promised(pair.path):
        return "ok"
    return f"FAILED ({done.returncode})\n{done.stdout}{done.stderr[-2000:]}"


if __name__ == "__main__":
    sys.exit(main())
