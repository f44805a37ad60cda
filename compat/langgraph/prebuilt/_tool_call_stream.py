"""The handle of a tool call in an event stream."""

from stategraph.prebuilt.tool_streams import ToolCallStream as ToolCallStream
