"""Command lines of bubblewrap (`bwrap`): a process that sees a few folders, and the network only if it is let.

Folders of the system are mounted read-only; what a program may write is in memory and gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_NOBODY: Final = "65534"
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_OF_NETWORK: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/ca-certificates")


def program(name: str = "bwrap") -> str | None:
    """Return the path of bubblewrap; None where it is not installed, or this is no Linux."""
    return shutil.which(name) if sys.platform == "linux" else None


def why_missing(name: str = "bwrap") -> str:
    """Return why there is no bubblewrap, as a part of a sentence."""
    return "this is no Linux" if sys.platform != "linux" else f"there is no program '{name}'"


def around(
    found: str,
    environment: Mapping[str, str],
    read_only: Iterable[Path],
    *,
    scratch_bytes: int,
    network: bool = False,
) -> list[str]:
    """Return the beginning of a command line; further mounts may follow, then `end`.

    Args:
        found: The path of bubblewrap.
        environment: All environment variables.
        read_only: Further folders and files that can be read; those of the system are.
        scratch_bytes: Size of `/work` and of `/tmp`, which can be written.
        network: Whether the host's network is there.
    """
    command = [found, "--unshare-all", "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
    command += ["--share-net"] if network else []
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--clearenv"]
    for name, value in environment.items():
        command += ["--setenv", name, value]
    for folder in _SYSTEM:
        command += _mounted(Path(folder))
    for file in ("/etc/ld.so.cache", "/etc/alternatives", *(_OF_NETWORK if network else ())):
        command += ["--ro-bind-try", file, file]
    for own in read_only:
        if not own.is_relative_to("/usr"):
            command += ["--ro-bind", str(own), str(own)]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/tmp", "/work"):
        command += ["--size", str(scratch_bytes), "--tmpfs", place]
    return command


def end() -> list[str]:
    """Return the end of bubblewrap's own arguments, which the program and its arguments follow."""
    return ["--remount-ro", "/", "--chdir", "/work", "--"]


def python() -> str:
    """Return the interpreter without the libraries of this environment."""
    return os.path.realpath(sys.executable)


def _mounted(folder: Path) -> list[str]:
    if folder.is_symlink():
        return ["--symlink", os.readlink(folder), str(folder)]
    return ["--ro-bind", str(folder), str(folder)] if folder.is_dir() else []
