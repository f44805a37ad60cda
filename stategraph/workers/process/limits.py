"""Environment of a worker process, and limits of its resources.

- Of the environment, only what programs need to run at all; the host adds what its jobs need. So keys and tokens of the
  host do not reach every worker.
- Memory is looked at from outside, by the host: a worker cannot be relied on to notice its own growth.
- A worker does not outlive its host: the kernel kills it when the thread that started it ends (Linux), and a thread of
  its own notices the end of the connection, also while a job holds the event loop.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping

#: Environment variables that workers get from their host.
KEPT = frozenset(
    (
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    )
)
#: Beginnings of names of further ones.
KEPT_PREFIXES = ("LC_", "PYTHON", "STATEGRAPH_")

_PR_SET_PDEATHSIG = 1


class Stopped(SystemExit):
    """Raised in the main thread of a worker by SIGTERM: its host has no more use for it."""


def environment(pass_through: Iterable[str], added: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker.

    Args:
        pass_through: Names of variables that it gets in addition to the usual ones.
        added: Additional variables.
    """
    wanted = {*KEPT, *pass_through}
    kept = {key: value for key, value in os.environ.items() if key in wanted or key.startswith(KEPT_PREFIXES)}
    return {**kept, **added}


def rss_bytes(pid: int) -> int | None:
    """Return the resident memory of a process; None where the system does not tell, or it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; without effect except on Linux.

    Args:
        parent: The parent's process id. If it has ended already, this process ends now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def connected(descriptor: int, parent: int | None) -> socket.socket:
    """Tie this process to its host, and return the connection that it was started with.

    Args:
        descriptor: The file descriptor of the connection.
        parent: The host's process id; None: something between the two ends this process with its host.
    """
    if parent is not None:
        die_with(parent)
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the host, which decides about its jobs
    return socket.socket(fileno=descriptor)


def exit_on_hangup(connection: socket.socket, grace_s: float, hurry: Callable[[], object]) -> None:
    """Watch a connection in a thread, and end the process soon after the other end is gone.

    Args:
        connection: The connection to the host.
        grace_s: Seconds that jobs have to clean up.
        hurry: Called in that thread when the grace begins.
    """
    hangup = getattr(select, "POLLRDHUP", 0) | select.POLLHUP

    def watch() -> None:
        poll = select.poll()
        poll.register(connection.fileno(), hangup)
        poll.poll()
        hurry()
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=watch, name="stategraph hang-up", daemon=True).start()
