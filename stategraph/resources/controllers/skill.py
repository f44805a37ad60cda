"""Controller of Skills."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import ClassVar, cast

from stategraph.governance.skills import loader
from stategraph.governance.skills.skill import SkillError
from stategraph.resources.compile import archives
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.skill import SkillSpec
from stategraph.resources.model import Resource


class SkillController(common.Base):
    """Reads Skills."""

    kind: ClassVar[str] = "Skill"
    depends_on: ClassVar[tuple[str, ...]] = ()

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Read a skill's folder."""
        spec = cast("SkillSpec", ctx.parsed(resource))
        root = FilePath() if resource.source is None else FilePath(resource.source.file).parent
        field = "path" if spec.path is not None else "archive"
        try:
            folder = root / spec.path if spec.path is not None else archives.unpacked(root / str(spec.archive))
            skill = loader.load(folder)
        except (SkillError, OSError, ValueError) as error:
            raise InvalidResource(f"the skill cannot be read: {error}", path=("spec", field)) from None
        if spec.digest is not None and spec.digest != skill.digest:
            raise InvalidResource(
                f"the skill is not the one that was declared: its digest is {skill.digest}",
                path=("spec", "digest"),
                reason="DigestMismatch",
            )
        status = {"digest": skill.digest, "skill": skill.name, "files": len(skill.files)}
        return ReconcileResult(status=status, compiled=skill)
