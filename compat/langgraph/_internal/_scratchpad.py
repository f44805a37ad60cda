"""What a task remembers while it runs."""

from stategraph.engine.scratchpad import PregelScratchpad as PregelScratchpad
