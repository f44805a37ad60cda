"""Run mypy and pyright, both strict, over programs of typed graphs and the examples: `make types`.

Prints what one of them found and should not have, or did not find, and the seconds that each took.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests import npm
from tests.graph.typed.expected_errors import EXAMPLES, PROGRAMS, differences, expected

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "pyright"

_FOUND = re.compile(r"([\w./-]+\.py):(\d+): error: .*\[([\w-]+)\]$")


def main() -> int:
    """Return the exit code: 1 if a checker found something else than expected."""
    wrong = [*_timed("mypy", _mypy), *_timed("pyright", _pyright)]
    print(*wrong, sep="\n" if wrong else "")
    return 1 if wrong else 0


def _timed(name: str, check: object) -> list[str]:
    began = time.monotonic()
    wrong: list[str] = check()  # type: ignore[operator]
    print(f"{name}: {len(EXAMPLES)} examples and {len(PROGRAMS)} programs in {time.monotonic() - began:.1f} s")
    return [f"{name}: {each}" for each in wrong]


def _mypy() -> list[str]:
    """Return what mypy found and should not have, or did not find."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, EXAMPLES + PROGRAMS)], cwd=ROOT, capture_output=True, text=True
    )
    found = [match for line in done.stdout.splitlines() if (match := _FOUND.match(line))]
    if done.stderr or (not found and done.returncode):
        return [done.stderr or done.stdout]
    return differences(
        {(Path(name).name, int(line), code) for name, line, code in (m.groups() for m in found)}, expected()
    )


def _pyright() -> list[str]:
    """Return the same of pyright, by lines."""
    modules = npm.install(Path(__file__).with_name("packages.json"), CACHE)
    settings = {
        "include": [os.path.relpath(path, CACHE) for path in EXAMPLES + PROGRAMS],
        "exclude": [],
        "extraPaths": [str(ROOT), str(ROOT / "compat"), str(ROOT / "examples")],
        "pythonVersion": "3.11",
        "typeCheckingMode": "strict",
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    project = CACHE / "pyrightconfig.json"
    project.write_text(json.dumps(settings), encoding="utf-8")
    command = [
        "node",
        str(modules / "pyright" / "index.js"),
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(project),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["generalDiagnostics"]
    except (ValueError, KeyError):
        return [done.stderr or done.stdout]
    errors = {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1): each
        for each in found
        if each["severity"] == "error"
    }
    wanted = {(name, line) for name, line, _ in expected()}
    return [
        *(
            f"{name}:{line}: found {errors[name, line].get('rule', 'error')}: {errors[name, line]['message']}"
            for name, line in sorted(errors.keys() - wanted)
        ),
        *(f"{name}:{line}: found nothing, expected an error" for name, line in sorted(wanted - errors.keys())),
    ]


if __name__ == "__main__":
    sys.exit(main())
