"""Private helpers that map input and output."""

from stategraph.engine.interop.inspection import read_channels as read_channels
