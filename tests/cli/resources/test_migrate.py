"""Manifests of earlier versions migrated by a process whose screen and files are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stategraph.resources.loading import ManifestError, load_text
from stategraph.resources.manifests.migrate import migrated
from tests.cli.programs import stategraph
from tests.resources import seed

OLD = """\
# my agent
apiVersion: mastra.ai/v1alpha1   # from before
kind: Agent
metadata: {name: chef, namespace: kitchen}
spec:
  instructions: Cook.
  tools:
    - refName: kitchen.finder  # finds
status:
  phase: Running

# a model
---
apiVersion: "mastra.ai/v1"
kind: LLM
metadata: {name: default}
spec: {provider: openai, name: gpt-5}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: dinner}
spec:
  steps:
    - id: ask
      agent:
        name: chef
        namespace: kitchen
"""

NEW = """\
# my agent
apiVersion: stategraph.dev/v1   # from before
kind: Agent
metadata: {name: chef, namespace: kitchen}
spec:
  allowedNamespaces: ["*"]
  instructions: Cook.
  tools:
    - ref: kitchen/finder  # finds

# a model
---
apiVersion: "stategraph.dev/v1"
kind: Model
metadata: {name: default}
spec: {allowedNamespaces: ["*"], provider: openai, name: gpt-5}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: dinner}
spec:
  steps:
    - id: ask
      agent: kitchen/chef
"""

REPORT = """\
app.yaml:2:1: apiVersion: mastra.ai/v1alpha1 -> stategraph.dev/v1
app.yaml:5:1: spec: allowedNamespaces: ["*"] is added: in mastra.ai/v1alpha1 a namespace was no border
app.yaml:9:1: status: removed: the runtime writes it
app.yaml:8:7: spec.tools[0].refName: kitchen.finder -> ref: kitchen/finder
app.yaml:14:1: apiVersion: mastra.ai/v1 -> stategraph.dev/v1
app.yaml:15:1: kind: LLM -> Model
app.yaml:17:1: spec: allowedNamespaces: ["*"] is added: in mastra.ai/v1 a namespace was no border
app.yaml:25:7: spec.steps[0].agent: {"name": "chef", "namespace": "kitchen"} -> kitchen/chef
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.yaml").write_text(OLD, encoding="utf-8")
    return tmp_path


def test_a_dry_run_shows_the_difference_and_changes_nothing(folder: Path) -> None:
    done = stategraph(folder, "migrate", "--dry-run", "app.yaml")
    assert (done.returncode, done.stderr) == (1, "")
    difference, _, report = done.stdout.partition("\n\n")
    assert difference.startswith(
        "--- app.yaml\n+++ app.yaml\n@@ -1,3 +1,3 @@\n # my agent\n-apiVersion: mastra.ai/v1alpha1"
    )
    assert report == f"{REPORT}\n1 file: 1 would change, 8 changes.\n"
    assert (folder / "app.yaml").read_text(encoding="utf-8") == OLD


def test_files_are_changed_in_their_place_and_what_was_there_is_kept(folder: Path) -> None:
    (folder / "app.yaml").chmod(0o600)
    done = stategraph(folder, "migrate")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{REPORT}\n1 file: 1 changed, 8 changes.\nWhat was there before: app.yaml.bak\n"
    assert (folder / "app.yaml").read_text(encoding="utf-8") == NEW
    assert (folder / "app.yaml.bak").read_text(encoding="utf-8") == OLD
    assert (folder / "app.yaml").stat().st_mode & 0o777 == (folder / "app.yaml.bak").stat().st_mode & 0o777 == 0o600
    again = stategraph(folder, "migrate")
    assert (again.returncode, again.stdout) == (0, "1 file: 0 changed, 0 changes.\n")
    (folder / "app.yaml").write_text(OLD, encoding="utf-8")
    assert stategraph(folder, "migrate").stdout.endswith("What was there before: app.yaml.bak.1\n")


def test_another_folder_gets_all_files_and_keeps_the_way_to_them(folder: Path) -> None:
    (folder / "deep").mkdir()
    shutil.move(folder / "app.yaml", folder / "deep" / "app.yaml")
    done = stategraph(folder, "migrate", ".", "-o", "new", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["written"], told["files"][0]["changed"]) == (["new/deep/app.yaml"], True)
    assert told["files"][0]["changes"][1]["place"] == "deep/app.yaml:5:1"
    assert (folder / "new" / "deep" / "app.yaml").read_text(encoding="utf-8") == NEW
    assert (folder / "deep" / "app.yaml").read_text(encoding="utf-8") == OLD
    again = stategraph(folder, "migrate", "deep", "-o", "new/deep")
    assert (again.returncode, again.stderr.count("is there already")) == (2, 1)


def test_what_cannot_be_carried_over_is_told_and_stays(tmp_path: Path) -> None:
    text = (
        "apiVersion: mastra.ai/v1\nkind: Agent\nmetadata: {name: a}\nspec:\n  instructions: x\n  voice: loud\n---\n"
        "apiVersion: mastra.ai/v1\nkind: Storage\nmetadata: {name: s}\n---\n"
        "apiVersion: kagent.dev/v1alpha3\nkind: Agent\nmetadata: {name: k}\n"
    )
    done = stategraph(tmp_path, "migrate", "-", given=text)
    assert done.returncode == 1
    assert done.stdout == text.replace("mastra.ai/v1\nkind: Agent", "stategraph.dev/v1\nkind: Agent").replace(
        "spec:\n", 'spec:\n  allowedNamespaces: ["*"]\n'
    )
    told = done.stderr.partition("Not carried over:\n")[2].splitlines()
    assert told[0].startswith("-:6:3: spec.voice: unknown field 'voice'")
    assert told[1].startswith("-:9:1: kind: there is no kind 'Storage': it is left as it is")
    assert told[2] == (
        "-:12:1: apiVersion: 'kagent.dev/v1alpha3' is left as it is: 'stategraph convert kagent' reads it"
    )
    assert told[-1] == "1 file: 1 changed, 2 changes; 3 things not carried over."


def test_a_file_that_cannot_be_read_stops_no_other(folder: Path) -> None:
    (folder / "bad.yaml").write_text("a: [\n", encoding="utf-8")
    done = stategraph(folder, "migrate", "--no-backup")
    assert done.returncode == 2
    assert done.stderr.startswith("stategraph: bad.yaml:2:1: this is no YAML")
    assert (folder / "app.yaml").read_text(encoding="utf-8") == NEW
    assert not (folder / "app.yaml.bak").exists()


def test_the_manifests_that_the_kinds_were_made_for_say_the_same_afterwards(tmp_path: Path) -> None:
    for each in seed.FOLDER.glob("*.yaml"):
        text = each.read_text(encoding="utf-8")
        done = migrated(text, each.name)
        assert done.left == ()
        assert "mastra.ai/" not in done.text
        assert [(one.key, one.spec.keys()) for one in load_text(done.text)] == [
            (one.key, one.spec.keys()) for one in load_text(text)
        ]
        assert migrated(done.text, each.name).changes == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("spec: {}\n", 'spec: {allowedNamespaces: ["*"]}\n'),
        ("spec:\n", 'spec: {allowedNamespaces: ["*"]}\n'),
        ("spec: {allowedNamespaces: [a]}\n", "spec: {allowedNamespaces: [a]}\n"),
        ("spec: &x\n  instructions: y\n", 'spec: &x\n  allowedNamespaces: ["*"]\n  instructions: y\n'),
        ("", 'spec: {allowedNamespaces: ["*"]}\n'),
        ("status: {}\nspec: {instructions: y}\n", 'spec: {allowedNamespaces: ["*"], instructions: y}\n'),
    ],
)
def test_every_form_of_a_spec_says_that_all_namespaces_may_use_it(old: str, new: str) -> None:
    head = "kind: Agent\nmetadata: {name: a}\n"
    done = migrated(f"apiVersion: mastra.ai/v1\n{head}{old}").text
    (before,), (after,) = load_text(f"apiVersion: mastra.ai/v1\n{head}{old}"), load_text(done)
    assert before.spec == after.spec
    if old:
        assert done == f"apiVersion: stategraph.dev/v1\n{head}{new}"


def test_json_stays_json() -> None:
    old = {"apiVersion": "mastra.ai/v1", "kind": "Agent", "metadata": {"name": "a"}}
    old["spec"] = {"instructions": "no", "tools": [{"refName": "x.y"}]}
    text = json.dumps(old, indent=4)
    new = migrated(text, "a.json").text
    told = json.loads(new)
    assert told["spec"] == {"allowedNamespaces": ["*"], "instructions": "no", "tools": [{"ref": "x/y"}]}
    assert '\n    "kind": "Agent"' in new


def test_kinds_of_ones_own_keep_their_group(tmp_path: Path) -> None:
    crd = (
        "apiVersion: mastra.ai/v1alpha1\nkind: CustomResourceDefinition\nmetadata: {name: boxes.mastra.ai}\n"
        "spec: {group: mastra.ai, names: {kind: Box, plural: boxes}, scope: Namespaced}\n"
    )
    box = "apiVersion: mastra.ai/v1\nkind: Box\nmetadata: {name: b}\nspec: {}\n"
    (tmp_path / "crd.yaml").write_text(crd, encoding="utf-8")
    (tmp_path / "box.yaml").write_text(box, encoding="utf-8")
    done = stategraph(tmp_path, "migrate")
    assert (done.returncode, done.stdout.splitlines()[-2]) == (0, "2 files: 1 changed, 1 change.")
    assert (tmp_path / "box.yaml").read_text(encoding="utf-8") == box
    with pytest.raises(ManifestError, match="no YAML"):
        migrated(": [")
