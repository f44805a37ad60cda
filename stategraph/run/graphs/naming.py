"""Names of the agents of a graph by their places, and numbers of groups of places that run beside each other.

Rules
-----
* A graph made by LangChain's `create_agent` names itself in the metadata of its runs. A graph without a name inside of
  such an agent has that name too, but is another agent.
* A graph inside of a tool is named after the tool, and any other nested graph after the node that runs it. At the top
  each node with a model is an agent.
* Tasks of one graph that run at the same time are a group; groups are numbered as they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from stategraph.agent.facts import Place

Namespace: TypeAlias = tuple[str, ...]
"""The nested graphs around a node, outermost first, each as `node:task`."""

_NAME = "lc_agent_name"
_SEPARATOR = ":"


class Naming:
    """The agents of a run's graph.

    Attributes:
        tools: The tools that were run, by the namespace of the task that ran them.
    """

    def __init__(self) -> None:
        self.tools: dict[str, list[str]] = {}
        self._named: dict[Namespace, str | None] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._running: dict[Namespace, set[str]] = {}
        self._groups: dict[str, int] = {}
        self._last_group = 0

    def place(self, ns: Namespace, metadata: Mapping[str, Any]) -> Place:
        """Return the place of a node; the same object for the same task.

        Args:
            ns: The graphs around it.
            metadata: Of its task.
        """
        task = str(metadata.get("langgraph_checkpoint_ns") or "")
        node = str(metadata.get("langgraph_node") or "")
        known = self._places.get((task, node))
        if known is None:
            agent = self._agent(ns, node, metadata)
            about = {key: value for key, value in metadata.items() if not key.startswith("ls_")}
            group = self._group((*ns, task.rpartition("|")[2]))
            known = self._places[task, node] = Place(agent, agent, node, about, group, scope="|".join(ns))
        return known

    def inside_tool(self, ns: Namespace) -> bool:
        """Return whether a graph runs inside of a tool."""
        return any("|".join(ns[:depth]) in self.tools for depth in range(1, len(ns) + 1))

    def _agent(self, ns: Namespace, node: str, metadata: Mapping[str, Any]) -> str:
        name = metadata.get(_NAME)
        name = name if isinstance(name, str) and name else None
        around = [self._named.get(ns[:depth]) for depth in range(len(ns))]
        self._named.setdefault(ns, name)
        if name is not None and name not in around:
            return name
        return self._of_path(ns, node)

    def _of_path(self, ns: Namespace, node: str) -> str:
        if not ns:
            return node
        tools = self.tools.get("|".join(ns), ())
        # A node that runs a graph several times adds a number to the namespace.
        nodes = [segment.partition(_SEPARATOR)[0] for segment in ns if _SEPARATOR in segment]
        return tools[0] if len(tools) == 1 else nodes[-1] if nodes else node

    # Tasks beside each other.

    def began(self, ns: Namespace, task_id: str) -> None:
        """Take note that a task starts."""
        running = self._running.setdefault(ns, set())
        running.add(task_id)
        if len(running) == 2:
            self._last_group += 1
        if len(running) >= 2:
            self._groups |= dict.fromkeys(running - self._groups.keys(), self._last_group)

    def ended(self, ns: Namespace, task_id: str) -> None:
        """Take note that a task has ended."""
        self._running.get(ns, set()).discard(task_id)

    def _group(self, path: Sequence[str]) -> int | None:
        """Return the number of the innermost group around a task."""
        for segment in reversed(path):
            group = self._groups.get(segment.partition(_SEPARATOR)[2])
            if group is not None:
                return group
        return None
