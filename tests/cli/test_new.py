"""`stategraph new`: what it makes runs, and passes its own tests, as a stranger would find it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import LIMIT_S, stategraph


def run_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests of a project in its folder."""
    without = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=without,
    )


@pytest.mark.parametrize(
    ("template", "words", "given", "shown"),
    [
        (
            "agent",
            ("chat", "my_desk.agent:settings"),
            "I want a refund for 1042\na\n",
            "89.00 EUR are on their way for order 1042",
        ),
        ("graph", ("run", "my_desk.graph", "-q", "--input", '{"question": "Where is it?"}'), "", "it is on its way."),
        ("backend", ("chat", "my_desk.agent:make_agent"), "Hello\n", "This is what an answer looks like."),
    ],
)
def test_a_new_project_passes_its_tests_and_runs(
    template: str, words: tuple[str, ...], given: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "My desk"
    assert main(["new", str(folder), "--template", template]) == 0
    said = capsys.readouterr().out
    assert "my_desk/__init__.py" in said
    command = f"stategraph {words[0]} {words[1]}" if template != "backend" else "python -m my_desk"
    assert f"  cd '{folder}'\n  {command}" in said
    assert ("stategraph dev my_desk.agent:settings\n" in said) == (template == "agent")
    assert said.endswith("\n  pip install -e '.[dev]'\n  python -m pytest\n")
    files = {str(file): file.read_text() for file in folder.rglob("*") if file.is_file()}
    words_left = [word for word in ("__package__", "__project__", "__version__", ".template") if word in str(files)]
    assert words_left == []
    assert "pip install -e '.[dev]'" in files[str(folder / "README.md")]
    project = tomllib.loads(files[str(folder / "pyproject.toml")])["project"]
    assert "pytest" in project["optional-dependencies"]["dev"]
    done = run_tests(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = stategraph(folder, *words, given=given, OPENAI_API_KEY="")
    assert ran.returncode == 0, ran.stderr
    assert shown in ran.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["full"], "has files already, such as 'a.txt'"),
        (["file"], "'file' is a file: name a folder"),
        (["json"], "A package 'json' would hide the module 'json'"),
        (["x", "--package", "no-name"], "'no-name' cannot be imported"),
        (["class"], "'class' cannot be imported"),
    ],
)
def test_nothing_is_written_over_and_names_can_be_imported(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["new", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
