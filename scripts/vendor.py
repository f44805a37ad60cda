"""Fetch the libraries of the chat page by npm, and put the files that the page loads into its folder.

    python3.11 scripts/vendor.py            # fetch again what `vendor.json` names
    python3.11 scripts/vendor.py --check    # see whether the files are those that were fetched

`vendor.json` pins each package by version and integrity, as npm's registry has it; a package that is another one is
refused. The files are left as they are, beside the package's licence.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "stategraph" / "dev" / "static" / "vendor"
LIST = FOLDER.parent / "vendor.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch the libraries of the chat page.")
    parser.add_argument("--check", action="store_true", help="fetch nothing; see whether the files are whole")
    check = parser.parse_args().check
    packages: dict[str, dict[str, Any]] = json.loads(LIST.read_text(encoding="utf-8"))
    if not check:
        for name, package in packages.items():
            package["sha256"] = fetch(name, package)
            print(f"{name} {package['version']} ({package['licence']}): {len(package['sha256'])} files")
        LIST.write_text(json.dumps(packages, indent=2) + "\n", encoding="utf-8")
    problems = [problem for name, package in packages.items() for problem in differences(name, package)]
    print("\n".join(problems) or f"{FOLDER.name} holds {', '.join(packages)}")
    return 1 if problems else 0


def fetch(name: str, package: dict[str, Any]) -> dict[str, str]:
    """Fetch a package; write its files, and return their checksums."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--json", "--silent", f"{package['package']}@{package['version']}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=True)
        archive = Path(scratch) / str(json.loads(done.stdout)[0]["filename"])
        found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != package["integrity"]:
            raise SystemExit(f"{name} {package['version']} is not the pinned package: {found}")
        written = {}
        with tarfile.open(archive) as files:
            for path, target in package["files"].items():
                member = files.extractfile(f"package/{path}")
                assert member is not None, path
                content = member.read()
                file = FOLDER / name / target
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                written[target] = hashlib.sha256(content).hexdigest()
    return written


def differences(name: str, package: dict[str, Any]) -> list[str]:
    """Return what is not as it was fetched."""
    there = {file.relative_to(FOLDER / name).as_posix(): file for file in (FOLDER / name).rglob("*") if file.is_file()}
    pinned = package.get("sha256", {})
    problems = [f"{name}: {each} is missing" for each in pinned if each not in there]
    problems += [f"{name}: {each} is not in vendor.json" for each in there if each not in pinned]
    return problems + [
        f"{name}: {each} has changed"
        for each, file in there.items()
        if each in pinned and hashlib.sha256(file.read_bytes()).hexdigest() != pinned[each]
    ]


if __name__ == "__main__":
    sys.exit(main())
