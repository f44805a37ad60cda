"""Channels of an installed LangGraph in the annotations of a state, in a process that has both engines.

LangGraph's own channel classes have the names and arguments of ours, so ours takes the place of one. A class that was
derived from one of them cannot be exchanged, and is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from inspect import isclass
from typing import Any, Final

from stategraph.core.channels.any_value import AnyValue
from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish
from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.delta import DeltaChannel
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue, LastValueAfterFinish
from stategraph.core.channels.topic import Topic
from stategraph.core.channels.untracked import UntrackedValue

_ATTRIBUTES: Final[Mapping[type[BaseChannel[Any, Any, Any]], tuple[str, ...]]] = {
    AnyValue: ("typ",),
    BinaryOperatorAggregate: ("typ", "operator"),
    DeltaChannel: ("reducer", "typ"),
    EphemeralValue: ("typ", "guard"),
    LastValue: ("typ",),
    LastValueAfterFinish: ("typ",),
    NamedBarrierValue: ("typ", "names"),
    NamedBarrierValueAfterFinish: ("typ", "names"),
    Topic: ("typ", "accumulate"),
    UntrackedValue: ("typ", "guard"),
}
"""The attributes of a channel that its constructor takes, in their order."""

_BY_NAME: Final = {cls.__name__: cls for cls in _ATTRIBUTES}


def own(item: Any) -> object:
    """Return our channel for one of LangGraph's, class or instance, and anything else as it is.

    Args:
        item: What stands in the metadata of an annotation.

    Raises:
        TypeError: It is of a class that was derived from one of LangGraph's.
    """
    theirs = getattr(sys.modules.get("langgraph.channels.base"), "BaseChannel", BaseChannel)
    cls = item if isclass(item) else type(item)
    if theirs is BaseChannel or not issubclass(cls, theirs):
        return item
    ours = _BY_NAME.get(cls.__name__) if cls.__module__.startswith("langgraph.channels.") else None
    if ours is None:
        raise TypeError(
            f"The channel class {cls.__module__}.{cls.__qualname__} is derived from the BaseChannel of the installed "
            "LangGraph, which this engine does not run; expected a channel of stategraph.core.channels. Derive it from "
            "one of those, or set STATEGRAPH_RUNTIME=true, so that langgraph.channels has this engine's classes."
        )
    if isclass(item):
        return ours
    options = {"snapshot_frequency": item.snapshot_frequency} if ours is DeltaChannel else {}
    return ours(*(getattr(item, name) for name in _ATTRIBUTES[ours]), **options)
