"""Following nested runs by the events of the tasks that start them.

A nested run shows itself by the first task in its namespace, `(..., "node:<task id>")`. The task with that id, one
level up, is what runs it: when that task ends, so has the nested run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stategraph.constants import NS_END
from stategraph.engine.streams.events.transformer import Namespace, ProtocolEvent, StreamTransformer
from stategraph.errors import GraphDrained, GraphInterrupt

if TYPE_CHECKING:
    from langchain_protocol.protocol import LifecycleCause

SubgraphStatus = Literal["started", "completed", "failed", "interrupted", "drained"]

Ended = tuple[Namespace, SubgraphStatus, str | None]
"""An ended run, its status, and the text of the error it failed with."""


def ending(err: BaseException) -> tuple[SubgraphStatus, str | None]:
    """Return the status of nested runs when the run around them ends with an error, and the text of that error."""
    match err:
        case GraphDrained():
            return "drained", None
        case GraphInterrupt():
            return "interrupted", None
        case _:
            return "failed", str(err)


class NestedRunTransformer(StreamTransformer):
    """Base of the transformers that tell about nested runs.

    A subclass says which namespaces it follows and what happens when a run there starts and ends. Events of tasks go
    no further; what the subclass makes of them is what readers see.
    """

    required_stream_modes: ClassVar[tuple[str, ...]] = ("tasks",)

    _pending_cause: LifecycleCause | None
    """Cause of the run for which `_on_started` is being called."""

    def __init__(self, scope: Namespace = ()) -> None:
        """Follow runs below `scope`."""
        super().__init__(scope)
        self._seen: set[Namespace] = set()
        self._open: dict[Namespace, str] = {}  # to the id of the task that runs it
        self._lc_by_ns: dict[Namespace, str | None] = {}  # name of the agent that runs there
        self._pending_tool_calls: dict[str, str] = {}  # task id to the id of the tool call it makes

    def _should_track(self, ns: Namespace) -> bool:
        """Return whether the run with this namespace is followed."""
        raise NotImplementedError(f"{type(self).__name__} does not say which namespaces it follows")

    def _on_started(self, ns: Namespace, graph_name: str | None, trigger_call_id: str | None) -> None:
        """Handle the start of a followed run.

        Args:
            ns: Its namespace.
            graph_name: Name of the agent that runs there, else of the node.
            trigger_call_id: Id of the task that runs it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what the start of a run means")

    def _on_terminal(self, ns: Namespace, status: SubgraphStatus, error: str | None) -> None:
        """Handle the end of a followed run.

        Args:
            ns: Its namespace.
            status: How.
            error: Text of the error, for `failed`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what the end of a run means")

    def process(self, event: ProtocolEvent) -> bool:
        """Learn from the event of a task; let any other pass."""
        if event["method"] != "tasks":
            return True
        for ended in self._learn(event):
            self._on_terminal(*ended)
        return False

    def finalize(self) -> None:
        """Complete all followed runs that are still running."""
        self._end_all("completed", None)

    def fail(self, err: BaseException) -> None:
        """End all followed runs that are still running, with the error of the run around them."""
        self._end_all(*ending(err))

    def _end_all(self, status: SubgraphStatus, error: str | None) -> None:
        while self._open:
            ns = next(iter(self._open))
            del self._open[ns]
            self._on_terminal(ns, status, error)

    def _learn(self, event: ProtocolEvent) -> list[Ended]:
        """Take in the event of a task, and tell of the run that it may have started.

        Returns:
            The followed runs that have ended with it and are not reported yet.
        """
        ns, task = tuple(event["params"]["namespace"]), event["params"]["data"]
        if "result" in task:
            return self._pop_terminal_transitions(ns, task)
        self._record_identity(ns, task)
        self._record_pending_tool_calls(task)
        self._handle_task_start(ns, task)
        return []

    def _record_identity(self, ns: Namespace, task: dict[str, object]) -> None:
        """Remember whose tasks these are: the first task of a namespace tells."""
        self._lc_by_ns.setdefault(ns, _agent_of(task))

    def _record_pending_tool_calls(self, task: dict[str, object]) -> None:
        """Remember which tool call a task makes: its input is one call with its context, or a list of calls."""
        match task:
            case {"id": str(task_id), "input": {"tool_call": {"id": str(call_id)}}}:
                self._pending_tool_calls[task_id] = call_id
            case {"id": str(task_id), "input": list(calls)}:
                ids = [call["id"] for call in calls if isinstance(call, dict) and isinstance(call.get("id"), str)]
                if ids:
                    self._pending_tool_calls[task_id] = ids[0]

    def _handle_task_start(self, ns: Namespace, task: dict[str, object]) -> None:
        """Report a run when its first task shows it."""
        if ns in self._seen or not self._should_track(ns):
            return
        self._seen.add(ns)
        node, separator, rest = ns[-1].partition(NS_END)
        task_id = rest if separator else None
        agent = _agent_of(task)
        call_id = self._pending_tool_calls.get(task_id) if agent is not None and task_id is not None else None
        self._pending_cause = {"type": "toolCall", "tool_call_id": call_id} if call_id else None
        self._on_started(ns, (node or None) if agent is None else agent, task_id)
        if task_id is not None:
            self._open[ns] = task_id

    def _pop_terminal_transitions(self, ns: Namespace, task: dict[str, Any]) -> list[Ended]:
        """Return the followed runs that end with this result, and stop following them."""
        self._pending_tool_calls.pop(task.get("id", ""), None)
        ended = [run for run, task_id in self._open.items() if run[:-1] == ns and task_id == task.get("id")]
        for run in ended:
            del self._open[run]
        status: SubgraphStatus = "completed"
        error = None
        if task.get("interrupts"):  # an interrupted task may carry an error too: it is waiting all the same
            status = "interrupted"
        elif task.get("error"):
            status, error = "failed", str(task["error"])
        return [(run, status, error) for run in ended]


def _agent_of(task: dict[str, Any]) -> str | None:
    name: str | None = (task.get("metadata") or {}).get("lc_agent_name")
    return name
