"""Agents and nodes for tools."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.prebuilt.injection import InjectedState, InjectedStore, ToolRuntime
from stategraph.prebuilt.react_agent import create_react_agent
from stategraph.prebuilt.tool_node import ToolNode, tools_condition
from stategraph.prebuilt.tool_streams import ToolCallTransformer
from stategraph.prebuilt.validation_node import ValidationNode

__all__ = (
    "InjectedState",
    "InjectedStore",
    "ToolCallTransformer",
    "ToolNode",
    "ToolRuntime",
    "ValidationNode",
    "create_react_agent",
    "tools_condition",
)

__getattr__ = _names_of(__name__)
