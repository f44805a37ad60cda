"""Graphs of nodes over a shared state."""

from stategraph.constants import END as END
from stategraph.constants import START as START
