"""The node that executes tool calls."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.tracing.tool_events import tool_call_writer as _tool_call_writer
from stategraph.prebuilt.injection import ContextT, InjectedState, InjectedStore, StateT, ToolRuntime
from stategraph.prebuilt.injection import InjectedArguments as _InjectedArgs
from stategraph.prebuilt.tool_errors import (
    INVALID_TOOL_NAME_ERROR_TEMPLATE,
    TOOL_CALL_ERROR_TEMPLATE,
    TOOL_EXECUTION_ERROR_TEMPLATE,
    TOOL_INVOCATION_ERROR_TEMPLATE,
    ToolInvocationError,
)
from stategraph.prebuilt.tool_errors import handled_types as _infer_handled_types
from stategraph.prebuilt.tool_errors import only_invocation_errors as _default_handle_tool_errors
from stategraph.prebuilt.tool_errors import text_of as _handle_tool_error
from stategraph.prebuilt.tool_node import ToolNode, tools_condition
from stategraph.prebuilt.tool_request import (
    AsyncToolCallWrapper,
    ToolCallRequest,
    ToolCallWithContext,
    ToolCallWrapper,
)
from stategraph.prebuilt.tool_request import ToolCallRequestOverrides as _ToolCallRequestOverrides
from stategraph.prebuilt.tool_results import message_content as msg_content_output

_get_all_injected_args = _InjectedArgs.of

__getattr__ = _names_of(__name__)
