"""The commands of the manifests start as they are and answer their probes; what does not is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from stategraph import __version__
from tests.deploy import compose, rendering, starting
from tests.deploy.objects import World
from tests.deploy.rendering import UnavailableError
from tests.deploy.starting import Probe, Program

TOKEN = "a-token-of-the-tests"


def programs(folder: Path) -> list[Program]:
    secrets: Mapping[tuple[str, str], str] = {
        ("stategraph-database", "url"): f"sqlite:///{folder / 'runs.db'}",
        ("stategraph-token", "token"): TOKEN,
    }
    try:
        found = rendering.folder(rendering.KUSTOMIZE / "overlays" / "development")
    except UnavailableError as error:
        pytest.skip(str(error))
    return starting.programs_of(World(found), secrets, {})


def test_the_commands_of_the_manifests_start_serve_and_execute_a_run(tmp_path: Path) -> None:
    found = programs(tmp_path)
    assert sorted(each.name for each in found) == ["server", "worker"]
    assert {probe.path for each in found for probe in each.probes} == {"/ok?check_db=1", "/ok", "/live", "/ready"}
    assert starting.wrong(found, tmp_path) == []


def test_what_does_not_start_or_answer_is_found(tmp_path: Path) -> None:
    (server,) = [each for each in programs(tmp_path) if each.name == "server"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unknown = replace(server, name="a", command=[*server.command, "--replicas", "2"])
    (wrong,) = starting.wrong([unknown], tmp_path / "a")
    assert "unrecognized arguments: --replicas" in wrong
    alone = [*server.probes, Probe("planted", 9464, "/healthy")]
    capacity = [*server.command, "--capacity", "5"]
    found = starting.wrong([replace(server, name="b", command=capacity, probes=alone)], tmp_path / "b")
    assert found == ["b: its planted /healthy was answered with 404"]


def test_versions_are_that_of_the_package() -> None:
    chart = (rendering.CHART / "Chart.yaml").read_text()
    assert f"appVersion: {__version__}" in chart
    assert f'tag: "{__version__}"' in (rendering.CHART / "values.yaml").read_text()
    assert f"image: stategraph:{__version__}" in compose.FILE.read_text()
