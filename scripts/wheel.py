"""Build a release twice, check it, and install it into environments that hold the core's dependencies alone.

    python3.11 scripts/wheel.py --python .venv-release/bin/python
    python3.11 scripts/wheel.py --python .venv-release/bin/python --quick

Rules:

* What is released is the commit: the files come from `git archive`, not from the work tree.
* Two builds, in different folders and under different umasks, are equal byte by byte, and the wheel that is built from
  the sdist is equal to both. The time in the archives is that of the commit (`SOURCE_DATE_EPOCH`).
* Every file that the commit has in the package is in the wheel: types, static files, licences of what others wrote.
* The wheel runs with the pins of `requirements/core.txt` and nothing else, on each Python from 3.11 on that is here.
* `dist/provenance.json` says what was built from which commit by which versions, as a statement of SLSA
  (in-toto Statement v1, `slsa.dev/provenance/v1`), and `dist/SHA256SUMS` the same for `sha256sum --check`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environment

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CORE = ROOT / "requirements" / "core.txt"
SMOKE = ROOT / "scripts" / "smoke.py"
LICENCES = ROOT / "scripts" / "licences.py"
MINORS = range(11, 16)


class ReleaseError(Exception):
    """Something that must not be released."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that is built.

    Attributes:
        id: Its full hash.
        epoch: When it was made, in seconds since 1970.
    """

    id: str
    epoch: str


def main() -> int:
    parser = argparse.ArgumentParser(description="Build a release, check it and install it into empty environments.")
    parser.add_argument("--python", type=Path, required=True, help="a Python with requirements/release.txt")
    parser.add_argument("--quick", action="store_true", help="install for the first Python only")
    options = parser.parse_args()
    try:
        release(options.python.absolute(), quick=options.quick)
    except ReleaseError as error:
        print(f"wheel: FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def release(python: Path, *, quick: bool) -> None:
    commit = Commit(git("rev-parse", "HEAD"), git("log", "-1", "--format=%ct"))
    if git("status", "--porcelain"):
        print("wheel: the work tree has changes that are not committed; the commit is built, without them")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        export(commit, folder / "first")
        built = build(python, folder / "first", folder / "out-first", commit)
        export(commit, folder / "other" / "second")
        again = build(python, folder / "other" / "second", folder / "out-second", commit, umask=0o077)
        same(built, again, "a second build of the same commit")
        sdist, wheel = sorted(built, key=lambda file: file.suffix)  # .gz, .whl
        unpacked = unpack(sdist, folder / "sdist")
        rebuilt = build(python, unpacked, folder / "out-sdist", commit, targets=("wheel",))
        same([wheel], rebuilt, "the wheel that the sdist makes")
        print(f"wheel: {wheel.name} and {sdist.name} are equal in two builds, and the sdist makes the same wheel")
        complete(wheel, folder / "first")
        run([python, "-m", "twine", "check", "--strict", *built], env={**os.environ, "NO_COLOR": "1"})
        files = [publish(file) for file in (wheel, sdist)]
    describe(files, commit, python)
    found = dict(list(pythons().items())[: 1 if quick else None])
    for number, each in found.items():
        install(each, number, files[0])
    print(f"wheel: installs and runs with the core's dependencies alone on Python {', '.join(found)}")
    print(f"wheel: {DIST.name}/ has {', '.join(sorted(file.name for file in DIST.iterdir()))}")


def git(*arguments: str) -> str:
    return run(["git", *arguments], quiet=True).strip()


def run(command: Sequence[str | Path], *, quiet: bool = False, **options: Any) -> str:
    """Run a command; return what it printed.

    Raises:
        ReleaseError: It failed; with what it said.
    """
    options = {"cwd": ROOT, **options}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        told = (done.stdout + done.stderr).strip()
        raise ReleaseError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{told}")
    if not quiet:
        print("".join(f"  {line}\n" for line in done.stdout.splitlines() if line.strip()), end="")
    return done.stdout


def export(commit: Commit, folder: Path) -> None:
    """Write the files of a commit to a folder."""
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".tar")
    run(["git", "archive", "--output", archive, commit.id], quiet=True)
    with tarfile.open(archive) as held:
        held.extractall(folder, filter="data")


def build(
    python: Path,
    source: Path,
    out: Path,
    commit: Commit,
    *,
    targets: Sequence[str] = ("sdist", "wheel"),
    umask: int = 0o022,
) -> list[Path]:
    """Build a folder; return the files by name."""
    out.mkdir()
    chosen = [word for target in targets for word in ("-t", target)]
    settings = {**os.environ, "SOURCE_DATE_EPOCH": commit.epoch, "PYTHONHASHSEED": str(umask)}
    run([python, "-m", "hatchling", "build", "-d", out, *chosen], quiet=True, cwd=source, env=settings, umask=umask)
    return sorted(out.iterdir())


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist; return its only folder."""
    with tarfile.open(sdist) as held:
        held.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    return inner


def same(built: Sequence[Path], other: Sequence[Path], what: str) -> None:
    """Compare two builds.

    Raises:
        ReleaseError: A file is missing or differs.
    """
    if [file.name for file in built] != [file.name for file in other]:
        raise ReleaseError(f"{what} has {[file.name for file in other]}, not {[file.name for file in built]}")
    for left, right in zip(built, other, strict=True):
        if left.read_bytes() != right.read_bytes():
            raise ReleaseError(f"{what} differs in {left.name}: {digest(right)}, not {digest(left)}")


def complete(wheel: Path, source: Path) -> None:
    """Compare the wheel with the package in the commit.

    Raises:
        ReleaseError: A file of the package is not in the wheel, or one of nobody is.
    """
    package = source / "stategraph"
    wanted = {file.relative_to(source).as_posix() for file in package.rglob("*") if file.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("stategraph/")}
    if held != wanted:
        raise ReleaseError(f"missing in the wheel: {sorted(wanted - held)}; not in the commit: {sorted(held - wanted)}")
    print(f"wheel: holds all {len(wanted)} files of the package")


def publish(file: Path) -> Path:
    """Copy a file to `dist/`, in place of older ones of its kind."""
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob(f"stategraph-*{file.suffix}"):
        old.unlink()
    return Path(shutil.copy(file, DIST))


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def describe(files: Sequence[Path], commit: Commit, python: Path) -> None:
    """Write what was built, from what and by what. The same commit and tools give the same text."""
    tools = json.loads(run([python, "-c", TOOLS], quiet=True))
    pins = {f"requirements/{file.name}": digest(file) for file in (CORE, CORE.with_name("release.txt"))}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.name, "digest": {"sha256": digest(file)}} for file in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "make wheel",
                "externalParameters": {"SOURCE_DATE_EPOCH": commit.epoch},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit.id}},
                    *({"name": name, "digest": {"sha256": value}} for name, value in pins.items()),
                ],
            },
            "runDetails": {"builder": {"id": "scripts/wheel.py", "version": tools}},
        },
    }
    (DIST / "provenance.json").write_text(json.dumps(statement, indent=2) + "\n", encoding="utf-8")
    lines = [f"{digest(file)}  {file.name}\n" for file in files]
    (DIST / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


TOOLS = """
import importlib.metadata, json, platform
names = ("hatchling", "packaging", "pathspec", "trove-classifiers", "twine")
print(json.dumps({"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}))
"""


def pythons() -> dict[str, Path]:
    """Return one Python of each minor version from 3.11 on that this machine has, by its version."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for minor in MINORS:
        name = f"python3.{minor}"
        places = [Path(place) for place in (shutil.which(name), f"/usr/bin/{name}", f"/usr/local/bin/{name}") if place]
        for place in [*places, *sorted(versions.glob(f"3.{minor}.*/bin/{name}"))]:
            if number := version(place, minor):
                found[number] = place
                break
    return found


def version(python: Path, minor: int) -> str:
    """Return the version of a Python that has pip, or nothing if it is another one, has none or is none."""
    code = f"import pip, platform, sys, venv; print(platform.python_version() * (sys.version_info[1] == {minor}))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def install(python: Path, number: str, wheel: Path) -> None:
    """Install a wheel beside the core's dependencies, and run it."""
    folder = ROOT / f".venv-empty-{number.rpartition('.')[0]}"
    run([python, Path(environment.__file__), folder, CORE], quiet=True)
    pip = [python, "-m", "pip", "--python", folder / "bin" / "python"]
    run([*pip, "install", "-qq", "--no-deps", "--no-index", "--force-reinstall", wheel], quiet=True)
    run([*pip, "check"], quiet=True)
    with tempfile.TemporaryDirectory() as scratch:
        run([folder / "bin" / "python", "-I", SMOKE, CORE], cwd=scratch, env=clean())
    run([folder / "bin" / "python", "-I", LICENCES, "--check"])


def clean() -> dict[str, str]:
    """Return the environment variables without those that would lead to other code."""
    ours = ("STATEGRAPH_", "MOSS_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


if __name__ == "__main__":
    sys.exit(main())
