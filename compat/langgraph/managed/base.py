"""What a managed value is."""

from stategraph.engine.managed import ManagedValue as ManagedValue
from stategraph.engine.managed import ManagedValueMapping, ManagedValueSpec
from stategraph.engine.managed import is_managed_value as is_managed_value

__all__ = ("ManagedValueMapping", "ManagedValueSpec")
