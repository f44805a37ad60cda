"""stategraph: a lightweight state-graph engine for LLM agents that LangGraph programs run on unmodified.

Everything public is here. A name is loaded when it is first used, so that importing the package costs next to nothing
and a program pays only for the packages it uses. The packages, and which may import which, are in
`docs/architecture.md`.
"""

import os as _os

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False  # importing typing would be most of this module's cost; type checkers know the bare name
if TYPE_CHECKING:
    from stategraph._version import __version__ as __version__
    from stategraph.agent.limits.amounts import RunUsage as RunUsage
    from stategraph.agent.limits.amounts import UsageTotals as UsageTotals
    from stategraph.agent.limits.errors import LimitReachedError as LimitReachedError
    from stategraph.agent.output.errors import OutputError as OutputError
    from stategraph.agent.settings.inputs import AgentInputs as AgentInputs
    from stategraph.agent.settings.inputs import GraphEdge as GraphEdge
    from stategraph.agent.settings.inputs import Providers as Providers
    from stategraph.agent.settings.inputs import SubagentConfig as SubagentConfig
    from stategraph.agent.settings.limits import ModelPrice as ModelPrice
    from stategraph.agent.settings.limits import Prices as Prices
    from stategraph.agent.settings.limits import RunLimits as RunLimits
    from stategraph.agent.settings.model_settings import Fallback as Fallback
    from stategraph.agent.settings.model_settings import ModelOptions as ModelOptions
    from stategraph.agent.settings.model_settings import ModelRetry as ModelRetry
    from stategraph.agent.settings.model_settings import ModelTimeouts as ModelTimeouts
    from stategraph.agent.settings.model_settings import RateLimit as RateLimit
    from stategraph.agent.settings.tool_policy import ToolPolicy as ToolPolicy
    from stategraph.constants import END as END
    from stategraph.constants import START as START
    from stategraph.constants import TAG_HIDDEN as TAG_HIDDEN
    from stategraph.constants import TAG_NOSTREAM as TAG_NOSTREAM
    from stategraph.core.channels.delta import DeltaChannel as DeltaChannel
    from stategraph.engine.checkpoints.serializer import StrictSerializer as StrictSerializer
    from stategraph.engine.compile.managed import IsLastStep as IsLastStep
    from stategraph.engine.compile.managed import RemainingSteps as RemainingSteps
    from stategraph.engine.compile.versions import GraphSchemaError as GraphSchemaError
    from stategraph.engine.compile.versions import GraphVersionError as GraphVersionError
    from stategraph.engine.config.context import get_config as get_config
    from stategraph.engine.config.context import get_store as get_store
    from stategraph.engine.config.context import get_stream_writer as get_stream_writer
    from stategraph.engine.config.limits import GraphLimitError as GraphLimitError
    from stategraph.engine.config.limits import GraphLimits as GraphLimits
    from stategraph.engine.config.limits import LimitReached as LimitReached
    from stategraph.engine.config.node_limits import NodeLimits as NodeLimits
    from stategraph.engine.config.runtime import RunControl as RunControl
    from stategraph.engine.config.runtime import Runtime as Runtime
    from stategraph.engine.config.runtime import get_runtime as get_runtime
    from stategraph.engine.engine import StateGraphEngine as StateGraphEngine
    from stategraph.engine.streams.events.modes import CheckpointsTransformer as CheckpointsTransformer
    from stategraph.engine.streams.events.modes import CustomTransformer as CustomTransformer
    from stategraph.engine.streams.events.modes import DebugTransformer as DebugTransformer
    from stategraph.engine.streams.events.modes import TasksTransformer as TasksTransformer
    from stategraph.engine.streams.events.modes import UpdatesTransformer as UpdatesTransformer
    from stategraph.engine.streams.events.modes import transformer_of as transformer_of
    from stategraph.engine.streams.events.queue import StreamChannel as StreamChannel
    from stategraph.engine.streams.events.run import AsyncGraphRunStream as AsyncGraphRunStream
    from stategraph.engine.streams.events.run import GraphRunStream as GraphRunStream
    from stategraph.engine.streams.events.transformer import ProtocolEvent as ProtocolEvent
    from stategraph.engine.streams.events.transformer import StreamTransformer as StreamTransformer
    from stategraph.engine.tasks.hot import HotResume as HotResume
    from stategraph.engine.tasks.hot import Question as Question
    from stategraph.engine.tasks.hot import ainterrupt as ainterrupt
    from stategraph.engine.tasks.interrupts import interrupt as interrupt
    from stategraph.errors import AbortError as AbortError
    from stategraph.errors import ConfigurationError as ConfigurationError
    from stategraph.errors import DamagedCheckpointError as DamagedCheckpointError
    from stategraph.errors import EmptyContextError as EmptyContextError
    from stategraph.errors import EmptyInputError as EmptyInputError
    from stategraph.errors import GraphBubbleUp as GraphBubbleUp
    from stategraph.errors import GraphDrained as GraphDrained
    from stategraph.errors import GraphInterrupt as GraphInterrupt
    from stategraph.errors import GraphRecursionError as GraphRecursionError
    from stategraph.errors import HandlerError as HandlerError
    from stategraph.errors import IgnoredInputError as IgnoredInputError
    from stategraph.errors import InvalidAnswerError as InvalidAnswerError
    from stategraph.errors import InvalidUpdateError as InvalidUpdateError
    from stategraph.errors import ModelTimeoutError as ModelTimeoutError
    from stategraph.errors import NodeError as NodeError
    from stategraph.errors import NodeTimeoutError as NodeTimeoutError
    from stategraph.errors import UnknownInterruptError as UnknownInterruptError
    from stategraph.errors import UnstorableValueError as UnstorableValueError
    from stategraph.graph.compiled import CompiledStateGraph as CompiledStateGraph
    from stategraph.graph.compiled import ValidatedStateGraph as ValidatedStateGraph
    from stategraph.graph.func import entrypoint as entrypoint
    from stategraph.graph.func import task as task
    from stategraph.graph.message import MessagesState as MessagesState
    from stategraph.graph.message import add_messages as add_messages
    from stategraph.graph.message import messages_delta_reducer as messages_delta_reducer
    from stategraph.graph.message import push_message as push_message
    from stategraph.graph.state import StateGraph as StateGraph
    from stategraph.graph.typed.validation import StateValidationError as StateValidationError
    from stategraph.graph.versions.migration import Migration as Migration
    from stategraph.run.abort import AbortController as AbortController
    from stategraph.run.abort import AbortSignal as AbortSignal
    from stategraph.run.config import CompileOptions as CompileOptions
    from stategraph.run.config import GraphConfig as GraphConfig
    from stategraph.run.config import HumanInTheLoop as HumanInTheLoop
    from stategraph.run.config import RunConfig as RunConfig
    from stategraph.run.events.content import ContentAggregator as ContentAggregator
    from stategraph.run.events.content import create_content_aggregator as create_content_aggregator
    from stategraph.run.events.event_types import ContentTypes as ContentTypes
    from stategraph.run.events.event_types import GraphEvents as GraphEvents
    from stategraph.run.events.event_types import StepTypes as StepTypes
    from stategraph.run.events.execution_graph import ExecutionGraph as ExecutionGraph
    from stategraph.run.events.handler_registry import EventHandlerRegistry as EventHandlerRegistry
    from stategraph.run.events.handler_registry import compose_event_handlers as compose_event_handlers
    from stategraph.run.events.handlers import ChatModelStreamHandler as ChatModelStreamHandler
    from stategraph.run.events.handlers import ModelEndHandler as ModelEndHandler
    from stategraph.run.events.handlers import ToolEndHandler as ToolEndHandler
    from stategraph.run.events.handlers import create_handlers as create_handlers
    from stategraph.run.events.run_log import RunEvent as RunEvent
    from stategraph.run.events.run_log import sse as sse
    from stategraph.run.history.stored_messages import format_agent_messages as format_agent_messages
    from stategraph.run.hooks.hook_registry import HookEvents as HookEvents
    from stategraph.run.hooks.hook_registry import HookOutput as HookOutput
    from stategraph.run.hooks.hook_registry import HookRegistry as HookRegistry
    from stategraph.run.long_term import LongTermMemory as LongTermMemory
    from stategraph.run.long_term import remember as remember
    from stategraph.run.pauses import RunInterrupt as RunInterrupt
    from stategraph.run.questions import ask_user_question as ask_user_question
    from stategraph.run.run import Run as Run
    from stategraph.run.runtime import AgentRuntime as AgentRuntime
    from stategraph.run.runtime import create_run as create_run
    from stategraph.run.threads.values import Thread as Thread
    from stategraph.run.threads.values import ThreadPage as ThreadPage
    from stategraph.run.threads.values import ThreadView as ThreadView
    from stategraph.stream_parts import StreamMode as StreamMode
    from stategraph.types import CachePolicy as CachePolicy
    from stategraph.types import Command as Command
    from stategraph.types import Durability as Durability
    from stategraph.types import Interrupt as Interrupt
    from stategraph.types import Overwrite as Overwrite
    from stategraph.types import RetryPolicy as RetryPolicy
    from stategraph.types import Send as Send
    from stategraph.types import StateSnapshot as StateSnapshot
    from stategraph.types import StreamWriter as StreamWriter
    from stategraph.types import TimeoutPolicy as TimeoutPolicy

_PUBLIC = {
    "_version": ("__version__",),
    "agent.limits.amounts": ("RunUsage", "UsageTotals"),
    "agent.limits.errors": ("LimitReachedError",),
    "agent.output.errors": ("OutputError",),
    "agent.settings.inputs": (
        "AgentInputs",
        "GraphEdge",
        "Providers",
        "SubagentConfig",
    ),
    "agent.settings.limits": ("ModelPrice", "Prices", "RunLimits"),
    "agent.settings.model_settings": ("Fallback", "ModelOptions", "ModelRetry", "ModelTimeouts", "RateLimit"),
    "agent.settings.tool_policy": ("ToolPolicy",),
    "constants": ("END", "START", "TAG_HIDDEN", "TAG_NOSTREAM"),
    "core.channels.delta": ("DeltaChannel",),
    "engine.tasks.hot": ("HotResume", "Question", "ainterrupt"),
    "engine.tasks.interrupts": ("interrupt",),
    "engine.config.context": ("get_config", "get_store", "get_stream_writer"),
    "engine.engine": ("StateGraphEngine",),
    "engine.streams.events.modes": (
        "CheckpointsTransformer",
        "CustomTransformer",
        "DebugTransformer",
        "TasksTransformer",
        "UpdatesTransformer",
        "transformer_of",
    ),
    "engine.streams.events.queue": ("StreamChannel",),
    "engine.streams.events.run": ("AsyncGraphRunStream", "GraphRunStream"),
    "engine.streams.events.transformer": ("ProtocolEvent", "StreamTransformer"),
    "engine.compile.versions": ("GraphSchemaError", "GraphVersionError"),
    "engine.compile.managed": ("IsLastStep", "RemainingSteps"),
    "engine.config.limits": ("GraphLimitError", "GraphLimits", "LimitReached"),
    "engine.config.node_limits": ("NodeLimits",),
    "engine.config.runtime": ("RunControl", "Runtime", "get_runtime"),
    "engine.checkpoints.serializer": ("StrictSerializer",),
    "errors": (
        "AbortError",
        "ConfigurationError",
        "DamagedCheckpointError",
        "EmptyContextError",
        "EmptyInputError",
        "GraphBubbleUp",
        "GraphDrained",
        "GraphInterrupt",
        "GraphRecursionError",
        "HandlerError",
        "IgnoredInputError",
        "InvalidAnswerError",
        "InvalidUpdateError",
        "ModelTimeoutError",
        "NodeError",
        "NodeTimeoutError",
        "UnknownInterruptError",
        "UnstorableValueError",
    ),
    "graph.compiled": ("CompiledStateGraph", "ValidatedStateGraph"),
    "graph.func": ("entrypoint", "task"),
    "graph.message": ("MessagesState", "add_messages", "messages_delta_reducer", "push_message"),
    "graph.state": ("StateGraph",),
    "graph.typed.validation": ("StateValidationError",),
    "graph.versions.migration": ("Migration",),
    "run.abort": (
        "AbortController",
        "AbortSignal",
    ),
    "run.config": ("CompileOptions", "GraphConfig", "HumanInTheLoop", "RunConfig"),
    "run.events.content": (
        "ContentAggregator",
        "create_content_aggregator",
    ),
    "run.events.event_types": (
        "ContentTypes",
        "GraphEvents",
        "StepTypes",
    ),
    "run.events.execution_graph": ("ExecutionGraph",),
    "run.events.handlers": (
        "ChatModelStreamHandler",
        "ModelEndHandler",
        "ToolEndHandler",
        "create_handlers",
    ),
    "run.hooks.hook_registry": ("HookEvents", "HookOutput", "HookRegistry"),
    "run.events.run_log": ("RunEvent", "sse"),
    "run.history.stored_messages": ("format_agent_messages",),
    "run.events.handler_registry": (
        "EventHandlerRegistry",
        "compose_event_handlers",
    ),
    "run.long_term": ("LongTermMemory", "remember"),
    "run.run": ("Run",),
    "run.questions": ("ask_user_question",),
    "run.pauses": ("RunInterrupt",),
    "run.runtime": ("AgentRuntime", "create_run"),
    "run.threads.values": ("Thread", "ThreadPage", "ThreadView"),
    "stream_parts": ("StreamMode",),
    "types": (
        "CachePolicy",
        "Command",
        "Durability",
        "Interrupt",
        "Overwrite",
        "RetryPolicy",
        "Send",
        "StateSnapshot",
        "StreamWriter",
        "TimeoutPolicy",
    ),
}
__all__, __getattr__ = _loader(globals(), _PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "STATEGRAPH_RUNTIME" in _os.environ or "MOSS_AGENT_RUNTIME" in _os.environ:
    from stategraph import dropin as _dropin

    _dropin.apply_flag()
