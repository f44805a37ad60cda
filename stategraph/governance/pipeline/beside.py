"""Actions beside each other in one task: no answer of a person may be read by another action than it was given for.

Rules
-----
* The engine numbers what a task asks and matches answers by that number. So one action of a task at a time is looked
  at and asked about; what was stored of the look says which action the answer is for.
* Calls of one answer of a model that need approval are refused before people are asked, if they come one by one as
  calls of one task: their order is another each time. Gates ask about them together.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_core.messages import AIMessage, ToolCall

from stategraph.constants import CONF, CONFIG_KEY_READ, CONFIG_KEY_SCRATCHPAD
from stategraph.errors import GraphInterrupt
from stategraph.governance.actions import Reason
from stategraph.governance.errors import ActionRejected, GovernanceError
from stategraph.governance.pipeline import decisions, telling
from stategraph.governance.pipeline.action import Action, Services
from stategraph.governance.policy.verdict import Decision
from stategraph.prebuilt.steps import Steps

_TOGETHER: Final = (
    "have them asked about together, by ToolCallGate, ActionGate or action_middleware of stategraph.governance.gates, "
    'make each call a task of its own, as create_react_agent(version="v2") does, or make one call at a time'
)
_MOST_WAITING: Final = 1000


@dataclass(slots=True)
class Turn:
    """An action's turn to ask in one execution of a task.

    Attributes:
        pad: Belongs to that execution alone; it is kept, so that its `id` is not used again.
        waits: Whether the turn ended with a question, which has no answer yet.
        contested: Whether another action of the task came meanwhile.
    """

    pad: object
    waits: bool = False
    contested: bool = False

    def check(self) -> None:
        """Refuse to ask if another action came.

        Raises:
            GovernanceError: One did.
        """
        if self.contested:
            raise confused()


_turns: OrderedDict[int, Turn] = OrderedDict()
_lock = threading.Lock()


def confused() -> GovernanceError:
    """Return the error of actions beside each other that each would ask."""
    return GovernanceError(f"Actions beside each other in one task cannot each ask for approval: {_TOGETHER}")


@contextmanager
def turn(action: Action) -> Iterator[Turn]:
    """Have an action be the only one of its task that is looked at and asked about.

    Raises:
        GovernanceError: Another one is, or has asked in this execution of the task and has no answer.
    """
    pad = ((action.config or {}).get(CONF) or {}).get(CONFIG_KEY_SCRATCHPAD)
    if not action.asks or pad is None:
        yield Turn(pad)
        return
    with _lock:
        held = _turns.get(id(pad))
        if held is not None:
            held.contested = True
            raise confused()
        mine = _turns[id(pad)] = Turn(pad)
    try:
        yield mine
    except GraphInterrupt:
        mine.waits = True
        raise
    finally:
        with _lock:
            if not mine.waits:
                del _turns[id(pad)]
            elif len(waiting := [key for key, each in _turns.items() if each.waits]) > _MOST_WAITING:
                del _turns[waiting[0]]  # that execution ended long ago


def refuse_several(services: Services, action: Action) -> Steps[None]:
    """Refuse a call if another call of the same answer, which this task makes too, needs approval as well.

    Raises:
        ActionRejected: One does.
    """
    request = action.request
    quiet = replace(services, audit=None)
    for call in _beside(action):
        other = replace(
            request, capability=call["name"], arguments=dict(call["args"]), call_id=call["id"] or "", view_digest=None
        )
        try:
            found = yield from decisions.again(quiet, replace(action, request=other, asked=other.arguments))
        except decisions.Refused:
            continue
        verdict = telling.verdict_of(found)
        if verdict is not None and verdict.enforced and verdict.decision is Decision.ESCALATE:
            raise ActionRejected(
                f"Several calls of one answer need approval, and here none can ask by itself: {_TOGETHER}",
                Reason.APPROVAL_UNAVAILABLE,
            )


def _beside(action: Action) -> Iterable[ToolCall]:
    """Return the other calls of the answer that a call is of, if one task makes them all."""
    assert action.config is not None
    scope: Any = action.config.get(CONF, {}).get(CONFIG_KEY_READ)
    path = action.config.get("metadata", {}).get("langgraph_path") or ()
    if getattr(getattr(scope, "task", None), "node", None) is None or (path and path[0] == "__pregel_push"):
        return ()
    state = scope.read_input()
    values = [state] if isinstance(state, list) else [*_fields(state).values()]
    for message in (each for value in values if isinstance(value, list) for each in reversed(value)):
        calls = message.tool_calls if isinstance(message, AIMessage) else ()
        if action.request.call_id in (ids := [each["id"] for each in calls]):
            at = ids.index(action.request.call_id)
            return [*calls[:at], *calls[at + 1 :]]
    return ()


def _fields(state: Any) -> Mapping[str, Any]:
    return state if isinstance(state, Mapping) else getattr(state, "__dict__", {})
