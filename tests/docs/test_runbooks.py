"""Every command of the runbooks exists, with its options, and every alert leads to one of them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
import yaml

from stategraph.cli import _parser

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("runbooks.md", "fleet-operations.md", "deployment.md", "monitoring.md")

#: Programs of others that the pages may name.
FOREIGN = {
    "kubectl",
    "psql",
    "pg_dump",
    "pg_restore",
    "helm",
    "py-spy",
    "memray",
    "pip",
    "docker",
    "curl",
    "cd",
    "./secrets.sh",
}


def commands(page: str) -> list[list[str]]:
    """Return the commands of a page, word by word."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
        found += [shlex.split(line, comments=True) for line in block.splitlines()]
    return [each for each in found if each]


ALL = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), ALL, ids=[" ".join(words)[:60] for _, words in ALL])
def test_a_command_of_the_page_exists(page: str, words: list[str]) -> None:
    words = words[words.index("--") + 1 :] if words[:2] == ["kubectl", "exec"] else words
    if words[0] == "stategraph":
        _parser(words[1:]).parse(words[1:])  # ends the process where it cannot be read
        return
    assert words[0] in FOREIGN, f"{page}: {words[0]} is no program that the pages name"
    if words[0] == "kubectl" and shutil.which("kubectl"):
        count = {"create": 4, "rollout": 3}.get(words[1], 2)
        done = subprocess.run([*words[:count], "--help"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        given = {each.partition("=")[0] for each in words if each.startswith("--")}
        known = set(re.findall(r"--[\w-]+", done.stdout))
        assert given <= known, given - known


def test_a_command_that_is_not_there_is_found() -> None:
    with pytest.raises(SystemExit):
        _parser(["runs", "unstick"]).parse(["runs", "unstick"])


def test_every_alert_is_on_the_page_of_monitoring() -> None:
    text = (resources.files("stategraph.workers.watching") / "files" / "rules.yaml").read_text()
    alerts = {rule["alert"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule}
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(Stategraph\w+)`", page)) == alerts
