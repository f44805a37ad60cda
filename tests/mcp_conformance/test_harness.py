"""The harness counts a scenario only if a client ran in it, and its packages are pinned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import npm
from tests.mcp_conformance import packages, servers
from tests.mcp_conformance.__main__ import judge
from tests.mcp_conformance.plans import RAN

RIGHT = {"id": "a", "description": "it does", "status": "SUCCESS"}
WRONG = {"id": "b", "description": "it does not", "status": "FAILURE", "errorMessage": "no token"}
SKIPPED = {"id": "d", "description": "nobody looks", "status": "SKIPPED"}
SHOULD = {"id": "c", "description": "it should", "status": "WARNING"}


def left(folder: Path, checks: list[dict[str, Any]], said: str) -> Path:
    """What the suite leaves of a scenario."""
    (folder / "result").mkdir()
    (folder / "result" / "checks.json").write_text(json.dumps(checks), encoding="utf-8")
    (folder / "result" / "stdout.txt").write_text(said, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("checks", "said", "exit_code", "problems"),
    [
        ([RIGHT], f"{RAN} one\n", 0, ()),
        ([RIGHT, WRONG], f"{RAN} one\n", 1, ("b: no token",)),
        ([RIGHT, SHOULD], f"{RAN} one\n", 1, ("c: it should",)),
        ([RIGHT], f"{RAN} one\n", 1, ("the suite ended with 1",)),
        ([RIGHT], f"{RAN} two\n", 0, ("the client did not run to its end",)),
        ([], "", 0, ("the client did not run to its end", "nothing was found right")),
    ],
)
def test_a_scenario_counts_if_a_client_ran_and_nothing_was_wrong(
    tmp_path: Path, checks: list[dict[str, Any]], said: str, exit_code: int, problems: tuple[str, ...]
) -> None:
    assert judge("one", "2026-07-28", left(tmp_path, checks, said), exit_code).problems == problems


def test_no_result_is_a_failure(tmp_path: Path) -> None:
    assert judge("one", "2026-07-28", tmp_path, 0).problems == ("the suite left 0 results",)


def test_every_package_is_pinned_by_version_and_digest_and_none_by_address(tmp_path: Path) -> None:
    pinned = json.loads(packages.LOCK.read_text(encoding="utf-8"))["packages"]
    assert pinned[f"node_modules/{packages.SUITE}"]["version"] == "0.2.0-alpha.12"
    named = {name: entry for name, entry in pinned.items() if name}
    assert all(entry["version"] and entry["integrity"].startswith("sha512-") for entry in named.values())
    assert "://" not in packages.LOCK.read_text(encoding="utf-8")

    there = tmp_path / "node_modules"
    there.mkdir()
    entries = {name: {key: entry[key] for key in ("version", "integrity")} for name, entry in named.items()}
    (there / ".package-lock.json").write_text(json.dumps({"packages": entries}), encoding="utf-8")
    npm.check(packages.LOCK, tmp_path)
    entries[f"node_modules/{packages.SUITE}"]["integrity"] = "sha512-another"
    (there / ".package-lock.json").write_text(json.dumps({"packages": entries}), encoding="utf-8")
    with pytest.raises(npm.NpmError, match="expected"):
        npm.check(packages.LOCK, tmp_path)


@pytest.mark.parametrize(
    ("checks", "is_up", "problems"),
    [
        ([RIGHT], True, ()),
        ([RIGHT, SHOULD], True, ("c: it should",)),
        ([RIGHT], False, ("there is no server",)),
        ([SKIPPED], True, ()),
        ([], True, ("nothing was found right",)),
    ],
)
def test_a_scenario_of_a_server_counts_if_the_server_was_there_and_nothing_was_wrong(
    tmp_path: Path, checks: list[dict[str, Any]], is_up: bool, problems: tuple[str, ...]
) -> None:
    verdict = servers.judge("one", "2026-07-28", True, left(tmp_path, checks, ""), is_up=is_up)
    assert verdict.problems == problems
