"""Checks of the compose file: its schema, Docker Compose's own reading of it, and everything that it names.

Each function returns what is wrong, in sentences.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.rendering import ROOT, UnavailableError
from tests.deploy.starting import Probe, Program

FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
TOOLS = ROOT / ".venv-deploy" / "bin"


def tool(name: str) -> str:
    """Return the path of a tool.

    Raises:
        UnavailableError: It is not here.
    """
    found = TOOLS / name
    if not found.exists():
        raise UnavailableError(f"there is no {name}: `make deploy-env` installs it")
    return str(found)


def read(file: Path = FILE) -> dict[str, Any]:
    """Read the file as YAML."""
    found = yaml.safe_load(file.read_text())
    assert isinstance(found, dict)
    return found


def invalid(file: Path = FILE) -> list[str]:
    """Hold the file against the JSON schema of the Compose specification, and have Docker Compose read it.

    Raises:
        UnavailableError: A tool is not here.
    """
    found = []
    commands = [
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)],
        [tool("docker-compose"), "--file", str(file), "config", "--quiet"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=file.parent)
        if done.returncode:
            found.append(f"{Path(command[0]).name}: {(done.stdout + done.stderr).strip()}")
    return found


def broken(said: Mapping[str, Any], folder: Path = FOLDER) -> Iterator[str]:
    """Return what the file names and there is not, and what a service should have and has not."""
    services = said["services"]
    for name, service in services.items():
        for wanted, how in (service.get("depends_on") or {}).items():
            if wanted not in services:
                yield f"{name}: there is no service {wanted}"
            elif how["condition"] == "service_healthy" and "healthcheck" not in services[wanted]:
                yield f"{name}: it waits for the health of {wanted}, which has no check"
        for secret in service.get("secrets") or ():
            if secret not in said["secrets"]:
                yield f"{name}: there is no secret {secret}"
        for variable, value in (service.get("environment") or {}).items():
            path = str(value).removeprefix("/run/secrets/")
            if path != str(value) and path not in (service.get("secrets") or ()):
                yield f"{name}: {variable} names the secret {path}, which it is not given"
            if path == str(value) and any(word in variable for word in ("PASSWORD", "TOKEN", "SECRET", "STORE")):
                yield f"{name}: {variable} has a secret in the file"
        yield from _volumes(said, name, service, folder)
        for network in service.get("networks") or ():
            if network not in said["networks"]:
                yield f"{name}: there is no network {network}"
        if "healthcheck" not in service:
            yield f"{name}: nothing says whether it is well"
        if "restart" not in service:
            yield f"{name}: it stays away when it has died"
        for port in service.get("ports") or ():
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name}: the port {port} is open to other machines"
        if service.get("image", "").endswith(":latest") or ":" not in service.get("image", ":"):
            yield f"{name}: the image {service['image']} has no version"


def _volumes(said: Mapping[str, Any], name: str, service: Mapping[str, Any], folder: Path) -> Iterator[str]:
    for volume in service.get("volumes") or ():
        source = str(volume).partition(":")[0]
        if source.startswith("."):
            if not (folder / source).exists():
                yield f"{name}: there is no {source}"
        elif source not in said["volumes"]:
            yield f"{name}: there is no volume {source}"


def programs(said: Mapping[str, Any], secrets: Mapping[str, str]) -> list[Program]:
    """Return the programs of stategraph that the file starts; with the secrets that its entry point reads."""
    files = {f"/app/{each.name}": each.read_text() for each in (FOLDER / "app").iterdir() if each.is_file()}
    found = []
    for name, service in said["services"].items():
        command = service.get("command") or [""]
        if command[0] != "stategraph":
            continue
        environment = {}
        for variable, value in service["environment"].items():
            if variable.endswith("_FILE"):
                environment[variable.removesuffix("_FILE")] = secrets[value.removeprefix("/run/secrets/")]
            else:
                environment[variable] = value
        ports = [2024, 9464] if name == "server" else [9464]
        probes = [Probe("health check", 9464, "/ready")]
        assert "http://127.0.0.1:9464/ready" in " ".join(service["healthcheck"]["test"])
        environment = {"STATEGRAPH_RUNTIME": "1", **{k: v for k, v in environment.items() if v}}
        found.append(Program(name, command, environment, files, ports, probes))
    return found


def made_secrets(folder: Path) -> dict[str, str]:
    """Run the script that makes the secrets in a copy of its folder, and return them."""
    copied = folder / "secrets.sh"
    shutil.copy(FOLDER / "secrets.sh", copied)
    environment = {"PATH": os.environ["PATH"]}
    subprocess.run([str(copied)], check=True, capture_output=True, env=environment, timeout=60)
    return {each.name: each.read_text().strip() for each in (folder / "secrets").iterdir()}


def made_secrets_in_copy(folder: Path) -> None:
    """Copy what is beside the compose file into a folder, and make its secrets there."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("secrets"), dirs_exist_ok=True)
    made_secrets(folder)
