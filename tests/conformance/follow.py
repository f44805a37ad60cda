"""Look whether anything newer than the target is on the package index, and run its tests on this engine.

    python tests/conformance/follow.py              what is newer, what its surface changed, what its tests give here
    python tests/conformance/follow.py --fresh      the same, also if nothing is newer than the target

`make follow` does the same. Where something is newer, environments with the newest releases are made in
`.conformance/newest/`; LangGraph's own tests and those of langgraph-prebuilt and langchain run there on both engines,
and a test counts that passes on LangGraph. Where nothing is newer, the suites of the target run as `make conformance`
runs them. It fails if a test passes on LangGraph and not here, or a public name of LangGraph is missing here.

"Newest together" is what the index's own dependencies allow side by side: a release may ask for another one that cannot
be had.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import compare
import execution
import ledger as ledgers
import suite as suites
from execution import ROOT, Bench, Choice, UsageError

FOLLOWED = ("langgraph", "langgraph-prebuilt", "langchain", "langchain-core", "langgraph-checkpoint", "langgraph-sdk")
"""The distributions whose releases matter."""

REQUIREMENTS = ROOT / "requirements"
NEWEST = execution.BUILD / "newest"
SURFACE = ROOT / "tests" / "compat" / "surface_of.py"
TARGET_SURFACE = ROOT / "tests" / "compat" / "namespaces.json"
SETS = {"langgraph": "conformance", "prebuilt": "prebuilt", "langchain": "langchain"}
"""By suite the list of requirements that its environment has."""

Versions = Mapping[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--fresh", action="store_true", help="make environments from the index even if nothing is newer"
    )
    parser.add_argument("--suites", nargs="+", default=[*SETS], choices=[*SETS], help="the suites to run; default: all")
    parser.add_argument("--jobs", default=2, type=int, help="worker processes")
    options = parser.parse_args()
    target = target_versions()
    try:
        newest, together = ask_index(FOLLOWED, resolve=False), ask_index(FOLLOWED, resolve=True)
        print(versions_table(target, newest, together), flush=True)
        if not options.fresh and all(together[name] == target[name] for name in FOLLOWED):
            print("\nNothing newer can be installed: the suites of the target run.", flush=True)
            return run_target(options.suites)
        return run_newest(options.suites, together, Choice(jobs=options.jobs, total_timeout_s=3600))
    except (IndexSilentError, UsageError, suites.SuiteError, ledgers.LedgerError) as error:
        print(f"follow: {error}", file=sys.stderr)
        return 2


class IndexSilentError(Exception):
    """The package index gave no answer; the message repeats what pip said."""


def target_versions() -> Versions:
    """Return the versions that this engine is measured against, from the pinned requirements."""
    pinned = "\n".join(
        REQUIREMENTS.joinpath(f"{name}.txt").read_text(encoding="utf-8") for name in ("langchain", "langgraph")
    )
    return {name: re.search(rf"^{name}==(\S+)", pinned, re.MULTILINE)[1] for name in FOLLOWED}  # type: ignore[index]


def ask_index(names: Sequence[str], *, resolve: bool) -> Versions:
    """Ask pip for the newest version of each distribution.

    Args:
        names: The distributions.
        resolve: Whether they have to fit each other and all they depend on.

    Raises:
        IndexSilentError: pip found none, or did not reach its index.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["--disable-pip-version-check", *([] if resolve else ["--no-deps"]), *names]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            or done.stderr.splitlines()
            or ["nothing"]
        )
        raise IndexSilentError(f"the package index names no newest {', '.join(names)}; pip says: {said[-1]}")
    found = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    versions = {item["name"].lower().replace("_", "-"): item["version"] for item in found}
    return {name: versions[name] for name in names}


def versions_table(target: Versions, newest: Versions, together: Versions) -> str:
    """Render the three versions of every distribution; a star marks what moved."""
    rows = [("", "target", "newest", "newest together")]
    rows += [
        (f"{' ' if together[name] == target[name] else '*'} {name}", target[name], newest[name], together[name])
        for name in FOLLOWED
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def run_target(chosen: Sequence[str]) -> int:
    """Run the suites of the target, each with the set-up that `make conformance` does."""
    codes = [subprocess.run(["make", "conformance", f"SUITE={suite}"], cwd=ROOT).returncode for suite in chosen]
    return int(any(codes))


def run_newest(chosen: Sequence[str], versions: Versions, choice: Choice) -> int:
    """Run the suites of the newest releases on both engines, and hold their surface against the target's."""
    failed = []
    for name in chosen:
        theirs, ours = environments(SETS[name], versions)
        if name == chosen[0] and missing_names(theirs, ours):
            failed.append("names")
        suite = newest_suite(suites.SUITES[name], versions)
        folder = suites.fetch(execution.BUILD, suite)
        release = versions["langgraph"]
        benches = Bench(suite, folder, theirs, reference=True, release=release), Bench(suite, folder, ours)
        for bench in benches:
            bench.check(choice)
        excluded = frozenset(ledgers.read().excluded) if name == "langgraph" else frozenset()
        if compare.run(*benches, choice, excluded):
            failed.append(name)
    print(
        f"\nfollow: {'failed: ' + ', '.join(failed) if failed else 'everything that passes on LangGraph passes here'}"
    )
    return int(bool(failed))


def newest_suite(suite: suites.Suite, versions: Versions) -> suites.Suite:
    """Return the suite of a release that no hash is known of yet: pip holds it against the index's own."""
    version = versions[suite.distribution]
    return suite if version == suite.version else replace(suite, version=version, sha256="")


def environments(requirements: str, versions: Versions) -> tuple[Path, Path]:
    """Return the Pythons with the newest releases, first the one with LangGraph, then the one without.

    The second has the same versions of everything else.
    """
    folder = NEWEST / "-".join([requirements, *versions.values()])
    theirs, ours = folder / "langgraph", folder / "stategraph"
    if not (folder / "ready").exists():
        print(f"\nsetting up {folder.relative_to(ROOT)} ...", flush=True)
        install(theirs, newest_requirements(requirements, versions))
        frozen = subprocess.run(
            [*pip(theirs), "freeze", "--disable-pip-version-check"], capture_output=True, text=True, check=True
        )
        install(
            ours, ["--no-deps", *(line for line in frozen.stdout.splitlines() if not line.startswith("langgraph=="))]
        )
        (folder / "ready").touch()
    return theirs / "bin" / "python", ours / "bin" / "python"


def newest_requirements(name: str, versions: Versions) -> list[str]:
    """Return what a list of requirements asks for, with the followed distributions at these versions."""
    lines = REQUIREMENTS.joinpath(f"{name}.in").read_text(encoding="utf-8").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]
    others = [line for line in wanted if re.split(r"[^\w-]", line, maxsplit=1)[0] not in FOLLOWED]
    followed = [n for n in FOLLOWED if n != "langchain" or name == "langchain"]  # with it, other tests see its name
    return [*others, *(f"{distribution}=={versions[distribution]}" for distribution in followed)]


def install(folder: Path, requirements: Sequence[str]) -> None:
    """Make a virtual environment with these requirements."""
    venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(folder)
    command = [*pip(folder), "install", "--quiet", "--disable-pip-version-check", "--no-input", *requirements]
    done = subprocess.run(command, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise UsageError(f"the newest releases cannot be installed in {folder}; pip says why above")


def pip(folder: Path) -> list[str]:
    """Return the command that runs pip for an environment without a pip of its own."""
    return [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]


def missing_names(theirs: Path, ours: Path) -> list[str]:
    """Print how the public surface differs from the target's; return the names that are missing here."""
    read = subprocess.run([theirs, SURFACE], capture_output=True, text=True, check=True)
    newest, target = json.loads(read.stdout), json.loads(TARGET_SURFACE.read_text(encoding="utf-8"))
    differences = list(surface_differences(target, newest))
    print(f"\nThe public surface: {len(differences)} differences from the target's")
    print("\n".join(f"  {line}" for line in differences))
    environment = {"PYTHONPATH": f"{ROOT / 'compat'}:{ROOT}"}
    asked = subprocess.run(
        [ours, SURFACE, "--missing"], input=read.stdout, capture_output=True, text=True, check=True, env=environment
    )
    missing: list[str] = json.loads(asked.stdout)
    if missing:
        print(f"{len(missing)} names are missing here:")
        print("\n".join(f"  {name}" for name in missing))
    return missing


def surface_differences(
    before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yield each name that came or went, and each call that takes other parameters, as one line."""
    for module in sorted(before.keys() | after.keys()):
        old, new = before.get(module, {}), after.get(module, {})
        for name in sorted(old.keys() | new.keys()):
            if name not in old:
                yield f"+ {module}.{name}({new[name]})"
            elif name not in new:
                yield f"- {module}.{name}"
            elif old[name] != new[name]:
                yield f"~ {module}.{name}({old[name]}) -> ({new[name]})"


if __name__ == "__main__":
    sys.exit(main())
