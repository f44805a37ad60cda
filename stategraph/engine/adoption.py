"""Where our classes join the families that langchain and `langgraph-checkpoint` look for.

The rooms below must not import those packages; importing this module tells them what they need. It is imported with the
engine, so before any graph exists.
"""

from langchain_core.messages.tool import ToolOutputMixin
from langgraph.checkpoint.base import EmptyChannelError

from stategraph import errors, types

types.adopt_tool_output(ToolOutputMixin)
errors.adopt_empty_channel_error(EmptyChannelError)
