"""The folder of manifests in the README: checked, applied, run and answered by the commands that it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.programs import ROOT, stategraph

STAND_IN = ("--services", "stand_in:services")
DINNER = '{"ingredients": ["leeks", "eggs"]}'


def test_the_folder_is_applied_and_its_workflow_is_run_and_answered(tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(ROOT / "examples" / "resources", app, ignore=shutil.ignore_patterns("__pycache__"))
    assert stategraph(app, "validate").stdout == "3 resources in 1 file: no problems.\n"
    applied = stategraph(app, "apply", "-f", ".", *STAND_IN)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert applied.stdout.splitlines()[-1] == "3 of 3 resources are ready."
    listed = stategraph(app, "get", "all", "-l", "app=kitchen").stdout.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["agent/chef", "True"], ["workflow/dinner", "True"]]
    asked = stategraph(app, "run", "workflow/dinner", *STAND_IN, "-q", "--thread", "1", "--input", DINNER)
    assert (asked.returncode, "Shall it be leek soup?" in asked.stdout) == (1, True), asked.stderr
    done = stategraph(app, "run", "workflow/dinner", *STAND_IN, "-q", "--thread", "1", "--resume", "gladly", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])["result"]
    assert (result["recipe"], result["verdict"]) == ("leek soup", "gladly")


def test_a_folder_is_run_without_a_store(tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(ROOT / "examples" / "resources", app, ignore=shutil.ignore_patterns("__pycache__"))
    done = stategraph(app, "run", "agent/chef", "-f", "kitchen.yaml", *STAND_IN, "-q", "--input", "leeks?")
    assert (done.returncode, "leek soup" in done.stdout) == (0, True), done.stderr
    assert not (app / ".stategraph").exists()
    text = (app / "kitchen.yaml").read_text(encoding="utf-8").replace("agent: chef", "agent: cheff")
    (app / "kitchen.yaml").write_text(text, encoding="utf-8")
    wrong = stategraph(app, "run", "workflow/dinner", "-f", "kitchen.yaml", *STAND_IN, "--input", DINNER)
    assert wrong.returncode == 2
    assert "workflow/default/dinner cannot be run: " in wrong.stderr
    assert "kitchen.yaml:28:7" in wrong.stderr and "cheff" in wrong.stderr
