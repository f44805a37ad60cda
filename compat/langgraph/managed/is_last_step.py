"""Managed values that count the steps a run has left."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.compile.managed import IsLastStep, RemainingStepsManager
from stategraph.engine.compile.managed import IsLastStepManager as IsLastStepManager
from stategraph.engine.compile.managed import RemainingSteps as RemainingSteps

__all__ = ("IsLastStep", "RemainingStepsManager")

__getattr__ = _names_of(__name__)
