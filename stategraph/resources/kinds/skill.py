"""Skill: instructions and files that an agent reads when it needs them."""

from __future__ import annotations

from pydantic import Field, model_validator

from stategraph.resources.kinds.base import TargetSpec
from stategraph.resources.kinds.values import Name


class SkillSpec(TargetSpec):
    """A folder with a SKILL.md, or an archive of one."""

    path: Name | None = Field(default=None, description="The folder; relative to that of the manifest's file.")
    archive: Name | None = Field(default=None, description="A .zip or .tar.gz file with the folder.")
    digest: str | None = Field(default=None, description="SHA-256 of its content; anything else is refused.")
    description: str | None = Field(default=None, description="For people; models are told the skill's own.")

    @model_validator(mode="after")
    def _one_source(self) -> SkillSpec:
        if (self.path is None) is (self.archive is None):
            raise ValueError("a skill has either a 'path' or an 'archive'")
        return self
