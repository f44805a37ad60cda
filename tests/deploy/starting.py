"""Starts the commands of manifests as processes of this machine, with their variables and files, and asks their probes.

Paths and ports are those of the manifests, put into a folder and moved to free ports. What a cluster or Docker would do
around them is not shown: the image, its user and its read-only root.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.objects import Object, World, containers_of

ROOT = Path(__file__).resolve().parents[2]

#: Time that a process has to start, and to end.
STARTING_S = 120.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to a process.

    Attributes:
        name: What it is for.
        port: The port in the manifest.
        path: The path.
    """

    name: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Program:
    """A command as a manifest has it.

    Attributes:
        name: For sentences.
        command: Its words.
        environment: Its variables.
        files: The text of files by their paths.
        ports: The ports that it listens at.
        probes: What it is asked.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    ports: Sequence[int]
    probes: Sequence[Probe] = field(default_factory=tuple)


def without(each: Mapping[str, Any], variable: str) -> dict[str, Any]:
    """Return an object whose containers do not have a variable."""
    copied: dict[str, Any] = json.loads(json.dumps(each))
    pod = copied.get("spec", {}).get("template", {}).get("spec", {})
    for container in pod.get("containers", ()):
        container["env"] = [env for env in container.get("env") or () if env["name"] != variable]
    return copied


def programs_of(world: World, secrets: Mapping[tuple[str, str], str], files: Mapping[str, str]) -> list[Program]:
    """Return the programs of stategraph that objects start.

    Args:
        world: The objects.
        secrets: What is in secrets, by their names and keys.
        files: Files that the image has.
    """
    return [
        _program(world, workload, container, secrets, files)
        for workload in world.of("Deployment")
        for container in containers_of(workload)
        if container.get("command", [""])[0] == "stategraph"
    ]


def _program(
    world: World,
    workload: Object,
    container: Mapping[str, Any],
    secrets: Mapping[tuple[str, str], str],
    files: Mapping[str, str],
) -> Program:
    environment = {each["name"]: _value(each, workload, secrets) for each in container.get("env") or ()}
    found = dict(files)
    volumes = {each["name"]: each for each in workload["spec"]["template"]["spec"].get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        given = volumes.get(mount["name"], {}).get("configMap")
        if given is not None:
            source = world.named("ConfigMap", given["name"])
            assert source is not None
            found |= {f"{mount['mountPath']}/{name}": text for name, text in source["data"].items()}
    numbers = {each.get("name"): each["containerPort"] for each in container.get("ports") or ()}
    probes = []
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if kind in container:
            asked = container[kind]["httpGet"]
            probes.append(Probe(kind, numbers.get(asked["port"], asked["port"]), asked["path"]))
    command = [*container["command"], *(container.get("args") or ())]
    return Program(container["name"], command, environment, found, list(numbers.values()), probes)


def _value(given: Mapping[str, Any], workload: Object, secrets: Mapping[tuple[str, str], str]) -> str:
    """Return the value of a variable: that which is written, one of a secret, or a field of the pod."""
    source = given.get("valueFrom") or {}
    if "secretKeyRef" in source:
        return _secret(secrets, source["secretKeyRef"])
    if "fieldRef" in source:
        fields = {"metadata.name": f"{workload['metadata']['name']}-0", "metadata.namespace": "default"}
        return fields[source["fieldRef"]["fieldPath"]]
    return str(given["value"])


def _secret(secrets: Mapping[tuple[str, str], str], wanted: Mapping[str, str]) -> str:
    """Return what is in a secret; kustomize puts a hash behind the names of those that it makes."""
    return next(
        text for (name, key), text in secrets.items() if key == wanted["key"] and wanted["name"].startswith(name)
    )


@dataclass(frozen=True, slots=True)
class Started:
    """A program that runs."""

    program: Program
    process: subprocess.Popen[str]
    moved: Mapping[int, int]
    log: Path

    def ask(self, probe: Probe) -> int:
        """Return the status that a probe is answered with; 0: nobody listens."""
        return self.get(probe.port, probe.path)[0]

    def get(self, port: int, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Ask at a port of the manifest."""
        connection = http.client.HTTPConnection("127.0.0.1", self.moved[port], timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            more = {} if body is None else {"Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, text, {**more, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def wait_for(self, probe: Probe) -> None:
        """Wait until a probe succeeds.

        Raises:
            AssertionError: It does not, or the process has ended.
        """
        until = time.monotonic() + STARTING_S
        status = 0
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"{self.program.name} ended with {self.process.returncode}: {self.log.read_text()}"
                )
            if (status := self.ask(probe)) == 200:
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.program.name}: {probe} was answered with {status}: {self.log.read_text()}")


@contextmanager
def started(program: Program, folder: Path) -> Iterator[Started]:
    """Start a program for a block, and stop it by SIGTERM.

    Raises:
        AssertionError: It did not end well.
    """
    for path, text in program.files.items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "app").mkdir(exist_ok=True)
    moved = {port: _free_port() for port in program.ports}
    words = [_moved(each, folder, moved) for each in program.command[1:]]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("STATEGRAPH_", "OTEL_"))},
        **program.environment,
        "PYTHONPATH": str(ROOT),
    }
    log = folder / f"{program.name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stategraph", *words],
            cwd=folder / "app",
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield Started(program, process, moved, log)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(STARTING_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _moved(word: str, folder: Path, moved: Mapping[int, int]) -> str:
    """Return a word of a command line for this machine."""
    if word.startswith(("/app/", "/etc/stategraph/")):
        return f"{folder}{word}"
    for port, free in moved.items():
        if word == str(port) or word.endswith(f":{port}"):
            return f"{word.removesuffix(str(port))}{free}"
    return word


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wrong(programs: Sequence[Program], folder: Path) -> list[str]:
    """Start programs together, ask their probes, and have a run of the graph `agent` executed if one serves.

    Returns:
        What is wrong, in sentences.
    """
    found = []
    with ExitStack() as stack:
        running: list[Started] = []
        for each in programs:
            own = folder / each.name
            own.mkdir()
            running.append(stack.enter_context(started(each, own)))
        for one in running:
            try:
                one.wait_for(one.program.probes[0])
            except AssertionError as error:
                return [str(error)]
        for one in running:
            for probe in one.program.probes:
                if (status := one.ask(probe)) != 200:
                    found.append(f"{one.program.name}: its {probe.name} {probe.path} was answered with {status}")
        for one in running:
            if 2024 in one.moved:
                found += _executes(one)
    return found


def _executes(server: Started) -> list[str]:
    """Have a run executed; return what is wrong."""
    token = server.program.environment.get("STATEGRAPH_TOKEN", "")
    said = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "Hi"}], "said": ""}}
    status, text = server.get(2024, "/runs/wait", said, Authorization=f"Bearer {token}")
    if status == 401 and not token:
        return []  # it knows its users by other means
    if status != 200 or not json.loads(text):
        return [f"{server.program.name}: a run was answered with {status}: {text[:500]}"]
    if token and server.get(2024, "/runs/wait", said)[0] != 401:
        return [f"{server.program.name}: a run without the token was taken"]
    return []
