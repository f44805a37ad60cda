"""Going back to a checkpoint inside a nested graph.

Rules
-----
* A nested graph keeps its checkpoints under a namespace that ends in the id of the task it runs in, and that id is
  made of the outer checkpoint's. A replay starts with a fork of the outer checkpoint, so its tasks get new ids, and
  the nested graph a new, empty namespace.
* So before it forks, a run works out under which namespaces the tasks had been running. A nested graph that finds
  nothing named under its own namespace looks under the one its task had, and takes the named checkpoint over: the
  first one of its new namespace holds every channel.
* Only the fork's first step has tasks that ran before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stategraph.constants import NS_SEP
from stategraph.core import checkpoint as checkpoints
from stategraph.core import status
from stategraph.core.plan import Planner
from stategraph.core.state import State
from stategraph.core.task import IdMaker, Task


def names_below(named: Mapping[str, str], ns: str) -> bool:
    """Return whether a run's caller named a checkpoint of a graph nested in the one at `ns`.

    Args:
        named: Checkpoint ids by namespace.
        ns: A namespace; "" for the outermost graph.
    """
    prefix = f"{ns}{NS_SEP}" if ns else ""
    return any(other != ns and other.startswith(prefix) for other in named)


def namespaces_before(
    state: State,
    checkpoint: checkpoints.Checkpoint,
    ns: str,
    parent: Task | None,
    pending: status.Pending,
    updated: Iterable[str] | None,
    step: int,
    stop: int,
) -> dict[str, str]:
    """Find the namespaces in which the tasks of a checkpoint's next step ran, before the checkpoint is forked.

    Args:
        state: The channels as of the checkpoint.
        checkpoint: The checkpoint.
        ns: The namespace the graph ran in.
        parent: The task it runs in now.
        pending: The writes recorded on the checkpoint.
        updated: Channels updated by the step that made it.
        step: The number of the next step.
        stop: The number of the last one that is allowed: their input may say how many are left.

    Returns:
        The tasks' namespaces by their paths.
    """
    ids = IdMaker(checkpoint["id"], checkpoint["v"])
    planner = Planner(state, ids, ns, parent, pending, None, step, stop)
    return {task.path_key: task.ns for task in planner.next_tasks(set(updated) if updated else None)}


def namespace_before(task: Task | None, ns: str) -> str | None:
    """Find the namespace of a graph's checkpoints when its task ran before the fork.

    Args:
        task: The task it runs in.
        ns: Its namespace now.

    Returns:
        The namespace, or None if the task did not run before. A task's second and later graphs have a number behind
        the task's own namespace.
    """
    if task is None or task.ns_before is None or not ns.startswith(task.ns):
        return None
    return task.ns_before + ns[len(task.ns) :]
