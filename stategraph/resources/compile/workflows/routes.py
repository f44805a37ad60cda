"""The ways between steps: conditions of a switch, and the items of an `each` step.

A switch is no node: it is a conditional edge of each step that leads to it. An `each` step is a node that is sent its
items, by a conditional edge of each step that leads to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from stategraph.constants import END
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.resources.compile import expr
from stategraph.resources.compile.data import Data, Fields
from stategraph.resources.compile.workflows.state import Names
from stategraph.resources.compile.workflows.steps import EMPTY, EachNode, items_of
from stategraph.resources.kinds.workflow import Step
from stategraph.types import Send

Destination: TypeAlias = "str | Send"


class Switch:
    """A switch, ready to choose.

    Args:
        step: The step.
        names: What the workflow keeps.
    """

    def __init__(self, step: Step, names: Names) -> None:
        self.step = step
        self._names = names
        place = f"step '{step.id}', switch"
        self._cases = tuple(
            (
                None if case.when is None else expr.condition(case.when, names.variables, f"{place}[{index}].when"),
                case.next,
            )
            for index, case in enumerate(step.switch or ())
        )
        self._roots = tuple(expr.together([each.reads for each, _ in self._cases if each is not None]))

    def next(self, state: Fields) -> str:
        """Return the id of the step to go to, or END as manifests write it."""
        scope = self._names.scope(state, self._roots)
        for when, step in self._cases:
            if when is None or when.value(scope):
                return step
        raise AssertionError("the last case of a switch has no condition")


class Fan:
    """An `each` step, ready to send its items to its node.

    Args:
        step: The step.
        node: Its node.
    """

    def __init__(self, step: Step, node: EachNode) -> None:
        self.step = step
        self._node = node
        self._place = f"step '{step.id}', each"
        self._items = expr.template(
            list(step.each) if isinstance(step.each, tuple) else step.each, node.names.variables, self._place
        )
        self._roots = tuple({*self._items.reads, *node.reading.names})

    def sends(self, state: Fields) -> list[Destination]:
        """Return what is sent: one for each item, or one that says that there are none."""
        scope = self._node.names.scope(state, self._roots)
        items = items_of(self._items.value(scope), self._place)
        if not items:
            return [Send(self.step.id, {EMPTY: True})]
        read = self._node.reading.of(scope)
        return [Send(self.step.id, {"item": item, "index": index, "scope": read}) for index, item in enumerate(items)]


class Route:
    """The way to a step that is a switch or has items, as the router of a conditional edge.

    Args:
        target: The id of the step.
        switches: The switches of the workflow.
        fans: Its `each` steps.
    """

    def __init__(self, target: str, switches: Mapping[str, Switch], fans: Mapping[str, Fan]) -> None:
        self.target = target
        self.switches = switches
        self._fans = fans

    def decide(self, state: Data) -> list[Destination]:
        """Return where to go."""
        target = self.target
        while target in self.switches:  # no switch leads back to itself: that is checked before
            target = self.switches[target].next(state)
        if target in self._fans:
            return self._fans[target].sends(state)
        return [END if target == "END" else target]

    @property
    def ends(self) -> list[str]:
        """The nodes that it may lead to."""
        found: dict[str, None] = {}
        waiting, seen = [self.target], set[str]()
        while waiting:
            each = waiting.pop(0)
            if each in self.switches and each not in seen:
                seen.add(each)
                waiting += [case.next for case in self.switches[each].step.switch or ()]
            elif each not in self.switches:
                found[END if each == "END" else each] = None
        return list(found)

    def runnable(self) -> RunnableCallable:
        """Return it as a graph takes it."""
        return RunnableCallable(self.decide, name=self.target)
