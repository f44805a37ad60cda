"""The names that programs may rely on: a change here is a change of the contract."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stategraph

PUBLIC = [
    "AbortController",
    "AbortError",
    "AbortSignal",
    "AgentInputs",
    "AgentRuntime",
    "AsyncGraphRunStream",
    "CachePolicy",
    "ChatModelStreamHandler",
    "CheckpointsTransformer",
    "Command",
    "CompileOptions",
    "CompiledStateGraph",
    "ConfigurationError",
    "ContentAggregator",
    "ContentTypes",
    "CustomTransformer",
    "DamagedCheckpointError",
    "DebugTransformer",
    "DeltaChannel",
    "Durability",
    "END",
    "EmptyContextError",
    "EmptyInputError",
    "EventHandlerRegistry",
    "ExecutionGraph",
    "Fallback",
    "GraphBubbleUp",
    "GraphConfig",
    "GraphDrained",
    "GraphEdge",
    "GraphEvents",
    "GraphInterrupt",
    "GraphLimitError",
    "GraphLimits",
    "GraphRecursionError",
    "GraphRunStream",
    "GraphSchemaError",
    "GraphVersionError",
    "HandlerError",
    "HookEvents",
    "HookOutput",
    "HookRegistry",
    "HotResume",
    "HumanInTheLoop",
    "IgnoredInputError",
    "Interrupt",
    "InvalidAnswerError",
    "InvalidUpdateError",
    "IsLastStep",
    "LimitReached",
    "LimitReachedError",
    "LongTermMemory",
    "MessagesState",
    "Migration",
    "ModelEndHandler",
    "ModelOptions",
    "ModelPrice",
    "ModelRetry",
    "ModelTimeoutError",
    "ModelTimeouts",
    "NodeError",
    "NodeLimits",
    "NodeTimeoutError",
    "OutputError",
    "Overwrite",
    "Prices",
    "ProtocolEvent",
    "Providers",
    "Question",
    "RateLimit",
    "RemainingSteps",
    "RetryPolicy",
    "Run",
    "RunConfig",
    "RunControl",
    "RunEvent",
    "RunInterrupt",
    "RunLimits",
    "RunUsage",
    "Runtime",
    "START",
    "Send",
    "StateGraph",
    "StateGraphEngine",
    "StateSnapshot",
    "StateValidationError",
    "StepTypes",
    "StreamChannel",
    "StreamMode",
    "StreamTransformer",
    "StreamWriter",
    "StrictSerializer",
    "SubagentConfig",
    "TAG_HIDDEN",
    "TAG_NOSTREAM",
    "TasksTransformer",
    "Thread",
    "ThreadPage",
    "ThreadView",
    "TimeoutPolicy",
    "ToolEndHandler",
    "ToolPolicy",
    "UnknownInterruptError",
    "UnstorableValueError",
    "UpdatesTransformer",
    "UsageTotals",
    "ValidatedStateGraph",
    "__version__",
    "add_messages",
    "ainterrupt",
    "ask_user_question",
    "compose_event_handlers",
    "create_content_aggregator",
    "create_handlers",
    "create_run",
    "entrypoint",
    "format_agent_messages",
    "get_config",
    "get_runtime",
    "get_store",
    "get_stream_writer",
    "interrupt",
    "messages_delta_reducer",
    "push_message",
    "remember",
    "sse",
    "task",
    "transformer_of",
]


def test_the_list_of_public_names_is_pinned() -> None:
    assert sorted(stategraph.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_had(name: str) -> None:
    assert getattr(stategraph, name) is getattr(stategraph, name)


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NotThere'"):
        _ = stategraph.NotThere


def test_dir_lists_the_public_names() -> None:
    assert set(PUBLIC) <= set(dir(stategraph))


def test_importing_the_package_loads_no_room() -> None:
    code = (
        "import sys, stategraph; print(*sorted(m for m in sys.modules if m.startswith(('stategraph.', 'langchain'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["stategraph.lazy_names"]


def test_importing_the_builder_loads_no_engine_and_no_tracing_client() -> None:
    code = (
        "import sys\n"
        "from stategraph import END, START, MessagesState, StateGraph\n"
        "heavy = ('langchain_core.runnables.', 'langsmith', 'langgraph.checkpoint', 'stategraph.engine.engine', "
        "'stategraph.core.program', 'stategraph.core.state', 'asyncio')\n"
        "print(*sorted(m for m in sys.modules if m.startswith(heavy)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
