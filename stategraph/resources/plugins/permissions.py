"""Trust levels of plug-ins, what each of them permits, and where a plug-in of it runs.

| trust | runs | may be permitted |
|---|---|---|
| `public` | in a sandbox | `tools`, `events:publish`, `network`, `files:read:...` |
| `verified` | in a process with limits | also `controllers`, `events:subscribe`, `files:write:...`, `environment:...` |
| `trusted`, `internal` | in the host's process | also `hooks`, which see and change what agents do |

- A permission is granted in the declaration of the plug-in and nowhere else. `tools` alone is granted when it says
  nothing.
- A plug-in that needs more than it was granted does not start. One that registers what it may not is stopped: the host
  checks, whatever the plug-in's own process says.
- A plug-in may be isolated more strictly than its trust level asks for, never less.
- `network` and `files:...` are enforced by the sandbox. A process of a `verified` plug-in has the network and the files
  of its user; there they only document what it uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

from stategraph.errors import ConfigurationError
from stategraph.resources.plugins.errors import PluginPermissionError

Trust: TypeAlias = Literal["public", "verified", "trusted", "internal"]
Isolation: TypeAlias = Literal["none", "process", "sandbox"]

TRUST_LEVELS: Final[tuple[Trust, ...]] = get_args(Trust)

#: From the weakest to the strictest.
ISOLATIONS: Final[tuple[Isolation, ...]] = get_args(Isolation)

#: The weakest isolation of a level.
LEAST_ISOLATION: Final[dict[Trust, Isolation]] = {
    "public": "sandbox",
    "verified": "process",
    "trusted": "none",
    "internal": "none",
}

#: Permissions that have no argument, then those that have one behind their second colon.
PLAIN: Final = ("tools", "controllers", "hooks", "events:publish", "events:subscribe", "network")
WITH_ARGUMENT: Final = ("files:read", "files:write", "environment")

_PUBLIC: Final = frozenset(("tools", "events:publish", "network", "files:read"))
_VERIFIED: Final = _PUBLIC | {"controllers", "events:subscribe", "files:write", "environment"}
_ALL: Final = frozenset((*PLAIN, *WITH_ARGUMENT))

CEILINGS: Final[dict[Trust, frozenset[str]]] = {
    "public": _PUBLIC,
    "verified": _VERIFIED,
    "trusted": _ALL,
    "internal": _ALL,
}

DEFAULT: Final = frozenset(("tools",))

#: The permission that a registration needs.
_NEEDED: Final = {"tool": "tools", "controller": "controllers", "hook": "hooks", "subscription": "events:subscribe"}


def kind_of(permission: str) -> str:
    """Return a permission without its argument.

    Raises:
        ConfigurationError: There is no such permission.
    """
    if permission in PLAIN:
        return permission
    for each in WITH_ARGUMENT:
        if permission.startswith(f"{each}:") and len(permission) > len(each) + 1:
            return each
    known = ", ".join((*PLAIN, *(f"{each}:..." for each in WITH_ARGUMENT)))
    raise ConfigurationError(f"There is no permission {permission!r}; expected one of: {known}")


def arguments(granted: Iterable[str], kind: str) -> list[str]:
    """Return the arguments of the permissions of a kind, in alphabetical order."""
    head = f"{kind}:"
    return sorted(each[len(head) :] for each in granted if each.startswith(head))


def check_granted(plugin: str, trust: Trust, granted: Iterable[str]) -> None:
    """Check that a trust level permits what a declaration grants.

    Raises:
        ConfigurationError: There is no such permission.
        PluginPermissionError: The level does not permit it.
    """
    for each in sorted(granted):
        if kind_of(each) not in CEILINGS[trust]:
            allowed = next(level for level in TRUST_LEVELS if kind_of(each) in CEILINGS[level])
            raise PluginPermissionError(
                f"Plugin '{plugin}' has the trust level '{trust}', which does not permit '{each}'; it takes at least "
                f"'{allowed}'"
            )
        if kind_of(each).startswith("files:") and not each.partition(":")[2].partition(":")[2].startswith("/"):
            raise ConfigurationError(f"Plugin '{plugin}': the path of {each!r} must be absolute")


def check_needed(plugin: str, needed: Iterable[str], granted: frozenset[str]) -> None:
    """Check that a plug-in was granted what it says that it needs.

    A kind of permission with an argument, such as `files:read`, is fulfilled by any of that kind.

    Raises:
        PluginPermissionError: It was not.
    """
    kinds = {kind_of(each) for each in granted}
    missing = sorted(each for each in needed if each not in granted and each not in kinds)
    if missing:
        raise PluginPermissionError(
            f"Plugin '{plugin}' needs permissions that it was not granted: {', '.join(missing)}. Add them to "
            "'permissions' in its declaration if it shall have them"
        )


def check_registered(plugin: str, kind: str, name: str, granted: frozenset[str]) -> None:
    """Check that a plug-in may register something.

    Args:
        plugin: Its name.
        kind: `tool`, `controller`, `hook` or `subscription`.
        name: The name of what it registers.
        granted: Its permissions.

    Raises:
        PluginPermissionError: It may not.
    """
    needed = _NEEDED[kind]
    if needed not in granted:
        raise PluginPermissionError(
            f"Plugin '{plugin}' registered the {kind} '{name}' without the permission '{needed}'"
        )


def isolation_of(plugin: str, trust: Trust, asked: Isolation | None) -> Isolation:
    """Return where a plug-in runs.

    Args:
        plugin: Its name.
        trust: Its trust level.
        asked: The isolation that its declaration asks for; None: that of its trust level.

    Raises:
        PluginPermissionError: It asks for a weaker one than its level has.
    """
    least = LEAST_ISOLATION[trust]
    if asked is None:
        return least
    if ISOLATIONS.index(asked) < ISOLATIONS.index(least):
        raise PluginPermissionError(
            f"Plugin '{plugin}' asks for the isolation '{asked}', but the trust level '{trust}' has at least '{least}'"
        )
    return asked
