"""What a task remembers while it runs."""

from stategraph.engine.config.scratchpad import PregelScratchpad as PregelScratchpad
