"""Values that a run provides and no channel holds."""

from stategraph.engine.managed import IsLastStep, RemainingSteps

__all__ = ("IsLastStep", "RemainingSteps")
