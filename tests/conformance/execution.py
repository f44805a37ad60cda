"""One pytest process over a suite, on one engine, and what came of it.

The results are read from a file that grows while the tests run, so that a process that dies still tells its story.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import ledger as ledgers
import services
from suite import VERSION, Suite

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / ".conformance").resolve()  # pytest names tests by real paths
HARNESS = Path(__file__).resolve().parent / "harness"
RETRY_AT_MOST = 60
#: A pytest that has reported its last test gets this long to leave; threads that a test left behind may hold it.
LEAVING_S = 20.0
#: Nothing of the developer's settings for LangChain's tools reaches a suite.
FOREIGN = ("LANGCHAIN_", "LANGSMITH_", "LANGGRAPH_", "STATEGRAPH_", "MOSS_", "PYTEST_", "PYTHONPATH")

PROBE = """
import importlib.metadata, importlib.util, json
try:
    found = importlib.metadata.version("langgraph")
except importlib.metadata.PackageNotFoundError:
    found = None
try:
    spec = importlib.util.find_spec("langgraph.graph")
except ModuleNotFoundError:
    spec = None
print(json.dumps([found, spec and spec.origin]))
"""


class UsageError(Exception):
    """The run cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tests run, and how.

    Attributes:
        files: Patterns of file names; empty means all.
        keyword: pytest's `-k` expression; empty means all.
        jobs: Worker processes; 0 runs in one process.
        traceback: pytest's traceback style; None means short when tests are chosen, else none.
        timeout_s: How long one test may take.
        total_timeout_s: How long one run may take.
        services: Whether real servers run.
    """

    files: tuple[str, ...] = ()
    keyword: str = ""
    jobs: int = 2
    traceback: str | None = None
    timeout_s: float = 60.0
    total_timeout_s: float = 1800.0
    services: bool = False

    @property
    def narrow(self) -> bool:
        """Whether less than the whole suite runs."""
        return bool(self.files or self.keyword)

    def takes(self, file: str) -> bool:
        """Tell whether a file, by its path below `tests/`, is chosen."""
        return not self.files or any(
            fnmatch(name, pattern.removeprefix("tests/"))
            for pattern in self.files
            for name in (file, file.rpartition("/")[2])
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """A suite in place, with a Python and an engine to run it on.

    Attributes:
        suite: The suite.
        folder: Where its `tests/` and `pytest.ini` are.
        python: The Python to run it in.
        reference: Whether it runs on LangGraph itself.
        release: The LangGraph that a reference run needs.
    """

    suite: Suite
    folder: Path
    python: Path
    reference: bool = False
    release: str = VERSION

    def environment(self, choice: Choice, excluded: frozenset[str] = frozenset()) -> dict[str, str]:
        """Build the environment variables of a run."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        path = [HARNESS] if self.reference else [HARNESS, ROOT / "compat", _engine_folder()]
        return variables | {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "CONFORMANCE_TIMEOUT_S": str(choice.timeout_s),
            "CONFORMANCE_EXCLUDED": json.dumps(sorted(excluded)),
            **self.suite.environment(services=choice.services),
        }

    def check(self, choice: Choice) -> None:
        """Make sure that the suite will meet the engine it is meant for.

        Raises:
            UsageError: The wrong engine, or none, would answer `import langgraph.graph`.
        """
        environment = self.environment(choice)
        done = subprocess.run([self.python, "-c", PROBE], env=environment, capture_output=True, text=True, cwd=BUILD)
        if done.returncode:
            raise UsageError(f"{self.python} cannot find langgraph.graph:\n{done.stderr.strip()}")
        version, origin = json.loads(done.stdout)
        if self.reference:
            if version != self.release:
                raise UsageError(f"a reference run needs langgraph {self.release} in {self.python}, found {version}")
            return
        if version is not None:
            raise UsageError(f"langgraph {version} is installed for {self.python}; conformance must run without it")
        if origin is None:
            print("conformance: compat/ has no langgraph.graph yet; stand-ins take its place")
        elif not Path(origin).is_relative_to(ROOT / "compat"):
            raise UsageError(f"langgraph.graph comes from {origin}, expected from {ROOT / 'compat'}")


def _engine_folder() -> Path:
    """Return a folder that holds the engine alone: the work tree has a `tests` of its own that must not be found."""
    folder = BUILD / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "stategraph"
    if not link.is_symlink():
        with contextlib.suppress(FileExistsError):  # another run was faster
            link.symlink_to(ROOT / "stategraph")
    return folder


def servers(choice: Choice, python: Path) -> contextlib.AbstractContextManager[None]:
    """Real servers around a block if they were asked for; `python` is the one that has their wheels."""
    return services.running(python) if choice.services else contextlib.nullcontext()


def run(bench: Bench, choice: Choice, excluded: frozenset[str] = frozenset()) -> ledgers.Outcome:
    """Run the chosen files of a suite and read what they gave.

    Args:
        bench: The suite and the engine.
        choice: Which tests, and how.
        excluded: Ids of tests that are left out.

    Raises:
        UsageError: No file is chosen, or the run took too long.
    """
    suite = bench.suite
    left_out = suite.not_with_services if choice.services else ()
    found = sorted((bench.folder / suite.folder).rglob("test_*.py"))
    names = [str(file.relative_to(bench.folder / "tests")) for file in found if file.name not in left_out]
    chosen = [f"tests/{name}" for name in names if choice.takes(name)]
    if not chosen:
        raise UsageError(f"no file of the suite matches {' '.join(choice.files)}")
    arguments = [f"--tb={choice.traceback or ('short' if choice.narrow else 'no')}"]
    arguments += [] if choice.narrow else ["-rN"]
    arguments += ["-k", choice.keyword] if choice.keyword else []
    arguments += ["-n", str(choice.jobs)] if choice.jobs else []
    arguments += chosen if choice.files else [*(f"--ignore=tests/{name}" for name in left_out), suite.folder]
    return _pytest(bench, choice, arguments, bench.environment(choice, excluded))


def retry(
    bench: Bench, choice: Choice, outcome: ledgers.Outcome, tests: frozenset[str], excluded: frozenset[str]
) -> None:
    """Give those of `tests` that failed one more try, alone, and note in `outcome` which passed then."""
    failed = {test for test, result in outcome.tests.items() if result == "failed"}
    again = sorted(failed & tests)
    if not again or len(again) > RETRY_AT_MOST:
        return
    print(f"\nconformance: {len(again)} failed; trying them once more, alone")
    second = _pytest(bench, choice, ["--tb=short", *again], bench.environment(choice, excluded))
    for test in sorted(second.passed & failed):
        print(f"  passed when tried again: {test}")
        outcome.tests[test] = "passed"


def _pytest(bench: Bench, choice: Choice, arguments: list[str], environment: dict[str, str]) -> ledgers.Outcome:
    logs = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
    results = logs / "results.jsonl"
    results.touch()
    folder = bench.folder
    command = [bench.python, "-m", "pytest", "-c", folder / "pytest.ini", "--rootdir", folder]
    command += ["-p", "conformance_plugin", "-p", "no:cacheprovider", *bench.suite.arguments]
    command += ["-q", "--disable-warnings", "--continue-on-collection-errors"]
    command += [f"--junitxml={logs / 'junit.xml'}", *arguments]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env={**environment, "CONFORMANCE_RESULTS": str(results)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(process, results, time.monotonic() + choice.total_timeout_s)
    finally:
        outcome = read_results(results)
        last = BUILD / "last"
        shutil.rmtree(last, ignore_errors=True)
        try:
            os.replace(logs, last)
        except OSError:  # another run was faster; the log stays where it is
            print(f"conformance: the log of this run is in {logs}")
    return outcome


def _wait(process: subprocess.Popen[bytes], results: Path, deadline: float) -> None:
    """Wait for pytest and whatever it started; end it when it hangs after its last test or exceeds the time."""
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise UsageError("the run took too long and was ended; see --total-timeout")
            if '"finished"' in results.read_text(encoding="utf-8")[-40:]:
                deadline = min(deadline, time.monotonic() + LEAVING_S)
                process.wait(LEAVING_S)
            time.sleep(0.2)
    except subprocess.TimeoutExpired:
        print("conformance: all tests are done, but something they started still runs; it is ended now")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def read_results(results: Path) -> ledgers.Outcome:
    """Read what the plugin wrote."""
    outcome = ledgers.Outcome()
    for line in results.read_text(encoding="utf-8").splitlines():
        match json.loads(line):
            case {"kind": "test", "id": test, "outcome": result, "why": why}:
                outcome.tests[test] = result
                outcome.reasons[test] = why
            case {"kind": "collection", "id": file, "why": why}:
                outcome.unloaded[file] = why
            case {"kind": "placeholders", "names": names}:
                outcome.placeholders = names
            case {"kind": "finished"}:
                outcome.finished = True
    return outcome
