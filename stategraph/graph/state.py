"""Building a graph of nodes over a shared state.

A builder collects what its author says and checks each statement as far as it can be checked then; `compile` checks the
whole and makes of it a graph that runs. A builder can be compiled any number of times and is not changed by it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, cast, overload

from typing_extensions import Unpack

from stategraph.constants import END, START
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.graph import schema as schemas
from stategraph.graph import validate
from stategraph.graph.declaration import Declaration
from stategraph.graph.defaults import NodeDefaults, with_defaults
from stategraph.graph.edges import flows
from stategraph.graph.renamed import renamed_argument
from stategraph.policies import checked_retry_policies
from stategraph.scheduling import FanOut, Join, Scheduling
from stategraph.types import (
    All,
    CachePolicy,
    Checkpointer,
    DeprecatedKwargs,
    RetryPolicy,
    TimeoutPolicy,
    TracePolicy,
    ensure_valid_checkpointer,
)
from stategraph.typing import ContextT, InputT, NodeInputT, OutputT, StateT

if TYPE_CHECKING:  # the engine alone may import the checkpoint package, and `assembly` says why it is not imported yet
    from langchain_core.runnables import Runnable

    from stategraph.engine.checkpoints.saver_interfaces import BaseCache, BaseStore
    from stategraph.engine.config.node_limits import NodeLimits
    from stategraph.engine.ports import NodeExecutor
    from stategraph.engine.tasks.executors import ExecutorName
    from stategraph.graph.assembly import CompiledStateGraph, StateNodeSpec
    from stategraph.graph.compiled import AnyStateGraph, ValidatedStateGraph
    from stategraph.graph.hints import NodeHints
    from stategraph.graph.node import StateNode
    from stategraph.graph.typed.options import CompileOptions, NodeOptions
    from stategraph.graph.typed.validation import Validate
    from stategraph.graph.versions.migration import Migration

    Router = (
        Callable[..., Hashable | Sequence[Hashable]]
        | Callable[..., Awaitable[Hashable | Sequence[Hashable]]]
        | Runnable[Any, Hashable | Sequence[Hashable]]
    )

__all__ = ("StateGraph",)

logger = logging.getLogger(__name__)


class StateGraph(Declaration[StateT, ContextT, InputT, OutputT], Generic[StateT, ContextT, InputT, OutputT]):
    """A graph in the making, whose nodes read a shared state and answer updates of it.

    Each key of the state may have a reducer, a function of the old value and an update; without one the last update
    stays. Call `compile` to get something that runs.

    Args:
        state_schema: The state: a TypedDict, a dataclass, a pydantic model, or `Annotated[type, reducer]` for a state
            that is a single value.
        context_schema: The class of the run's context, or None.
        input_schema: The part of the state that a run starts from; None for all of it.
        output_schema: The part of the state that a run answers; None for all of it.

    Attributes:
        nodes: Nodes by name, error handlers included.
        edges: Plain edges.
        waiting_edges: Edges from several nodes, all of which have to run first.
        branches: Conditional edges by the node they come from and the name of the router.
        channels: State keys of all schemas.
        managed: Computed keys of all schemas.
        schemas: For each schema its keys.
        compiled: Whether the builder has passed `validate` at least once.

    Raises:
        ValueError: A managed value is declared as input or output, or two schemas declare a key differently.

    Example:
        ```python
        class State(TypedDict):
            total: Annotated[int, operator.add]

        graph = StateGraph(State).add_node("add", lambda state: {"total": 1}).set_entry_point("add").compile()
        graph.invoke({"total": 41})  # {"total": 42}
        ```
    """

    def __init__(
        self,
        state_schema: type[StateT],
        context_schema: type[ContextT] | None = None,
        *,
        input_schema: type[InputT] | None = None,
        output_schema: type[OutputT] | None = None,
        **kwargs: Unpack[DeprecatedKwargs],
    ) -> None:
        self.compiled = False
        self._node_defaults = NodeDefaults()
        self._hints: dict[int, tuple[object, NodeHints]] = {}
        input_schema = renamed_argument(kwargs, "input", "input_schema", input_schema)
        output_schema = renamed_argument(kwargs, "output", "output_schema", output_schema)
        context_schema = renamed_argument(kwargs, "config_schema", "context_schema", context_schema)
        self._declare(state_schema, context_schema, input_schema, output_schema)

    def set_node_defaults(
        self,
        *,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy | None = None,
        error_handler: StateNode[Any, ContextT] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
    ) -> Self:
        """Set policies for nodes that do not bring their own, also for those that were added before.

        A default that is left None stays what it was. Subgraphs do not inherit them.

        Args:
            retry_policy: For all nodes. Of several, the first that matches a failure decides.
            cache_policy: For all nodes but error handlers.
            error_handler: A node that takes over when another one fails for good. A handler's own failure fails the
                run.
            timeout: For all nodes: limits of one attempt. A bare number is in seconds and covers the whole attempt.

        Returns:
            The builder.
        """
        retry_policy = checked_retry_policies(retry_policy, "all nodes")
        defaults = self._node_defaults
        self._node_defaults = NodeDefaults(
            retry_policy=defaults.retry_policy if retry_policy is None else retry_policy,
            cache_policy=defaults.cache_policy if cache_policy is None else cache_policy,
            error_handler=defaults.error_handler if error_handler is None else error_handler,
            timeout=defaults.timeout if timeout is None else TimeoutPolicy.coerce(timeout),
        )
        return self

    @overload
    def add_node(
        self,
        node: StateNode[StateT, ContextT],
        *,
        input_schema: None = None,
        **options: Unpack[NodeOptions[ContextT]],
    ) -> Self: ...

    @overload
    def add_node(
        self,
        node: str,
        action: StateNode[StateT, ContextT],
        *,
        input_schema: None = None,
        **options: Unpack[NodeOptions[ContextT]],
    ) -> Self: ...

    @overload
    def add_node(
        self,
        node: str | StateNode[NodeInputT, ContextT],
        action: StateNode[NodeInputT, ContextT] | None = None,
        *,
        input_schema: type[NodeInputT],
        **options: Unpack[NodeOptions[ContextT]],
    ) -> Self: ...

    def add_node(
        self,
        node: str | StateNode[NodeInputT, ContextT],
        action: StateNode[NodeInputT, ContextT] | None = None,
        *,
        defer: bool = False,
        metadata: dict[str, Any] | None = None,
        input_schema: type[NodeInputT] | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy | None = None,
        error_handler: StateNode[Any, ContextT] | None = None,
        destinations: dict[str, str] | tuple[str, ...] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        trace_policy: TracePolicy | None = None,
        executor: ExecutorName | NodeExecutor | None = None,
        join: Join | None = None,
        limits: NodeLimits | None = None,
        **kwargs: Unpack[DeprecatedKwargs],
    ) -> Self:
        """Add a node.

        Args:
            node: The node's name, or the node itself, which is then called what its function, class or Runnable is.
            action: The node, if its name came first: a function of the state, a coroutine function, a Runnable, or a
                compiled graph.
            defer: Whether the node waits until nothing else is left to run.
            metadata: Given to the node's runs.
            input_schema: The part of the state the node gets. None takes the class that annotates the function's first
                parameter, or else the whole state.
            retry_policy: Whether a failed attempt is repeated. Of several, the first that matches decides.
            cache_policy: Whether an earlier result for the same input may be taken.
            error_handler: A node that takes over when this one has failed for good. It may ask for
                `error: NodeError`.
            destinations: Where commands of this node may go: names, or names with labels. For drawings only; it does
                not limit the node. None takes them from a return annotation `Command[Literal[...]]`.
            timeout: Limits of one attempt of an async node, or of one with an executor. A bare number is in seconds and
                covers the whole attempt.
            trace_policy: The form of the node's input and output for tracers.
            executor: Where the node runs. `process`: a sync function runs in a worker process, which is killed when an
                attempt takes longer than its timeout. An object: as it says, see `NodeExecutor` in
                `stategraph/engine/ports.py` and `docs/processes.md`. None: in this process.
            join: When edges start the node: once `all` nodes that plain edges come from have run, by `any` of them, or
                once those of them that were selected have (`all_selected`); see `docs/dataflow.md`.
            limits: How many of its attempts run at a time and begin in a period, by keys of its input; see
                `docs/node-limits.md`. None: any number.

        Returns:
            The builder.

        Raises:
            ValueError: The name is taken, reserved, or has a reserved character.
            ConfigurationError: The executor cannot run the node; a TransferError if its function has no import path.
        """
        from stategraph.graph import assembly  # 450 ms, of the first node only; here and below

        retry_policy = renamed_argument(kwargs, "retry", "retry_policy", retry_policy)
        input_schema = renamed_argument(kwargs, "input", "input_schema", input_schema)
        name, work = self._named(node, action)
        self._warn_if_compiled("a node")
        if name in self.nodes:
            raise ValueError(f"There is a node called `{name}` already: give this one another name")
        validate.node_name(name)
        retry_policy = checked_retry_policies(retry_policy, f"node '{name}'")
        hinted = self._hints_of(work)
        attempt = TimeoutPolicy.coerce(timeout)
        if executor is not None:
            work, attempt = assembly.executed(work, executor, name, attempt), None
        chosen = input_schema or hinted.input_schema
        spec: StateNodeSpec[Any, ContextT] = assembly.StateNodeSpec(
            assembly.coerce_to_runnable(work, name=name, trace=False),
            metadata,
            input_schema=chosen or self.state_schema,
            retry_policy=retry_policy,
            cache_policy=cache_policy,
            ends=hinted.goto if destinations is None else destinations,
            defer=defer,
            timeout=attempt,
            limits=limits,
            trace_policy=trace_policy,
        )
        if error_handler is not None:
            spec.error_handler_node = f"__error_handler__{name}"
            if spec.error_handler_node in self.nodes:
                raise ValueError(f"Node '{name}' needs the name `{spec.error_handler_node}` for its error handler")
            self.nodes[spec.error_handler_node] = assembly.handler_spec(
                error_handler, spec.error_handler_node, spec.input_schema
            )
        self.nodes[name] = spec
        self.joins.node(name, join)
        if chosen is not None:
            self._add_schema(chosen)
        return self

    def _named(self, node: object, action: object) -> tuple[str, object]:
        from stategraph.graph import assembly

        if isinstance(node, str):
            if action is None:
                raise RuntimeError(f"Node '{node}' has a name and nothing to run: pass add_node(name, action)")
            return node, action
        name = assembly.name_of(node)
        if name is None:
            raise ValueError(f"{node!r} has no name: pass add_node(name, action)")
        return name, node

    def _hints_of(self, action: object) -> NodeHints:
        # Keyed by identity, with the action kept alive next to the hints: an action need not be hashable.
        known = self._hints.get(id(action))
        if known is None:
            from stategraph.graph import assembly

            known = self._hints[id(action)] = (action, assembly.node_hints(action))
        return known[1]

    def _warn_if_compiled(self, what: str) -> None:
        if self.compiled:
            logger.warning(
                "Adding %s to a graph that has already been compiled: graphs compiled before do not get it.", what
            )

    def add_edge(
        self,
        start_key: str | list[str],
        end_key: str | list[str],
        *,
        join: Join | None = None,
        policy: FanOut | None = None,
    ) -> Self:
        """Go from one node to another, or from several to one.

        Args:
            start_key: The node to come from, or `START`. A list of nodes waits until all of them have run.
            end_key: The node to go to, or `END`. A list of nodes goes to all of them, beside each other.
            policy: For a list of nodes to go to: when the run goes on, and what failures of them mean; made by a
                function of `stategraph.scheduling`. None: a failure stops the others, as in LangGraph.
            join: For a list of nodes to come from: whether the node starts once `all` of them have run (the default),
                by `any` of them, or once those that were selected have (`all_selected`); see `docs/dataflow.md`.

        Returns:
            The builder.

        Raises:
            ValueError: The edge leaves `END` or enters `START`, or a node of a waiting edge is unknown.
            TypeError: A node is not given by its name.
        """
        self._warn_if_compiled("an edge")
        if isinstance(end_key, (list, tuple)):
            self.joins.fan_out(end_key, policy)
            for end in end_key:
                self.add_edge(start_key, end, join=join)
            return self
        waits = isinstance(start_key, (list, tuple, set, frozenset))
        starts = tuple(start_key) if waits else (cast(str, start_key),)
        validate.edge(starts, end_key, self.nodes if waits else None)
        if waits and self.joins.edge(end_key, join) == "all":
            self.waiting_edges.add((starts, end_key))
        else:
            self.edges.update((start, end_key) for start in starts)
        return self

    def add_conditional_edges(
        self,
        source: str,
        path: Router,
        path_map: dict[Hashable, str] | list[str] | None = None,
        *,
        policy: FanOut | None = None,
    ) -> Self:
        """Let a router decide where to go after a node.

        Args:
            source: The node to come from, or `START`.
            path: The router: a function of the state, a coroutine function or a Runnable. It answers one or several
                nodes, `END`, or `Send` objects.
            path_map: Destinations by the router's answers, or the node names it may answer. None: a return annotation
                `Literal[...]` says so; without one, drawings show an edge to every node.
            policy: For what the router selects, or sends: when the run goes on, and what failures mean; see `add_edge`.

        Returns:
            The builder.

        Raises:
            ValueError: The node has a router of that name already, or has a policy and does not say where it leads.
        """
        self._warn_if_compiled("an edge")
        from stategraph.graph import assembly

        router = assembly.coerce_to_runnable(cast(Any, path), name=None, trace=True)
        name = router.name or "condition"
        if name in self.branches[source]:
            raise ValueError(f"Node '{source}' has a router called `{name}` already: give this one another name")
        spec = assembly.BranchSpec.from_path(router, path_map, infer_schema=True)
        self.joins.fan_out((spec.ends or {}).values(), policy)
        self.branches[source][name] = spec
        if spec.input_schema is not None:
            self._add_schema(spec.input_schema)
        return self

    def add_sequence(
        self,
        nodes: Sequence[StateNode[StateT, ContextT] | tuple[str, StateNode[StateT, ContextT]]],
    ) -> Self:
        """Add nodes that run one after the other.

        Args:
            nodes: The nodes in their order, each alone or as a pair of name and node.

        Returns:
            The builder.

        Raises:
            ValueError: There are no nodes, or two have the same name.
        """
        from stategraph.graph import assembly

        if not nodes:
            raise ValueError("A sequence needs at least one node")
        previous: str | None = None
        for item in nodes:
            name, node = item if isinstance(item, tuple) and len(item) == 2 else (assembly.node_name(item), item)
            if name in self.nodes:
                raise ValueError(
                    f"There is a node called `{name}` already. Of two nodes with one name, pass one as a pair of "
                    "another name and the node"
                )
            self.add_node(name, node)
            if previous is not None:
                self.add_edge(previous, name)
            previous = name
        return self

    def set_entry_point(self, key: str) -> Self:
        """Begin at this node: the same as `add_edge(START, key)`."""
        return self.add_edge(START, key)

    def set_conditional_entry_point(
        self,
        path: Router,
        path_map: dict[Hashable, str] | list[str] | None = None,
    ) -> Self:
        """Let a router decide where to begin: the same as `add_conditional_edges(START, path, path_map)`."""
        return self.add_conditional_edges(START, path, path_map)

    def set_finish_point(self, key: str) -> Self:
        """Stop after this node: the same as `add_edge(key, END)`."""
        return self.add_edge(key, END)

    @overload
    def compile(
        self,
        checkpointer: Checkpointer = None,
        *,
        validate: Literal["output", "all"],
        **options: Unpack[CompileOptions],
    ) -> ValidatedStateGraph[StateT, ContextT, InputT, OutputT]: ...

    @overload
    def compile(
        self,
        checkpointer: Checkpointer = None,
        *,
        validate: Literal["updates"] | None = None,
        **options: Unpack[CompileOptions],
    ) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]: ...

    def compile(
        self,
        checkpointer: Checkpointer = None,
        *,
        cache: BaseCache[Any] | None = None,
        store: BaseStore | None = None,
        interrupt_before: All | list[str] | None = None,
        interrupt_after: All | list[str] | None = None,
        debug: bool = False,
        name: str | None = None,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        strict: bool | None = None,
        delta_messages: bool = False,
        version: str | None = None,
        migrations: Sequence[Migration] = (),
        pinned: Mapping[str, AnyStateGraph] | None = None,
        scheduling: Scheduling = "barrier",
        validate: Validate | None = None,
        schema_fingerprint: bool = False,
    ) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]:
        """Make a graph that runs.

        Args:
            checkpointer: The saver that keeps the state between runs of a thread. None: a subgraph uses its parent's,
                any other graph keeps nothing. False: nothing is kept in either case. True: a subgraph keeps its own
                state across its parent's runs.
            cache: The cache for nodes with a cache policy.
            store: Handed to nodes that ask for it.
            interrupt_before: Nodes to pause before; "*" for all.
            interrupt_after: Nodes to pause after; "*" for all.
            debug: Whether to print every step.
            name: The name of the graph's runs.
            transformers: Makers of stream transformers, called with a namespace once for each run and subgraph that is
                streamed as events of version 3.
            strict: Whether what would have no effect (a misspelt key, stream mode or checkpoint id, a jump to nowhere)
                and values that would come back changed from a checkpoint are errors. None: the environment variable
                ``STATEGRAPH_STRICT`` says so; False is LangGraph's behaviour.
            delta_messages: Whether message lists that `add_messages` merges are stored as what each step added, and in
                full after every 100 updates, in place of in full at every step. The graph is the same otherwise; see
                `docs/delta-messages.md`.
            version: The graph's version, which the metadata of its checkpoints names; see `docs/graph-versions.md`.
            migrations: Changes since earlier versions, one chain: threads that these have stored are brought up to this
                one when they are loaded.
            pinned: Graphs of earlier versions by version. A thread that one of them has begun goes on with it until it
                ends; for good, if no migration leads from it.
            scheduling: `barrier`: in supersteps, as LangGraph does. `dataflow`: a node begins when its own inputs are
                there, see `docs/dataflow.md`.
            validate: What is checked against the schemas: `updates`, the input and what nodes write; `output`, what a
                run answers, which is then an instance of its schema; or `all`. None: nothing; see
                `docs/typed-graphs.md`.
            schema_fingerprint: Whether checkpoints name the schema of the state. A thread that was stored with another
                one is then refused with a `GraphSchemaError`, unless migrations bring it up.

        Returns:
            The compiled graph.

        Raises:
            ValueError: The graph has no beginning, or something names a node that does not exist.
            TypeError: The checkpointer is none.
            ConfigurationError: There is no message list that could be stored as deltas, the scheduling is none, a join
                does not fit it, or a type cannot be checked.
        """
        from stategraph.graph import assembly

        channels = assembly.kept_channels(self.channels, delta_messages=delta_messages)
        checkpointer = ensure_valid_checkpointer(checkpointer)
        before, after = interrupt_before or (), interrupt_after or ()
        self.validate(interrupt=[node for nodes in (before, after) if nodes != "*" for node in nodes])
        nodes = with_defaults(self.nodes, self._node_defaults, self.state_schema)
        edges, waiting = self.joins.edges(self, nodes, scheduling)
        compiled = assembly.kind_of(pinned, validate)(
            builder=self,
            schema_to_mapper={},
            context_schema=self.context_schema,
            nodes={},
            channels={**channels, **self.managed, START: EphemeralValue(self.input_schema)},
            input_channels=START,
            stream_mode="updates",
            output_channels=_readable(self.schemas[self.output_schema], self.managed),
            stream_channels=_readable(channels, self.managed),
            checkpointer=checkpointer,
            interrupt_before_nodes=before,
            interrupt_after_nodes=after,
            auto_validate=False,
            debug=debug,
            store=store,
            cache=cache,
            node_error_handler_map={
                node: spec.error_handler_node
                for node, spec in nodes.items()
                if spec.error_handler_node is not None and not spec.is_error_handler
            },
            name=name or "LangGraph",
            stream_transformers=transformers,
            strict=strict,
        )
        compiled._allowlist = assembly.allowlist.Allowlist(self._all_schemas(), channels)
        assembly.set_versions(compiled, version, migrations, pinned, fingerprinted=schema_fingerprint)
        assembly.set_checks(compiled, validate)
        assembly.wire(compiled, nodes, edges, waiting)
        compiled._flow = flows.finder(self, nodes, (edges, waiting), compiled.channels, scheduling)
        compiled._fan_outs = tuple(self.joins.fan_outs)
        return compiled.validate()  # type: ignore[no-any-return]


def _readable(keys: Iterable[str], managed: Collection[str]) -> str | list[str]:
    """Return the stored keys: a list for a dict of them, or the one name of a state that is a single value."""
    if list(keys) == [schemas.ROOT]:
        return schemas.ROOT
    return [key for key in keys if key not in managed]
