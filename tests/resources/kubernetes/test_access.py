"""What the operator may do: every verb that it uses is granted, and none besides."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from stategraph.errors import ConfigurationError
from stategraph.resources.crds import definitions
from stategraph.resources.kind_table import KINDS
from stategraph.resources.operator import access
from stategraph.resources.operator.election import Candidate
from stategraph.resources.operator.workloads import PodSettings
from stategraph.resources.runtime import Runtime
from stategraph.testing import Script, ScriptedChatModel
from tests.cli.programs import stategraph
from tests.resources.kubernetes.access import Use, granted
from tests.resources.kubernetes.api_server import ApiServer
from tests.resources.kubernetes.operating import eventually, operating
from tests.resources.kubernetes.test_operator import BAR, SOURCES

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ROOT = Path(__file__).parents[3]

#: One object of each kind, which the operator holds by a finalizer and gives a status.
EACH: dict[str, tuple[str, dict[str, Any]]] = {
    "Agent": ("chef", {"instructions": "x", "model": "openai:m", "scaling": {"minReplicas": 1, "maxReplicas": 2}}),
    "Model": ("default", {"provider": "openai", "name": "m"}),
    "Tool": ("finder", {"function": "tests.resources.world_tools:find"}),
    "MCPServer": ("none", {"url": "http://127.0.0.1:9/mcp", "connectTimeout": 1}),
    "Skill": ("none", {"path": "/nowhere"}),
    "Workflow": ("one", {"steps": [{"id": "a", "agent": "chef"}]}),
    "Network": ("one", {"agents": ["chef"], "router": {"strategy": "first"}}),
    "Policy": ("careful", {"rules": []}),
    "Budget": ("small", {"tokens": 1000}),
    "Plugin": ("none", {"module": "os:path"}),
    "Worker": ("pool", {"executor": "external", "replicas": {"min": 1, "max": 4}}),
    "Schedule": ("daily", {"cron": "0 9 * * *", "ref": "workflow/one"}),
    "Secret": ("keys", {"valueFrom": {"env": "TOKEN"}}),
    "System": ("bar", BAR),
    "CustomResourceDefinition": ("datasources.example.dev", SOURCES),
}


async def exercised(server: ApiServer) -> None:
    """Have an operator do everything that it can do, but for members of other kinds than those of a System here."""
    runtime = Runtime.from_url(
        "memory:", allow=("tests.",), model_factory=lambda _: ScriptedChatModel(replies=Script(["ok"]))
    )
    settings: dict[str, Any] = {
        "pods": PodSettings("image:1", keda=True),
        "candidate": Candidate("a", retry_s=0.1),
        "defines": True,
        "kinds": (),
    }
    async with operating(server, runtime=runtime, **settings) as running:
        for kind, (name, spec) in EACH.items():
            await running.create(kind, name, spec)
        for kind, (name, _) in EACH.items():
            await running.becomes(kind, name)
            await running.is_held(kind, name)
        await eventually(lambda: running.status("System", "bar").get("ready") == "2/2")
        source = ("example.dev", "datasources", "default", "orders")
        meta = {"name": "orders", "namespace": "default"}
        document = {"apiVersion": "example.dev/v1", "kind": "DataSource", "metadata": meta, "spec": {"url": "x"}}
        await eventually(lambda: ("example.dev", "datasources") in server.kinds)
        await server.put(source, document, None)
        await eventually(lambda: server.objects[source].get("status", {}).get("phase") == "Ready")
        await eventually(lambda: ("keda.sh", "scaledobjects", "default", "worker-pool") in server.objects)
        await eventually(lambda: ("autoscaling", "horizontalpodautoscalers", "default", "agent-chef") in server.objects)
        # An event that comes again, objects that are wanted no more, and a member that goes.
        await server.delete(running.path("Workflow", "one"))
        await eventually(lambda: running.status("Schedule", "daily").get("phase") == "Failed")
        await running.create("Workflow", "one", EACH["Workflow"][1])
        await eventually(lambda: running.status("Schedule", "daily").get("phase") == "Ready")
        await running.change("System", "bar", agents=BAR["agents"][:1])
        await eventually(lambda: running.path("Agent", "waiter") not in server.objects)
        await running.change("Agent", "chef", scaling=None)
        await running.change("Worker", "pool", executor="thread")
        made = ("configmaps", "services", "deployments", "horizontalpodautoscalers", "scaledobjects")
        await eventually(lambda: not [key for key in server.objects if key[1] in made])


def _everything() -> list[dict[str, Any]]:
    custom = {"example.dev": ["datasources"]}
    return [*access.rules(custom=custom, keda=True, defines=True), *access.election_rules()]


async def test_every_verb_that_is_used_is_granted_and_none_besides() -> None:
    rules = _everything()
    server = ApiServer(definitions(), tokens=None, rules=rules)
    await exercised(server)
    assert server.refused == []
    own = list(granted(rules))
    assert len(own) == len(set(own)), "something is granted twice"
    besides = set(own) - server.used
    # A System may have members of every kind; the one here has agents. What it does with one it does with all.
    members = {
        Use("stategraph.dev", kind.plural, verb)
        for kind in KINDS
        for verb in ("create", "delete", "get")
        if kind.name not in ("Agent", "CustomResourceDefinition")
    }
    # An event that is there already is read by an operator that comes anew: see the next test.
    assert besides - members == {Use("", "events", "get"), Use("", "events", "patch")} - server.used
    assert {Use("stategraph.dev", "agents", verb) for verb in ("create", "delete", "get")} <= server.used


def _is(read: Callable[[], object], wanted: object) -> bool:
    return read() == wanted


async def test_an_event_of_before_is_counted_by_an_operator_that_comes_anew() -> None:
    rules = _everything()
    server = ApiServer(definitions(), rules=rules)

    def counts() -> list[int]:
        return [each["count"] for key, each in server.objects.items() if key[1] == "events"]

    for wanted in ([1], [2]):
        async with operating(server, kinds=("Secret",)) as running:
            if not [key for key in server.objects if key[1] == "secrets"]:
                await running.create("Secret", "keys", {"valueFrom": {"env": "NOBODY_SET_THIS"}})
            await eventually(lambda: running.status("Secret", "keys").get("phase") == "Failed")
            await eventually(partial(_is, counts, wanted))
        key = ("stategraph.dev", "secrets", "default", "keys")
        before = server.objects[key]
        server.objects[key] = {**before, "status": {}}  # as if it had not been told
    assert {Use("", "events", verb) for verb in ("create", "get", "patch")} <= server.used
    assert server.refused == []


@pytest.mark.parametrize("lost", ["list", "watch", "patch"])
async def test_a_right_that_is_missing_is_named(lost: str) -> None:
    rules = [{**each, "verbs": [verb for verb in each["verbs"] if verb != lost]} for each in access.rules()]
    server = ApiServer(definitions(), rules=rules)
    if lost == "list":
        with pytest.raises(ConfigurationError, match=r"403 .*list of secrets.*operator --access"):
            async with operating(server, kinds=("Secret",), fails=True):
                pytest.fail("it was let in")
        return
    async with operating(server, kinds=("Secret",)) as running:
        await running.create("Secret", "keys", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: any(each.verb == lost for each in server.refused))


def _rules_of(documents: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {each["kind"]: each["rules"] for each in documents if each["kind"] in ("ClusterRole", "Role")}


def test_deploy_grants_what_the_command_prints(tmp_path: Path) -> None:
    printed = stategraph(tmp_path, "operator", "--access", "--image", "x", "--json")
    assert printed.returncode == 0, printed.stderr
    expected = json.loads(printed.stdout)
    kustomize = (ROOT / "deploy/kustomize/access.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load_all(kustomize)) == expected
    assert _rules_of(expected)["ClusterRole"] == access.rules()
    shown = stategraph(tmp_path, "operator", "--access", "--image", "x")
    assert list(yaml.safe_load_all(shown.stdout)) == expected


CHART = ROOT / "deploy/helm/stategraph"


def _of_chart(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((CHART / "operator" / name).read_text(encoding="utf-8"))
    return found


def test_the_chart_has_the_rules_of_the_code() -> None:
    assert _of_chart("rules.yaml") == access.rules()
    assert [*_of_chart("rules.yaml"), *_of_chart("rules-keda.yaml")] == access.rules(keda=True)
    assert [*_of_chart("rules.yaml"), *_of_chart("rules-defines.yaml")] == access.rules(defines=True)
    assert _of_chart("rules-election.yaml") == access.election_rules()
    named = set(
        re.findall(r"operator/rules[a-z-]*\.yaml", (CHART / "templates/access.yaml").read_text(encoding="utf-8"))
    )
    assert named == {f"operator/{each.name}" for each in (CHART / "operator").iterdir()}


def test_only_what_is_switched_on_is_granted() -> None:
    least = set(granted(access.rules(pods=False)))
    assert not {each for each in least if each.group in ("apps", "autoscaling", "keda.sh", "apiextensions.k8s.io")}
    assert set(granted(access.rules(keda=True))) - set(granted(access.rules())) == {
        Use("keda.sh", "scaledobjects", verb) for verb in ("create", "delete", "list", "patch")
    }
    assert not any("*" in (each.group, each.resource, each.verb) for each in granted(_everything()))
    assert not any(each.resource == "secrets" and each.group == "" for each in granted(_everything()))


def test_a_kind_of_ones_own_is_named_by_plural_and_group(tmp_path: Path) -> None:
    printed = stategraph(tmp_path, "operator", "--access", "--custom", "datasources.mastra.ai", "--json")
    assert Use("mastra.ai", "datasources", "watch") in set(
        granted(_rules_of(json.loads(printed.stdout))["ClusterRole"])
    )
    wrong = stategraph(tmp_path, "operator", "--access", "--custom", "datasources")
    assert wrong.returncode == 2 and "PLURAL.GROUP" in wrong.stderr


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
def test_kustomize_builds() -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "deploy/kustomize")], capture_output=True, text=True, check=True, timeout=60
    )
    kinds = {each["kind"] for each in yaml.safe_load_all(done.stdout)}
    assert {"ClusterRole", "Role", "Deployment", "ServiceAccount"} <= kinds
