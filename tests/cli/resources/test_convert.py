"""Manifests of others converted by a process whose screen and files are read."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.programs import stategraph

DIAMOND = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: diamond}
spec:
  entrypoint: main
  templates:
    - name: main
      dag:
        tasks:
          - {name: A, template: say}
          - {name: B, depends: A, template: say}
    - {name: say, container: {image: busybox}}
"""

LOCKED = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: locked}
spec:
  entrypoint: main
  synchronization:
    mutex: {name: x}
  templates:
    - name: main
      steps:
        - - {name: a, template: say}
    - name: say
      container: {image: busybox}
      outputs: {artifacts: [{name: f, path: /tmp/f, globalName: g}]}
"""

SERVER = """\
apiVersion: kagent.dev/v1alpha3
kind: RemoteMCPServer
metadata: {name: grafana, namespace: watch}
spec: {url: "http://grafana/mcp"}
---
apiVersion: kagent.dev/v1alpha3
kind: Agent
metadata: {name: helper, namespace: watch}
spec:
  declarative:
    systemMessage: Be kind.
    tools: [{type: McpServer, mcpServer: {name: grafana, toolNames: [search]}}]
"""

FLOW = """\
schema: crewai.flow/v1
name: Review
methods:
  short: {start: true, do: {call: expression, expr: "'hi'"}}
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_what_can_be_converted_is_written_and_the_rest_is_refused_with_its_places(tmp_path: Path) -> None:
    write(tmp_path, diamond=DIAMOND, locked=f"{LOCKED}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n")
    done = stategraph(tmp_path, "convert", "argo", "diamond.yaml", "locked.yaml", "-o", "out")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "DOCUMENT        NAME              RESULT       RESOURCES\n"
        "diamond.yaml:1  Workflow diamond  converted    tool/say, workflow/diamond\n"
        "locked.yaml:1   Workflow locked   refused (2)  -\n"
        "locked.yaml:16  ConfigMap c       skipped      -\n"
        "\n"
        "locked.yaml:6:3: spec.synchronization: synchronization: locks between workflows have no counterpart\n"
        "locked.yaml:14:7: spec.templates[1].outputs: globalName: outputs of the whole workflow\n"
        "\n"
        "diamond.yaml:1: register a tool under the id 'say': it was a container\n"
        "locked.yaml:16: it is of no format that is known (v1)\n"
        "\n"
        "3 documents: 1 converted, 1 refused, 1 skipped.\n"
        "Written: out/diamond.yaml\n"
    )
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["diamond.yaml"]
    text = (tmp_path / "out" / "diamond.yaml").read_text(encoding="utf-8")
    assert text.startswith("# Converted from argo: diamond.yaml:1, Workflow diamond\n# register a tool under the id ")
    checked = stategraph(tmp_path, "validate", "out")
    assert (checked.returncode, checked.stdout) == (0, "2 resources in 1 file: no problems.\n")
    again = stategraph(tmp_path, "convert", "argo", "diamond.yaml", "-o", "out")
    assert again.returncode == 2
    assert again.stderr == (
        "stategraph: 'out/diamond.yaml' is there already: name another place with --out, or write over it with "
        "--force\n"
    )


def test_resources_on_standard_output_can_be_applied_from_there(tmp_path: Path) -> None:
    done = stategraph(tmp_path, "convert", "kagent", "-", given=SERVER)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("2 documents: 2 converted.\n")
    checked = stategraph(tmp_path, "validate", "-", given=done.stdout)
    assert (checked.returncode, checked.stdout) == (0, "3 resources in 1 file: no problems.\n")
    assert stategraph(tmp_path, "diff", "-f", "-", given=done.stdout, STATEGRAPH_STORE="memory:").returncode in (0, 1)


def test_a_flow_is_told_as_json(tmp_path: Path) -> None:
    write(tmp_path, flow=FLOW)
    done = stategraph(tmp_path, "convert", "crewai", "flow.yaml", "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["documents"]
    assert (told["place"], told["result"], told["refused"]) == ("flow.yaml:1", "converted", [])
    assert [each["kind"] for each in told["resources"]] == ["Workflow"]


def test_resources_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    other = DIAMOND.replace("name: diamond", "name: other").replace(
        ", container: {image: busybox}", ", script: {image: b}"
    )
    write(tmp_path, a=DIAMOND, b=other)
    one = stategraph(tmp_path, "convert", "argo", "a.yaml", "b.yaml", "-o", "all.yaml")
    assert one.returncode == 1
    assert "b.yaml:1: name: tool/default/say is what a.yaml:1 becomes, with another spec; rename one of" in one.stdout
    several = stategraph(tmp_path, "convert", "argo", ".", "-o", "out")
    assert several.returncode == 0, several.stdout
    assert "apply them to namespaces of their own (apply -n NAME)" in several.stdout
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["a.yaml", "b.yaml"]


def test_what_is_no_document_of_the_format_is_told(tmp_path: Path) -> None:
    broken = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: x}\nspec: {templates: [3]}\n"
    write(tmp_path, broken=broken, no=": [")
    done = stategraph(tmp_path, "convert", "argo", "broken.yaml")
    assert done.returncode == 2
    assert "broken.yaml:4:1: spec: form: its fields are not of the form that argo has" in done.stderr
    no = stategraph(tmp_path, "convert", "argo", "no.yaml")
    assert no.returncode == 2
    assert no.stderr.startswith("stategraph: no.yaml:1:")
    assert stategraph(tmp_path, "convert", "argo", "nothing.yaml").stderr == (
        "stategraph: There is no file 'nothing.yaml'\n"
    )
    assert "invalid choice: 'kagnet', did you mean 'kagent'?" in stategraph(tmp_path, "convert", "kagnet", "x").stderr
    wrong = stategraph(tmp_path, "convert", "kagent", "-", given=DIAMOND)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "it is of argo: 'stategraph convert argo'" in wrong.stderr


SHARED = """\
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: shared}
spec:
  templates:
    - name: pair
      dag:
        tasks:
          - {name: first, template: say}
          - {name: second, depends: first, template: say}
    - {name: say, container: {image: %s}}
"""

USING = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: using}
spec:
  entrypoint: main
  templates:
    - name: main
      dag:
        tasks: [{name: A, templateRef: {name: shared, template: pair}}]
"""


def test_templates_of_other_files_are_found_and_those_of_the_same_file_first(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", a=USING, b=SHARED % "busybox")
    alone = stategraph(tmp_path, "convert", "argo", "in/a.yaml")
    assert alone.returncode == 2 and "templateRef" in alone.stderr, alone.stderr
    done = stategraph(tmp_path, "convert", "argo", "in/a.yaml", "in/b.yaml", "--json")
    first, *_ = json.loads(done.stdout)["documents"]
    assert first["result"] == "converted", first
    text = json.dumps(first["resources"])
    assert "first" in text and "second" in text

    def becomes(**files: str) -> str:
        write(tmp_path / "in", **files)
        found = stategraph(tmp_path, "convert", "argo", "in", "--json")
        (using,) = [each for each in json.loads(found.stdout)["documents"] if each["name"] == "Workflow using"]
        return json.dumps([using["resources"], using["notes"]])

    own = (SHARED % "busybox").replace("second", "other")
    for files in (
        {"a": f"{USING}---\n{own}", "b": SHARED % "busybox"},
        {"a": SHARED % "busybox", "b": f"{USING}---\n{own}"},
    ):
        told = becomes(**files)
        assert "other" in told and "second" not in told, told
