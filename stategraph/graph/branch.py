"""A conditional edge: a router, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from langchain_core.runnables import Runnable

from stategraph.engine.compile.write import BranchWriter
from stategraph.graph import hints


class BranchSpec(NamedTuple):
    """A conditional edge as it was added."""

    path: Runnable[Any, Any]
    """The router."""
    ends: dict[Hashable, str] | None
    """Destinations by the router's answers; None if the router answers with node names and may go anywhere."""
    input_schema: type[object] | None = None
    """Schema of the router's input; None for that of the node before it."""

    @classmethod
    def from_path(
        cls,
        path: Runnable[Any, Any],
        path_map: Mapping[Hashable, str] | Sequence[str] | None,
        infer_schema: bool = False,
    ) -> Self:
        """Describe a conditional edge.

        Args:
            path: The router.
            path_map: A dict says what its answers mean, a list which names it may answer. With anything else, as in
                LangGraph, the function's return type may say.
            infer_schema: Whether the annotation of the router's first parameter says what it wants to see.
        """
        if isinstance(path_map, Mapping):
            ends: dict[Hashable, str] | None = dict(path_map)
        else:
            names = path_map if isinstance(path_map, list) else hints.router_answers(path)
            ends = None if names is None else {name: name for name in names}
        return cls(path, ends, hints.router_input(path) if infer_schema else None)

    def writer(self, source: str, select: str | list[str] | None, mapper: Callable[[Any], Any] | None) -> BranchWriter:
        """Make the writer that asks this router.

        Args:
            source: The node that it comes after.
            select: What to read of the state for it; None to give it the node's return value.
            mapper: Turns what was read into the router's input.
        """
        return BranchWriter(
            self.path,
            self.ends,
            select=select,
            mapper=mapper,
            adds_output=self.input_schema is None,
            source=source,
        )
