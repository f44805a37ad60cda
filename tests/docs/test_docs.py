"""The documents are true: what they show runs, what they name exists."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from stategraph.run.config import RunConfig
from stategraph.run.events.event_types import FRONT_END_EVENTS, GraphEvents
from stategraph.run.events.execution_graph import ExecutionGraph
from stategraph.run.run import Run

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN_API = (ROOT / "docs" / "run-api.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = sorted(file.parent.name for file in (ROOT / "stategraph").glob("*/__init__.py"))


def test_the_first_program_in_the_readme_is_short() -> None:
    program, *_ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 15


#: Names that hosts may register handlers for and that no run emits; an event that is added is not among them.
NEVER_EMITTED = {
    GraphEvents.LLM_START,
    GraphEvents.LLM_STREAM,
    GraphEvents.LLM_END,
    GraphEvents.CHAIN_START,
    GraphEvents.CHAIN_STREAM,
    GraphEvents.CHAIN_END,
    GraphEvents.RETRIEVER_START,
    GraphEvents.RETRIEVER_END,
    GraphEvents.PROMPT_START,
    GraphEvents.PROMPT_END,
}


def test_the_run_api_names_every_event_and_whether_browsers_are_sent_it() -> None:
    rows = re.findall(r"^\| (`on_.*?) \|.*\| (yes|no) \|$", RUN_API, re.MULTILINE)
    told: dict[str, bool] = {}
    for names, browser in rows:
        first, *others = re.findall(r"`(\w+)`", names)
        stem = first.removesuffix("_start")
        told |= dict.fromkeys([first, *(stem + name if name[0] == "_" else name for name in others)], browser == "yes")
    assert {name for name, shown in told.items() if shown} == {str(event) for event in FRONT_END_EVENTS}
    never = re.search(r"Other names of `GraphEvents` \((.*?)\)", RUN_API, re.DOTALL)
    assert never is not None
    stems = [name.rstrip("*") for name in re.findall(r"`(\S+?)`", never[1])]
    assert {event for event in GraphEvents if str(event).startswith(tuple(stems))} == NEVER_EMITTED
    assert set(told) == {str(event) for event in GraphEvents} - NEVER_EMITTED


def test_what_the_run_api_leaves_out_is_not_there() -> None:
    left_out = re.search(r"\nLeft out, (.*?)\n\n", RUN_API, re.DOTALL)
    assert left_out is not None
    names = {
        re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name) for name in re.findall(r"`(\w+)`", left_out[1])
    }
    assert not names & {*dir(Run), *dir(ExecutionGraph), *RunConfig.model_fields} - {"resume", "process_stream"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:docs|tests|examples|stategraph|compat|scripts)/[\w/.-]*)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"make ([\w-]+)", " ".join(re.findall(r"`[^`\n]+`", page.read_text(encoding="utf-8")))))
    assert {name for name in named if f"\n{name}:" not in MAKEFILE} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_architecture_has_a_paragraph_on_every_package(package: str) -> None:
    assert f"`{package}`" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_readme_names_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    _, table = README.split("| extra | for |\n")
    rows = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines()]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(project["optional-dependencies"])


def test_every_target_of_the_makefile_is_in_its_help() -> None:
    done = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, check=True)
    for target in ("demo", "test", "check", "golden", "conformance", "bench", "interop"):
        assert f"make {target} " in done.stdout


@pytest.mark.parametrize("file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda file: file.name)
def test_requirements_are_pinned_by_hash_and_name_no_address(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert pins
    assert [pin for pin in pins if not re.match(r"[\w.\[\],-]+==\S+ .*\\$", pin)] == []
    assert text.count("--hash=sha256:") >= len(pins)
