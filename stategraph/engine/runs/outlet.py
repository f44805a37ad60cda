"""Passes the chunks of a run on: to its caller, and to the callers of the runs around it that stream subgraphs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from stategraph.constants import CONF, CONFIG_KEY_STREAM, NS_SEP
from stategraph.core.task import Task
from stategraph.engine.compile.protocol import StreamProtocol
from stategraph.engine.config import environment
from stategraph.engine.runs.run_plan import RunPlan
from stategraph.engine.streams.modes import display_of
from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.streams.projection import Chunk, Format

_NONE: Final[frozenset[str]] = frozenset()


def outlet_of(plan: RunPlan) -> Outlet:
    """Return what takes the chunks of a run; runs of which nobody reads any have it in common."""
    outer, setup = plan.config[CONF].get(CONFIG_KEY_STREAM), plan.setup
    if outer is None and setup.unread:
        return _UNREAD
    return Outlet(setup.form, outer, stream_eager=plan.spec.stream_eager)


class Outlet:
    """Takes the chunks of one run, from any thread, until its driver passes them on.

    Attributes:
        own_modes: The modes that the run's caller reads.
        modes: The modes that anybody reads.
        outer: The stream of the runs around this one, or None.
        eager: Whether chunks leave while nodes still run.
        bare: Whether nobody else reads, and the caller sees the payloads as they are.
        view: Formats a chunk for the caller; None if what waits is what it sees.
        chunks: Chunks that the caller has not been shown yet.
    """

    __slots__ = ("_wake", "bare", "chunks", "eager", "modes", "outer", "own_modes", "stream", "view")

    def __init__(self, form: Format, outer: StreamProtocol | None, *, stream_eager: bool) -> None:
        """Args: form: What the caller gets; outer: See there; stream_eager: Whether all chunks leave at once."""
        self.outer = outer
        self.chunks: deque[Any] = deque()
        self._wake: Callable[[], object] | None = None
        own = form.wanted() if form.modes or form.printed else _NONE
        self.own_modes = own
        self.modes = own if outer is None else own | frozenset(outer.modes)
        self.eager = bool(stream_eager or form.subgraphs or display_of(own).in_nodes)
        self.bare = outer is None and not self.eager and (form.bare or not own)
        self.view = None if self.bare else form.viewer()
        # What the graphs inside the run put their chunks into.
        self.stream = StreamProtocol(self.emit, set(self.modes)) if form.subgraphs else outer  # type: ignore[arg-type]

    @property
    def emitter(self) -> Callable[[Any], None]:
        """The function that takes the run's own chunks; payloads alone if it is bare."""
        return self.chunks.append if self.outer is None and not self.eager else self.emit

    def wake_by(self, wake: Callable[[], object] | None) -> None:
        """Set what wakes the driver when a chunk comes; None: it is not to be woken (any more)."""
        self._wake = wake

    def put(self, chunk: Chunk) -> None:
        """Give a chunk to this run's caller. Thread-safe."""
        self.chunks.append(chunk)
        wake = self._wake
        if wake is not None:
            wake()

    def emit(self, chunk: Chunk) -> None:
        """Give a chunk to everybody who reads its mode. Thread-safe."""
        mode = chunk[1]
        if mode in self.own_modes:
            self.put(chunk)
        outer = self.outer
        if outer is not None and mode in outer.modes:
            outer.__call__(chunk)

    def writer(self, task: Task) -> Callable[[Any], None] | None:
        """Make what ``get_stream_writer`` returns in a task; None if nobody reads the custom stream."""
        if "custom" not in self.modes:
            return None
        ns = tuple(task.ns.split(NS_SEP)[:-1])

        def write(value: Any) -> None:
            chunk: Chunk = (ns, "custom", value)
            # A nested run that asked for its own custom stream keeps it to itself.
            if "custom" in self.own_modes:
                self.put(chunk)
            elif self.outer is not None:
                self.outer.__call__(chunk)

        tape = environment.current().tape
        return write if tape is None else tape.writer(write)

    @property
    def taker(self) -> Callable[[], object]:
        """The function that takes the next chunk as the caller is to see it; ``NOTHING`` if it is not to."""
        view, popleft = self.view, self.chunks.popleft
        return popleft if view is None else lambda: view(popleft())

    def shown(self) -> list[object]:
        """Take the chunks that are ready; returns what the caller is to see of them."""
        view, chunks = self.view, self.chunks
        seen = []
        while chunks:
            item = chunks.popleft()
            if view is not None:
                item = view(item)
            if item is not NOTHING:
                seen.append(item)
        return seen


_UNREAD: Final = Outlet(Format((), (), False, "v1"), None, stream_eager=False)
"""The outlet of runs that show nothing: nothing is ever put into it."""
