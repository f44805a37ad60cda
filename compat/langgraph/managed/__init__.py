"""Values that a run provides and no channel holds."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.compile.managed import IsLastStep, RemainingSteps

__all__ = ("IsLastStep", "RemainingSteps")

__getattr__ = _names_of(__name__)
