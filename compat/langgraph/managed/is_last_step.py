"""How many steps a run has left."""

from stategraph.engine.managed import IsLastStep, RemainingStepsManager
from stategraph.engine.managed import IsLastStepManager as IsLastStepManager
from stategraph.engine.managed import RemainingSteps as RemainingSteps

__all__ = ("IsLastStep", "RemainingStepsManager")
