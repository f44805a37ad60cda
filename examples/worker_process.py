"""Starts workers for examples 19 to 21: processes of the command line that execute the runs of a database."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent


@contextmanager
def worker(store: str, module: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker for a block, with leases that run out after two seconds without a sign of life."""
    command = [sys.executable, "-m", "stategraph", "worker", "--allow", module, "--app-dir", str(HERE)]
    command += ["--lease", "2", "--heartbeat", "0.4", "--poll", "0.1"]
    environment = {**os.environ, "STATEGRAPH_STORE": store}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def written(file: Path, word: str) -> None:
    """Wait until another process has written a word to a file."""
    while not (file.exists() and word in file.read_text()):
        time.sleep(0.05)
