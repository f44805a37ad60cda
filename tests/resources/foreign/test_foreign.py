"""The comparison of foreign documents with what they became: own samples in a folder, and one that has to fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from stategraph.resources.convert import convert
from tests.resources.foreign import __main__ as foreign
from tests.resources.test_convert import ARGO, CREWAI, KAGENT, STEPS

FEATURES = """
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: shared}
spec:
  templates:
    - {name: say, inputs: {parameters: [{name: text}]}, container: {image: x}}
    - name: twice
      inputs: {parameters: [{name: text, value: hi}]}
      steps:
        - - {name: one, template: say, arguments: {parameters: [{name: text, value: "{{inputs.parameters.text}}"}]}}
        - - {name: two, template: say, arguments: {parameters: [{name: text, value: "2"}]}}
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: features}
spec:
  entrypoint: main
  templateDefaults: {timeout: 30s}
  templates:
    - name: main
      steps:
        - - {name: make, template: make}
          - {name: loop, template: say, withItems: [a, b], arguments: {parameters: [{name: text, value: "{{item}}"}]}}
        - - {name: heads, template: say,
             when: "{{steps.make.outputs.parameters.side}} == heads && !({{steps.make.outputs.result}} =~ x)",
             arguments: {parameters: [{name: text, value: "{{steps.loop.outputs.result}}"}]}}
          - {name: tails, templateRef: {name: shared, template: twice},
             when: "{{steps.make.outputs.parameters.side}} != heads"}
        - - name: read
            template: read
            arguments: {artifacts: [{name: file, from: "{{steps.make.outputs.artifacts.paper}}"}]}
        - - name: last
            inline: {inputs: {artifacts: [{name: raw, path: /x, raw: {data: words}}]}, container: {image: x}}
    - name: make
      script: {image: x, source: y}
      outputs:
        parameters: [{name: side, valueFrom: {path: /side}}]
        artifacts: [{name: paper, path: /paper}]
    - {name: say, inputs: {parameters: [{name: text}]}, container: {image: x}}
    - name: read
      inputs: {artifacts: [{name: file, path: /in}, {name: far, http: {url: "https://a.example"}}]}
      container: {image: x}
---
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: nightly}
spec:
  schedules: ["0 3 * * *", "@daily"]
  timezone: Europe/Berlin
  workflowSpec:
    entrypoint: main
    templates:
      - name: main
        dag:
          target: C
          tasks:
            - {name: A, template: run}
            - {name: B, template: run}
            - {name: C, template: run, depends: A}
      - {name: run, container: {image: x}}
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: of-template}
spec: {entrypoint: twice, workflowTemplateRef: {name: shared}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "argo.yaml").write_text("---".join((ARGO, STEPS, FEATURES)))
    (tmp_path / "kagent.md").write_text("Text\n\n```yaml\n" + yaml.safe_dump_all(yaml.safe_load(KAGENT)) + "```\n")
    (tmp_path / "flow.py").write_text(f'FLOW = """{CREWAI}"""\nAGAIN = """{CREWAI}"""\n')
    (tmp_path / "chart.yaml").write_text("apiVersion: kagent.dev/v1\nname: {{ .Values.name }}\n")
    return tmp_path


def test_documents_of_a_folder_have_the_same_topology(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["foreign", str(folder)])
    assert foreign.main() == 0
    shown = capsys.readouterr().out
    assert "| argo | 6 | 6 | 0 |" in shown
    assert "| argo, with steps or dag | 5 | 5 |" in shown
    assert "| kagent | 3 | 3 | 0 |" in shown
    assert "| crewai | 1 | 1 | 0 |" in shown


def test_an_edge_that_is_missing_or_too_many_is_told(folder, capsys, monkeypatch):
    def changed(documents, format=None, *, among=()):
        (conversion,) = convert(documents, format, among=among)
        for number, each in enumerate(conversion.resources):
            if each.kind == "Workflow" and each.name == "groups":
                other = {"left": {"next": "last"}, "right": {"next": "END"}, "last": {"after": []}}
                steps = [{**step, **other.get(step["id"], {})} for step in each.spec["steps"]]
                conversion.resources[number] = replace(each, spec={**each.spec, "steps": steps})
        return [conversion]

    monkeypatch.setattr(foreign, "convert", changed)
    monkeypatch.setattr("sys.argv", ["foreign", str(folder)])
    assert foreign.main() == 1
    shown = capsys.readouterr().out
    assert "groups: missing right -> last" in shown
    assert "groups: too many right -> __end__" in shown


def test_a_folder_without_documents_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["foreign", str(tmp_path)])
    assert foreign.main() == 1
    assert "There are no documents" in capsys.readouterr().out


def converted(name):
    documents = list(yaml.safe_load_all(FEATURES))
    found = convert(documents)
    return next(each for each in found if each.name.endswith(name))


def test_files_and_parameters_are_fields_of_results():
    conversion = converted("features")
    assert conversion.refused == []
    by_name = {(each.kind, each.name): each.spec for each in conversion.resources}
    steps = {each["id"]: each for each in by_name["Workflow", "features"]["steps"]}
    assert steps["read"]["input"] == {
        "file": '${{ steps["make"]["paper"] }}',
        "far": {"http": {"url": "https://a.example"}},
    }
    assert steps["last"]["input"] == {"raw": "words"}
    assert steps["heads"]["input"] == {"text": '${{ state["loop"] }}'}
    assert steps["loop"]["output"] == {"loop": "${{ result }}"}
    assert steps["heads_when"]["switch"][0]["when"] == (
        '(string(steps["make"]["side"]) == string(\'heads\') && !(string(steps["make"]["result"]).matches(\'x\')))'
    )
    assert steps["read"]["after"] == ["heads_end", "tails_end"]
    assert steps["tails"]["workflow"] == "features-shared-twice"
    assert steps["make"]["timeout"] == "30s"
    assert ("Tool", "shared-say") in by_name
    assert any("returns a mapping with result, side, paper" in each for each in conversion.notes)


def test_a_schedule_and_its_workflow():
    conversion = converted("nightly")
    by_name = {(each.kind, each.name): each.spec for each in conversion.resources}
    expected = {"cron": "0 3 * * *", "ref": "workflow/nightly", "timezone": "Europe/Berlin"}
    assert by_name["Schedule", "nightly"] == expected
    assert by_name["Schedule", "nightly-2"]["cron"] == "@daily"
    assert [each["id"] for each in by_name["Workflow", "nightly"]["steps"]] == ["A", "C"]


@pytest.mark.parametrize("change", [("name: shared}\nspec", "name: other}\nspec")])
def test_a_template_that_is_not_given_is_refused(change):
    found = {each.name: each for each in convert(list(yaml.safe_load_all(FEATURES.replace(*change, 1))))}
    assert [each.construct for each in found["Workflow features"].refused] == ["templateRef"]
    assert "workflowTemplateRef" in [each.construct for each in found["Workflow of-template"].refused]
