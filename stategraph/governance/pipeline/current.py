"""The action that is being executed, for the code that it consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from stategraph.governance.actions import ActionRequest
from stategraph.governance.canonical import same_json
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


class _Executing:
    """An execution that goes on; tasks and threads that outlive it inherit it.

    Args:
        action: The action.
    """

    def __init__(self, action: Action) -> None:
        self.current = CurrentAction(action.found, action.request)
        self.arguments: Mapping[str, Any] = action.arguments
        self.goes_on = True

    def is_of(self, request: ActionRequest) -> bool:
        """Return whether a request is for this very action: its call, by whom, with what it is executed with."""
        own, capability = self.current.request, self.current.capability
        names = (capability.id, capability.id.rpartition("@")[0], own.capability)
        return (
            self.goes_on
            and own.call_id == request.call_id
            and request.capability in names
            and own.context == request.context
            and own.run == request.run
            and same_json(self.arguments, request.arguments)
        )


_executing: ContextVar[_Executing | None] = ContextVar("stategraph_action", default=None)


def current_action() -> CurrentAction | None:
    """Return the action that is being executed here, in code that it calls; None outside of one."""
    executing = _executing.get()
    return None if executing is None else executing.current


@contextmanager
def executing(action: Action) -> Iterator[None]:
    """Be in an action that has begun."""
    made = _Executing(action)
    token = _executing.set(made)
    try:
        yield
    finally:
        made.goes_on = False
        _executing.reset(token)


def capability_inside(request: ActionRequest) -> Capability | None:
    """Return the capability of a request for the very action that is being executed; None: it is another action.

    A gate executes an action whose tool asks for it once more, where the tool is one that `CapabilityView.tools` made.
    Ids of calls are used again, by agents within the action too, so all of the request is compared.
    """
    executing = _executing.get()
    return executing.current.capability if executing is not None and executing.is_of(request) else None
