"""Older name of `langgraph.pregel._algo`."""

from stategraph.engine.inspection import PregelTaskWrites as PregelTaskWrites
from stategraph.engine.inspection import local_read as local_read
from stategraph.engine.inspection import proc_input as _proc_input
from stategraph.engine.inspection import scratchpad_of as _scratchpad
