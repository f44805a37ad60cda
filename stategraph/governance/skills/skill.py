"""Skills as values, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stategraph.governance.errors import GovernanceError


@dataclass(frozen=True, slots=True)
class SkillProblem:
    """A fault of a skill.

    Attributes:
        file: The file or folder.
        field: The field of the frontmatter, such as `name` or `metadata.version`; None: none.
        message: What was found, and what was expected.
    """

    file: Path
    field: str | None
    message: str

    def __str__(self) -> str:
        where = f"{self.file}: " if self.field is None else f"{self.file}: {self.field}: "
        return f"{where}{self.message}"


class SkillError(GovernanceError, ValueError):
    """A skill, or a file of one, cannot be used.

    Attributes:
        problems: What is wrong with it; none: it is not there, or was changed.
    """

    def __init__(self, message: str, problems: Sequence[SkillProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class SkillFile:
    """A file of a skill as it was when the skill was loaded.

    Attributes:
        size: In bytes.
        digest: SHA-256 in hex of its bytes.
    """

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill, loaded.

    Attributes:
        name: Its name: up to 64 of `a-z`, `0-9` and `-`.
        description: What it does and when to use it, for models.
        folder: Where it is.
        body: Its instructions, in Markdown.
        version: `metadata.version`; `0` if it has none.
        digest: SHA-256 in hex over all files.
        license: Its licence; None: not said.
        compatibility: What it needs; None: not said.
        metadata: Further texts by name.
        allowed_tools: The tools that it may use, as its author names them; None: not said, so it narrows nothing.
        files: Its files by their path from the folder, with `/`. Links, hidden files and what is no file are left out.
        left_out: What was left out, with the reason.
    """

    name: str
    description: str
    folder: Path
    body: str = field(repr=False)
    version: str = "0"
    digest: str = ""
    license: str | None = None
    compatibility: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    allowed_tools: tuple[str, ...] | None = None
    files: Mapping[str, SkillFile] = field(default_factory=dict, repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def scripts(self) -> tuple[str, ...]:
        """The files below `scripts/`."""
        return tuple(path for path in self.files if path.startswith("scripts/"))

    @property
    def references(self) -> tuple[str, ...]:
        """The other files, which a model may read."""
        return tuple(path for path in self.files if path.upper() != "SKILL.MD")
