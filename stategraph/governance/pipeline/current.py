"""The action that is being executed, for the code that it consists of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from stategraph.governance.actions import ActionRequest
from stategraph.governance.capability import Capability
from stategraph.governance.pipeline.action import Action


@dataclass(frozen=True, slots=True)
class CurrentAction:
    """The action that the caller is part of.

    Attributes:
        capability: What is used.
        request: The action, as it was asked for.
    """

    capability: Capability
    request: ActionRequest


_current: ContextVar[CurrentAction | None] = ContextVar("stategraph_action", default=None)


def current_action() -> CurrentAction | None:
    """Return the action that is being executed here, in code that it calls; None outside of one."""
    return _current.get()


@contextmanager
def executing(action: Action) -> Iterator[None]:
    """Be in an action that has begun."""
    token = _current.set(CurrentAction(action.found, action.request))
    try:
        yield
    finally:
        _current.reset(token)


def capability_inside(request: ActionRequest) -> Capability | None:
    """Return the capability of a request for the very action that is being executed; None: it is another action.

    A gate executes an action whose tool asks for it once more, where the tool is one that `CapabilityView.tools` made.
    """
    current = _current.get()
    if current is None or current.request.call_id != request.call_id:
        return None
    capability = current.capability
    names = (capability.id, capability.id.rpartition("@")[0], current.request.capability)
    return capability if request.capability in names else None
