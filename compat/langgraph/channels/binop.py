"""A channel that reduces what is written into what it holds."""

from typing import Any

from stategraph.constants import MISSING
from stategraph.core.channels import reducers
from stategraph.core.channels.binop import BinaryOperatorAggregate

__all__ = ("BinaryOperatorAggregate",)


def _get_overwrite(value: Any) -> tuple[bool, Any]:
    new = reducers.overwritten(value)
    return (False, None) if new is MISSING else (True, new)
