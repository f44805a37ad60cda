"""Values that a node reads from its state but that no channel stores: the engine knows them when the task starts."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from inspect import isclass
from typing import Annotated, Any, Generic, TypeAlias, TypeGuard, TypeVar

from stategraph.engine.config.scratchpad import PregelScratchpad

V = TypeVar("V")


class ManagedValue(ABC, Generic[V]):
    """A rule that computes a value from a task's bookkeeping. Annotate a state key with a subclass to use it."""

    @staticmethod
    @abstractmethod
    def get(scratchpad: PregelScratchpad) -> V:
        """Compute the value for the task that owns `scratchpad`."""


ManagedValueSpec: TypeAlias = type[ManagedValue[Any]]
ManagedValueMapping: TypeAlias = dict[str, ManagedValueSpec]


def is_managed_value(value: object) -> TypeGuard[ManagedValueSpec]:
    """Tell whether `value` is a subclass of `ManagedValue`, ours or that of an installed LangGraph."""
    if not isclass(value):
        return False
    theirs = getattr(sys.modules.get("langgraph.managed.base"), "ManagedValue", ManagedValue)
    return issubclass(value, (ManagedValue, theirs))


class RemainingStepsManager(ManagedValue[int]):
    """The number of supersteps that the run may still take, this one included."""

    @staticmethod
    def get(scratchpad: PregelScratchpad) -> int:
        """Count from the task's superstep to the end of the allowance."""
        return scratchpad.stop - scratchpad.step


class IsLastStepManager(ManagedValue[bool]):
    """True if this superstep is the last one that the run may take."""

    @staticmethod
    def get(scratchpad: PregelScratchpad) -> bool:
        """Compare the task's superstep with the end of the allowance."""
        return RemainingStepsManager.get(scratchpad) == 1


IsLastStep = Annotated[bool, IsLastStepManager]
RemainingSteps = Annotated[int, RemainingStepsManager]
