"""The change from one version of a graph to the next, as its author describes it, and the chain of such changes.

Rules
-----
* Migrations are one chain without gaps or forks; the last leads to the graph's version.
* A thread that was stored without a version is of the version at which the chain begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stategraph.constants import START
from stategraph.core.checkpoint import Values
from stategraph.engine.compile.versions import GraphVersionError
from stategraph.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Migration:
    """The change from one version of a graph to the next, for threads that were stored by the first.

    It is applied in this order: `keys`, `nodes`, `sent`, `state`, `updates`. The functions are called with what a saver
    returned and may change it in place. They are called again until a run stores its next checkpoint, and by whoever
    reads the thread, so they must depend on nothing else and have no effects.

    Attributes:
        before: The earlier version.
        after: The later version.
        state: Given the values of the state by key, returns those of the later version; a key that is left out has no
            value any more. None: they stay.
        keys: Renamed state keys, from the earlier name to the later; None as the name drops the key. Also for what
            tasks have written in a step that is not over.
        nodes: Renamed nodes, from the earlier name to the later: what waits for one, runs the other, also with an
            answer to a question that the first asked. `END` as the name drops what waits for a removed node.
        sent: Given the (later) name of a node and the payload of a `Send` that waits for it, returns the payload of the
            later version. None: they stay.
        updates: Given what a finished task of a step that is not over has written, by key, returns what it would have
            written in the later version. None: it stays.
    """

    before: str
    after: str
    state: Callable[[Values], Mapping[str, object]] | None = None
    keys: Mapping[str, str | None] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    sent: Callable[[str, Any], object] | None = None
    updates: Callable[[Values], Mapping[str, object]] | None = None

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ConfigurationError: A version is no text, both are the same, or `START` is renamed.
        """
        for version in (self.before, self.after):
            check_version(version, "A version of a Migration")
        if self.before == self.after:
            raise ConfigurationError(f"A Migration leads from version '{self.before}' to itself: expected two versions")
        if START in self.nodes or START in self.nodes.values():
            raise ConfigurationError(f"{self.name} renames START, which every graph has: leave it out of `nodes`")

    @property
    def name(self) -> str:
        """The migration in words."""
        return f"The migration from version '{self.before}' to '{self.after}'"


def check_version(version: object, what: str) -> None:
    """Raise a `ConfigurationError` for a version that is no text, or an empty one."""
    if not isinstance(version, str) or not version:
        raise ConfigurationError(f"{what} is {version!r}; expected a text that is not empty, such as '2'")


@dataclass(frozen=True, slots=True)
class Chain:
    """The migrations that lead to the version of a graph.

    Attributes:
        current: The graph's version.
        migrations: They, the oldest first.
    """

    current: str
    migrations: tuple[Migration, ...] = ()

    @property
    def oldest(self) -> str:
        """The version at which the chain begins."""
        return self.migrations[0].before if self.migrations else self.current

    def reaches(self, version: str | None) -> bool:
        """Return whether threads of a version can be brought up; None is that of threads stored without one."""
        return version in (None, self.current) or any(each.before == version for each in self.migrations)

    def path(self, version: str | None, thread: str) -> Sequence[Migration]:
        """Return the migrations from a version to the graph's.

        Args:
            version: The version; None for a thread that was stored without one.
            thread: The thread, in words, for the message.

        Raises:
            GraphVersionError: No migration begins at the version.
        """
        if version == self.current:
            return ()
        if version is None:
            return self.migrations
        for place, each in enumerate(self.migrations):
            if each.before == version:
                return self.migrations[place:]
        known = f"its migrations begin at '{self.oldest}'" if self.migrations else "it has no migrations"
        raise GraphVersionError(
            f"{thread} was stored by version {version!r} of the graph. This is version '{self.current}', and {known}: "
            f"add a Migration(before={version!r}, ...), pin the threads with pinned={{{version!r}: graph}}, or run it "
            "with a graph of its version"
        )


def chain(version: str | None, migrations: Sequence[Migration]) -> Chain | None:
    """Put migrations in order; None for a graph without a version.

    Raises:
        ConfigurationError: They are not one chain that ends at the version.
    """
    if version is None:
        if migrations:
            raise ConfigurationError("`migrations` lead to a version that the graph does not have: pass `version`, too")
        return None
    check_version(version, "`version`")
    by_end: dict[str, Migration] = {}
    for each in migrations:
        if not isinstance(each, Migration):
            raise ConfigurationError(f"`migrations` has a {type(each).__name__}; expected stategraph.Migration")
        if (other := by_end.setdefault(each.after, each)) is not each:
            raise ConfigurationError(
                f"Two migrations lead to version '{each.after}', from '{other.before}' and from '{each.before}': a "
                "chain has one for each version"
            )
    found: list[Migration] = []
    at = version
    while at in by_end and not (found and at == version):
        found.append(by_end.pop(at))
        at = found[-1].before
    if found and at == version:
        raise ConfigurationError(f"The migrations lead from version '{version}' back to itself: expected a chain")
    if by_end:
        astray = ", ".join(f"'{each.before}' to '{each.after}'" for each in by_end.values())
        raise ConfigurationError(
            f"Migrations that do not lead to version '{version}': {astray}. Expected a chain without a gap to it"
        )
    return Chain(version, tuple(reversed(found)))
