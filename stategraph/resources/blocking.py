"""The runtime for callers that cannot await: scripts, notebooks, sync web frameworks.

with BlockingRuntime(Runtime.from_url("sqlite:///app.db")) as runtime:
    runtime.apply(load("app/"))
    runtime.wait("agent/greeter")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from stategraph.resources.controller import Controller
from stategraph.resources.model import Resource
from stategraph.resources.runtime import Applied, Name, Runtime
from stategraph.run import background_loop


class BlockingRuntime:
    """A runtime whose calls return when their work is done, in the event loop of the process's background thread.

    Args:
        runtime: The runtime, not started yet; nobody else may start it.

    Attributes:
        runtime: The runtime.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._loop = background_loop.current()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to reconcile, in the background."""
        self._loop.run(self.runtime.start)

    def stop(self) -> None:
        """Stop reconciling and close the store."""
        self._loop.run(self.runtime.stop)

    def register(self, controller: Controller) -> None:
        """Let a controller reconcile its kind; see `Runtime.register`."""
        self.runtime.register(controller)

    def apply(self, resources: Sequence[Resource], *, force: bool = False) -> list[Applied]:
        """Store resources as declared; see `Runtime.apply`."""
        return self._loop.run(lambda: self.runtime.apply(resources, force=force))

    def load_from_string(self, text: str, timeout: float = 30.0) -> list[Applied]:
        """Apply the documents of a text, and wait until they are reconciled; see `Runtime.load_from_string`."""
        return self._loop.run(lambda: self.runtime.load_from_string(text, timeout))

    def settled(self, timeout: float = 30.0) -> None:
        """Wait until all that is stored is reconciled; see `Runtime.settled`."""
        self._loop.run(lambda: self.runtime.settled(timeout))

    def get(self, name: Name) -> Resource | None:
        """Return a resource; None if there is none."""
        return self._loop.run(lambda: self.runtime.get(name))

    def list(
        self, kind: str | None = None, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Resource]:
        """Return resources in the order of their keys; see `Runtime.list`."""
        return self._loop.run(lambda: self.runtime.list(kind, namespace, labels))

    def delete(self, name: Name) -> bool:
        """Ask for the deletion of a resource; see `Runtime.delete`."""
        return self._loop.run(lambda: self.runtime.delete(name))

    def wait(self, name: Name, condition: str = "Ready", timeout: float = 30.0) -> Resource:
        """Wait until a condition is true for the present generation; see `Runtime.wait`."""
        return self._loop.run(lambda: self.runtime.wait(name, condition, timeout))

    def compiled(self, name: Name) -> Any:
        """Return what a resource became; see `Runtime.compiled`."""
        return self.runtime.compiled(name)

    def agent(self, name: Name) -> Any:
        """Return what an agent became; see `Runtime.agent`."""
        return self.runtime.agent(name)

    def graph(self, name: Name) -> Any:
        """Return the graph of a workflow, network or agent; see `Runtime.graph`."""
        return self.runtime.graph(name)

    def get_workflow(self, name: Name) -> Any:
        """Return a workflow; see `Runtime.get_workflow`."""
        return self.runtime.get_workflow(name)

    def get_network(self, name: Name) -> Any:
        """Return a network; see `Runtime.get_network`."""
        return self.runtime.get_network(name)
