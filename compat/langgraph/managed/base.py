"""The base of managed values."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.compile.managed import ManagedValue as ManagedValue
from stategraph.engine.compile.managed import ManagedValueMapping, ManagedValueSpec
from stategraph.engine.compile.managed import is_managed_value as is_managed_value

__all__ = ("ManagedValueMapping", "ManagedValueSpec")

__getattr__ = _names_of(__name__)
