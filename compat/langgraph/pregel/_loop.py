"""Private loops that instrumentations wrap; a run is planned through a wrapped one."""

from stategraph.engine.runs.pregel_loop import AsyncPregelLoop as AsyncPregelLoop
from stategraph.engine.runs.pregel_loop import PregelLoop as PregelLoop
from stategraph.engine.runs.pregel_loop import SyncPregelLoop as SyncPregelLoop
