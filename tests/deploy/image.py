"""Checks of the Dockerfile: hadolint, what it should have, and that what it copies is there and is sent.

Nothing here builds the image: that needs a base image from a registry.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.compose import tool
from tests.deploy.rendering import ROOT

FILE = ROOT / "deploy" / "docker" / "Dockerfile"
IGNORED = ROOT / ".dockerignore"


def lint(file: Path = FILE) -> list[str]:
    """Return what hadolint says.

    Raises:
        UnavailableError: It is not here.
    """
    done = subprocess.run([tool("hadolint"), "--no-color", str(file)], capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile: the word, and the rest of it on one line."""
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [(line.split()[0], line.partition(" ")[2]) for line in joined.splitlines() if line.strip()]


def broken(text: str, ignored: str) -> Iterator[str]:
    """Return what is wrong with a Dockerfile, in sentences.

    Args:
        text: The Dockerfile.
        ignored: The .dockerignore.
    """
    found = instructions(text)
    last = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    if not [word for word, _ in found[:last] if word == "FROM"]:
        yield "it has one stage alone: what builds the wheel is in the image"
    final = dict(found[last:])
    user = final.get("USER", "root").partition(":")[0]
    if not user.isdigit() or user == "0":
        yield f"the image runs as {user}; expected a number that is not 0, which runAsNonRoot needs"
    for wanted in ("HEALTHCHECK", "ENTRYPOINT", "CMD", "WORKDIR"):
        if wanted not in final:
            yield f"the image has no {wanted}"
    for word, rest in found:
        if word == "RUN" and "pip install" in rest:
            for each in rest.split("&&"):
                if "pip install" in each and "--require-hashes" not in each:
                    yield f"packages are installed without hashes: {each.strip()}"
        if word == "COPY" and "--from=" not in rest:
            yield from _copied(rest, ignored)
        if word in ("ENV", "ARG") and re.search(r"TOKEN|PASSWORD|SECRET", rest):
            yield f"a secret would be in the image: {word} {rest}"


def _copied(rest: str, ignored: str) -> Iterator[str]:
    words = [each for each in rest.split() if not each.startswith("--")]
    for source in words[:-1]:
        if not (ROOT / source).exists():
            yield f"there is no {source} to copy"
        elif is_ignored(source, ignored):
            yield f"{source} is copied, and .dockerignore keeps it back"


def is_ignored(path: str, rules: str) -> bool:
    """Return whether rules of a .dockerignore keep back a path: the last one that matches decides."""
    found = False
    for line in rules.splitlines():
        if not (rule := line.strip()) or rule.startswith("#"):
            continue
        negated = rule.startswith("!")
        pattern = rule.removeprefix("!")
        parents = [path, *(str(each) for each in Path(path).parents if str(each) != ".")]
        if any(
            fnmatch(each, pattern) or (pattern.startswith("**/") and fnmatch(each, pattern[3:])) for each in parents
        ):
            found = not negated
    return found
