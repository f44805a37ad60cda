"""The graphs that servers serve of what is declared: their ids, and the graphs as they are at the time.

A graph's id is the resource's name, with its namespace before it where that is not `default`: `greet`,
`cooking.recipe-suggestion`. Where several kinds have one name, each has its kind before it: `workflow.greet`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import TransferError
from stategraph.resources.errors import ResourceError, UnknownResource
from stategraph.resources.kind_table import DEFAULT_NAMESPACE
from stategraph.resources.model import TARGET, ResourceKey
from stategraph.workers.hosted.sources import GraphGone

if TYPE_CHECKING:
    from stategraph.resources.runtime import Runtime

#: The kinds that have a graph.
KINDS: Final = ("workflow", "network", "agent")


def graph_ids(keys: Iterable[ResourceKey]) -> dict[str, ResourceKey]:
    """Return the resources that have a graph, by the ids of these."""
    served = sorted(key for key in keys if key.kind in KINDS)
    names = Counter(map(name_of, served))
    return {name_of(key) if names[name_of(key)] == 1 else f"{key.kind}.{name_of(key)}": key for key in served}


def name_of(key: ResourceKey) -> str:
    """Return the id of a resource's graph where no other one has the same."""
    return key.name if key.namespace == DEFAULT_NAMESPACE else f"{key.namespace}.{key.name}"


async def graphs(runtime: Runtime) -> dict[str, Callable[[], Any]]:
    """Return functions that return graphs, by their ids: each as its resource is compiled when it is asked for.

    Args:
        runtime: A runtime that has started. A graph that is not ready is asked for in vain, and the error says why.
    """
    found = graph_ids(each.key for each in await runtime.list())
    return {name: _maker(runtime, key) for name, key in found.items()}


def _maker(runtime: Runtime, key: ResourceKey) -> Callable[[], Any]:
    def make() -> Any:
        try:
            return runtime.graph(key)
        except UnknownResource as error:
            if runtime.seen(key) is None:
                raise GraphGone(
                    f"{key} is deleted: what its threads were at can be neither shown nor gone on with. Apply it again"
                ) from None
            raise GraphGone(str(error)) from None

    return make


class RuntimeGraphs:
    """Finds the graphs of runs that were submitted for resources, such as those of Schedules; a `GraphSource`.

    Args:
        runtime: A runtime that has started.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def find(self, target: str) -> Any:
        """Return the graph of a run, as its resource is compiled now.

        Raises:
            TransferError: The target is no resource, or not compiled in this process.
        """
        if not target.startswith(TARGET):
            raise TransferError(f"The target {target!r} is no resource; targets of resources begin with '{TARGET}'")
        try:
            return self._runtime.graph(target.removeprefix(TARGET))
        except ResourceError as error:
            raise TransferError(f"The target {target!r} is not to be had here: {error}") from error
