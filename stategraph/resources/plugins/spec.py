"""Declarations of plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from stategraph.errors import ConfigurationError
from stategraph.resources.plugins import permissions
from stategraph.resources.plugins.permissions import Isolation, Trust


@dataclass(frozen=True, slots=True)
class PluginLimits:
    """Limits of a plug-in.

    Attributes:
        call_s: Seconds that a call into it may take.
        start_s: Seconds that it may take to start.
        drain_s: Seconds that its calls have to end when it is stopped or replaced.
        memory_mb: Address space of its process, in MiB.
        cpu_s: Processor time of one process of it, in whole seconds. A process that has used four fifths is replaced
            without losing a call; one that uses all of it is killed by the kernel. None: no limit.
        files: File descriptors of its process.
        file_mb: Size of a file that its process writes, in MiB.
        processes: Processes of its user, where the kernel keeps this limit; None: no limit.
        calls: Calls into it at a time; others wait, within their time limit.
        message_mb: Size of a value that goes in or out, in MiB.

    Raises:
        ConfigurationError: A limit is no number above 0.
    """

    call_s: float = 30.0
    start_s: float = 30.0
    drain_s: float = 10.0
    memory_mb: int = 512
    cpu_s: int | None = None
    files: int = 256
    file_mb: int = 64
    processes: int | None = None
    calls: int = 64
    message_mb: int = 8

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.name in ("cpu_s", "processes"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"The limit {each.name!r} of a plug-in is {value!r}; expected more than 0")


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """The declaration of a plug-in.

    Attributes:
        name: Its name.
        package: Name of its entry point in the group `stategraph.plugins`; None: it is named by `module`.
        module: `package.module:Class`, under a prefix that the host allows; None: it is named by `package`.
        trust: Its trust level.
        isolation: Where it runs; None: as its trust level asks.
        permissions: What it may do.
        config: Its configuration, secrets in place. It is never shown.
        secrets: Values among its configuration that nothing may show.
        limits: Its limits.
        health_s: Seconds between health checks.
        tenant: Whose audit log has its rows; None: that of the host.

    Raises:
        ConfigurationError: Not one of `package` and `module` is given, or a field makes no sense.
        PluginPermissionError: Its trust level does not permit what it is granted.
    """

    name: str
    package: str | None = None
    module: str | None = None
    trust: Trust = "public"
    isolation: Isolation | None = None
    permissions: frozenset[str] = permissions.DEFAULT
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    limits: PluginLimits = PluginLimits()
    health_s: float = 30.0
    tenant: str | None = None

    def __post_init__(self) -> None:
        if (self.package is None) == (self.module is None):
            raise ConfigurationError(f"Plugin '{self.name}': expected one of 'package' and 'module'")
        if self.trust not in permissions.TRUST_LEVELS:
            known = ", ".join(permissions.TRUST_LEVELS)
            raise ConfigurationError(
                f"Plugin '{self.name}': the trust level is {self.trust!r}; expected one of {known}"
            )
        if not self.health_s > 0:
            raise ConfigurationError(f"Plugin '{self.name}': 'health_s' is {self.health_s!r}; expected more than 0")
        permissions.check_granted(self.name, self.trust, self.permissions)
        permissions.isolation_of(self.name, self.trust, self.isolation)

    @property
    def runs_in(self) -> Isolation:
        """Its isolation, by its declaration and its trust level."""
        return permissions.isolation_of(self.name, self.trust, self.isolation)

    def changed(self, **changes: Any) -> PluginSpec:
        """Return the declaration with other fields, checked anew."""
        return replace(self, **changes)
