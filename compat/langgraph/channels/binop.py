"""A channel that reduces what is written into what it holds."""

from typing import Any

from stategraph.constants import MISSING
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.reducers import overwritten
from stategraph.dropin_names import names_of as _names_of

__all__ = ("BinaryOperatorAggregate",)

__getattr__ = _names_of(__name__)


def _get_overwrite(value: Any) -> tuple[bool, Any]:
    """Return whether an update replaces the state, and with what."""
    new = overwritten(value)
    return (False, None) if new is MISSING else (True, new)
