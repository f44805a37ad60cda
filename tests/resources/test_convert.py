"""Manifests of others, in small samples of our own."""

from __future__ import annotations

import pytest
import yaml

from stategraph.resources.compile.workflows import plan as workflows
from stategraph.resources.convert import convert
from stategraph.resources.errors import ResourceError
from stategraph.resources.kinds.workflow import WorkflowSpec
from tests.resources.test_workflows import Callee

ARGO = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: diamond-}
spec:
  entrypoint: main
  arguments: {parameters: [{name: word, value: hi}]}
  templates:
    - name: main
      inputs: {parameters: [{name: word}]}
      dag:
        tasks:
          - {name: A, template: say, arguments: {parameters: [{name: text, value: "{{inputs.parameters.word}}!"}]}}
          - {name: B, depends: A, template: say, withItems: [x, y],
             arguments: {parameters: [{name: text, value: "{{item}}"}]}}
          - {name: C, dependencies: [A], template: say, when: "{{tasks.A.outputs.result}} == yes",
             arguments: {parameters: [{name: text, value: c}]}}
          - {name: D, depends: B, template: approve}
    - name: say
      inputs: {parameters: [{name: text}]}
      retryStrategy: {limit: "2", backoff: {duration: "1"}}
      container: {image: busybox, command: [echo, "{{inputs.parameters.text}}"]}
    - {name: approve, suspend: {}}
"""

STEPS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: groups}
spec:
  entrypoint: main
  templates:
    - name: main
      steps:
        - - {name: first, template: inner}
        - - {name: left, template: run}
          - {name: right, template: run}
        - - {name: last, template: run}
    - {name: inner, steps: [[{name: deep, template: run}]]}
    - {name: run, script: {image: x, source: y}}
"""

KAGENT = """
- apiVersion: kagent.dev/v1alpha3
  kind: Agent
  metadata: {name: helper, namespace: kagent}
  spec:
    description: Helps.
    type: Declarative
    declarative:
      modelConfig: default-model
      systemMessage: Be kind.
      tools:
        - {type: McpServer, mcpServer: {name: grafana, kind: RemoteMCPServer, toolNames: [search, list]}}
        - {type: Agent, agent: {name: other}}
- apiVersion: kagent.dev/v1alpha3
  kind: ModelConfig
  metadata: {name: default-model}
  spec: {provider: OpenAI, model: gpt, apiKeySecret: keys, apiKeySecretKey: OPENAI, openAI: {temperature: "0.2"}}
- apiVersion: kagent.dev/v1alpha3
  kind: RemoteMCPServer
  metadata: {name: grafana}
  spec: {url: "http://grafana/mcp", protocol: STREAMABLE_HTTP, timeout: 30s}
"""

CREWAI = """
schema: crewai.flow/v1
name: ReviewFlow
state: {type: json_schema, json_schema: {type: object, properties: {topic: {type: string}}, required: [topic]}}
methods:
  short:
    start: true
    do: {call: expression, expr: "state.topic + '?'"}
  write:
    listen: short
    do:
      call: agent
      with: {role: Writer, goal: Write, backstory: Wrote, llm: openai/gpt, input: "About ${outputs.short}"}
  route:
    listen: write
    router: true
    emit: [good, bad]
    do: {call: expression, expr: "outputs.write.raw == 'fine' ? 'good' : 'bad'"}
  publish:
    listen: good
    do: {call: tool, ref: publisher, with: {text: "${outputs.write.raw}"}}
"""


def converted(text):
    read = yaml.safe_load(text)
    return convert(read if isinstance(read, list) else [read])


def edges(resource):
    spec = WorkflowSpec.model_validate(resource.spec)

    def lookup(kind, ref, path, *, several=False):
        return Callee(lambda given: given)

    drawn = workflows.plan("x", spec, lookup, lambda path, field: None).graph().get_graph()
    return {(each.source, each.target) for each in drawn.edges}


def test_a_dag_has_the_edges_of_its_tasks():
    (conversion,) = converted(ARGO)
    assert conversion.refused == []
    by_kind = {(each.kind, each.name): each for each in conversion.resources}
    workflow = by_kind["Workflow", "diamond"]
    assert edges(workflow) == {
        ("__start__", "A"),
        ("A", "B"),
        ("A", "C"),
        ("A", "__end__"),
        ("B", "D"),
        ("C", "__end__"),
        ("D", "__end__"),
    }
    steps = {each["id"]: each for each in workflow.spec["steps"]}
    assert steps["A"]["input"] == {"text": '${{ input["word"] }}!'}
    assert steps["A"]["retry"] == {"max": 3, "backoff": 1}
    assert steps["B"]["each"] == ["x", "y"]
    assert steps["C_when"]["switch"][0]["when"] == "string(steps[\"A\"]) == string('yes')"
    assert workflow.spec["inputs"] == {"word": {"default": "hi"}}
    assert by_kind["Tool", "say"].spec["id"] == "say"


def test_groups_of_steps_wait_for_each_other():
    (conversion,) = converted(STEPS)
    workflow = next(each for each in conversion.resources if each.name == "groups")
    assert edges(workflow) == {
        ("__start__", "first"),
        ("first", "left"),
        ("first", "right"),
        ("left", "last"),
        ("right", "last"),
        ("last", "__end__"),
    }
    assert [each.name for each in conversion.resources if each.kind == "Workflow"] == ["groups", "groups-inner"]


@pytest.mark.parametrize(
    ("change", "construct"),
    [
        (("retryStrategy", "outputs: {artifacts: [{name: x, globalName: y}]}\n      retryStrategy"), "globalName"),
        (("entrypoint: main", "entrypoint: main\n  onExit: say"), "onExit"),
        (("depends: A,", 'depends: "A || D",'), "depends"),
        (('limit: "2"', 'limit: "2", expression: "x"'), "retryStrategy"),
        (("suspend: {}", 'suspend: {duration: "20"}'), "suspend"),
        (("withItems: [x, y]", 'withParam: "{{=1}}"'), "expression"),
        (("template: approve", "templateRef: {name: x}"), "templateRef"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_a_reason(change, construct):
    changed = ARGO.replace(*change)
    assert changed != ARGO
    (conversion,) = converted(changed)
    assert construct in [each.construct for each in conversion.refused]
    assert all(each.reason and each.place for each in conversion.refused)
    assert conversion.resources == []


def test_resources_of_kagent():
    agent, model, server = converted(KAGENT)
    made = {each.kind + "/" + each.name: each.spec for each in agent.resources}
    assert made["Agent/helper"] == {
        "description": "Helps.",
        "instructions": "Be kind.",
        "modelRef": "default-model",
        "tools": [
            {"name": "search", "ref": "grafana-search"},
            {"name": "list", "ref": "grafana-list"},
            {"ref": "agents/other"},
        ],
    }
    assert made["Tool/grafana-list"] == {"mcp": {"serverRef": "grafana", "tool": "list"}}
    assert model.resources[0].spec == {
        "provider": "openai",
        "name": "gpt",
        "secretRef": {"name": "keys", "key": "OPENAI"},
        "parameters": {"temperature": 0.2},
    }
    assert server.resources[0].spec == {"url": "http://grafana/mcp", "callTimeout": "30s"}


def test_a_flow_of_crewai():
    (conversion,) = converted(CREWAI)
    assert conversion.refused == []
    workflow = next(each for each in conversion.resources if each.kind == "Workflow")
    assert edges(workflow) == {
        ("__start__", "short"),
        ("short", "write"),
        ("write", "route"),
        ("route", "publish"),
        ("route", "__end__"),
        ("publish", "__end__"),
    }
    steps = {each["id"]: each for each in workflow.spec["steps"]}
    assert steps["short"]["set"] == {"short": "${{ input.topic + '?' }}"}
    assert steps["write"]["input"] == {"text": "About ${{ state.short }}"}
    assert steps["publish"]["input"] == {"text": '${{ steps["write"].text }}'}


def test_a_document_of_nobody_is_told():
    with pytest.raises(ResourceError, match="of no known format: 'v1'"):
        convert([{"apiVersion": "v1", "kind": "Pod"}])
    with pytest.raises(ResourceError, match="There is no format 'helm'"):
        convert([], "helm")
