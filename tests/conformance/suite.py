"""The test-suites that can be run, and where they come from: sdists from the package index, checked, only `tests/`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

VERSION = "1.2.24"
"""The LangGraph that this engine is compatible with."""


class SuiteError(Exception):
    """The suite could not be fetched; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A distribution whose sdist has tests.

    Attributes:
        distribution: Its name on the package index.
        version: Its version.
        sha256: Of the sdist; empty for a release that has just appeared, which pip holds against the index's own.
        ini: What its own configuration asks of pytest, less what only changes the printing.
        tests: The folder below `tests/` that is run; empty means all.
        beside: Folders of the sdist that the tests need besides `tests/`.
        arguments: What else pytest is told.
        switches: Environment variables of the suite: their values without real servers, and with them.
        not_with_services: Files that need more than a database.
    """

    distribution: str
    version: str
    sha256: str
    ini: str
    tests: str = ""
    beside: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    switches: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    not_with_services: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where its tests are, seen from the folder that `fetch` returns."""
        return f"tests/{self.tests}".rstrip("/")

    @property
    def sdist(self) -> str:
        """The name of the sdist, less its ending."""
        return f"{self.distribution.replace('-', '_')}-{self.version}"

    def environment(self, *, services: bool) -> dict[str, str]:
        """Return the suite's environment variables for a run with or without real servers."""
        return {name: values[services] for name, values in self.switches.items()}


SUITES = {
    "langgraph": Suite(
        distribution="langgraph",
        version=VERSION,
        sha256="86b0dd611b7201cb393da2de0e064029c1bef520f11a5e6ee04be53c2a815bc7",
        ini="addopts = --strict-markers --strict-config --snapshot-warn-unused\n",
        arguments=("-p", "no:asyncio"),
        switches={"NO_DOCKER": ("true", "false")},
        not_with_services=("test_remote_graph.py",),  # needs LangGraph's own server
    ),
    "prebuilt": Suite(
        distribution="langgraph-prebuilt",
        version="1.1.3",
        sha256="7ee72332e925000e3d24d2d491dd0ebb9d3a44dbffe650185943b730a832cf6d",
        ini="addopts = --strict-markers --strict-config\nasyncio_mode = auto\n"
        "asyncio_default_fixture_loop_scope = function\n",
        switches={"LANGGRAPH_TEST_FAST": ("true", "false")},
    ),
    "langchain": Suite(
        distribution="langchain",
        version="1.5.2",
        sha256="63816aee7f55503db5c4f266a0874047d417957ae70cbf27397325c584982c52",
        ini="addopts = --strict-markers --strict-config --snapshot-warn-unused\nasyncio_mode = auto\n"
        "asyncio_default_fixture_loop_scope = function\n"
        "markers =\n    requires: needs a library\n    scheduled: for scheduled runs\n    compile: a placeholder\n"
        "    benchmark: a benchmark\n"
        "filterwarnings =\n    ignore::langchain_core._api.beta_decorator.LangChainBetaWarning\n"
        "    ignore::langchain_core._api.deprecation.LangChainDeprecationWarning:tests\n"
        "    ignore::langchain_core._api.deprecation.LangChainPendingDeprecationWarning:tests\n",
        tests="unit_tests/agents",
        arguments=("--benchmark-disable",),
        switches={"LANGGRAPH_TEST_FAST": ("true", "false")},
    ),
}


def fetch(build: Path, suite: Suite) -> Path:
    """Return the folder that holds `tests/` and its `pytest.ini`, downloading it on the first call.

    Args:
        build: A folder of the work tree that may be deleted at any time.
        suite: Whose tests.

    Raises:
        SuiteError: The download failed, or is not the file it should be.
    """
    root = build / suite.sdist
    if (root / "pytest.ini").exists():
        return root
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as scratch:
        sdist = _download(Path(scratch), suite)
        fresh = Path(scratch) / "fresh"
        _extract_tests(sdist, fresh, suite)
        (fresh / "pytest.ini").write_text(f"[pytest]\n{suite.ini}", encoding="utf-8")
        shutil.rmtree(root, ignore_errors=True)
        try:
            os.replace(fresh, root)
        except OSError:  # another run was faster
            if not (root / "pytest.ini").exists():
                raise
    return root


def _download(folder: Path, suite: Suite) -> Path:
    requirement = f"{suite.distribution}=={suite.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", suite.distribution, "--dest", str(folder), requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    sdist = folder / f"{suite.sdist}.tar.gz"
    if done.returncode or not sdist.exists():
        raise SuiteError(f"pip could not download {requirement} as an sdist:\n{done.stderr.strip()}")
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if suite.sha256 and found != suite.sha256:
        raise SuiteError(
            f"{sdist.name} has the sha256 {found}, expected {suite.sha256}: it is not the suite measured here"
        )
    return sdist


def _extract_tests(sdist: Path, target: Path, suite: Suite) -> None:
    prefix = f"{suite.sdist}/"
    wanted = tuple(f"{prefix}{folder}/" for folder in ("tests", *suite.beside))
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if member.name.startswith(wanted)]
        for member in members:
            member.name = member.name.removeprefix(prefix)
        # Python 3.11.2, which Debian 12 has, knows no filters yet; the archive is the pinned one in any case.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(target, members=members, **safely)
