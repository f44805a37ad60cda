"""Reading of manifests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stategraph.resources.errors import ResourceError
from stategraph.resources.model import Resource
from stategraph.resources.places import Problem


class ManifestError(ResourceError):
    """Manifests cannot be read, or hold something that is no resource.

    Attributes:
        problems: Everything that is wrong, in the order of the files.
        resources: The resources that are right: a caller may apply them all the same.
    """

    def __init__(self, problems: Iterable[Problem], resources: Sequence[Resource] = ()) -> None:
        self.problems = tuple(problems)
        self.resources = tuple(resources)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problems, self.resources)
