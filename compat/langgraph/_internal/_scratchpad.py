"""Memory of a task while it runs."""

from stategraph.engine.config.scratchpad import PregelScratchpad as PregelScratchpad
