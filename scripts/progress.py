"""Run a command that fills an environment, and say how far it is as long as that takes.

    python3.11 scripts/progress.py scripts/environment.py .venv requirements/dev.txt --link

Rules:

* A command that is done at once says nothing.
* On a terminal one line is written over; elsewhere a line is printed when another phase begins, and now and then.
* Packages are counted where pip puts them: in a scratch folder beside the environment while it downloads them, and in
  the environment at last. First it looks all of them up in the index, of which nothing is seen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

STAMP = "stategraph-requirements"
"""What `environment.py` puts into an environment that is complete: then there is nothing to tell."""

QUIET_S = 2.0
"""Seconds in which nothing is said, as when there is nothing to do."""

EVERY_S = 1.0
"""Seconds between two looks."""

PATIENCE_S = 20.0
"""Seconds after which a line is printed again, where lines are not written over."""


def main() -> int:
    command = sys.argv[1:]
    if len(command) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(command[1]).absolute()
    wanted = sum(count(Path(file)) for file in command[2:] if file.endswith(".txt"))
    scratch = folder.with_name(f"{folder.name}.tmp")
    scratch.mkdir(exist_ok=True)
    shown = Line(sys.stdout, sys.stdout.isatty() and os.environ.get("TERM") != "dumb")
    began = time.monotonic()
    try:
        with subprocess.Popen([sys.executable, *command], env={**os.environ, "TMPDIR": str(scratch)}) as work:
            due = began + QUIET_S
            while True:
                try:
                    return work.wait(max(0.0, due - time.monotonic()))
                except subprocess.TimeoutExpired:
                    if not (folder / STAMP).exists():
                        shown.show(time.monotonic() - began, *state(folder, scratch, wanted))
                    due += EVERY_S
                except KeyboardInterrupt:
                    return work.wait()
    finally:
        shown.end()
        shutil.rmtree(scratch, ignore_errors=True)


def count(requirements: Path) -> int:
    """Packages that a list of requirements pins; some of them are not for this system."""
    return sum("==" in line for line in requirements.read_text(encoding="utf-8").splitlines())


def state(folder: Path, scratch: Path, wanted: int) -> tuple[str, str]:
    """Return the phase that a set-up is in, and how far that is."""
    installed = sum(1 for _ in folder.glob("lib/python*/site-packages/*.dist-info"))
    if installed:
        return "installing", f"{installed} of up to {wanted} packages are there"
    downloaded = sum(1 for _ in scratch.glob("pip-unpack-*/*.whl"))
    if downloaded:
        return "downloading", f"{downloaded} of up to {wanted} packages, each checked against its hash"
    return "looking up", f"{wanted} pinned packages in the package index; this is done once and takes a minute or more"


class Line:
    """Says how far something is.

    Args:
        out: Where to say it.
        over: Whether a line can be written over there.
    """

    def __init__(self, out: TextIO, over: bool) -> None:
        self._out = out
        self._over = over
        self._width = 0
        self._phase = ""
        self._said_at = 0.0

    def show(self, elapsed_s: float, phase: str, detail: str) -> None:
        """Say where it stands, unless that was said before.

        Args:
            elapsed_s: Seconds since it began.
            phase: What is being done.
            detail: How far that is.
        """
        text = f"  {elapsed_s:4.0f} s  {phase}: {detail}"
        if self._over:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._out.write(f"\r{text:{self._width}}")
            self._width = len(text)
        elif phase != self._phase or elapsed_s - self._said_at >= PATIENCE_S:
            self._out.write(text + "\n")
        else:
            return
        self._phase, self._said_at = phase, elapsed_s
        self._out.flush()

    def end(self) -> None:
        """Leave the line that was written over."""
        if self._width:
            self._out.write("\n")
            self._out.flush()


if __name__ == "__main__":
    sys.exit(main())
