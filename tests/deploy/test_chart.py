"""The chart installs with each of its values, and refuses those that make no sense. Needs Helm: `make helm-env`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stategraph.cli import _parser
from stategraph.resources.operator import access
from tests.deploy import objects, rendering
from tests.deploy.__main__ import METRICS, SECRETS
from tests.deploy.objects import World
from tests.deploy.rendering import RefusedError, UnavailableError


def installed(values: dict[str, Any], chart: Path = rendering.CHART) -> list[dict[str, Any]]:
    try:
        return rendering.chart(values, chart)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", rendering.cases())
def test_the_chart_installs(name: str) -> None:
    found = installed(rendering.cases()[name])
    assert len(found) >= 3
    assert [*objects.invalid(found), *objects.broken(World(found, SECRETS, METRICS))] == []


#: Values that are refused, each with a part of the sentence that says why.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"servers": {"replicas": 2}}, "servers"),
    "unknown below": ({"server": {"replica": 2}}, "replica"),
    "type": ({"server": {"replicas": "2"}}, "replicas"),
    "none": ({"server": {"replicas": 0}}, "minimum"),
    "scaler": ({"workers": {"autoscaling": {"by": "cpu"}}}, "by"),
    "no replicas": ({"workers": {"autoscaling": {"by": "metrics", "minReplicas": 0}}}, "minReplicas"),
    "secret as a value": ({"environment": {"STATEGRAPH_TOKEN": "abc"}}, "STATEGRAPH_TOKEN"),
    "quantity": ({"server": {"resources": {"limits": {"memory": "much"}}}}, "memory"),
    "no database": ({"database": {"secretName": ""}}, "secretName"),
    "services": ({"operator": {"services": "app.services"}}, "services"),
    "group": ({"operator": {"customKinds": {"example": ["datasources"]}}}, "'example' does not match pattern"),
    "open to all": ({"token": {"secretName": ""}}, "would let everybody in"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_make_no_sense_are_refused(name: str) -> None:
    values, sentence = REFUSED[name]
    with pytest.raises(RefusedError) as refused:
        installed(values)
    assert sentence in str(refused.value)


def test_the_operator_gets_its_switches_and_the_rights_that_they_need() -> None:
    found = installed(rendering.cases()["ci/operator.yaml"])
    (role,) = [each for each in found if each["kind"] == "ClusterRole"]
    custom = {"example.dev": ["datasources", "sinks"]}
    expected = access.rules(custom=custom, keda=True, defines=True)
    assert sorted(role["rules"], key=json.dumps) == sorted(expected, key=json.dumps)
    (operator,) = [each for each in found if each["kind"] == "Deployment"]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    words = container["command"]
    assert words[words.index("--services") + 1] == "app.services:make"
    assert {"--database", "--define-kinds", "--keda"} <= set(words)
    assert [each["name"] for each in container["env"]] == ["POD_NAME", "STATEGRAPH_STORE"]
    parsed = _parser(words[1:]).parse(words[1:])
    assert (parsed.database, parsed.services, parsed.define_kinds) == ("", "app.services:make", True)


def test_the_operator_asks_for_nothing_that_is_not_switched_on() -> None:
    found = installed({})
    (role,) = [each for each in found if each["kind"] == "ClusterRole"]
    assert sorted(role["rules"], key=json.dumps) == sorted(access.rules(), key=json.dumps)


def test_a_template_that_cannot_be_rendered_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "stategraph"
    shutil.copytree(rendering.CHART, broken)
    with (broken / "templates" / "server.yaml").open("a") as file:
        file.write("{{ include 'nothing' . }}")
    with pytest.raises(RefusedError):
        installed({}, broken)
    assert rendering.lint() == []
