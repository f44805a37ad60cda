"""The projection of tool calls."""

from stategraph.prebuilt.tool_streams import ToolCallTransformer as ToolCallTransformer
