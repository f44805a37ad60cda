"""The declaration of a state graph by its author: schemas, nodes and edges.

`stategraph.graph.state.StateGraph` adds the statements that fill it, `stategraph.graph.compiled` reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.last_value import LastValue
from stategraph.engine.compile.managed import ManagedValueSpec
from stategraph.graph import schema as schemas
from stategraph.graph import validate
from stategraph.graph.edges.joins import Joins
from stategraph.typing import ContextT, InputT, OutputT, StateT

if TYPE_CHECKING:  # they import the engine, see `stategraph.graph.assembly`
    from stategraph.graph.branch import BranchSpec
    from stategraph.graph.node import StateNodeSpec

AnyChannel = BaseChannel[Any, Any, Any]


class Declaration(Generic[StateT, ContextT, InputT, OutputT]):
    """The parts of a state graph; `StateGraph` describes each."""

    nodes: dict[str, StateNodeSpec[Any, ContextT]]
    edges: set[tuple[str, str]]
    waiting_edges: set[tuple[tuple[str, ...], str]]
    branches: defaultdict[str, dict[str, BranchSpec]]
    joins: Joins
    compiled: bool
    channels: dict[str, AnyChannel]
    managed: dict[str, ManagedValueSpec]
    schemas: dict[type[object], dict[str, AnyChannel | ManagedValueSpec]]
    state_schema: type[StateT]
    context_schema: type[ContextT] | None
    input_schema: type[InputT]
    output_schema: type[OutputT]

    def _declare(
        self,
        state_schema: type[StateT],
        context_schema: type[ContextT] | None,
        input_schema: type[InputT] | None,
        output_schema: type[OutputT] | None,
    ) -> None:
        """Begin with schemas, and no node yet.

        Raises:
            ValueError: A managed value is declared as input or output, or two schemas declare a key differently.
        """
        self.nodes = {}
        self.edges = set()
        self.waiting_edges = set()
        self.branches = defaultdict(dict)
        self.joins = Joins()
        self.channels = {}
        self.managed = {}
        self.schemas = {}
        self.state_schema = state_schema
        self.context_schema = context_schema
        self.input_schema = cast("type[InputT]", input_schema or state_schema)
        self.output_schema = cast("type[OutputT]", output_schema or state_schema)
        self._add_schema(self.state_schema)
        self._add_schema(self.input_schema, allow_managed=False)
        self._add_schema(self.output_schema, allow_managed=False)

    def _add_schema(self, schema: type[object], /, allow_managed: bool = True) -> None:
        if schema in self.schemas:
            return
        schemas.warn_if_no_schema(schema)
        keys = schemas.state_keys(schema)
        if keys.managed and not allow_managed:
            raise ValueError(
                f"{getattr(schema, '__name__', schema)} declares managed values ({', '.join(keys.managed)}), which the "
                "engine computes: they can be keys of the state or of a node's input, not of what goes in or out"
            )
        self.schemas[schema] = {**keys.channels, **keys.managed}
        for key, channel in keys.channels.items():
            known = self.channels.setdefault(key, channel)
            # A plain key may stand for one that another schema gives a reducer.
            if known is not channel and known != channel and not isinstance(channel, LastValue):
                raise ValueError(
                    f"Key '{key}' is updated in different ways: by {known!r} according to an earlier schema, by "
                    f"{channel!r} according to {getattr(schema, '__name__', schema)}"
                )
        for key, managed in keys.managed.items():
            if self.managed.setdefault(key, managed) != managed:
                raise ValueError(f"Key '{key}' is one managed value in one schema and another in the next")

    @property
    def _all_edges(self) -> set[tuple[str, str]]:
        return self.edges | {(start, end) for starts, end in self.waiting_edges for start in starts}

    def validate(self, interrupt: Sequence[str] | None = None) -> Self:
        """Check that the graph has a beginning and that all edges and interrupts name nodes.

        Args:
            interrupt: Nodes to pause at.

        Returns:
            The builder.

        Raises:
            ValueError: Something is missing.
        """
        validate.graph(
            self.nodes,
            edges=self._all_edges,
            branches=self.branches,
            interrupt=interrupt or (),
        )
        self.compiled = True
        return self

    def _all_schemas(self) -> Iterator[type[object]]:
        yield from (self.state_schema, self.input_schema, self.output_schema)
        if self.context_schema is not None:
            yield self.context_schema
        yield from (spec.input_schema for spec in self.nodes.values())
        for branches in self.branches.values():
            yield from (branch.input_schema for branch in branches.values() if branch.input_schema is not None)
