"""Names that modules of LangGraph have because they import them, and that programs import from there.

``from langgraph.graph.state import RunnableConfig`` works on LangGraph, although the class belongs to langchain-core,
and many programs have it. The rules:

1. A module of the drop-in defines what LangGraph's module defines, and asks here for everything else, by
   ``__getattr__ = names_of(__name__)``.
2. A name is looked up when it is first asked for, and then kept in the module. Importing the module costs nothing more.
3. A module serves the names that LangGraph's module has and no others: programs find out by them what a release can do.
4. A part of LangGraph's engine without a counterpart here can be imported, for annotations and ``isinstance``.
   Calling it, deriving from it and reading its attributes raise an error that says so.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module

TYPE_CHECKING = False  # the typing module is not needed by a program that asks for nothing here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_HOMES = """
internal: AsyncQueue SyncQueue TaskStatus
    acheckpoint_superseded apply_writes checkpoint_superseded create_checkpoint
    create_checkpoint_plan_for_update_state_api delta_channels_overwritten delta_channels_with_pending_writes
    filter_to_user_tags get_updated_channels_from_tasks map_input prepare_next_tasks
    put_writes_accepts_task_path read_task_statuses validate_timeout_supported
__future__: annotations
abc: ABC abstractmethod
collections: defaultdict deque
collections.abc: AsyncIterator Awaitable Callable Hashable Iterable Iterator Mapping Sequence
copy: copy deepcopy
dataclasses: asdict dataclass field is_dataclass replace
datetime: timedelta
enum: Enum
functools: partial
import: _algo=langgraph.pregel._algo _branch=langgraph.graph._branch _checkpoint=langgraph.pregel._checkpoint
    _convert=langgraph.stream._convert _copy=copy _io=langgraph.pregel._io _messages=langgraph.pregel._messages
    _node=langgraph.graph._node _retry=langgraph.pregel._retry _tools=langgraph.pregel._tools
    _utils=langgraph.pregel._utils _validate=langgraph.pregel._validate any_value=langgraph.channels.any_value asyncio
    base=langgraph.channels.base binop=langgraph.channels.binop
    chat_agent_executor=langgraph.prebuilt.chat_agent_executor collections concurrent contextlib
    debug=langgraph.pregel.debug delta=langgraph.channels.delta
    ephemeral_value=langgraph.channels.ephemeral_value functools inspect is_last_step=langgraph.managed.is_last_step
    json last_value=langgraph.channels.last_value logging ls=langsmith main=langgraph.pregel.main
    message=langgraph.graph.message named_barrier_value=langgraph.channels.named_barrier_value
    protocol=langgraph.pregel.protocol queue state=langgraph.graph.state
    stream_channel=langgraph.stream.stream_channel sys topic=langgraph.channels.topic typing
    untracked_value=langgraph.channels.untracked_value tool_node=langgraph.prebuilt.tool_node
    tool_validator=langgraph.prebuilt.tool_validator uuid warnings weakref
inspect: isclass isfunction ismethod signature
langchain_core._api: beta
langchain_core.callbacks: BaseCallbackHandler BaseCallbackManager GraphCallbacks=Callbacks
langchain_core.callbacks.manager: ahandle_event handle_event
langchain_core.globals: get_debug
langchain_core.language_models: BaseChatModel LanguageModelInput LanguageModelLike
langchain_core.language_models._compat_bridge: message_to_events
langchain_core.language_models.chat_model_stream: AsyncChatModelStream ChatModelStream
langchain_core.messages: AIMessage AIMessageChunk AnyMessage BaseMessage BaseMessageChunk RemoveMessage SystemMessage
    ToolCall ToolMessage convert_to_messages message_chunk_to_message
langchain_core.messages.tool: ToolOutputMixin
langchain_core.runnables: Runnable RunnableBinding RunnableConfig RunnableSequence
langchain_core.runnables.base: Input Output
langchain_core.runnables.config: get_async_callback_manager_for_config get_callback_manager_for_config get_config_list
    get_executor_for_config var_child_runnable_config
langchain_core.runnables.graph: DrawableEdge=Edge DrawableGraph=Graph DrawableNode=Node Graph
langchain_core.runnables.schema: StreamEvent
langchain_core.tools: BaseTool InjectedToolArg create_schema_from_function create_tool=tool
langchain_core.tools.base: TOOL_MESSAGE_BLOCK_TYPES ToolException get_all_basemodel_annotations
langchain_core.utils.pydantic: is_basemodel_subclass
langchain_protocol.protocol: LifecycleCause MessagesData
langgraph._internal._config: ensure_config merge_configs patch_checkpoint_map patch_config patch_configurable
    recast_checkpoint_ns
langgraph._internal._constants: CACHE_NS_WRITES CONF CONFIG_KEY_CACHE CONFIG_KEY_CHECKPOINTER CONFIG_KEY_CHECKPOINT_ID
    CONFIG_KEY_CHECKPOINT_MAP CONFIG_KEY_CHECKPOINT_NS CONFIG_KEY_DURABILITY CONFIG_KEY_NODE_FINISHED CONFIG_KEY_READ
    CONFIG_KEY_READ_STATE CONFIG_KEY_RUNNER_SUBMIT CONFIG_KEY_RUNTIME CONFIG_KEY_SEND CONFIG_KEY_STREAM
    CONFIG_KEY_STREAM_MESSAGES_V2 CONFIG_KEY_STRICT_RESUME CONFIG_KEY_TASK_ID CONFIG_KEY_THREAD_ID ERROR
    INPUT INTERRUPT NS_END NS_SEP NULL_TASK_ID OVERWRITE PREVIOUS PUSH RETURN TASKS _INTERRUPT_KEY=INTERRUPT
langgraph._internal._fields: get_cached_annotated_keys get_field_default get_update_as_tuples
langgraph._internal._pydantic: create_model
langgraph._internal._runnable: RunnableCallable RunnableLike RunnableSeq coerce_to_runnable is_async_callable
langgraph._internal._scratchpad: PregelScratchpad
langgraph._internal._timeout: coerce_timeout_policy sync_timeout_unsupported
langgraph._internal._typing: DeprecatedKwargs EMPTY_SEQ MISSING StateLike
langgraph.cache.base: BaseCache
langgraph.callbacks: GraphInterruptEvent GraphResumeEvent get_async_graph_callback_manager_for_config
    get_sync_graph_callback_manager_for_config
langgraph.channels.base: BaseChannel Value
langgraph.channels.binop: BinaryOperatorAggregate _get_overwrite
langgraph.channels.delta: DeltaChannel
langgraph.channels.ephemeral_value: EphemeralValue
langgraph.channels.last_value: LastValue LastValueAfterFinish
langgraph.channels.named_barrier_value: NamedBarrierValue NamedBarrierValueAfterFinish
langgraph.channels.topic: Topic
langgraph.checkpoint.base: BaseCheckpointSaver ChannelVersions Checkpoint CheckpointMetadata CheckpointTuple
    EXCLUDED_METADATA_KEYS PendingWrite
langgraph.checkpoint.serde.types: _DeltaSnapshot
langgraph.config: get_config get_stream_writer
langgraph.constants: END START TAG_HIDDEN
langgraph.errors: EmptyChannelError ErrorCode GraphDrained GraphInterrupt GraphRecursionError InvalidUpdateError
    GraphBubbleUp ParentCommand create_error_message is_invalid_resume
langgraph.graph._branch: BranchSpec
langgraph.graph._node: StateNode StateNodeSpec
langgraph.graph.message: REMOVE_ALL_MESSAGES add_messages
langgraph.graph.state: CompiledStateGraph StateGraph
langgraph.managed: RemainingSteps
langgraph.managed.base: ManagedValue ManagedValueSpec is_managed_value
langgraph.pregel: Pregel
langgraph.pregel._algo: PregelTaskWrites _scratchpad local_read task_path_str
langgraph.pregel._call: SyncAsyncFuture identifier
langgraph.pregel._checkpoint: achannels_from_checkpoint channels_from_checkpoint copy_checkpoint empty_checkpoint
    versions_seen_without_bumps
langgraph.pregel._draw: draw_graph
langgraph.pregel._io: read_channels
langgraph.pregel._loop: AsyncPregelLoop SyncPregelLoop
langgraph.pregel._messages: StreamMessagesHandler StreamMessagesHandlerV2
langgraph.pregel._read: ChannelRead DEFAULT_BOUND PregelNode
langgraph.pregel._remote_run_stream: _AsyncRemoteGraphRunStream _RemoteGraphRunStream
langgraph.pregel._runner: PregelRunner
langgraph.pregel._tools: StreamToolCallHandler
langgraph.pregel._utils: get_new_channel_versions
langgraph.pregel._validate: validate_graph validate_keys
langgraph.pregel._write: ChannelWrite ChannelWriteEntry ChannelWriteTupleEntry
langgraph.pregel.debug: get_bolded_text get_colored_text tasks_w_writes
langgraph.pregel.protocol: PregelProtocol StreamChunk StreamProtocol
langgraph.prebuilt.tool_node: ToolCallWithContext ToolNode
langgraph.runtime: BaseUser DEFAULT_RUNTIME ExecutionInfo RunControl Runtime ServerInfo
langgraph.store.base: BaseStore
langgraph.stream._convert: convert_to_protocol_event
langgraph.stream._mux: StreamMux
langgraph.stream._types: ProtocolEvent StreamTransformer
langgraph.stream.run_stream: AsyncGraphRunStream AsyncSubgraphRunStream GraphRunStream SubgraphRunStream
langgraph.stream.stream_channel: StreamChannel
langgraph.stream.transformers: LifecycleTransformer MessagesTransformer SubgraphTransformer ValuesTransformer
langgraph.types: All CachePolicy Checkpointer Command Durability GraphOutput Interrupt Overwrite PregelExecutableTask
    PregelTask RetryPolicy Send StateSnapshot StateUpdate StreamMode StreamPart StreamWriter TimeoutPolicy TracePolicy
    ensure_valid_checkpointer
langgraph.typing: ContextT InputT NodeInputT OutputT StateT
langgraph.warnings: LangGraphDeprecatedSinceV05 LangGraphDeprecatedSinceV10 LangGraphDeprecatedSinceV11
langgraph_sdk.client: LangGraphClient SyncLangGraphClient get_client get_sync_client
langgraph_sdk.schema: CommandSDK=Command Context QueryParamTypes StreamModeSDK=StreamMode ThreadState
pydantic: BaseModel TypeAdapter ValidationError
pydantic.v1: BaseModelV1=BaseModel ValidationErrorV1=ValidationError
stategraph.core.channels.base: U=Update
stategraph.engine.compile.task_functions: get_runnable_for_entrypoint
stategraph.engine.streams.events.mux: _logger
stategraph.engine.compile.managed: V
stategraph.engine.checkpoints.message_delta: ensure_message_ids
stategraph.graph.func: P R S T
stategraph.graph.state: logger
stategraph.policies: KeyFuncT
stategraph.types: N=NodeName ResponseT
types: FunctionType MappingProxyType NoneType TracebackType UnionType
typing: Annotated Any ClassVar Generic Literal NamedTuple NoReturn TYPE_CHECKING TypeAlias TypeGuard TypeVar Union
    cast final get_args get_origin get_type_hints overload
typing_extensions: NotRequired Required Self TypeAliasType TypedDict Unpack deprecated is_typeddict
uuid: UUID uuid4 uuid5
warnings: warn
xxhash: xxh3_128_hexdigest
"""
"""Origins of names: a module and its names, some of them as ``other name=name there``.

``import`` stands before modules, ``internal`` before what has no counterpart.
"""

_NAMES = """
langgraph.callbacks: Any BaseCallbackHandler BaseCallbackManager GraphCallbacks Interrupt Literal RunnableConfig
    Sequence TypeAlias TypeVar UUID ahandle_event annotations dataclass handle_event
langgraph.channels: any_value base binop delta ephemeral_value last_value named_barrier_value topic untracked_value
langgraph.channels.any_value: Any BaseChannel EmptyChannelError Generic MISSING Self Sequence Value annotations
langgraph.channels.base: ABC Any EmptyChannelError Generic MISSING Self Sequence TypeVar abstractmethod annotations
langgraph.channels.binop: BaseChannel Callable EmptyChannelError ErrorCode Generic InvalidUpdateError NotRequired
    OVERWRITE Overwrite Required Self Sequence Value _DeltaSnapshot collections create_error_message
langgraph.channels.delta: Any BaseChannel Callable EmptyChannelError ErrorCode Generic InvalidUpdateError MISSING
    PendingWrite Self Sequence Value _DeltaSnapshot _copy _get_overwrite annotations collections create_error_message
langgraph.channels.ephemeral_value: Any BaseChannel EmptyChannelError Generic InvalidUpdateError MISSING Self Sequence
    Value annotations
langgraph.channels.last_value: Any BaseChannel EmptyChannelError ErrorCode Generic InvalidUpdateError MISSING Self
    Sequence Value annotations create_error_message
langgraph.channels.named_barrier_value: BaseChannel EmptyChannelError Generic InvalidUpdateError MISSING Self Sequence
    Value
langgraph.channels.topic: Any BaseChannel EmptyChannelError Generic Iterator MISSING Self Sequence Value annotations
langgraph.channels.untracked_value: Any BaseChannel EmptyChannelError Generic InvalidUpdateError MISSING Self Sequence
    Value annotations
langgraph.config: Any BaseStore CONF CONFIG_KEY_RUNTIME RunnableConfig StreamWriter asyncio sys
    var_child_runnable_config
langgraph.constants: sys
langgraph.errors: Any Command Enum Interrupt LangGraphDeprecatedSinceV10 Literal Sequence annotations dataclass
    deprecated warn
langgraph.func: Any Awaitable BaseCache BaseCheckpointSaver BaseStore CACHE_NS_WRITES CachePolicy Callable
    ChannelWrite ChannelWriteEntry ContextT DeprecatedKwargs END EphemeralValue Generic LangGraphDeprecatedSinceV05
    LangGraphDeprecatedSinceV10 LastValue MISSING P PREVIOUS Pregel PregelNode R RetryPolicy S START Sequence
    StreamMode SyncAsyncFuture T TimeoutPolicy TypeVar Unpack annotations cast coerce_timeout_policy dataclass
    functools get_args get_origin get_runnable_for_entrypoint identifier inspect is_async_callable overload
    sync_timeout_unsupported timedelta warnings
langgraph.graph: _branch _node message state
langgraph.graph.message: Annotated Any BaseMessageChunk CONF CONFIG_KEY_SEND Callable LangGraphDeprecatedSinceV10
    Literal Sequence StateGraph TypedDict annotations cast convert_to_messages deprecated message_chunk_to_message
    partial uuid warnings
langgraph.graph.state: All Any Awaitable BaseCache BaseChannel BaseModel BaseStore BinaryOperatorAggregate BranchSpec
    CachePolicy Callable ChannelRead ChannelWrite ChannelWriteEntry ChannelWriteTupleEntry Checkpoint Checkpointer
    Command ContextT DeltaChannel DeprecatedKwargs EMPTY_SEQ EphemeralValue ErrorCode FunctionType Generic Hashable
    INTERRUPT InputT InvalidUpdateError LangGraphDeprecatedSinceV05 LangGraphDeprecatedSinceV10 LastValue
    LastValueAfterFinish Literal MISSING ManagedValueSpec NS_END NS_SEP NamedBarrierValue NamedBarrierValueAfterFinish
    NodeInputT NoneType NotRequired OutputT ParentCommand Pregel PregelNode Required RetryPolicy Runnable
    RunnableConfig Self Send Sequence StateNode StateNodeSpec StateT TAG_HIDDEN TASKS TimeoutPolicy TracePolicy
    TypeAdapter TypeVar Union Unpack annotations cast coerce_timeout_policy coerce_to_runnable create_error_message
    create_model dataclass defaultdict ensure_valid_checkpointer get_args get_cached_annotated_keys get_field_default
    get_origin get_type_hints get_update_as_tuples inspect is_dataclass is_managed_value is_typeddict isclass
    isfunction ismethod logger logging overload partial signature timedelta typing warnings
langgraph.graph.ui: Any AnyMessage CONF Literal TypedDict annotations cast get_config
    get_stream_writer uuid4
langgraph.managed: is_last_step
langgraph.managed.base: ABC Any Generic PregelScratchpad TypeGuard TypeVar U V abstractmethod isclass
langgraph.managed.is_last_step: Annotated ManagedValue PregelScratchpad
langgraph.pregel: _algo _checkpoint _io _messages _retry _tools _utils _validate debug main protocol
langgraph.pregel.debug: Any BaseChannel CONF CONFIG_KEY_CHECKPOINT_NS CheckpointMetadata ERROR
    EXCLUDED_METADATA_KEYS INTERRUPT Iterable Iterator MISSING Mapping NS_END NS_SEP PendingWrite PregelExecutableTask
    PregelTask RETURN RunnableConfig Sequence StateSnapshot TAG_HIDDEN TaskStatus UUID annotations
    asdict filter_to_user_tags patch_checkpoint_map read_channels read_task_statuses
langgraph.pregel.main: All Any AsyncGraphRunStream AsyncIterator AsyncPregelLoop AsyncQueue Awaitable BaseCache
    BaseChannel BaseCheckpointSaver BaseModel BaseStore BaseUser CACHE_NS_WRITES CONF CONFIG_KEY_CACHE
    CONFIG_KEY_CHECKPOINTER CONFIG_KEY_CHECKPOINT_ID CONFIG_KEY_CHECKPOINT_NS CONFIG_KEY_DURABILITY
    CONFIG_KEY_NODE_FINISHED CONFIG_KEY_READ CONFIG_KEY_RUNNER_SUBMIT CONFIG_KEY_RUNTIME CONFIG_KEY_SEND
    CONFIG_KEY_STREAM CONFIG_KEY_STREAM_MESSAGES_V2 CONFIG_KEY_TASK_ID CONFIG_KEY_THREAD_ID CachePolicy Callable
    ChannelVersions ChannelWrite ChannelWriteEntry Checkpoint CheckpointTuple Checkpointer Command ContextT
    DEFAULT_BOUND DEFAULT_RUNTIME DeltaChannel DeprecatedKwargs Durability END ErrorCode Generic Graph GraphDrained
    GraphInterruptEvent GraphOutput GraphRecursionError GraphResumeEvent GraphRunStream INPUT INTERRUPT Input InputT
    Interrupt InvalidUpdateError Iterator LangGraphDeprecatedSinceV10 LifecycleTransformer Literal MISSING
    ManagedValueSpec Mapping MessagesTransformer NS_END NS_SEP NULL_TASK_ID Output OutputT PUSH PregelNode
    PregelProtocol PregelRunner PregelTaskWrites RetryPolicy RunControl Runnable
    RunnableConfig RunnableLike RunnableSeq RunnableSequence Runtime Self Send
    Sequence ServerInfo StateSnapshot StateT StateUpdate StreamChunk StreamEvent StreamMessagesHandler
    StreamMessagesHandlerV2 StreamMode StreamMux StreamPart StreamProtocol StreamToolCallHandler StreamTransformer
    SubgraphTransformer SyncPregelLoop SyncQueue TASKS TimeoutPolicy Topic TypeAdapter UUID Unpack ValuesTransformer
    _scratchpad achannels_from_checkpoint acheckpoint_superseded annotations apply_writes asyncio beta cast
    channels_from_checkpoint checkpoint_superseded coerce_timeout_policy coerce_to_runnable concurrent contextlib
    copy_checkpoint create_checkpoint create_checkpoint_plan_for_update_state_api create_error_message create_model
    defaultdict delta_channels_overwritten delta_channels_with_pending_writes deprecated deque draw_graph
    empty_checkpoint ensure_config ensure_message_ids ensure_valid_checkpointer get_async_callback_manager_for_config
    get_async_graph_callback_manager_for_config get_bolded_text get_callback_manager_for_config get_colored_text
    get_config get_debug get_new_channel_versions get_sync_graph_callback_manager_for_config get_type_hints
    get_updated_channels_from_tasks identifier is_dataclass is_typeddict isclass local_read map_input merge_configs
    overload partial patch_checkpoint_map patch_config patch_configurable prepare_next_tasks
    put_writes_accepts_task_path queue read_channels read_task_statuses recast_checkpoint_ns replace task_path_str
    tasks_w_writes timedelta uuid5 validate_graph validate_keys validate_timeout_supported versions_seen_without_bumps
    warnings weakref
langgraph.pregel.protocol: All Any AsyncIterator Callable Command ContextT DrawableGraph Generic GraphOutput InputT
    Iterator Literal OutputT Runnable RunnableConfig Self Sequence StateSnapshot StateT StateUpdate StreamMode
    StreamPart abstractmethod annotations overload
langgraph.pregel.remote: All Any AsyncIterator CONF CONFIG_KEY_CHECKPOINT_ID CONFIG_KEY_CHECKPOINT_MAP
    CONFIG_KEY_CHECKPOINT_NS CONFIG_KEY_STREAM CONFIG_KEY_STRICT_RESUME CONFIG_KEY_TASK_ID
    Checkpoint@langgraph_sdk.schema CheckpointMetadata Command CommandSDK Context DrawableEdge DrawableGraph
    DrawableNode GraphInterrupt GraphOutput INTERRUPT Interrupt Iterator LangGraphClient Literal NS_SEP ParentCommand
    PregelProtocol PregelTask QueryParamTypes RunnableConfig Self Sequence StateSnapshot StreamMode StreamModeSDK
    StreamPart StreamProtocol SyncLangGraphClient ThreadState UUID _AsyncRemoteGraphRunStream _RemoteGraphRunStream
    annotations asdict cast get_client get_sync_client logger@stategraph.engine.remote.graph logging ls merge_configs
    overload
langgraph.prebuilt: chat_agent_executor tool_node tool_validator
langgraph.prebuilt.chat_agent_executor: AIMessage Annotated Any AnyMessage Awaitable BaseChatModel BaseMessage BaseModel
    BaseStore BaseTool Callable Checkpointer CompiledStateGraph ContextT END ErrorCode LangGraphDeprecatedSinceV10
    LanguageModelInput LanguageModelLike Literal MISSING NotRequired RemainingSteps Runnable RunnableBinding
    RunnableCallable RunnableConfig RunnableLike RunnableSequence Runtime Send Sequence StateGraph SystemMessage
    ToolCallWithContext ToolMessage ToolNode TypeVar TypedDict add_messages cast create_error_message deprecated
    get_type_hints inspect warnings
langgraph.prebuilt.interrupt: LangGraphDeprecatedSinceV10 Literal TypedDict deprecated
langgraph.prebuilt.tool_node: AIMessage Annotated Any AnyMessage Awaitable BaseModel BaseStore BaseTool CONF
    CONFIG_KEY_READ CONFIG_KEY_READ_STATE Callable Command ExecutionInfo Generic GraphBubbleUp InjectedToolArg Literal
    REMOVE_ALL_MESSAGES RemoveMessage RunnableCallable RunnableConfig Send ServerInfo StreamWriter
    TOOL_MESSAGE_BLOCK_TYPES TYPE_CHECKING ToolCall ToolException ToolMessage TypeVar@typing_extensions TypedDict Union
    UnionType Unpack ValidationError annotations asyncio cast convert_to_messages copy create_tool dataclass deepcopy
    field get_all_basemodel_annotations get_args get_config_list get_executor_for_config get_origin get_type_hints
    inspect is_invalid_resume json replace
langgraph.prebuilt.tool_validator: AIMessage Any AnyMessage BaseModel BaseModelV1 BaseTool Callable
    LangGraphDeprecatedSinceV10 RunnableCallable RunnableConfig Sequence ToolCall ToolMessage ValidationError
    ValidationErrorV1 cast create_schema_from_function deprecated get_executor_for_config is_basemodel_subclass
langgraph.runtime: Any BaseStore CONF CONFIG_KEY_RUNTIME Callable ContextT Generic StreamWriter TypedDict Unpack
    annotations cast dataclass field get_config replace
langgraph.stream: _convert stream_channel
langgraph.stream.run_stream: Any AsyncIterator Awaitable Callable Iterator Mapping MappingProxyType NoReturn
    ProtocolEvent StreamMux TYPE_CHECKING TracebackType annotations asyncio beta convert_to_protocol_event
langgraph.stream.stream_channel: AsyncIterator Awaitable Callable Generic Iterator TYPE_CHECKING TypeVar annotations
    asyncio deque
langgraph.stream.transformers: AIMessageChunk Any AsyncChatModelStream AsyncSubgraphRunStream BaseMessage
    ChatModelStream GraphDrained GraphInterrupt LifecycleCause Literal MessagesData NotRequired ProtocolEvent
    StreamChannel StreamTransformer SubgraphRunStream TYPE_CHECKING ToolMessage TypedDict _logger annotations cast
    logging message_to_events
langgraph.types: Any AnyMessage BaseCheckpointSaver Callable CheckpointMetadata ClassVar DeprecatedKwargs Generic
    Hashable KeyFuncT LangGraphDeprecatedSinceV10 LangGraphDeprecatedSinceV11 Literal MISSING N NS_SEP NamedTuple
    NotRequired OutputT@stategraph.types ResponseT Runnable RunnableConfig Sequence StateT@stategraph.stream_parts
    TYPE_CHECKING ToolOutputMixin TypeAdapter TypeAliasType TypeVar TypedDict Unpack ValidationError
    _INTERRUPT_KEY annotations asdict dataclass deprecated deque final get_cached_annotated_keys get_update_as_tuples
    overload sys timedelta warn xxh3_128_hexdigest
langgraph.typing: StateLike TypeVar annotations
langgraph.warnings: annotations
"""
"""The names of each module; ``name@module`` where the name comes from another place than elsewhere."""


def names_of(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module of the drop-in.

    Args:
        module: Its name.
    """

    def look_up(name: str) -> Any:
        home = None if name.startswith("__") else _table().get(module, {}).get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = _fetch(home, name)
        setattr(sys.modules[module], name, value)
        return value

    return look_up


@cache
def _table() -> dict[str, dict[str, str]]:
    """Return the home of each name of each module, as ``module:name there``."""
    homes: dict[str, str] = {}
    for module, names in _entries(_HOMES):
        for name in names:
            name, _, there = name.partition("=")
            homes[name] = f"{module}:{there or name}"
    table: dict[str, dict[str, str]] = {}
    for module, names in _entries(_NAMES):
        pairs = (name.partition("@") for name in names)
        table[module] = {name: f"{home}:{name}" if home else homes[name] for name, _, home in pairs}
    return table


def _entries(text: str) -> list[tuple[str, list[str]]]:
    """Split ``module: name name``, with longer lists on indented lines, into pairs."""
    lines = text.replace("\n    ", " ").split("\n")
    return [(module, names.split()) for module, _, names in (line.partition(": ") for line in lines) if module]


def _fetch(home: str, name: str) -> Any:
    module, _, there = home.partition(":")
    if module == "import":
        return import_module(there)
    if module == "internal":
        return _internal(there)
    return getattr(import_module(module), there)


@cache
def _internal(name: str) -> _Internal:
    return _Internal(name, (), {})


class _Internal(type):
    """A part of LangGraph's engine that has no counterpart: a class that can be named and nothing else."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> _Internal:
        if bases:
            raise NotImplementedError(_without_counterpart(bases[0].__name__))
        return super().__new__(cls, name, bases, attributes)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(_without_counterpart(cls.__name__))

    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(f"{name!r}: {_without_counterpart(cls.__name__)}")


def _without_counterpart(name: str) -> str:
    return (
        f"{name!r} is a part of LangGraph's own engine and has no counterpart in stategraph: it can be imported, but"
        " not used. Use the public API of the graph, or run this program on LangGraph"
    )
