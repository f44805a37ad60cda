"""Planted faults: `validate` names file, line, column and field of each, and what was meant; the texts are golden."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import stategraph

FAULTS = Path(__file__).parent / "faults"
NAMES = sorted(each.stem for each in FAULTS.glob("*.yaml"))

#: Faults that nothing can be stored of: `apply` refuses the document.
UNREADABLE = {"no-name", "no-yaml", "unknown-kind", "wrong-version"}


def test_there_are_twelve_and_more() -> None:
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_validate_names_the_field_of_a_fault(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(FAULTS)
    monkeypatch.delenv("CHEF_MODEL_NAME", raising=False)
    assert main(["validate", f"{name}.yaml"]) == 2
    told = capsys.readouterr().out
    assert told == (FAULTS / f"{name}.txt").read_text(encoding="utf-8")
    assert re.match(rf"{name}\.yaml:\d+:\d+: ", told)


def test_a_folder_is_checked_by_a_process(tmp_path: Path) -> None:
    for name in ("wrong-type", "unknown-step"):
        text = (FAULTS / f"{name}.yaml").read_text(encoding="utf-8").replace("kitchen", name)
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    done = stategraph(tmp_path, "validate")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "5 resources in 2 files: 2 problems.")
    (tmp_path / "wrong-type.yaml").unlink()
    text = (tmp_path / "unknown-step.yaml").read_text(encoding="utf-8").replace("judgee", "judge")
    (tmp_path / "unknown-step.yaml").write_text(text, encoding="utf-8")
    done = stategraph(tmp_path, "validate")
    assert (done.returncode, done.stdout) == (0, "3 resources in 1 file: no problems.\n")
    assert not (tmp_path / ".stategraph").exists()


def test_variables_of_the_environment_count_unless_they_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(os.environ, "CHEF_MODEL_NAME", "gpt-5")
    assert main(["validate", str(FAULTS / "unset-variable.yaml")]) == 0
    assert main(["validate", "--no-env", str(FAULTS / "unset-variable.yaml")]) == 2
    assert "gpt-5" not in capsys.readouterr().out
