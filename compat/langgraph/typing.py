"""Type variables of graphs."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.typing import ContextT, InputT, OutputT, StateT, StateT_co, StateT_contra
from stategraph.typing import ContextT_contra as ContextT_contra
from stategraph.typing import NodeInputT as NodeInputT
from stategraph.typing import NodeInputT_contra as NodeInputT_contra

__all__ = ("ContextT", "InputT", "OutputT", "StateT", "StateT_co", "StateT_contra")

__getattr__ = _names_of(__name__)
