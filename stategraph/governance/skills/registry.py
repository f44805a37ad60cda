"""Registry of skills: those of some folders, in their versions."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from stategraph.errors import ConfigurationError
from stategraph.governance.capability import Trust, version_key
from stategraph.governance.skills import loader, prompt
from stategraph.governance.skills.skill import Skill, SkillError, SkillProblem


class SkillRegistry:
    """Skills by name and version; thread-safe.

    Args:
        *folders: Folders of skills, or folders that hold some. Links among those that one holds are not followed.
        source: Where they come from, as the ids of their capabilities have it.
        trust: Who answers for them. Scripts of skills that are neither `trusted` nor `internal` run in a sandbox.

    Attributes:
        source: Where they come from.
        trust: Who answers for them.
    """

    def __init__(self, *folders: str | os.PathLike[str], source: str = "skills", trust: Trust = "public") -> None:
        self.source = source
        self.trust: Trust = trust
        self._folders = tuple(Path(each) for each in folders)
        self._lock = threading.Lock()
        self._skills: dict[str, tuple[Skill, ...]] = {}
        self._problems: tuple[SkillProblem, ...] = ()
        self.reload()

    def __repr__(self) -> str:
        return f"<SkillRegistry {self.source!r}: {', '.join(self._skills) or 'no skills'}>"

    def reload(self) -> tuple[SkillProblem, ...]:
        """Load all folders anew; a skill that cannot be used is left out.

        Returns:
            What is wrong with those that are left out.

        Raises:
            ConfigurationError: A folder is not there, or two skills have one name and version and differ.
            MissingPackageError: The extra `governance` is not installed.
        """
        found: dict[str, list[Skill]] = {}
        problems: list[SkillProblem] = []
        for folder in self._folders:
            for each in folders_in(folder):
                if each != folder and each.is_symlink():
                    problems.append(
                        SkillProblem(each, None, "is a link, which is not followed: name its folder itself")
                    )
                    continue
                try:
                    skill = loader.load(each)
                except SkillError as error:
                    problems += error.problems
                    continue
                _put(found.setdefault(skill.name, []), skill)
        with self._lock:
            self._skills = {
                name: tuple(sorted(found[name], key=lambda each: version_key(each.version))) for name in sorted(found)
            }
            self._problems = tuple(problems)
        return self._problems

    @property
    def problems(self) -> tuple[SkillProblem, ...]:
        """Faults of skills that are left out."""
        return self._problems

    def __iter__(self) -> Iterator[Skill]:
        """Yield each skill in its newest version, by name."""
        return iter([versions[-1] for versions in self._skills.values()])

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._skills)

    def versions(self, name: str) -> tuple[Skill, ...]:
        """Return all versions of a skill, the newest last; none: there is no such skill."""
        return self._skills.get(name, ())

    def get(self, name: str, version: str | None = None) -> Skill:
        """Return a skill.

        Args:
            name: Its name.
            version: The version; None: the newest.

        Raises:
            SkillError: There is none.
        """
        versions = self.versions(name)
        found = [each for each in versions if version in (None, each.version)]
        if found:
            return found[-1]
        if versions:
            there = ", ".join(each.version for each in versions)
            raise SkillError(f"The skill '{name}' has no version {version!r}; it has: {there}")
        raise SkillError(f"There is no skill {name!r}; there are: {', '.join(self._skills) or 'none'}")

    def prompt(self, names: Iterable[str] | None = None) -> str:
        """Return what a model is told of skills at first: their names and descriptions.

        Args:
            names: The skills; None: all. Those of a session are `[each.name for each in view.skills()]`.

        Raises:
            SkillError: There is no skill of a name.
        """
        return prompt.overview(self if names is None else [self.get(name) for name in names])

    def read(self, name: str, path: str | None = None, version: str | None = None) -> str:
        """Return the instructions of a skill, or a file of it, as a model reads them.

        Args:
            name: The skill.
            path: The file, by its path from the skill's folder; None: the instructions.
            version: The version; None: the newest.

        Raises:
            SkillError: There is none, or it was changed since it was loaded.
        """
        skill = self.get(name, version)
        return prompt.instructions(skill) if path is None else prompt.file_text(skill, path)


def folders_in(folder: Path) -> list[Path]:
    """Return the folder if it is that of a skill, else the folders in it, by name.

    Raises:
        ConfigurationError: It is not there.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder '{folder}' with skills")
    if any(os.path.lexists(folder / name) for name in loader.NAMES):
        return [folder]
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _put(versions: list[Skill], skill: Skill) -> None:
    for each in versions:
        if each.version == skill.version:
            if each.digest != skill.digest:
                raise ConfigurationError(
                    f"The skill '{skill.name}' in version {skill.version} is in '{each.folder}' and in "
                    f"'{skill.folder}', and they differ: give one another metadata.version"
                )
            return
    versions.append(skill)
