"""Exceptions of resources.

    ResourceError                   (also a ValueError)
    ├── ManifestError               manifests that cannot be read, with every `Problem` (in `loading`)
    ├── InvalidResource             a resource whose spec does not fit its kind: condition Valid=False
    ├── UnresolvedReference         a reference to nothing, or to what may not be used: ReferencesResolved=False
    ├── NotReady                    something that a resource needs is not ready yet: Ready=False, tried again on change
    ├── UnknownResource             a key under which nothing is stored (also a LookupError)
    └── ConflictError               another writer was faster; read the resource again and repeat

Controllers raise the middle three; the loop turns each into conditions, so that a controller only handles its success.
"""

from __future__ import annotations

from collections.abc import Iterable

from stategraph.resources.places import Path, Problem, dotted


class ResourceError(ValueError):
    """Base class of what goes wrong with resources."""


class InvalidResource(ResourceError):
    """A resource does not fit its kind.

    Attributes:
        problems: Everything that is wrong.
        reason: The reason of the condition `Valid`, in CamelCase.
    """

    def __init__(self, problems: Iterable[Problem] | str, *, path: Path = (), reason: str = "Invalid") -> None:
        self.problems = (Problem(problems, path),) if isinstance(problems, str) else tuple(problems)
        self.reason = reason
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnresolvedReference(ResourceError):
    """A reference leads to nothing, or to something that this namespace may not use.

    Attributes:
        path: The field that has the reference.
        reason: The reason of the condition `ReferencesResolved`, in CamelCase.
    """

    def __init__(self, message: str, *, path: Path = (), reason: str = "NotFound") -> None:
        self.message, self.path, self.reason = message, path, reason
        super().__init__(f"{dotted(path)}: {message}" if path else message)


class NotReady(ResourceError):
    """Something that a resource needs is not ready; the resource is reconciled again when that changes.

    Attributes:
        path: The field that needs it; empty if none in particular does.
        reason: The reason of the condition `Ready`, in CamelCase.
    """

    def __init__(self, message: str, *, path: Path = (), reason: str = "DependencyNotReady") -> None:
        self.message, self.path, self.reason = message, path, reason
        super().__init__(f"{dotted(path)}: {message}" if path else message)


class UnknownResource(ResourceError, LookupError):
    """Nothing is stored under a key."""


class ConflictError(ResourceError):
    """Another writer changed or deleted a resource since it was read; nothing has been written."""
