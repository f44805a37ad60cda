"""The child process of "fresh" rows: does a work once, on a copy of a folder, and prints what it took.

python -m benchmarks.once threads:long_thread_fresh async /folder
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.workloads.base import Stopwatch


def main(workload: str, variant: str, prepared: str) -> None:
    """Print processor time and elapsed time in seconds."""
    module, _, name = workload.partition(":")
    with tempfile.TemporaryDirectory(prefix="stategraph-bench-") as folder:
        copied = shutil.copytree(prepared, Path(folder) / "copy")
        timed = importlib.import_module(f"benchmarks.workloads.{module}").ONCE[name](variant, copied)
        with (watch := Stopwatch()):
            watch.add(timed.work)
        timed.close()
    print(watch.cpu_s, watch.wall_s)


if __name__ == "__main__":
    main(*sys.argv[1:])
