"""Names on the wire and in settings: the enums of the TypeScript package that `stategraph` has no use for itself."""

from enum import StrEnum

__all__ = [
    "CODE_EXECUTION_TOOLS",
    "LOCAL_CODING_BUNDLE_NAMES",
    "LOCAL_CODING_TOOL_NAMES",
    "BashExecutionToolName",
    "BashProgrammaticToolCallingName",
    "CalculatorToolName",
    "Callback",
    "CodeExecutionToolName",
    "CommonEvents",
    "CompileCheckToolName",
    "Constants",
    "EnvVar",
    "GraphNodeActions",
    "GraphNodeKeys",
    "LocalEditFileToolName",
    "LocalGlobSearchToolName",
    "LocalGrepSearchToolName",
    "LocalListDirectoryToolName",
    "LocalWriteFileToolName",
    "ProgrammaticToolCallingName",
    "ReadFileToolName",
    "SkillToolName",
    "SubagentToolName",
    "TitleMethod",
    "ToolCallTypes",
    "ToolSearchToolName",
    "WebSearchToolName",
]


class Callback(StrEnum):
    """Callbacks of an execution."""

    TOOL_ERROR = "handleToolError"
    TOOL_START = "handleToolStart"
    TOOL_END = "handleToolEnd"
    CUSTOM_EVENT = "handleCustomEvent"


class CommonEvents(StrEnum):
    """Names of runs in LangChain's events."""

    LANGGRAPH = "LangGraph"


class Constants(StrEnum):
    """Names of tools, and parts of names."""

    OFFICIAL_CODE_BASEURL = "https://api.librechat.ai/v1"
    EXECUTE_CODE = "execute_code"
    TOOL_SEARCH = "tool_search"
    PROGRAMMATIC_TOOL_CALLING = "run_tools_with_code"
    WEB_SEARCH = "web_search"
    CONTENT_AND_ARTIFACT = "content_and_artifact"
    LC_TRANSFER_TO_ = "lc_transfer_to_"
    HANDOFF_PARALLEL_BATCH = "__handoff_parallel_batch"
    HANDOFF_GROUP_ID = "__handoff_group_id"
    MCP_DELIMITER = "_mcp_"
    ANTHROPIC_SERVER_TOOL_PREFIX = "srvtoolu_"
    SKILL_TOOL = "skill"
    INVOKED_PROVIDER = "__invoked_provider"
    INVOKED_MODEL = "__invoked_model"
    READ_FILE = "read_file"
    BASH_TOOL = "bash_tool"
    BASH_PROGRAMMATIC_TOOL_CALLING = "run_tools_with_bash"
    SUBAGENT = "subagent"
    WRITE_FILE = "write_file"
    EDIT_FILE = "edit_file"
    GREP_SEARCH = "grep_search"
    GLOB_SEARCH = "glob_search"
    LIST_DIRECTORY = "list_directory"
    COMPILE_CHECK = "compile_check"


class EnvVar(StrEnum):
    """Environment variables of the service that executes code."""

    CODE_BASEURL = "LIBRECHAT_CODE_BASEURL"
    CODE_API_RUN_TIMEOUT_MS = "CODE_API_RUN_TIMEOUT_MS"


class GraphNodeActions(StrEnum):
    """Actions of nodes."""

    TOOL_NODE = "tool_node"
    CALL_MODEL = "call_model"
    ROUTE_MESSAGE = "route_message"


class GraphNodeKeys(StrEnum):
    """Beginnings of the names of nodes."""

    TOOLS = "tools="
    AGENT = "agent="
    SUMMARIZE = "summarize="
    ROUTER = "router"
    PRE_TOOLS = "pre_tools"
    POST_TOOLS = "post_tools"


class TitleMethod(StrEnum):
    """Ways to ask for a title."""

    STRUCTURED = "structured"
    FUNCTIONS = "functions"
    COMPLETION = "completion"


class ToolCallTypes(StrEnum):
    """Kinds of tool calls."""

    FUNCTION = "function"
    RETRIEVAL = "retrieval"
    FILE_SEARCH = "file_search"
    CODE_INTERPRETER = "code_interpreter"
    TOOL_CALL = "tool_call"


BashExecutionToolName = Constants.BASH_TOOL
BashProgrammaticToolCallingName = Constants.BASH_PROGRAMMATIC_TOOL_CALLING
CalculatorToolName = "calculator"
CodeExecutionToolName = Constants.EXECUTE_CODE
CompileCheckToolName = Constants.COMPILE_CHECK
LocalEditFileToolName = Constants.EDIT_FILE
LocalGlobSearchToolName = Constants.GLOB_SEARCH
LocalGrepSearchToolName = Constants.GREP_SEARCH
LocalListDirectoryToolName = Constants.LIST_DIRECTORY
LocalWriteFileToolName = Constants.WRITE_FILE
ProgrammaticToolCallingName = Constants.PROGRAMMATIC_TOOL_CALLING
ReadFileToolName = Constants.READ_FILE
SkillToolName = Constants.SKILL_TOOL
SubagentToolName = Constants.SUBAGENT
ToolSearchToolName = Constants.TOOL_SEARCH
WebSearchToolName = Constants.WEB_SEARCH

LOCAL_CODING_TOOL_NAMES = (
    "read_file",
    "write_file",
    "edit_file",
    "grep_search",
    "glob_search",
    "list_directory",
    "compile_check",
)
LOCAL_CODING_BUNDLE_NAMES = (
    *LOCAL_CODING_TOOL_NAMES,
    "bash_tool",
    "execute_code",
    "run_tools_with_code",
    "run_tools_with_bash",
)
CODE_EXECUTION_TOOLS = frozenset({"execute_code", "bash_tool", "run_tools_with_code", "run_tools_with_bash"})
