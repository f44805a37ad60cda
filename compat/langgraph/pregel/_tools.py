"""Private names around tool events."""

from stategraph.engine.tool_events import tool_call_writer as _tool_call_writer
from stategraph.engine.tools import StreamToolCallHandler as StreamToolCallHandler
