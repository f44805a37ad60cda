"""A state graph that runs: the builder's statements as channels, triggers, readers and writers.

| statement | becomes |
|---|---|
| a state key | a channel |
| a node | a node that listens to `branch:to:<node>`, reads its schema's keys and writes what it returns |
| an edge | a constant write to `branch:to:<end>` |
| an edge from several nodes | the channel `join:<a>+<b>:<end>`, which each of them writes its name to |
| a conditional edge | a writer that asks the router and writes `branch:to:<answer>` |
| `START` | a hidden node that writes the input to the state |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, overload

from langchain_core.runnables import RunnableConfig

from stategraph.constants import END, START, TAG_HIDDEN
from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValueAfterFinish
from stategraph.engine.compile.managed import is_managed_value
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.compile.write import ChannelWrite, ChannelWriteEntry
from stategraph.graph import migrate
from stategraph.graph import schema as schemas
from stategraph.graph.branch import BranchSpec
from stategraph.graph.declaration import Declaration
from stategraph.graph.node import StateNodeSpec
from stategraph.graph.typed.calls import StateGraphCalls
from stategraph.graph.writer import StateWriter, UpdateKeys, branch_channel, join_channel
from stategraph.typing import ContextT, InputT, OutputT, StateT

if TYPE_CHECKING:  # as in `stategraph.graph.writer`
    from typing_extensions import Unpack

    from stategraph.graph.typed.options import RunOptions
    from stategraph.graph.typed.validation import UpdateChecks
    from stategraph.types import Command


class CompiledStateGraph(
    StateGraphCalls[StateT, ContextT, InputT, OutputT],
    Generic[StateT, ContextT, InputT, OutputT],
):
    """A compiled state graph; see the engine for what it can do.

    Attributes:
        builder: The `StateGraph` it was compiled from.
        schema_to_mapper: For each schema, what turns a dict of state keys into an instance; None for no need to.
    """

    builder: Declaration[StateT, ContextT, InputT, OutputT]
    schema_to_mapper: dict[type[object], schemas.Coercer | None]

    def __init__(
        self,
        *,
        builder: Declaration[StateT, ContextT, InputT, OutputT],
        schema_to_mapper: dict[type[object], schemas.Coercer | None],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.builder = builder
        self.schema_to_mapper = schema_to_mapper
        self._output_mapper = schemas.coercer(_names(self.output_channels), builder.output_schema)
        self._state_mapper = schemas.coercer(_names(self.stream_channels), builder.state_schema)
        self._update_keys: UpdateKeys | None = None
        # What is checked of updates, in graphs that ask for it.
        self._checks: UpdateChecks | None = None

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the JSON schema of the graph's input."""
        return self._json_schema(self.builder.input_schema, "Input")

    def get_output_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the JSON schema of the graph's output."""
        return self._json_schema(self.builder.output_schema, "Output")

    def _json_schema(self, schema: type[object], suffix: str) -> dict[str, Any]:
        builder = self.builder
        return schemas.state_json_schema(
            schema, keys=builder.schemas[schema], channels=builder.channels, title=self.get_name(suffix)
        )

    def attach_node(self, key: str, node: StateNodeSpec[Any, ContextT] | None) -> None:
        """Add a node.

        Args:
            key: Its name.
            node: Its specification; None for `START`.

        Raises:
            RuntimeError: There is nothing to add.
        """
        builder = self.builder
        if key == START:
            inputs = builder.schemas[builder.input_schema]
            names = [name for name, spec in inputs.items() if not is_managed_value(spec)]
            check = self._checks.of_input if self._checks is not None else None
            keys = UpdateKeys(names, schemas.aliases(builder.input_schema), strict=self.strict, check=check)
            self.nodes[key] = PregelNode(
                tags=[TAG_HIDDEN], triggers=[START], channels=START, writers=[StateWriter(keys)], subgraphs=()
            )
            return
        if node is None:
            raise RuntimeError(f"Node '{key}' has nothing to run: only START may be attached without a spec")
        if self._update_keys is None:
            check = self._checks.of_nodes if self._checks is not None else None
            known = [*builder.channels, *builder.managed]
            self._update_keys = UpdateKeys(known, strict=self.strict, check=check)
        reads, mapper = self._reader(node.input_schema)
        trigger = branch_channel(key)
        self.channels[trigger] = LastValueAfterFinish(Any) if node.defer else EphemeralValue(Any, guard=False)
        self.nodes[key] = PregelNode(
            triggers=[trigger],
            channels=reads,
            mapper=mapper,
            writers=[StateWriter(self._update_keys, node.ends, node=key)],
            metadata=node.metadata,
            retry_policy=node.retry_policy,
            cache_policy=node.cache_policy,
            is_error_handler=node.is_error_handler,
            error_handler_node=node.error_handler_node,
            bound=node.runnable,
            timeout=node.timeout,
            limits=node.limits,
            trace_policy=node.trace_policy,
        )

    def attach_edge(self, starts: str | Sequence[str], end: str) -> None:
        """Add an edge.

        Args:
            starts: The node it comes from, or several, all of which have to run first.
            end: The node it goes to.
        """
        if end == END:
            return
        if isinstance(starts, str):
            self._add_write(starts, branch_channel(end), None)
            return
        channel = join_channel(starts, end)
        barrier = NamedBarrierValueAfterFinish if self.builder.nodes[end].defer else NamedBarrierValue
        self.channels[channel] = barrier(str, set(starts))
        self.nodes[end].triggers.append(channel)
        for start in starts:
            self._add_write(start, channel, start)

    def attach_branch(self, start: str, name: str, branch: BranchSpec, *, with_reader: bool = True) -> None:
        """Add a conditional edge.

        Args:
            start: The node it comes from.
            name: Its name; a node's conditional edges have different names.
            branch: The router.
            with_reader: Whether the router gets the state; False to give it the node's return value.
        """
        select: str | list[str] | None = None
        mapper: schemas.Coercer | None = None
        if with_reader:
            source = self.builder.nodes.get(start)
            schema = branch.input_schema or (self.builder.state_schema if source is None else source.input_schema)
            select, mapper = self._reader(schema)
        self.nodes[start].writers.append(branch.writer(start, select, mapper))

    def _reader(self, schema: type[object]) -> tuple[str | list[str], schemas.Coercer | None]:
        """Return the channels to read for a schema, and the function that makes an instance of it."""
        keys = list(self.builder.schemas[schema])
        if schema not in self.schema_to_mapper:
            self.schema_to_mapper[schema] = schemas.coercer(keys, schema)
        return schemas.ROOT if keys == [schemas.ROOT] else keys, self.schema_to_mapper[schema]

    def _add_write(self, node: str, channel: str, value: object) -> None:
        writers = self.nodes[node].writers
        if writers and isinstance(writers[-1], StateWriter):
            writers[-1].add(channel, value)
        else:  # routers have been attached already, and they come first
            writers.append(ChannelWrite([ChannelWriteEntry(channel, value)]))

    def _migration(self) -> Callable[[Any], None]:
        return partial(_migrate, super()._migration(), self.nodes, self.builder.edges)


class ValidatedStateGraph(
    CompiledStateGraph[StateT, ContextT, InputT, OutputT],
    Generic[StateT, ContextT, InputT, OutputT],
):
    """A compiled state graph whose output is checked: `invoke` returns an instance of the output schema.

    A run that pauses, or that a limit stops, returns the state so far as a dict.
    """

    if TYPE_CHECKING:

        @overload
        def invoke(
            self,
            input: InputT | dict[str, Any] | Command[Any] | None,
            config: RunnableConfig | None = None,
            *,
            stream_mode: Literal["values"] = "values",
            output_keys: None = None,
            version: Literal["v1"] = "v1",
            **options: Unpack[RunOptions[ContextT]],
        ) -> OutputT: ...

        @overload
        def invoke(self, input: InputT | Command[Any] | None, *args: Any, **options: Any) -> Any: ...

        def invoke(self, input: Any, *args: Any, **options: Any) -> Any: ...  # noqa: D102

        @overload
        async def ainvoke(
            self,
            input: InputT | dict[str, Any] | Command[Any] | None,
            config: RunnableConfig | None = None,
            *,
            stream_mode: Literal["values"] = "values",
            output_keys: None = None,
            version: Literal["v1"] = "v1",
            **options: Unpack[RunOptions[ContextT]],
        ) -> OutputT: ...

        @overload
        async def ainvoke(self, input: InputT | Command[Any] | None, *args: Any, **options: Any) -> Any: ...

        async def ainvoke(self, input: Any, *args: Any, **options: Any) -> Any: ...  # noqa: D102


AnyStateGraph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]
"""A compiled state graph, whatever its schemas are."""


def _migrate(formats: Callable[[Any], None], nodes: Any, edges: Any, checkpoint: Any) -> None:
    """Bring a checkpoint up to date: its format, then what starts the nodes."""
    formats(checkpoint)
    migrate.move_triggers(checkpoint, nodes, edges)


def _names(channels: str | Sequence[str] | None) -> Sequence[str]:
    return [channels] if isinstance(channels, str) else channels or []
