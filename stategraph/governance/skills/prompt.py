"""Texts about skills for models: first names and descriptions, then what was asked for."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

from stategraph.governance.skills import loader
from stategraph.governance.skills.skill import Skill, SkillError

MOST_CHARACTERS: Final = 256 * 1024
"""Characters of a file that a model is given."""


def overview(skills: Iterable[Skill], tool: str = "read_skill") -> str:
    """Return what a model is told of skills at first: their names and descriptions, in the form of the reference.

    Args:
        skills: The skills.
        tool: The tool with which it reads one.

    Returns:
        The text; empty if there are no skills.
    """
    each = [
        f"<skill>\n<name>\n{html.escape(skill.name)}\n</name>\n"
        f"<description>\n{html.escape(skill.description)}\n</description>\n</skill>"
        for skill in skills
    ]
    if not each:
        return ""
    told = f"Before you do what a skill is for, read it with the tool {tool}, and follow its instructions."
    return "\n".join(("<available_skills>", *each, "</available_skills>", told))


def instructions(skill: Skill) -> str:
    """Return what a model reads of a skill: its instructions, and the names of its files."""
    files = "\n".join(f"- {path} ({skill.files[path].size:,} bytes)" for path in skill.references)
    return f"{skill.body}\n\nFiles of this skill:\n{files}" if files else skill.body


def file_text(skill: Skill, path: str) -> str:
    """Return a file of a skill for a model.

    Args:
        skill: The skill.
        path: The file, by its path from the folder.

    Raises:
        SkillError: There is none, it was changed since the skill was loaded, is too long, or is no text.
    """
    path = path.removeprefix("./")
    if path in loader.NAMES:
        return instructions(skill)
    content = loader.read_unchanged(skill, path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SkillError(f"The file '{path}' of the skill '{skill.name}' is no text, so it cannot be read") from error
    if len(text) > MOST_CHARACTERS:
        raise SkillError(
            f"The file '{path}' of the skill '{skill.name}' has {len(text):,} characters; at most {MOST_CHARACTERS:,} "
            "can be read"
        )
    return text
