"""Private names of the engine that packages import."""

from stategraph.core.task import Call as Call
from stategraph.core.task import path_key as task_path_str
from stategraph.engine.interop.inspection import PregelTaskWrites as PregelTaskWrites
from stategraph.engine.interop.inspection import local_read as local_read
from stategraph.engine.interop.inspection import proc_input as _proc_input
from stategraph.engine.interop.inspection import scratchpad_of as _scratchpad
