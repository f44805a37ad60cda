"""What is released says the truth about itself: extras, versions, licences, the workflow that publishes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import stategraph
from scripts import smoke
from stategraph.dropin import METADATA_VERSION

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
VENDORED = [file for folder in ROOT.glob("stategraph/**/vendor") for file in folder.rglob("*") if file.is_file()]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[\w.-]+", line) for line in requirements)
    return {match[0].lower() for match in found if match}


def test_the_empty_environment_has_what_the_core_depends_on() -> None:
    lines = [line for line in read("requirements/core.in").splitlines() if line[:1] not in ("#", "-")]
    assert names(lines) == names(PROJECT["dependencies"])


def test_each_extra_is_known_to_the_smoke_test() -> None:
    without_imports = {"prebuilt", "sqlite"}
    assert set(smoke.EXTRAS) | without_imports == set(PROJECT["optional-dependencies"])


def test_an_error_about_a_missing_package_names_an_extra_that_there_is() -> None:
    named = set()
    for file in (ROOT / "stategraph").rglob("*.py"):
        named |= set(re.findall(r"stategraph\[([a-z]+)\]", file.read_text(encoding="utf-8")))
    assert named - {"extra"} <= set(PROJECT["optional-dependencies"])
    assert set(smoke.EXTRAS) <= named


def test_the_changelog_has_the_version_and_the_langgraph_that_it_behaves_like() -> None:
    _, section = read("CHANGELOG.md").split(f"\n## {stategraph.__version__} (", 1)
    assert METADATA_VERSION.partition("+")[0] in section.partition("\n## ")[0]


def test_the_table_of_versions_is_that_of_the_package() -> None:
    line = ".".join(stategraph.__version__.split(".")[:2])
    row = next(row for row in read("docs/versioning.md").splitlines() if row.startswith(f"| {line} |"))
    _, langgraph, checkpoint, core, pythons = (cell.strip() for cell in row.strip("|").split("|"))
    pins = {re.split(r"[><=]", each)[0]: re.findall(r"[\d.]+", each) for each in PROJECT["dependencies"]}
    assert langgraph == METADATA_VERSION.partition("+")[0]
    assert re.findall(r"[\d.]+\d|\d", checkpoint) == pins["langgraph-checkpoint"]
    assert re.findall(r"[\d.]+\d|\d", core) == pins["langchain-core"]
    classified = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert pythons.split(", ") == classified


def test_every_package_is_in_the_map_for_contributors() -> None:
    packages = {file.parent.name for file in (ROOT / "stategraph").glob("*/__init__.py")}
    text = read("CONTRIBUTING.md")
    assert {name for name in packages if f"`stategraph/{name}`" not in text} == set()


@pytest.mark.parametrize("file", VENDORED, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_that_others_wrote_is_in_the_table_of_licences(file: Path) -> None:
    folder = file.relative_to(ROOT / "stategraph").as_posix()
    table = read("docs/licences.md").partition("## What is installed with it")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert any(f"stategraph/{folder}".startswith(row) for row in rows), f"name stategraph/{folder} in docs/licences.md"


def test_every_row_of_the_table_of_licences_is_shipped() -> None:
    table = read("docs/licences.md").partition("## What is installed with it")[0]
    assert [row for row in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) if not (ROOT / row).exists()] == []


def test_the_workflow_that_publishes_holds_no_secret_and_pins_what_it_uses() -> None:
    text = RELEASE.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert "secrets." not in text and "password" not in text
    uses = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert uses and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each) for each in uses)
    assert workflow["permissions"] == {}
    allowed = {name for name, job in workflow["jobs"].items() if job["permissions"].get("id-token") == "write"}
    assert allowed == {"publish"}, "the job that runs the build has no identity to give away"
    assert workflow["jobs"]["publish"]["environment"] == "release"


def test_every_target_that_the_workflow_makes_exists() -> None:
    made = re.findall(r"make ([\w-]+)", RELEASE.read_text(encoding="utf-8"))
    assert {"wheel", "release-env"} <= set(made)
    assert [name for name in made if f"\n{name}:" not in read("Makefile")] == []


def test_a_build_that_differs_is_refused(tmp_path: Path) -> None:
    for folder, content in (("one", b"x"), ("two", b"y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "stategraph.whl").write_bytes(content)
    code = f"""
from pathlib import Path
import wheel
wheel.same([Path({str(tmp_path)!r}, "one", "stategraph.whl")], [Path({str(tmp_path)!r}, "two", "stategraph.whl")], "it")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "scripts")
    assert "it differs in stategraph.whl" in done.stderr
