"""What Helm and kubectl make of the chart and of the folders for kustomize."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.api_server import serving

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "stategraph"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
OVERLAYS = ("development", "staging", "production")
HELM_ENVIRONMENT = ROOT / ".venv-helm"


class UnavailableError(Exception):
    """A tool is not here; the message says which."""


class RefusedError(Exception):
    """Helm refuses the chart or its values."""


def python_with_helm() -> Path:
    """Return a Python that has helm-sdkpy.

    Raises:
        UnavailableError: There is none.
    """
    named = os.environ.get("HELM_PYTHON")
    found = Path(named) if named else HELM_ENVIRONMENT / "bin" / "python"
    if not found.exists():
        raise UnavailableError(f"there is no {found}: `make helm-env` makes it where a Python 3.12 is")
    return found


def lint(chart: Path = CHART) -> list[str]:
    """Return what Helm's linter says that is worse than information.

    Raises:
        UnavailableError: Helm is not here.
        RefusedError: The chart cannot be read.
    """
    said = json.loads(_helm("lint", chart))
    return [f"{each['Path']}: {each['Err']}" for each in said["Messages"] or () if each["Severity"] > 1]


def chart(values: Mapping[str, Any], chart: Path = CHART) -> list[dict[str, Any]]:
    """Return the objects that a chart installs.

    Args:
        values: Given beside those of the chart.
        chart: Its folder.

    Raises:
        UnavailableError: Helm is not here.
        RefusedError: Helm refuses the values; the message says why.
    """
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.json"
        file.write_text(json.dumps(values))
        _helm("install", chart, "demo", f"http://127.0.0.1:{server.server_address[1]}", "agents", file)
        return list(server.objects.values())


def _helm(action: str, chart: Path, *words: object) -> str:
    program = Path(__file__).with_name("helm_install.py")
    command = [python_with_helm(), program, action, chart, *words]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "XDG_CACHE_HOME": home, "XDG_CONFIG_HOME": home}
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300)
    if done.returncode == 3:
        raise RefusedError(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout


def cases() -> dict[str, dict[str, Any]]:
    """Return the values that are tried: those of the chart, and those of its folder `ci`."""
    return {"values.yaml": {}} | {
        f"ci/{each.name}": yaml.safe_load(each.read_text()) for each in sorted(CHART.glob("ci/*.yaml"))
    }


def folder(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a folder for kustomize.

    Raises:
        UnavailableError: kubectl is not here.
        RefusedError: It cannot be built; the message says why.
    """
    if shutil.which("kubectl") is None:
        raise UnavailableError("there is no kubectl here")
    done = subprocess.run(["kubectl", "kustomize", str(path)], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RefusedError(done.stderr.strip())
    return [each for each in yaml.safe_load_all(done.stdout) if each]
