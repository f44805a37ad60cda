"""Type variables of graphs."""

from stategraph.typing import ContextT, InputT, OutputT, StateT, StateT_co, StateT_contra
from stategraph.typing import ContextT_contra as ContextT_contra
from stategraph.typing import NodeInputT as NodeInputT
from stategraph.typing import NodeInputT_contra as NodeInputT_contra

__all__ = ("ContextT", "InputT", "OutputT", "StateT", "StateT_co", "StateT_contra")
