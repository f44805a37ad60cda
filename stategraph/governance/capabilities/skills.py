"""Skills as capabilities: one to read each of them, and one for each of its scripts.

- `skill:<source>/<name>@<version>` is read; models are shown one tool for all of them, `read_skill`.
- `skill:<source>/<name>/scripts/<file>@<version>` runs a script. It runs in bubblewrap unless somebody answers for the
  skill (`trust` of its registry); where there is none, it is refused.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from langchain_core.tools import ToolException

from stategraph.errors import ConfigurationError
from stategraph.governance.capabilities import digests
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult, Offer
from stategraph.governance.capability import RISKS, Capability, Risk, Trust, in_id
from stategraph.governance.skills import prompt
from stategraph.governance.skills.registry import SkillRegistry
from stategraph.governance.skills.sandbox import Finished, Sandbox
from stategraph.governance.skills.skill import Skill

_READ_SCHEMA: Final = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": "A file of the skill; without it, its instructions."}},
}
_RUN_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "arguments": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Arguments of the command line, as the skill's instructions give them.",
        },
        "input": {"type": "string", "description": "What the script reads from its standard input."},
    },
}
_TRUSTED: Final[frozenset[Trust]] = frozenset(("trusted", "internal"))

INTERPRETERS: Final[Mapping[str, tuple[str, ...]]] = {".py": ("{python}", "-E", "-s"), ".sh": ("/bin/sh",)}
"""How scripts are run, by the ending of their names; others are no capabilities."""

_MOST_ERRORS: Final = 4_000


def offers(
    skills: SkillRegistry,
    *,
    sandbox: Sandbox | None = None,
    risks: Mapping[str, Risk] | None = None,
    interpreters: Mapping[str, Sequence[str]] = INTERPRETERS,
) -> tuple[Offer, ...]:
    """Make capabilities of all skills of a registry, in all versions.

    Args:
        skills: The skills.
        sandbox: Runs scripts; None: one with the usual limits.
        risks: The risk of scripts, by a pattern of `<skill>/scripts/<file>` as of `fnmatch`; the first one that matches
            counts. Without one a script in the sandbox is `write`, and a trusted one `external`.
        interpreters: Commands by the ending of a script's name.

    Raises:
        ConfigurationError: A risk is none.
    """
    said = dict(risks or {})
    for pattern, risk in said.items():
        if risk not in RISKS:
            raise ConfigurationError(f"The risk of {pattern!r} is {risk!r}; it must be one of {', '.join(RISKS)}")
    runner = sandbox or Sandbox()
    made: list[Offer] = []
    for newest in skills:
        for skill in skills.versions(newest.name):
            made.append(_reading(skills, skill))
            for path in skill.scripts:
                if (command := interpreters.get(PurePosixPath(path).suffix)) is not None:
                    made.append(_running(skills, skill, path, tuple(command), said, runner))
    return tuple(made)


def _reading(skills: SkillRegistry, skill: Skill) -> Offer:
    digest, parts = digests.of_parts({"description": skill.description, "files": skill.digest})
    made = Capability(
        id=_id(skills, skill, (skill.name,)),
        kind="skill",
        name=skill.name,
        title=skill.metadata.get("title"),
        description=skill.description,
        input_schema=_READ_SCHEMA,
        version=skill.version,
        source=skills.source,
        digest=digest,
        risk="read",
        idempotent=True,
        trust=skills.trust,
    )
    return Offer(made, SkillReader(skill), parts=parts)


def _running(
    skills: SkillRegistry,
    skill: Skill,
    path: str,
    command: tuple[str, ...],
    risks: Mapping[str, Risk],
    sandbox: Sandbox,
) -> Offer:
    trusted = skills.trust in _TRUSTED
    usual: Risk = "external" if trusted else "write"
    where = f"{skill.name}/{path}"
    risk = next((risk for pattern, risk in risks.items() if fnmatch.fnmatchcase(where, pattern)), usual)
    # A script may read all files of its skill.
    digest, parts = digests.of_parts({"script": path, "files": skill.digest})
    made = Capability(
        id=_id(skills, skill, (skill.name, *path.split("/"))),
        kind="skill",
        name=f"{skill.name}_{PurePosixPath(path).stem}",
        title=f"{skill.name}: {path}",
        description=f"Run {path} of the skill {skill.name}, as its instructions say. Read the skill first.",
        input_schema=_RUN_SCHEMA,
        version=skill.version,
        source=skills.source,
        digest=digest,
        risk=risk,
        trust=skills.trust,
        timeout_s=sandbox.limits.wall_s + 5.0,
    )
    return Offer(made, ScriptRunner(skill, path, command, sandbox, trusted=trusted), parts=parts)


def _id(skills: SkillRegistry, skill: Skill, path: tuple[str, ...]) -> str:
    return f"skill:{in_id(skills.source)}/{'/'.join(map(in_id, path))}@{in_id(skill.version)}"


class SkillReader:
    """Returns the instructions of a skill, or a file of it.

    Args:
        skill: The skill.
    """

    def __init__(self, skill: Skill) -> None:
        self.skill = skill

    async def execute(self, call: CapabilityCall) -> CapabilityResult:
        """Return what is asked for; files are small and read at once."""
        return self.execute_sync(call)

    def execute_sync(self, call: CapabilityCall) -> CapabilityResult:
        """Return what is asked for.

        Raises:
            SkillError: There is no such file, or it was changed since the skill was loaded.
        """
        path = call.arguments.get("path")
        return CapabilityResult(prompt.file_text(self.skill, path) if path else prompt.instructions(self.skill))


class ScriptRunner:
    """Runs a script of a skill.

    Args:
        skill: The skill.
        path: The script.
        command: The interpreter.
        sandbox: Where it runs.
        trusted: Whether it runs outside of the sandbox, with the sandbox's limits.
    """

    def __init__(self, skill: Skill, path: str, command: Sequence[str], sandbox: Sandbox, *, trusted: bool) -> None:
        self.skill = skill
        self._command = (*command, f"{{skill}}/{path}")
        self._path = path
        self._sandbox = sandbox
        self._trusted = trusted

    async def execute(self, call: CapabilityCall) -> CapabilityResult:
        """Run the script; cancelling the call ends it."""
        arguments, stdin = _asked(call)
        run = self._sandbox.arun(self.skill, self._command, arguments, stdin=stdin, trusted=self._trusted)
        return self._result(await run)

    def execute_sync(self, call: CapabilityCall) -> CapabilityResult:
        """Run the script and wait.

        Raises:
            ToolException: It failed, or was ended at a limit.
            SandboxUnavailable: It is not trusted, and there is no sandbox here.
            SkillError: The skill was changed since it was loaded.
        """
        arguments, stdin = _asked(call)
        return self._result(self._sandbox.run(self.skill, self._command, arguments, stdin=stdin, trusted=self._trusted))

    def _result(self, finished: Finished) -> CapabilityResult:
        limits = self._sandbox.limits
        if finished.ended == "time":
            raise ToolException(f"{self._path} was ended after {limits.wall_s:g} s.{_said(finished)}")
        if finished.ended == "output":
            raise ToolException(f"{self._path} was ended: it wrote more than {limits.output_bytes:,} bytes")
        if finished.code:
            raise ToolException(f"{self._path} failed with exit code {finished.code}.{_said(finished)}")
        return CapabilityResult(finished.output, {"errors": finished.errors} if finished.errors else None)


def _asked(call: CapabilityCall) -> tuple[list[str], str]:
    given: Any = call.arguments.get("arguments") or []
    return [str(each) for each in given], str(call.arguments.get("input") or "")


def _said(finished: Finished) -> str:
    said = (finished.errors or finished.output).strip()[-_MOST_ERRORS:]
    return f"\n{said}" if said else ""
