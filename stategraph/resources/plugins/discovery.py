"""Plug-ins that are installed, and the code that a declaration names.

Code is imported into the host's process only from modules that the host allows; into a process of its own also if an
installed distribution offers it as an entry point of the group `stategraph.plugins`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from stategraph import import_paths
from stategraph.errors import ConfigurationError
from stategraph.resources.plugins.errors import PluginPermissionError
from stategraph.resources.plugins.spec import PluginSpec

GROUP: Final = "stategraph.plugins"


@dataclass(frozen=True, slots=True)
class Installed:
    """A plug-in that a distribution offers.

    Attributes:
        name: Name of its entry point.
        target: `package.module:Class`.
        distribution: The distribution.
        version: Its version.
    """

    name: str
    target: str
    distribution: str
    version: str


def installed() -> list[Installed]:
    """List the plug-ins of all distributions, by name; nothing of them is imported."""
    found = []
    for each in metadata.entry_points(group=GROUP):
        name, version = ("", "") if each.dist is None else (each.dist.name, each.dist.version)
        found.append(Installed(each.name, each.value, name, version))
    return sorted(found, key=lambda one: (one.name, one.distribution))


def permits(prefixes: Iterable[str], module: str) -> bool:
    """Return true if a module is one of those that prefixes allow: `app`, or `app.` for what is in it."""
    return any(
        module == each.rstrip(".") or module.startswith(f"{each.rstrip('.')}.") for each in prefixes if each.rstrip(".")
    )


def target_of(spec: PluginSpec, allow: Iterable[str]) -> str:
    """Return the import path of a plug-in's class. Nothing is imported.

    Args:
        spec: Its declaration.
        allow: Prefixes of modules that may be imported.

    Raises:
        ConfigurationError: There is no such entry point, or more than one, or the path has another form.
        PluginPermissionError: The module is not allowed.
    """
    allow = tuple(allow)
    target = spec.module or _entry_point(spec)
    module, _ = import_paths.parts(target, f"The module of plugin '{spec.name}'")
    if (spec.module is not None or spec.runs_in == "none") and not permits(allow, module):
        allowed = ", ".join(allow) or "none"
        where = "into this process " if spec.runs_in == "none" else ""
        raise PluginPermissionError(
            f"Plugin '{spec.name}': the module '{module}' may not be imported {where}here; allowed: {allowed}. Allow "
            "it where the runtime is made (allow=, --allow)"
        )
    return target


def _entry_point(spec: PluginSpec) -> str:
    everything = installed()
    found = [each for each in everything if each.name == spec.package]
    if not found:
        names = ", ".join(each.name for each in everything) or "none"
        raise ConfigurationError(
            f"Plugin '{spec.name}': no installed distribution has the entry point '{spec.package}' in the group "
            f"'{GROUP}'; there are: {names}"
        )
    if len({each.target for each in found}) > 1:
        several = ", ".join(f"{each.distribution} {each.version}" for each in found)
        raise ConfigurationError(
            f"Plugin '{spec.name}': several distributions have the entry point '{spec.package}' ({several}); name "
            "'module' instead"
        )
    return found[0].target
