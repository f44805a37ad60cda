"""Loading of skills: a folder, its SKILL.md and its files, within limits and without leaving the folder.

- Links are not followed, hidden files and caches are left out, and only files are read.
- What is read or run later is compared with what was loaded: a file that changed since is refused.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from stategraph.governance.skills import frontmatter, validation
from stategraph.governance.skills.skill import Skill, SkillError, SkillFile, SkillProblem

NAMES: Final = ("SKILL.md", "skill.md")

MOST_BYTES_OF_INSTRUCTIONS: Final = 256 * 1024
MOST_BYTES: Final = 32 * 1024 * 1024
MOST_FILES: Final = 1000
DEEPEST: Final = 8
"""Limits: bytes of a SKILL.md, bytes of all files, their number, and levels of folders."""


#: No link is followed, and a pipe without a writer is not waited for.
_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class _TooMuch(Exception):
    """A folder is over a limit; the message says which."""


def load(folder: str | os.PathLike[str]) -> Skill:
    """Load a skill.

    Args:
        folder: Its folder; this itself may be a link.

    Raises:
        SkillError: It is none; `problems` has all that is wrong with it.
        MissingPackageError: The extra `governance` is not installed.
    """
    given = Path(folder)
    skill, problems = _read(given)
    if skill is None or problems:
        raise SkillError("\n".join(map(str, problems)), problems)
    return skill


def problems_of(folder: str | os.PathLike[str]) -> list[SkillProblem]:
    """Return all that is wrong with a skill; none: it is valid.

    Args:
        folder: Its folder.
    """
    return _read(Path(folder))[1]


def _read(given: Path) -> tuple[Skill | None, list[SkillProblem]]:
    folder = given.absolute()
    if not folder.is_dir():
        missing = "is no folder" if folder.exists() else "there is no such folder"
        return None, [SkillProblem(given, None, missing)]
    file = next((folder / name for name in NAMES if os.path.lexists(folder / name)), None)
    if file is None:
        return None, [SkillProblem(given, None, "has no file SKILL.md")]
    shown = given / file.name
    try:
        text = read_file(file, MOST_BYTES_OF_INSTRUCTIONS).decode("utf-8")
        head, body = frontmatter.split(text.replace("\r\n", "\n").replace("\r", "\n"))
        fields = frontmatter.read(head)
    except UnicodeDecodeError as error:
        return None, [SkillProblem(shown, None, f"is no UTF-8: {error.reason} at byte {error.start}")]
    except OSError as error:
        return None, [SkillProblem(shown, None, f"cannot be read: {error.strerror or error}")]
    except ValueError as error:
        return None, [SkillProblem(shown, None, str(error))]
    name = Path(os.path.normpath(folder)).name
    problems = [SkillProblem(shown, field, fault) for field, fault in validation.problems(fields, name)]
    try:
        files, left_out = _files(folder)
    except (_TooMuch, OSError) as error:
        return None, [*problems, SkillProblem(given, None, str(error))]
    return (None if problems else _skill(fields, folder, body, files, left_out)), problems


def _skill(
    fields: dict[str, Any], folder: Path, body: str, files: dict[str, SkillFile], left_out: tuple[str, ...]
) -> Skill:
    hashed = hashlib.sha256()
    for path, each in files.items():
        hashed.update(f"{path}\0{each.digest}\n".encode("utf-8", "surrogateescape"))
    metadata = fields.get("metadata") or {}
    allowed = fields.get("allowed-tools")
    return Skill(
        name=fields["name"].strip(),
        description=fields["description"].strip(),
        folder=folder,
        body=body,
        version=metadata.get("version") or "0",
        digest=hashed.hexdigest(),
        license=fields.get("license"),
        compatibility=fields.get("compatibility"),
        metadata=metadata,
        allowed_tools=None if allowed is None else validation.tools_in(allowed),
        files=files,
        left_out=left_out,
    )


def _files(folder: Path) -> tuple[dict[str, SkillFile], tuple[str, ...]]:
    found: dict[str, SkillFile] = {}
    left_out: list[str] = []
    left = MOST_BYTES
    for path, entry in _walk(folder, "", DEEPEST):
        if entry.is_symlink():
            left_out.append(f"{path}: a link")
        elif not entry.is_file(follow_symlinks=False):
            left_out.append(f"{path}: no file")
        else:
            content = read_file(Path(entry.path), left)
            left -= len(content)
            found[path] = SkillFile(len(content), hashlib.sha256(content).hexdigest())
            if len(found) > MOST_FILES:
                raise _TooMuch(f"has more than {MOST_FILES} files")
    return dict(sorted(found.items())), tuple(left_out)


def _walk(folder: Path, within: str, depth: int) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            path = f"{within}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if depth == 0:
                    raise _TooMuch(f"'{path}' is more than {DEEPEST} folders deep")
                yield from _walk(folder / entry.name, f"{path}/", depth - 1)
            else:
                yield path, entry


def read_file(path: Path, most: int) -> bytes:
    """Read a file that is one, and no link, pipe or device.

    Args:
        path: Where it is.
        most: The most bytes.

    Raises:
        OSError: It is none, cannot be read, or is longer.
    """
    number = os.open(path, os.O_RDONLY | _FLAGS)
    with os.fdopen(number, "rb") as opened:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(f"'{path.name}' is no file")
        content = opened.read(most + 1)
    if len(content) > most:
        raise OSError(f"'{path.name}' has more than the {most:,} bytes that are left for it")
    return content


def read_unchanged(skill: Skill, path: str) -> bytes:
    """Read a file of a skill as it was loaded.

    Args:
        skill: The skill.
        path: The file, by its path from the folder.

    Raises:
        SkillError: The skill has no such file, or it was changed or removed since.
    """
    known = skill.files.get(path)
    if known is None:
        there = ", ".join(list(skill.references)[:20]) or "none"
        raise SkillError(f"The skill '{skill.name}' has no file {path!r}. Its files: {there}")
    try:
        content = read_file(skill.folder / path, known.size)
    except OSError as error:
        raise SkillError(_changed(skill, path)) from error
    if hashlib.sha256(content).hexdigest() != known.digest:
        raise SkillError(_changed(skill, path))
    return content


def _changed(skill: Skill, path: str) -> str:
    return (
        f"The file '{path}' of the skill '{skill.name}' is not what it was when the skill was loaded: load it anew, "
        "with another version if it does something else"
    )
