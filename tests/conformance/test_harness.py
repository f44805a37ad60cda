"""The harness of the conformance run: a mistake here would make the measure lie."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def ledger() -> Any:
    return _load("ledger", HERE)


@pytest.fixture(scope="module")
def placeholders() -> Any:
    return _load("conformance_placeholders", HERE / "harness")


@pytest.fixture(scope="module")
def follow() -> Any:
    return _load("follow", HERE)


def _load(name: str, folder: Path) -> ModuleType:
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def test_the_lists_agree_with_each_other(ledger: Any) -> None:
    lists = ledger.read()
    assert len(lists.expected) == 2952
    assert len(lists.excluded) <= 100
    with_servers = ledger.read(services=True)
    assert len(with_servers.expected) == 5379
    assert with_servers.expected > lists.expected


def test_a_servers_variant_of_an_excluded_test_is_excluded_with_it(
    ledger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "HERE", tmp_path)
    out, half, kept = ([f"tests/test_x.py::{name}[{x}]" for x in ("memory", "sqlite", "postgres")] for name in "abc")
    ledger.write_expected(frozenset([*out[:2], *half[:2], *kept[:2]]))
    ledger.write_expected(frozenset([*out, *half, *kept]), services=True)
    (tmp_path / "excluded.txt").write_text(f"{out[0]}  # private\n{out[1]}  # private\n{half[0]}  # private\n")
    assert ledger.read().excluded.keys() == {*out[:2], half[0]}
    assert ledger.read().due == {half[1], *kept[:2]}
    with_servers = ledger.read(services=True)
    assert with_servers.excluded.keys() == {*out, half[0]}
    assert with_servers.due == {*half[1:], *kept}
    assert ledger.add_passing(frozenset([*kept, out[2]])) == sorted(kept)
    assert (tmp_path / "passing.txt").read_text().split() == sorted(kept[:2])
    assert (tmp_path / "passing-services.txt").read_text().split() == [kept[2]]
    assert ledger.read().passing == {*kept[:2]}


def test_a_taken_port_is_not_a_server_to_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    services: Any = _load("services", HERE)
    with socket.create_server((services.HOST, 0)) as somebody:
        port = somebody.getsockname()[1]
        monkeypatch.setattr(services, "PORTS", {"Redis": port})
        with (
            pytest.raises(services.ServiceError, match=f"port {port} .* Redis"),
            services.running(Path(sys.executable)),
        ):
            pytest.fail("the block must not run")


def test_servers_that_cannot_start_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    services: Any = _load("services", HERE)
    monkeypatch.setattr(services, "PORTS", {})  # what is taken on this machine does not matter here
    with pytest.raises(services.ServiceError, match="not installed for"), services.running(Path(sys.executable)):
        pytest.fail("the block must not run")


def test_a_comparison_counts_what_passes_on_both(ledger: Any) -> None:
    compare = _load("compare", HERE)
    both, theirs, ours = (f"tests/sub/test_x.py::{name}" for name in "abc")
    shown = compare.table(
        ledger.Outcome(tests={both: "passed", theirs: "passed", ours: "skipped"}),
        ledger.Outcome(tests={both: "passed", theirs: "failed", ours: "passed"}),
    )
    assert "* sub/test_x.py     1/2" in shown
    assert "on LangGraph: 2\n  on stategraph: 1, and 1 that fail or are skipped there" in shown


def test_a_regression_is_a_test_of_the_ratchet_that_failed_or_did_not_run(ledger: Any) -> None:
    a, b, c, d = (f"tests/test_x.py::{name}" for name in "abcd")
    lists = ledger.Ledger(expected=frozenset({a, b, c, d}), excluded={}, passing=frozenset({a, b, c}), later=())
    outcome = ledger.Outcome(tests={a: "passed", b: "failed", d: "failed"})
    assert ledger.regressions(lists, outcome, chosen=lists.expected) == [b, c]
    assert ledger.regressions(lists, outcome, chosen=frozenset({a, b, d})) == [b]


def test_the_table_counts_what_is_due(ledger: Any) -> None:
    tests = [f"tests/test_{name}.py::t" for name in ("now", "out", "delta_x")]
    lists = ledger.Ledger(
        expected=frozenset(tests), excluded={tests[1]: "private"}, passing=frozenset(), later=("test_delta_*.py",)
    )
    shown = ledger.table(lists, ledger.Outcome(tests={tests[0]: "passed"}), chosen=lists.expected)
    assert "files in scope now: 1/1" in shown
    assert "files for later:    0/1" in shown
    assert "total:              1/2, excluded 1" in shown


def test_the_ratchet_only_grows(ledger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "HERE", tmp_path)
    old, new, foreign = (f"tests/test_x.py::{name}" for name in ("old", "new", "foreign"))
    ledger.write_expected(frozenset({old, new}))
    (tmp_path / "passing.txt").write_text(f"{old}\n")
    assert ledger.add_passing(frozenset({new, foreign})) == [new]
    assert (tmp_path / "passing.txt").read_text().splitlines() == [new, old]


@pytest.mark.parametrize(
    ("excluded", "passing", "message"),
    [
        ("tests/test_x.py::a\n", "", "no reason"),
        ("tests/test_x.py::z  # private\n", "", "does not pass"),
        ("", "tests/test_x.py::z\n", "does not pass"),
        ("tests/test_x.py::a  # private\n", "tests/test_x.py::a\n", "as passing and as excluded"),
    ],
)
def test_lists_that_contradict_each_other_are_refused(
    ledger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excluded: str, passing: str, message: str
) -> None:
    monkeypatch.setattr(ledger, "HERE", tmp_path)
    ledger.write_expected(frozenset({"tests/test_x.py::a"}))
    (tmp_path / "excluded.txt").write_text(excluded)
    (tmp_path / "passing.txt").write_text(passing)
    with pytest.raises(ledger.LedgerError, match=message):
        ledger.read()


def test_only_imports_that_load_with_the_file_get_a_stand_in(placeholders: Any) -> None:
    source = """
import langgraph.one, json
from langgraph.two import a, b as c
from os import path
if TYPE_CHECKING:
    from langgraph.three import d
else:
    from langgraph.four import e
try:
    from langgraph.five import f
except ImportError:
    f = None
def test():
    from langgraph.six import g
"""
    found = {(item.module, item.name) for item in placeholders.top_level_imports(source)}
    assert found == {
        ("langgraph.one", None),
        ("langgraph.two", "a"),
        ("langgraph.two", "b"),
        ("langgraph.four", "e"),
    }


SUITE = {
    "test_missing.py": """
import pytest
from langgraph.nowhere._private import Thing, LIMIT, helper
class Derived(Thing[int]): pass
made = helper(3)
@pytest.mark.parametrize("x", [1, 2])
def test_names_it(x: Thing | None): pass
@pytest.mark.parametrize("x", [LIMIT], ids=["limit"])
def test_is_given_it(x): pass
def test_needs_none_of_it(): assert True
def test_calls_it(): Thing()
def test_derives_from_it(): Derived()
def test_compares_it(): assert LIMIT != 3
def test_swallows_the_failure():
    try: helper()
    except BaseException: pass
def test_imports_another_name():
    from langgraph.nowhere._private import Other
""",
    "test_hangs.py": """
import threading
def test_waits_for_ever(): threading.Event().wait()
def test_runs_after_it(): pass
""",
    "test_broken.py": "raise RuntimeError('cannot load')\n",
    "test_out.py": "def test_left_out(): assert False\n",
}


@pytest.mark.parametrize("jobs", ["0", "2"])
def test_a_run_fails_only_the_tests_that_cannot_pass(ledger: Any, tmp_path: Path, jobs: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, source in SUITE.items():
        (tmp_path / "tests" / name).write_text(source)
    outcome = _run(tmp_path, jobs)
    results = {test.removeprefix("tests/"): result for test, result in outcome.tests.items()}
    assert results == {
        "test_missing.py::test_names_it[1]": "passed",
        "test_missing.py::test_names_it[2]": "passed",
        "test_missing.py::test_is_given_it[limit]": "passed",
        "test_missing.py::test_needs_none_of_it": "passed",
        "test_missing.py::test_calls_it": "failed",
        "test_missing.py::test_derives_from_it": "failed",
        "test_missing.py::test_compares_it": "failed",
        "test_missing.py::test_swallows_the_failure": "failed",
        "test_missing.py::test_imports_another_name": "failed",
        "test_hangs.py::test_waits_for_ever": "failed",
        "test_hangs.py::test_runs_after_it": "passed",
    }
    assert outcome.unloaded.keys() == {"tests/test_broken.py"}
    assert "langgraph.nowhere._private.Thing" in outcome.placeholders
    assert "still running" in outcome.reasons["tests/test_hangs.py::test_waits_for_ever"]
    assert outcome.finished


def _run(folder: Path, jobs: str) -> Any:
    results = folder / "results.jsonl"
    results.touch()
    environment = {
        "PYTHONPATH": str(HERE / "harness"),
        "CONFORMANCE_RESULTS": str(results),
        "CONFORMANCE_TIMEOUT_S": "1",
        "CONFORMANCE_EXCLUDED": '["tests/test_out.py::test_left_out"]',
    }
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "--rootdir", ".", "-p", "conformance_plugin"]
    command += ["-p", "no:cacheprovider", "-q", "--continue-on-collection-errors", "tests"]
    command += ["-n", jobs] if jobs != "0" else []
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300)
    return _load("execution", HERE).read_results(results)


def test_an_index_that_does_not_answer_is_a_sentence(
    follow: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "WARNING: Retrying\nERROR: No matching distribution found for langgraph\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", said))
    monkeypatch.setattr(sys, "argv", ["follow.py"])
    assert follow.main() == 2
    told = capsys.readouterr().err
    assert told.startswith("follow: the package index names no newest langgraph, ")
    assert told.endswith("pip says: ERROR: No matching distribution found for langgraph\n")


def test_the_index_is_asked_for_what_fits_together_and_only_the_followed_count(
    follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    found = [{"metadata": {"name": name, "version": "1.0"}} for name in ("LangChain_Core", "langgraph", "pydantic")]

    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, json.dumps({"install": found}), "")

    monkeypatch.setattr(subprocess, "run", answer)
    names = ["langgraph", "langchain-core"]
    assert (
        follow.ask_index(names, resolve=True) == follow.ask_index(names, resolve=False) == dict.fromkeys(names, "1.0")
    )
    assert ["--no-deps" in command for command in asked] == [False, True]


def test_the_target_is_what_the_suites_are_pinned_to(follow: Any) -> None:
    target, suites = follow.target_versions(), follow.suites.SUITES
    assert {suite.distribution: suite.version for suite in suites.values()}.items() <= target.items()


def test_the_table_marks_what_moved(follow: Any) -> None:
    target = dict.fromkeys(follow.FOLLOWED, "1.0")
    table = follow.versions_table(target, target | {"langchain": "1.2"}, target | {"langchain": "1.1"}).splitlines()
    (moved,) = (line for line in table if line.startswith("*"))
    assert moved.split() == ["*", "langchain", "1.0", "1.2", "1.1"]


def test_the_newest_environment_asks_for_the_same_tools_and_the_newest_of_what_is_followed(follow: Any) -> None:
    versions = dict.fromkeys(follow.FOLLOWED, "9.9")
    wanted = follow.newest_requirements("prebuilt", versions)
    assert {"pytest", "langgraph==9.9", "langgraph-prebuilt==9.9", "langchain-core==9.9"} <= set(wanted)
    assert not [line for line in wanted if line.startswith(("-", "#", "langchain=="))]
    assert "langchain==9.9" in follow.newest_requirements("langchain", versions)


def test_only_a_release_that_nobody_has_measured_goes_without_a_hash(follow: Any) -> None:
    pinned = follow.suites.SUITES["langgraph"]
    assert follow.newest_suite(pinned, {"langgraph": pinned.version}) is pinned
    newest = follow.newest_suite(pinned, {"langgraph": "9.9"})
    assert (newest.version, newest.sha256, newest.ini) == ("9.9", "", pinned.ini)


def test_the_difference_of_two_surfaces_names_what_came_went_and_changed(follow: Any) -> None:
    before = {"a": {"same": "x", "gone": "", "call": "x"}, "b": {"all": ""}}
    after = {"a": {"same": "x", "new": "y=", "call": "x y="}}
    assert list(follow.surface_differences(before, after)) == [
        "~ a.call(x) -> (x y=)",
        "- a.gone",
        "+ a.new(y=)",
        "- b.all",
    ]
    assert list(follow.surface_differences(after, after)) == []
