"""Objects of an agent that scales in a cluster, what its pods run, and what the operator may do.

Nothing is sent: the operator applies the same documents. `docs/kubernetes.md` says how it is started.

Prints::

    ConfigMap stategraph-resources-0: agent.default.chef.json, model.default.default.json
    Deployment agent-chef: stategraph serve ... --resources /etc/stategraph/resources --resources-only
    HorizontalPodAutoscaler agent-chef: 1 to 4
    Service agent-chef: port 80
    a change of the model: a rollout
    a change of a schedule: no rollout
    the operator may: create, delete, list, patch deployments; no rule has a '*'
"""

from typing import Any

from stategraph.resources import Resource, load_text
from stategraph.resources.operator.access import rules
from stategraph.resources.operator.events import Subject
from stategraph.resources.operator.workloads import Owned, PodSettings, wanted

MANIFESTS = """\
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: chef}
spec: {instructions: Suggest a recipe., scaling: {minReplicas: 1, maxReplicas: 4}}
---
apiVersion: stategraph.dev/v1
kind: Model
metadata: {name: default}
spec: {provider: openai, name: gpt-5-mini}
---
apiVersion: stategraph.dev/v1
kind: Schedule
metadata: {name: daily}
spec: {cron: "0 9 * * *", ref: agent/chef}
"""


def objects(text: str) -> dict[str, dict[str, Any]]:
    """Return the objects of manifests, by their kinds."""
    resources = load_text(text)

    def owned(resource: Resource) -> Owned:
        return Owned(resource, Subject(resource.api_version, resource.kind, resource.namespace, resource.name, "a uid"))

    made = wanted([owned(each) for each in resources], resources, PodSettings("registry.example.com/app:1"))
    return {each["kind"]: each for each in made.values()}


def version(made: dict[str, dict[str, Any]]) -> str:
    found: str = made["Deployment"]["spec"]["template"]["metadata"]["annotations"]["stategraph.dev/manifests"]
    return found


def main() -> None:
    made = objects(MANIFESTS)
    manifests, deployment = made["ConfigMap"], made["Deployment"]
    print(f"ConfigMap {manifests['metadata']['name']}: {', '.join(manifests['data'])}")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    command = container["command"]
    print(f"Deployment {deployment['metadata']['name']}: {' '.join(command[:2])} ... {' '.join(command[6:])}")
    scaler, sizes = made["HorizontalPodAutoscaler"], made["HorizontalPodAutoscaler"]["spec"]
    print(f"{scaler['kind']} {scaler['metadata']['name']}: {sizes['minReplicas']} to {sizes['maxReplicas']}")
    service = made["Service"]
    print(f"Service {service['metadata']['name']}: port {service['spec']['ports'][0]['port']}")
    for what, old, new in (("the model", "gpt-5-mini", "gpt-5"), ("a schedule", "0 9", "0 10")):
        rolls = version(objects(MANIFESTS.replace(old, new))) != version(made)
        print(f"a change of {what}: {'a rollout' if rolls else 'no rollout'}")
    granted = rules()
    verbs = next(each["verbs"] for each in granted if each["resources"] == ["deployments"])
    wide = any("*" in (*each["apiGroups"], *each["resources"], *each["verbs"]) for each in granted)
    print(f"the operator may: {', '.join(verbs)} deployments; {'a rule has' if wide else 'no rule has'} a '*'")


main()
