"""The compose file and the Dockerfile are whole, and a fault that is planted in them is found."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import compose, image
from tests.deploy.rendering import UnavailableError


def test_the_compose_file_names_nothing_that_is_not_there() -> None:
    assert list(compose.broken(compose.read())) == []


#: Faults, each with a part of the sentence that names it.
FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "service": (lambda all: all["services"].pop("nats"), "there is no service nats"),
    "health": (lambda all: all["services"]["postgres"].pop("healthcheck"), "health of postgres, which has no check"),
    "secret": (lambda all: all["secrets"].pop("token"), "server: there is no secret token"),
    "secret of another": (
        lambda all: all["services"]["worker"]["environment"].update(STATEGRAPH_TOKEN_FILE="/run/secrets/token"),
        "worker: STATEGRAPH_TOKEN_FILE names the secret token, which it is not given",
    ),
    "secret in the file": (
        lambda all: all["services"]["server"]["environment"].update(STATEGRAPH_TOKEN="abc"),
        "server: STATEGRAPH_TOKEN has a secret in the file",
    ),
    "file": (lambda all: all["services"]["proxy"].update(volumes=["./x.conf:/x"]), "proxy: there is no ./x.conf"),
    "volume": (lambda all: all["volumes"].pop("postgres"), "postgres: there is no volume postgres"),
    "network": (lambda all: all["networks"].pop("front"), "there is no network front"),
    "restart": (lambda all: all["services"]["nats"].pop("restart"), "nats: it stays away"),
    "open port": (lambda all: all["services"]["postgres"].update(ports=["5432:5432"]), "open to other machines"),
    "version": (lambda all: all["services"]["nats"].update(image="nats"), "the image nats has no version"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_of_the_compose_file_is_found(fault: str) -> None:
    plant, sentence = FAULTS[fault]
    planted = copy.deepcopy(compose.read())
    plant(planted)
    wrong = list(compose.broken(planted))
    assert any(sentence in each for each in wrong), wrong


def test_what_the_specification_does_not_know_is_refused(tmp_path: Path) -> None:
    compose.made_secrets_in_copy(tmp_path)
    file = tmp_path / "compose.yaml"
    try:
        assert compose.invalid(file) == []
        file.write_text(file.read_text().replace("    restart:", "    restarts:", 1))
        assert len(compose.invalid(file)) == 2
    except UnavailableError as error:
        pytest.skip(str(error))


def test_secrets_are_made_once_and_are_of_each_other(tmp_path: Path) -> None:
    made = compose.made_secrets(tmp_path)
    assert made["store"] == f"postgresql://agents:{made['postgres']}@postgres:5432/agents"
    assert made["nats_token"] in made["nats.conf"]
    assert len(made["token"]) == 48
    assert compose.made_secrets(tmp_path) == made
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def entered(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = image.FILE.with_name("entrypoint.sh")
    variables = {"PATH": "/usr/bin:/bin", "SECRETS_FOLDER": str(folder), **environment}
    return subprocess.run([script, *command], env=variables, capture_output=True, text=True, timeout=30)


def test_the_entry_point_reads_variables_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a $token 'with' \"signs\"\n")
    done = entered(tmp_path, "sh", "-c", 'printf "%s|%s" "$KEY" "${KEY_FILE-none}"', KEY_FILE=f"{tmp_path}/token")
    assert done.stdout == "a $token 'with' \"signs\"|none"


def test_the_entry_point_leaves_other_files_alone(tmp_path: Path) -> None:
    done = entered(tmp_path, "sh", "-c", 'printf "%s" "$SSL_CERT_FILE"', SSL_CERT_FILE="/etc/ssl/cert.pem")
    assert done.stdout == "/etc/ssl/cert.pem"


def test_the_entry_point_refuses_what_cannot_be_read_or_is_said_twice(tmp_path: Path) -> None:
    missing = entered(tmp_path, "true", KEY_FILE=f"{tmp_path}/nothing")
    assert missing.returncode == 2
    assert "which cannot be read: mount the secret" in missing.stderr
    (tmp_path / "key").write_text("a")
    twice = entered(tmp_path, "true", KEY_FILE=f"{tmp_path}/key", KEY="b")
    assert twice.returncode == 2
    assert "both KEY and KEY_FILE are set" in twice.stderr


TEXTS = (image.FILE.read_text(), image.IGNORED.read_text())


def test_the_dockerfile_is_whole() -> None:
    assert list(image.broken(*TEXTS)) == []


#: A text of the Dockerfile, what is put in its place, and a part of the sentence that names the fault.
IN_DOCKERFILE = {
    "root": ("USER 10001:10001", "USER root", "runs as root"),
    "no user": ("USER 10001:10001\n", "", "runs as root"),
    "named user": ("USER 10001:10001", "USER agents", "runs as agents"),
    "no health": ("HEALTHCHECK", "LABEL a=b", "has no HEALTHCHECK"),
    "no hashes": ("--no-deps --require-hashes -r /wheel", "--no-deps -r /wheel", "without hashes"),
    "missing file": ("COPY compat compat", "COPY compatibility compat", "there is no compatibility"),
    "kept back": ("COPY compat compat", "COPY docs docs", "docs is copied, and .dockerignore keeps it back"),
    "secret": ("PYTHONUNBUFFERED=1", "STATEGRAPH_TOKEN=abc", "a secret would be in the image"),
}


@pytest.mark.parametrize("fault", IN_DOCKERFILE)
def test_a_planted_fault_of_the_dockerfile_is_found(fault: str) -> None:
    text, planted, sentence = IN_DOCKERFILE[fault]
    assert text in TEXTS[0]
    wrong = list(image.broken(TEXTS[0].replace(text, planted, 1), TEXTS[1]))
    assert any(sentence in each for each in wrong), wrong


def test_one_stage_is_found() -> None:
    last = TEXTS[0].rindex("FROM ")
    assert any("one stage alone" in each for each in image.broken(TEXTS[0][last:], TEXTS[1]))


@pytest.mark.parametrize("path", [".git", ".venv", "deploy/compose/secrets/token", ".env", "tests"])
def test_nothing_else_is_sent_to_the_builder(path: str) -> None:
    assert image.is_ignored(path, TEXTS[1])


def test_hadolint_finds_nothing_and_does_find_what_is_planted(tmp_path: Path) -> None:
    planted = tmp_path / "Dockerfile"
    planted.write_text(TEXTS[0].replace("${BASE}", "python:latest").replace("USER 10001:10001\n", ""))
    try:
        assert image.lint() == []
        assert any("DL3007" in each for each in image.lint(planted))
    except UnavailableError as error:
        pytest.skip(str(error))
