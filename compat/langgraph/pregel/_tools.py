"""Private names around tool events."""

from stategraph.engine.streams.tools import StreamToolCallHandler as StreamToolCallHandler
from stategraph.engine.tracing.tool_events import tool_call_writer as _tool_call_writer
