"""GraphDefinition: the parts of a compiled graph, and what they say about it.

Its nodes, channels and settings, whether they fit together, the schemas of its input and output, its record for runs,
and the graphs that it contains. Nothing here runs the graph: that is `StateGraphEngine`, its one subclass here.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Self, cast, get_type_hints

from langchain_core.globals import get_debug
from langchain_core.runnables import RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore
from pydantic import BaseModel
from typing_extensions import Unpack, deprecated

from stategraph.constants import CONF, MISSING, NS_SEP, TASKS
from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.topic import Topic
from stategraph.core.flow import Flow
from stategraph.core.program import Program
from stategraph.core.views import Keys
from stategraph.engine.checkpoints import allowlist
from stategraph.engine.compile import identity, json_schema
from stategraph.engine.compile.compiled_node import compile_program
from stategraph.engine.compile.managed import ManagedValueSpec
from stategraph.engine.compile.node import NodeBuilder, PregelNode
from stategraph.engine.compile.protocol import GraphProtocol
from stategraph.engine.compile.validate import validate_graph, validate_timeout_supported
from stategraph.engine.compile.versions import Versions
from stategraph.engine.config.runnable_config import merge_configs
from stategraph.engine.runs import strictness
from stategraph.engine.spec import CommandCheck, GraphSpec, OutputCheck
from stategraph.scheduling import FanOut
from stategraph.stream_parts import StreamMode
from stategraph.types import (
    All,
    CachePolicy,
    Checkpointer,
    DeprecatedKwargs,
    RetryPolicy,
    Send,
    ensure_valid_checkpointer,
)
from stategraph.typing import ContextT, InputT, OutputT, StateT
from stategraph.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph


class GraphDefinition(
    GraphProtocol[StateT, ContextT, InputT, OutputT],
    Generic[StateT, ContextT, InputT, OutputT],
):
    """Nodes over channels, with the settings of their runs.

    Attributes:
        nodes: The nodes by name.
        channels: Channels and managed values by name.
        stream_mode: What ``stream`` shows unless told otherwise.
        stream_eager: Whether chunks leave while nodes still run, in every mode.
        output_channels: The channels that make up the output.
        stream_channels: The channels shown as the state; None for all.
        interrupt_after_nodes: Where to pause after; "*" for every node.
        interrupt_before_nodes: Where to pause before; "*" for every node.
        input_channels: Where the input goes.
        step_timeout: Limit of one superstep in seconds, or None.
        debug: Whether to print every step.
        checkpointer: Where threads are stored: a saver, True (a subgraph's own
            history in its parent's saver), False (never), None (the parent's).
        store: The long-term memory of nodes, or None.
        cache: Where nodes' results are cached, or None.
        retry_policy: For nodes without their own.
        cache_policy: For nodes without their own, or None.
        context_schema: The type of a run's context, or None.
        config: Defaults for every run's config, or None.
        name: The graph's name in traces and drawings.
        trigger_to_nodes: For each channel the nodes its update starts.
        node_error_handler_map: For each node with one, its error handler.
        stream_transformers: Made for every event stream of the graph.
        strict: Whether what would be ignored, or change when stored, is an error.
    """

    nodes: dict[str, PregelNode]
    channels: dict[str, BaseChannel[Any, Any, Any] | ManagedValueSpec]
    stream_mode: StreamMode = "values"
    stream_eager: bool = False
    output_channels: str | Sequence[str]
    stream_channels: str | Sequence[str] | None = None
    interrupt_after_nodes: All | Sequence[str]
    interrupt_before_nodes: All | Sequence[str]
    input_channels: str | Sequence[str]
    step_timeout: float | None = None
    debug: bool
    checkpointer: Checkpointer = None
    store: BaseStore | None = None
    cache: BaseCache[Any] | None = None
    retry_policy: Sequence[RetryPolicy] = ()
    cache_policy: CachePolicy[Any] | None = None
    context_schema: type[ContextT] | None = None
    config: RunnableConfig | None = None
    strict: bool = False
    name: str = "LangGraph"
    trigger_to_nodes: Mapping[str, Sequence[str]]
    node_error_handler_map: Mapping[str, str]
    stream_transformers: tuple[Callable[[tuple[str, ...]], Any], ...]

    _allowlist: allowlist.Allowlist | None = None
    _versions: Versions | None = None
    # Checks the output of a run and returns it as an instance of its schema, in graphs that ask for it.
    _output_check: OutputCheck | None = None
    # Checks the command that a run is given, in graphs that ask for it.
    _command_check: CommandCheck | None = None
    _program: Program | None = None
    # Works out what is known of the edges, for nodes that start without a barrier.
    _flow: Callable[[], Flow] | None = None
    # Rules for branches that run beside each other, with the nodes of these.
    _fan_outs: tuple[tuple[frozenset[str], FanOut], ...] = ()
    # The record that runs use, with the mark of the changes it was made after, and the mark of the latest change.
    _spec: tuple[object, GraphSpec] | None = None
    _changes: object = None

    # Coerce states in v2 streams; set by graphs that know their schemas.
    _output_mapper: Callable[[Any], Any] | None = None
    _state_mapper: Callable[[Any], Any] | None = None

    def __init__(
        self,
        *,
        nodes: dict[str, PregelNode | NodeBuilder],
        channels: dict[str, BaseChannel[Any, Any, Any] | ManagedValueSpec] | None,
        auto_validate: bool = True,
        stream_mode: StreamMode = "values",
        stream_eager: bool = False,
        output_channels: str | Sequence[str],
        stream_channels: str | Sequence[str] | None = None,
        interrupt_after_nodes: All | Sequence[str] = (),
        interrupt_before_nodes: All | Sequence[str] = (),
        input_channels: str | Sequence[str],
        step_timeout: float | None = None,
        debug: bool | None = None,
        checkpointer: Checkpointer = None,
        store: BaseStore | None = None,
        cache: BaseCache[Any] | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] = (),
        cache_policy: CachePolicy[Any] | None = None,
        context_schema: type[ContextT] | None = None,
        config: RunnableConfig | None = None,
        trigger_to_nodes: Mapping[str, Sequence[str]] | None = None,
        node_error_handler_map: Mapping[str, str] | None = None,
        name: str = "LangGraph",
        stream_transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        strict: bool | None = None,
        **deprecated_kwargs: Unpack[DeprecatedKwargs],
    ) -> None:
        """Put a graph together; see the class for what each part means.

        Raises:
            ValueError: If the reserved channel for packets is used for something
                else, or the parts do not fit together.
            TypeError: If ``checkpointer`` is no saver.
        """
        config_type = deprecated_kwargs.get("config_type", MISSING)
        if config_type is not MISSING:
            warnings.warn(
                "`config_type` is deprecated and will be removed. Please use `context_schema` instead.",
                category=LangGraphDeprecatedSinceV10,
                stacklevel=2,
            )
            context_schema = context_schema or cast("type[ContextT]", config_type)
        channels = channels if channels is not None else {}
        if not isinstance(channels.setdefault(TASKS, Topic(Send, accumulate=False)), Topic):
            raise ValueError(f"Channel '{TASKS}' is reserved and cannot be used in the graph.")
        # All at once: of an attribute that is set by itself, the graph notes that its spec is stale.
        self.__dict__.update(
            nodes={key: node.build() if isinstance(node, NodeBuilder) else node for key, node in nodes.items()},
            channels=channels,
            input_channels=input_channels,
            output_channels=output_channels,
            stream_channels=stream_channels,
            context_schema=context_schema,
            # State, and its storage.
            checkpointer=ensure_valid_checkpointer(checkpointer),
            cache=cache,
            cache_policy=cache_policy,
            store=store,
            # Execution of a run.
            config=config,
            interrupt_before_nodes=interrupt_before_nodes,
            interrupt_after_nodes=interrupt_after_nodes,
            retry_policy=(retry_policy,) if isinstance(retry_policy, RetryPolicy) else retry_policy,
            node_error_handler_map=node_error_handler_map or {},
            step_timeout=step_timeout,
            trigger_to_nodes=trigger_to_nodes or {},
            # Name, streams and checks.
            debug=get_debug() if debug is None else debug,
            name=name,
            stream_eager=stream_eager,
            stream_mode=stream_mode,
            stream_transformers=tuple(stream_transformers or ()),
            strict=strictness.by_default() if strict is None else strict,
        )
        if auto_validate:
            self.validate()

    # -- the compiled program ----------------------------------------------

    @property
    def program(self) -> Program:
        """The graph as the core reads it; compiled on first use."""
        program = self._program
        if program is None:
            program = compile_program(self.nodes, self.channels, self.input_channels)
            if self._flow is not None:
                program = replace(program, flow=self._flow())
            self.__dict__["_program"] = program
        return program

    @property
    def spec(self) -> GraphSpec:
        """The graph as its runs know it; made anew for the next run when an attribute was set or `validate` called."""
        changes, known = self._changes, self._spec
        if known is not None and known[0] is changes:
            return known[1]
        spec = GraphSpec(
            name=self.get_name(),
            program=self.program,
            nodes=self.nodes,
            channels=self.channels,
            output_channels=_keys(self.output_channels),
            stream_channels=_keys(self.stream_channels_asis),
            stream_mode=self.stream_mode,
            stream_eager=self.stream_eager,
            interrupt_before=self.interrupt_before_nodes,
            interrupt_after=self.interrupt_after_nodes,
            step_timeout=self.step_timeout,
            debug=self.debug,
            strict=self.strict,
            checkpointer=self.checkpointer,
            trusting=None if self._allowlist is None else self._allowlist.tell,
            migrate=self._migration(),
            versions=self._versions,
            store=self.store,
            cache=self.cache,
            retry_policy=tuple(self.retry_policy),
            cache_policy=self.cache_policy,
            context_schema=self.context_schema,
            config=self.config,
            output_mapper=self._output_mapper,
            state_mapper=self._state_mapper,
            fan_outs=self._fan_outs,
            output_check=self._output_check,
            command_check=self._command_check,
        )
        # Beside the mark of what it was made after, so that a change meanwhile is not overlooked.
        self.__dict__["_spec"] = (changes, spec)
        return spec

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        self.__dict__["_changes"] = object()

    def validate(self) -> Self:
        """Check that the parts fit together; call it again after changing any.

        Raises:
            ValueError: If they do not.
        """
        self._program = None
        triggers: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            if node.timeout is not None:
                validate_timeout_supported(node.node or node.bound, name=name)
            for channel in node.triggers:
                triggers.setdefault(channel, []).append(name)
        channels: dict[str, object] = {}
        managed: dict[str, object] = {}
        for name, spec in self.channels.items():
            (channels if isinstance(spec, BaseChannel) else managed)[name] = spec
        validate_graph(
            nodes=self.nodes,
            channels=channels,
            managed=managed,
            interrupt_before_nodes=self.interrupt_before_nodes,
            interrupt_after_nodes=self.interrupt_after_nodes,
            stream_channels=self.stream_channels,
            output_channels=self.output_channels,
            input_channels=self.input_channels,
        )
        self.trigger_to_nodes = triggers
        return self

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """Return a graph with some attributes replaced."""
        attributes = {k: v for k, v in self.__dict__.items() if k != "__orig_class__"}
        attributes.update(update or {})
        return self._rebuilt(attributes)

    def _rebuilt(self, attributes: dict[str, Any]) -> Self:
        public = {k: v for k, v in attributes.items() if not k.startswith("_")}
        twin = self.__class__(**public)
        twin._allowlist, twin._versions = self._allowlist, self._versions
        twin._output_check, twin._command_check = self._output_check, self._command_check
        twin._flow, twin._fan_outs = self._flow, self._fan_outs
        return twin

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Self:
        """Return a graph with further defaults for every run's config."""
        return self.copy({"config": merge_configs(self.config, config, cast(RunnableConfig, kwargs))})

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Return the graph's name, with a suffix for its schemas."""
        return super().get_name(suffix, name=name)

    # -- identity --------------------------------------------------------------

    @property
    def import_path(self) -> str | None:
        """The name under which other processes can import the graph, `package.module:attribute`.

        None for a graph that no loaded module holds under a name, and for one of the script that was started.
        """
        return identity.import_path_of(self, identity.modules_of(self.nodes.values()))

    @property
    def digest(self) -> str:
        """A digest of the graph's plan: 64 hexadecimal digits, the same in every process.

        Two graphs with the same digest can go on with each other's threads. It covers nodes, edges, channels with
        their types and reducers, and nested graphs; the code of nodes, policies, breakpoints and savers may differ. Of
        a channel class of your own it covers the attributes that the class names in `declared`.
        """
        return identity.digest_of(self)

    # -- savers --------------------------------------------------------------

    def resolve_checkpointer(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        """Return the saver of a run: its parent's if it has one, else the graph's own.

        Raises:
            RuntimeError: If a root graph was compiled with ``checkpointer=True``.
        """
        return self.spec.saver_of(config.get(CONF, {}))

    def own_checkpoint_config(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config of a subgraph with one history per thread: no task ids in its namespace."""
        return self.spec.own_config(config)

    def migrate_checkpoint(self, checkpoint: Any) -> None:
        """Bring a checkpoint of an older format or graph layout up to date, in place."""
        self._migration()(checkpoint)

    _migrate_checkpoint = migrate_checkpoint  # as LangGraph calls it

    def _migration(self) -> Callable[[Any], None]:
        """Return what brings checkpoints of older formats up to date; it must not refer to the graph itself."""
        return checkpoints.migrate

    # -- cache ---------------------------------------------------------------

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Forget cached results.

        Args:
            nodes: Of these nodes; None for all.

        Raises:
            ValueError: If the graph has no cache.
        """
        self._cache_or_raise().clear(self._cache_namespaces(nodes))

    async def aclear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Like :meth:`clear_cache`."""
        await self._cache_or_raise().aclear(self._cache_namespaces(nodes))

    def _cache_or_raise(self) -> BaseCache[Any]:
        if not self.cache:
            raise ValueError("No cache is set for this graph. Cannot clear cache.")
        return self.cache

    def _cache_namespaces(self, nodes: Sequence[str] | None) -> list[tuple[str, ...]]:
        bodies = (self.program.nodes[name].body for name in nodes or self.nodes if name in self.nodes)
        return [body.cache_ns() for body in bodies if body is not None]

    # -- what it is ------------------------------------------------------------

    @property
    def stream_channels_list(self) -> Sequence[str]:
        """The channels shown as the state."""
        shown = self.stream_channels_asis
        return [shown] if isinstance(shown, str) else shown

    @property
    def stream_channels_asis(self) -> str | Sequence[str]:
        """The channels shown as the state; a string for the bare value of one."""
        return self.stream_channels or [
            name for name, channel in self.channels.items() if isinstance(channel, BaseChannel)
        ]

    def get_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> Iterator[tuple[str, GraphProtocol[Any, Any, Any, Any]]]:
        """Yield the graphs that nodes of this one run.

        Args:
            namespace: Only the one at this namespace (node names joined by "|").
            recurse: Whether to look into subgraphs too.

        Yields:
            Namespaces and graphs.
        """
        for name, node in self.nodes.items():
            inside = namespace is not None and namespace.startswith(name + NS_SEP)
            if namespace is not None and namespace != name and not inside:
                continue
            graph = next(iter(node.subgraphs), None)
            if graph is None:
                continue
            if not inside:
                yield name, graph
            if namespace == name:
                return
            if recurse and isinstance(graph, GraphDefinition):
                rest = namespace[len(name) + 1 :] if namespace is not None else None
                for below, subgraph in graph.get_subgraphs(namespace=rest, recurse=True):
                    yield f"{name}{NS_SEP}{below}", subgraph

    async def aget_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> AsyncIterator[tuple[str, GraphProtocol[Any, Any, Any, Any]]]:
        """Like :meth:`get_subgraphs`."""
        for found in self.get_subgraphs(namespace=namespace, recurse=recurse):
            yield found

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Return the graph as a drawing, to be rendered as mermaid, ascii or an image.

        Args:
            config: Not needed; subgraphs may use it.
            xray: How many levels of subgraphs to unfold; True for all.
        """
        from stategraph.engine.state import draw  # 4 ms of drawing code that runs do not need

        return draw.draw(self, config, xray=xray)

    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Like :meth:`get_graph`; subgraphs on other machines are asked at the same time."""
        from stategraph.engine.state import draw

        return await draw.adraw(self, config, xray=xray)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return the forms in which notebooks show the graph."""
        return {"text/plain": repr(self), "image/png": self.get_graph().draw_mermaid_png()}

    # -- schemas -----------------------------------------------------------------

    @property
    def InputType(self) -> Any:  # noqa: N802  the name is langchain-core's
        """The type of the input, if it goes to a single channel."""
        return self._channel_type(self.input_channels, "UpdateType")

    @property
    def OutputType(self) -> Any:  # noqa: N802  the name is langchain-core's
        """The type of the output, if it comes from a single channel."""
        return self._channel_type(self.output_channels, "ValueType")

    def _channel_type(self, name: str | Sequence[str], kind: str) -> Any:
        channel = self.channels[name] if isinstance(name, str) else None
        return getattr(channel, kind) if isinstance(channel, BaseChannel) else None

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """Return the pydantic model of the input."""
        if isinstance(self.input_channels, str):
            return cast(type[BaseModel], super().get_input_schema(merge_configs(self.config, config)))
        return self._model("Input", self.input_channels or list(self.channels), "UpdateType")

    def get_output_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """Return the pydantic model of the output."""
        if isinstance(self.output_channels, str):
            return cast(type[BaseModel], super().get_output_schema(merge_configs(self.config, config)))
        return self._model("Output", self.output_channels, "ValueType")

    def _model(self, suffix: str, names: Sequence[str], kind: str) -> type[BaseModel]:
        fields = {
            name: (getattr(channel, kind), None)
            for name in names
            if isinstance(channel := self.channels[name], BaseChannel)
        }
        return json_schema.model_of(self.get_name(suffix), fields)

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the JSON schema of the input."""
        return self.get_input_schema(config).model_json_schema()

    def get_output_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the JSON schema of the output."""
        return self.get_output_schema(config).model_json_schema()

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """Return the JSON schema of the run context; None if the graph has none."""
        return json_schema.context_json_schema(self.context_schema)

    @deprecated(
        "`config_schema` is deprecated. Use `get_context_jsonschema` for the relevant schema instead.",
        category=None,
    )
    def config_schema(self, *, include: Sequence[str] | None = None) -> type[BaseModel]:
        """Return the pydantic model of the config."""
        warnings.warn(
            "`config_schema` is deprecated. Use `get_context_jsonschema` for the relevant schema instead.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return self._config_model(include)

    def _config_model(self, include: Sequence[str] | None) -> type[BaseModel]:
        fields: dict[str, tuple[Any, Any]] = {}
        if self.context_schema is not None:
            fields[CONF] = (self.context_schema, None)
        for name, hint in get_type_hints(RunnableConfig).items():
            if name in (include or ()) and name != CONF:
                fields[name] = (hint, None)
        return json_schema.model_of(self.get_name("Config"), fields)

    @deprecated(
        "`get_config_jsonschema` is deprecated. Use `get_context_jsonschema` instead.",
        category=None,
    )
    def get_config_jsonschema(self, *, include: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the config."""
        warnings.warn(
            "`get_config_jsonschema` is deprecated. Use `get_context_jsonschema` instead.",
            category=LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return self._config_model(include).model_json_schema()


def _keys(channels: str | Sequence[str]) -> str | Sequence[str]:
    return channels if isinstance(channels, str) else Keys(channels)
