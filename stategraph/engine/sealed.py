"""The config of an attempt, made when somebody looks at it.

Every node has one: as an argument, if it asks for it, and behind `get_config()` and the models and tools that it calls.
But to make it takes a quarter of all that a small step takes, and most nodes only compute. So an attempt is handed a
dict that is filled in at the first look, whatever kind of look it is.

Rules
-----
* Whoever looks sees what they would have seen when the attempt began.
* What has been looked at is a dict like any other. Its copies are plain dicts, also those that were pickled.
* Code that reads a dict past its methods, as pydantic and the JSON encoder do, finds nothing in one that nobody has
  looked at. What `get_config` returns and what the engine hands over as an argument is therefore opened before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock
from typing import Any, Final, Protocol

_NOT_A_LOOK: Final = frozenset(
    ("__new__", "__init__", "__getattribute__", "__hash__", "__sizeof__", "__class_getitem__", "__doc__", "fromkeys")
)
_new = dict.__new__
_put_in = dict.update


opening = RLock()
"""Held while a config is opened, so that threads that look at once see the same. One for all: an author's code may hold
a run's own while it waits for a thread that looks."""


class Origin(Protocol):
    """What can tell what belongs in a config."""

    def content(self, facts: Any) -> dict[str, Any]:
        """What belongs in the config that was sealed with these facts. Asked by one thread of the process at a time."""


class OpenConfig(dict[str, Any]):
    """A config that somebody has looked at."""

    __slots__ = ("facts", "origin")

    facts: Any
    origin: Origin

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        """Copy and pickle it as a plain dict."""
        return dict, (dict(self),)


class SealedConfig(OpenConfig):
    """A config that nobody has looked at yet."""

    __slots__ = ()


def seal(origin: Origin, facts: Any) -> SealedConfig:
    """Make a config that its origin is asked for at the first look.

    Args:
        origin: Can tell what belongs in it.
        facts: What to ask it with.
    """
    config: Any = _new(SealedConfig)
    config.origin = origin
    config.facts = facts
    return config  # type: ignore[no-any-return]


def opened(config: Any) -> Any:
    """The same config, for code that may read it past its methods."""
    if type(config) is SealedConfig:
        _open(config)
    return config


def content(config: Any) -> dict[str, Any]:
    """What is in a config, in a dict of the caller's own; its metadata are nobody else's either.

    To look at it in this way does not open it.
    """
    if type(config) is SealedConfig:
        with opening:
            if config.__class__ is SealedConfig:
                return config.origin.content(config.facts)
    copied = dict(config)
    copied["metadata"] = copied["metadata"].copy()
    return copied


def _open(config: Any) -> None:
    with opening:
        if type(config) is SealedConfig:
            _put_in(config, config.origin.content(config.facts))
            config.__class__ = OpenConfig  # type: ignore[assignment]
            config.facts = None


def _look(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    def look(self: Any, *args: Any, **kwargs: Any) -> Any:
        _open(self)
        return method(self, *args, **kwargs)

    return look


def _after_fork() -> None:
    global opening
    # The thread of the parent that may hold it does not exist in the child.
    opening = RLock()


if hasattr(os, "register_at_fork"):  # not where nothing forks
    os.register_at_fork(after_in_child=_after_fork)

for _name in vars(dict).keys() - _NOT_A_LOOK:
    setattr(SealedConfig, _name, _look(_name))
