"""Fetch LangGraph's test-suite: the sdist from the package index, checked, and of it only `tests/`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.2.22"
SHA256 = "32700dc34b5cf9ebb397258c2e56392f017d4dbc51c9591339225c3c1b7b5126"

#: What LangGraph's own configuration asks of pytest, less what only changes the printing.
PYTEST_INI = "[pytest]\naddopts = --strict-markers --strict-config --snapshot-warn-unused\n"


class SuiteError(Exception):
    """The suite could not be fetched; the message says what to do about it."""


def fetch(build: Path) -> Path:
    """Return the folder that holds `tests/` and its `pytest.ini`, downloading it on the first call.

    Args:
        build: A folder of the work tree that may be deleted at any time.

    Raises:
        SuiteError: The download failed, or is not the file it should be.
    """
    root = build / f"langgraph-{VERSION}"
    if (root / "pytest.ini").exists():
        return root
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as scratch:
        sdist = _download(Path(scratch))
        fresh = Path(scratch) / "fresh"
        _extract_tests(sdist, fresh)
        (fresh / "pytest.ini").write_text(PYTEST_INI, encoding="utf-8")
        shutil.rmtree(root, ignore_errors=True)
        try:
            os.replace(fresh, root)
        except OSError:  # another run was faster
            if not (root / "pytest.ini").exists():
                raise
    return root


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "langgraph", "--dest", str(folder), f"langgraph=={VERSION}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    sdist = folder / f"langgraph-{VERSION}.tar.gz"
    if done.returncode or not sdist.exists():
        raise SuiteError(f"pip could not download langgraph=={VERSION} as an sdist:\n{done.stderr.strip()}")
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if found != SHA256:
        raise SuiteError(f"{sdist.name} has the sha256 {found}, expected {SHA256}: it is not the suite measured here")
    return sdist


def _extract_tests(sdist: Path, target: Path) -> None:
    prefix = f"langgraph-{VERSION}/"
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if member.name.startswith(f"{prefix}tests/")]
        for member in members:
            member.name = member.name.removeprefix(prefix)
        # Python 3.11.2, which Debian 12 has, knows no filters yet; the archive is the pinned one in any case.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(target, members=members, **safely)
