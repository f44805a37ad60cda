"""Make a virtual environment from hash-pinned requirements, and nothing when it is already there.

    python3.11 scripts/environment.py .venv requirements/dev.txt --link
    python3.11 scripts/environment.py .venv-conformance requirements/conformance.txt

Rules:

* It needs a Python with pip and nothing else: the environment is made without pip of its own (Debian ships that part
  separately) and filled by the pip of the Python that runs this file.
* It is rebuilt from nothing when a requirement file, the Python or this file changed, or when a build was interrupted.
* `--link` makes the work tree importable in it, the way the wheel would be: the package, the drop-in tree and its
  start-up hook.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "stategraph-requirements"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a virtual environment from hash-pinned requirements.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("requirements", type=Path, nargs="+")
    parser.add_argument("--link", action="store_true", help="make the work tree importable in it")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - run by whatever Python is there
        parser.error(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    folder = options.folder.absolute()
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return ensure(folder, options.requirements, link=options.link)


def ensure(folder: Path, requirements: list[Path], *, link: bool) -> int:
    """Build the environment unless its stamp says that it is the one asked for."""
    wanted = stamp(requirements, link=link)
    held = folder / STAMP
    if held.exists() and held.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"setting up {folder.name} with Python {sys.version.split()[0]} ...", flush=True)
    if folder.exists():
        shutil.rmtree(folder)
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    code = install(folder, requirements)
    if code:
        print(f"the requirements of {folder.name} could not be installed", file=sys.stderr)
        return code
    if link:
        link_work_tree(folder)
    held.write_text(wanted, encoding="utf-8")
    return 0


def stamp(requirements: list[Path], *, link: bool) -> str:
    """Everything that the environment depends on, in one line."""
    digest = hashlib.sha256()
    for file in (Path(__file__), ROOT / "compat" / "stategraph.pth", *requirements):
        digest.update(file.read_bytes())
    return f"{sys.base_prefix} {sys.version.split()[0]} {ROOT} {'linked' if link else 'bare'} {digest.hexdigest()}\n"


def install(folder: Path, requirements: list[Path]) -> int:
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-qq"]
    command += ["--disable-pip-version-check", "--no-input", "--require-hashes"]
    for file in requirements:
        command += ["-r", str(file)]
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode


def link_work_tree(folder: Path) -> None:
    hook = (ROOT / "compat" / "stategraph.pth").read_text(encoding="utf-8").splitlines()
    lines = [str(ROOT / "compat") if line == "stategraph_compat" else line for line in hook]
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "stategraph.pth").write_text("\n".join([str(ROOT), *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
