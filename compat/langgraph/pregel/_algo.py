"""Private names of the engine that packages import."""

from stategraph.core.task import Call as Call
