"""Fetches LangGraph's source distribution and unpacks one folder of it.

The graphs of LangGraph's own ``bench/`` are used where they are published and never become part of this repository:
they come from the package index through pip, are checked against a pinned hash, and live in an ignored cache folder.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

VERSION = "1.2.24"
SHA256 = "86b0dd611b7201cb393da2de0e064029c1bef520f11a5e6ee04be53c2a815bc7"
ARCHIVE = f"langgraph-{VERSION}.tar.gz"


class SdistError(RuntimeError):
    """The source distribution could not be fetched, or it is not the pinned one."""


def fetch(cache: Path) -> Path:
    """Return the path of the pinned archive in ``cache``, downloading it first if it is not there.

    Raises:
        SdistError: pip could not download it, or its hash is not the pinned one.
    """
    archive = cache / ARCHIVE
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        _download(cache)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise SdistError(f"{archive} has sha256 {found}, expected {SHA256}; delete it and try again")
    return archive


def unpack(archive: Path, folder: str, into: Path) -> Path:
    """Unpack ``folder`` of the archive to ``into/folder``, once.

    Returns:
        ``into``, the directory to put on ``sys.path`` or to run from.
    """
    done = into / f".{folder}-{SHA256[:12]}"
    if done.exists():
        return into
    into.mkdir(parents=True, exist_ok=True)
    prefix = f"langgraph-{VERSION}/"
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.name.startswith(f"{prefix}{folder}/") and m.isfile()]
        if not members:
            raise SdistError(f"{archive} has no folder {folder}/")
        for member in members:
            source = tar.extractfile(member)
            path = into / PurePosixPath(member.name.removeprefix(prefix))
            if source is None or not path.resolve().is_relative_to(into.resolve()):
                raise SdistError(f"{archive} has a member that is not a plain file below its folder: {member.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read())
    done.touch()
    return into


def _download(cache: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        pins = Path(scratch, "pins.txt")
        pins.write_text(f"langgraph=={VERSION} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "langgraph"]
        command += ["--require-hashes", "--requirement", str(pins), "--dest", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = Path(scratch, ARCHIVE)
        if done.returncode or not found.is_file():
            raise SdistError(f"pip could not download {ARCHIVE}:\n{done.stderr[-2000:]}")
        (cache / ARCHIVE).write_bytes(found.read_bytes())
