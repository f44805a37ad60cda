"""Run a command that fills an environment, and say how far it is as long as that takes.

    python3.11 scripts/progress.py scripts/environment.py .venv requirements/dev.txt --link

A command that is done at once says nothing. Packages are counted where they are installed, which pip does last: until
then it downloads them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

QUIET_S = 2.0
"""Seconds in which nothing is said, as when there is nothing to do."""

EVERY_S = 5.0


def main() -> int:
    command = sys.argv[1:]
    if len(command) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(command[1])
    wanted = sum(count(Path(file)) for file in command[2:] if file.endswith(".txt"))
    began = time.monotonic()
    with subprocess.Popen([sys.executable, *command]) as work:
        due = began + QUIET_S
        while True:
            try:
                return work.wait(max(0.0, due - time.monotonic()))
            except subprocess.TimeoutExpired:
                print(f"  {time.monotonic() - began:4.0f} s: {state(folder, wanted)}", flush=True)
                due += EVERY_S
            except KeyboardInterrupt:
                return work.wait()


def count(requirements: Path) -> int:
    """Packages that a list of requirements pins."""
    return sum("==" in line for line in requirements.read_text(encoding="utf-8").splitlines())


def state(folder: Path, wanted: int) -> str:
    """What is happening, by what is there."""
    installed = sum(1 for _ in folder.glob("lib/python*/site-packages/*.dist-info"))
    if installed == 0:
        return f"downloading {wanted} packages, each checked against its hash"
    return f"installing: {min(installed, wanted)} of {wanted} packages are there"


if __name__ == "__main__":
    sys.exit(main())
