"""One run of a graph, from the caller's config to its machine.

``Execution`` is what the two drivers share: everything about a run that does
not wait. It parses the config once, finds out what to load, starts the
machine, gives each task its config, and passes on what the machine asks for.

Rules
-----
* Inside the house a run's facts are attributes; ``configurable`` is written for
  authors, their libraries and subgraphs, and read in one place: ``open``.
* What is listened to is decided once. A fact without a listener costs nothing.
* Only one thread at a time touches the machine: the driver, or a thread that
  holds ``lock`` while a task calls another one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from langchain_core.runnables import RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.store.base import BaseStore

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CACHE,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_LINEAGE,
    CONFIG_KEY_NODE_FINISHED,
    CONFIG_KEY_REPLAY_STATE,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_STREAM,
    CONFIG_KEY_STRICT_RESUME,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_THREAD_ID,
    NS_END,
    NS_SEP,
)
from stategraph.core import checkpoint as checkpoints
from stategraph.core import status, travel
from stategraph.core.effects import SaveCheckpoint, SaveWrites
from stategraph.core.machine import Machine
from stategraph.core.moves import Told
from stategraph.core.settings import Settings, Watch
from stategraph.core.starting import Start, Thread
from stategraph.core.task import Draft, Task
from stategraph.core.views import Keys
from stategraph.engine.checkpoints import damage, histories
from stategraph.engine.checkpoints.saving import SaveCalls
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.compile.functions import sequences_are_wrapped
from stategraph.engine.compile.protocol import StreamProtocol
from stategraph.engine.config import environment, foreign_types
from stategraph.engine.config.quiet_manager import Quiet, QuietCallbackManager
from stategraph.engine.config.runnable_config import patch_configurable
from stategraph.engine.config.runtime import (
    Runtime,
    adopt_runtime,
    coerce_context,
    run_runtime,
    server_info_from,
)
from stategraph.engine.runs import lineage, strictness
from stategraph.engine.runs.request import Lookup, Request
from stategraph.engine.runs.task_configs import TaskConfigs
from stategraph.engine.streams.modes import display_of
from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.streams.projection import Chunk, Format, Projector
from stategraph.engine.tracing.graph_callbacks import GraphInterruptEvent, GraphResumeEvent
from stategraph.types import Durability


class Execution:
    """One run of a graph; see the module."""

    # Of so many attributes a dict would not be shared with other runs, and asking it takes twice as long.
    __slots__ = (
        "_checkpoint_base",
        "_configs",
        "_found",
        "_lineage_around",
        "_loaded_conf",
        "_loaded_parent",
        "_ns_loaded",
        "cache",
        "cache_policy",
        "callbacks",
        "chunks",
        "clock",
        "config",
        "control",
        "durability",
        "eager",
        "engine",
        "environment",
        "graph_callbacks",
        "lineage",
        "loaded_how",
        "lock",
        "machine",
        "max_concurrency",
        "nested",
        "new_saves",
        "node_finished",
        "ns",
        "on_call",
        "outer_stream",
        "output_keys",
        "own_modes",
        "parent_task",
        "program",
        "projector",
        "request",
        "retry_policy",
        "runtime",
        "saver",
        "saves",
        "scope",
        "store",
        "stream",
        "streams_custom",
        "streams_nodes",
        "traced",
        "view",
        "wake",
        "whole",
    )

    def __init__(self, engine: CompiledGraph, request: Request) -> None:
        """Parse the request. Nothing is loaded or started yet.

        Raises:
            ValueError: If the recursion limit is below 1, or there is a saver
                but nothing in the config to name a thread.
        """
        config = request.config
        limit = config["recursion_limit"]
        if not isinstance(limit, (int, float)):
            raise TypeError(f"recursion_limit is {limit!r}, of type {type(limit).__name__}; expected a whole number")
        if limit < 1:
            raise ValueError("recursion_limit must be at least 1")
        conf = config[CONF]
        self.engine = engine
        self.environment = environment.current()
        self.clock = self.environment.clock
        self.program = engine.program
        self.request = request
        self.lock = threading.RLock()
        self.nested = CONFIG_KEY_TASK_ID in conf
        keys = request.output_keys
        self.output_keys = keys if isinstance(keys, str) else Keys(keys)
        self.saver: BaseCheckpointSaver[Any] | None = engine.resolve_checkpointer(config)
        if self.saver is not None and not conf:
            raise ValueError(
                "Checkpointer requires one or more of the following 'configurable' "
                "keys: thread_id, checkpoint_ns, checkpoint_id"
            )
        outer: Any = conf.get(CONFIG_KEY_RUNTIME)
        self.store: BaseStore | None = outer.store if CONFIG_KEY_RUNTIME in conf else engine.store
        self.cache: BaseCache[Any] | None = conf.get(CONFIG_KEY_CACHE, engine.cache)
        self.durability: Durability = request.durability or conf.get(CONFIG_KEY_DURABILITY, "async")
        self.retry_policy = tuple(engine.retry_policy)
        self.cache_policy = engine.cache_policy
        self.max_concurrency = _limit_of(config.get("max_concurrency"))
        self.parent_task: Task | None = None
        pad = conf.get(CONFIG_KEY_SCRATCHPAD)
        if isinstance(pad, Task):
            self.parent_task = pad
        self.config = self._placed(engine.own_checkpoint_config(config))
        self.ns: str = self.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
        self.outer_stream: StreamProtocol | None = conf.get(CONFIG_KEY_STREAM)
        self._open_streams(request.format)
        self._open_runtime(outer)
        self.traced = False
        self.whole = False
        self.streams_nodes = False
        self.callbacks: Any = None
        self.graph_callbacks: Any = None
        self.machine: Machine
        # The saves, once there is one, and what makes them.
        self.saves: Any = None
        self.new_saves: Callable[[], Any] = _not_running
        self._checkpoint_base: RunnableConfig = self.config
        # The namespace its checkpoint is taken over from, if that is not its own.
        self._ns_loaded: str | None = None
        self.node_finished: Callable[[str], None] | None = None
        self._configs: TaskConfigs
        self.on_call: Callable[..., Any] = _not_running
        self._found: CheckpointTuple | None = None
        # What the run has to agree with, and what the graphs inside it have to.
        self._lineage_around: lineage.Lineage | None = None
        self.lineage: lineage.Lineage | None = None
        if engine.strict:
            strictness.check_request(self)

    # -- opening ---------------------------------------------------------

    def _placed(self, config: RunnableConfig) -> RunnableConfig:
        """Give the run its namespace: a task's second and later graphs get a number."""
        conf = config[CONF]
        if self.parent_task is not None:
            if count := self.parent_task.subgraph_counter():
                ns = f"{conf[CONFIG_KEY_CHECKPOINT_NS]}{NS_SEP}{count}"
                config = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: ns})
        elif not self.nested and conf.get(CONFIG_KEY_CHECKPOINT_NS):
            config = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: "", CONFIG_KEY_CHECKPOINT_ID: None})
        return config

    def _open_streams(self, form: Format) -> None:
        """Find out which modes anybody reads, and whether they want them while nodes run."""
        own = form.wanted()
        modes = own
        if self.outer_stream is not None:
            modes = own | frozenset(self.outer_stream.modes)
        self.own_modes = own
        # What the caller has not been shown yet: chunks, or what it sees of them if there is no view.
        self.chunks: deque[Any] = deque()
        self.wake: Callable[[], None] | None = None
        self.eager = bool(self.engine.stream_eager or form.subgraphs or display_of(own).in_nodes)
        direct = self.outer_stream is None and not self.eager
        # Nobody else puts anything there, and the caller sees the payloads as they are.
        bare = direct and (form.bare or not own)
        self.view = None if bare else form.viewer()
        emit = self.chunks.append if direct else self.emit
        self.projector = Projector(self, modes, emit, bare=bare) if modes else None
        # Whether anybody reads what nodes write to the custom stream.
        self.streams_custom = "custom" in modes
        self.stream = (
            StreamProtocol(self.emit, set(modes)) if form.subgraphs else self.outer_stream  # type: ignore[arg-type]
        )

    def _open_runtime(self, outer: Any) -> None:
        request = self.request
        if (
            type(outer) is Runtime
            and outer.stream_writer is _to_nobody
            and request.context is None
            and request.control is None
        ):
            # Made by the run around this one, which has read the same config: there is nothing to add.
            self.runtime: Runtime[Any] = outer
        else:
            self.runtime = run_runtime(
                adopt_runtime(outer),
                context=coerce_context(self.engine.context_schema, request.context),
                store=self.store,
                stream_writer=_to_nobody,
                server_info=server_info_from(self.config),
                control=request.control,
            )
        self.control = self.runtime.control

    def put(self, chunk: Chunk) -> None:
        """Give a chunk to this run's caller. Thread-safe."""
        self.chunks.append(chunk)
        if self.wake is not None:
            self.wake()

    def emit(self, chunk: Chunk) -> None:
        """Give a chunk to everybody who reads its mode. Thread-safe."""
        mode = chunk[1]
        if mode in self.own_modes:
            self.put(chunk)
        outer = self.outer_stream
        if outer is not None and mode in outer.modes:
            outer.__call__(chunk)

    # -- loading ---------------------------------------------------------

    def lookup(self) -> Lookup | None:
        """Which checkpoint to load; None without a saver."""
        if self.saver is None:
            return None
        config = self.config
        conf = config[CONF]
        named = conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
        if conf.get(CONFIG_KEY_CHECKPOINT_NS, None) in named:
            config = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_ID: named[conf[CONFIG_KEY_CHECKPOINT_NS]]})
        thread_id = conf.get(CONFIG_KEY_THREAD_ID)
        if thread_id and not isinstance(thread_id, str):
            config = patch_configurable(config, {CONFIG_KEY_THREAD_ID: str(thread_id)})
        self._checkpoint_base = config
        if config[CONF].get(CONFIG_KEY_CHECKPOINT_ID):
            return Lookup(config, "id")
        before = travel.namespace_before(self.parent_task, self.ns)
        if before is not None and before in named:
            place = {CONFIG_KEY_CHECKPOINT_NS: before, CONFIG_KEY_CHECKPOINT_ID: named[before]}
            self._ns_loaded = before
            return Lookup(patch_configurable(config, place), "id", ns=before)
        state = conf.get(CONFIG_KEY_REPLAY_STATE)
        if state is not None:
            return Lookup(config, "replay", state)
        if self.nested and self.keeps_history:
            self._lineage_around = lineage.shared(conf.get(CONFIG_KEY_LINEAGE), config)
        return Lookup(config, "latest", lineage=self._lineage_around)

    def history_request(self, found: CheckpointTuple | None) -> dict[str, Any] | None:
        """What to ask the saver about channels that the checkpoint does not hold; None if it holds all."""
        return histories.request(self.program, found, self._checkpoint_base)

    def load(
        self,
        found: CheckpointTuple | None,
        how: str,
        superseded: bool,
        history: histories.Histories | None = None,
    ) -> None:
        """Make the machine from what the saver returned.

        Args:
            found: The checkpoint, or None if there is none.
            how: How it was looked up, "none" without a saver.
            superseded: Whether the thread has moved past it.
            history: What the saver answered to the history request, if there was one.
        """
        self._found = found
        if found is None:
            self._load(None, how, superseded, history)
        else:
            with damage.using(found, self.program):
                self._load(found, how, superseded, history)
        if self.engine.strict:
            self.machine.state.ignored = strictness.Refusals()
            if how == "id" and not self.nested:
                strictness.check_found(self._checkpoint_base, found)
            strictness.check_resume(self)

    def _load(
        self, found: CheckpointTuple | None, how: str, superseded: bool, history: histories.Histories | None
    ) -> None:
        base = self._checkpoint_base
        if found is None:
            self._ns_loaded = None
            # Nobody sees the time of what is not stored.
            checkpoint = checkpoints.empty(self.environment.ids.checkpoint_id(-2), "")
            thread = Thread(
                checkpoint,
                {"step": -2},
                stored_id=base[CONF].get(CONFIG_KEY_CHECKPOINT_ID) or None,
                addressed=how in ("id", "replay"),
            )
            own: dict[str, Any] = {}
        else:
            self.engine.migrate_checkpoint(found.checkpoint)
            own = found.config.get(CONF, {})
            parent = found.parent_config
            thread = Thread(
                dict(found.checkpoint),
                dict(found.metadata),
                parent_id=parent[CONF].get(CONFIG_KEY_CHECKPOINT_ID) if parent else None,
                pending=status.group(found.pending_writes),
                stored_id=None if self._ns_loaded is not None else found.checkpoint["id"],
                addressed=how in ("id", "replay"),
                superseded=superseded,
                found=True,
                moved=self._ns_loaded is not None,
                histories=history,
            )
        self._loaded_conf = own
        self._loaded_parent = None if found is None else (found.checkpoint["id"], found.parent_config)
        self.loaded_how = how
        self.lineage = self._lineage(thread)
        self.machine = Machine(self.program, thread, self._settings())

    def _lineage(self, thread: Thread) -> lineage.Lineage | None:
        """Say what the graphs inside the run have to agree with; None if they are told by id where to start."""
        around: lineage.Lineage | None = self.config[CONF].get(CONFIG_KEY_LINEAGE)
        if self.saver is None:
            return around
        if self.nested:
            named = around is None or self.loaded_how != "latest"
        else:
            named = self.loaded_how == "id" and (thread.superseded or not thread.found)
        if named:
            return None
        return lineage.Lineage(
            lineage.shared(around, self.config),
            str(self.config[CONF].get(CONFIG_KEY_THREAD_ID)),
            self.ns,
            thread.checkpoint["id"] if thread.found else "",
            thread.metadata.get("source") in lineage.EDITS,
            self.environment.ids.boundary(),
        )

    def _settings(self) -> Settings:
        request, saver = self.request, self.saver
        saves: Literal["never", "step", "exit"] = "never"
        if saver is not None:
            saves = "exit" if self.durability == "exit" else "step"
        conf = self.config[CONF]
        # By position: so many names take as long again to pass as all that is passed to make.
        return Settings(
            self.ns,
            self.nested,
            saves,
            self.config["recursion_limit"],
            self.output_keys,
            request.interrupt_before,
            request.interrupt_after,
            conf.get(CONFIG_KEY_CHECKPOINT_MAP, {}),
            self.environment.ids.checkpoint_id,
            self.environment.now,
            None if saver is None else saver.get_next_version,
            self.engine.strict or bool(conf.get(CONFIG_KEY_STRICT_RESUME, False)),
            Watch() if self.projector is None else self.projector.watch,
            self.parent_task,
            histories.codec(self.program),
        )

    def _address(self) -> RunnableConfig:
        """The saver's own view of the address, with this run's namespace."""
        base = self._checkpoint_base
        conf = {**base[CONF], **self._loaded_conf, CONFIG_KEY_CHECKPOINT_NS: self.ns}
        return cast(RunnableConfig, {**base, CONF: conf})

    def save_calls(self, put_writes: str) -> SaveCalls:
        """How saves reach the saver of a run that has one.

        Args:
            put_writes: Name of the saver's method that records writes.
        """
        assert self.saver is not None
        put = getattr(self.saver, put_writes)
        return SaveCalls(
            self.saver,
            self._address(),
            put,
            self._node_of,
            strict=self.engine.strict,
            at_exit=self.durability == "exit",
        )

    def _save(self, effect: SaveWrites | SaveCheckpoint) -> None:
        saves = self.saves
        if saves is None:
            # Made when first needed: a nested run that would store at its end mostly never does.
            saves = self.saves = self.new_saves()
        saves.put(effect)

    def _node_of(self, task_id: str) -> str | None:
        task = self.machine.tasks.get(task_id)
        return None if task is None else task.name

    def checkpoint_config(self, checkpoint_id: str) -> RunnableConfig:
        """The config that addresses a checkpoint of this run's thread."""
        base = self._checkpoint_base if self.saver is None else self._address()
        return patch_configurable(base, {CONFIG_KEY_CHECKPOINT_ID: checkpoint_id})

    def parent_config(self) -> RunnableConfig | None:
        """The config that addresses the checkpoint before the current one: of one that was loaded the saver's own."""
        machine = self.machine
        if self._loaded_parent is not None and self._loaded_parent[0] == machine.checkpoint["id"]:
            return self._loaded_parent[1]
        return self.checkpoint_config(machine.parent_id) if machine.parent_id else None

    # -- starting --------------------------------------------------------

    def start(self, callbacks: Any, quiet: type[Quiet] = QuietCallbackManager) -> None:
        """Start the machine with the run's input.

        Args:
            callbacks: The run manager of a traced run; None if nobody listens.
            quiet: The class of the managers that its tasks have if nobody listens.
        """
        self.traced = callbacks is not None
        self.whole = self.traced or sequences_are_wrapped()
        self.callbacks = callbacks
        conf = self.config[CONF]
        run_id = self.config.get("metadata", {}).get("run_id")
        missing = object()
        # A replayed subgraph takes its input again instead of continuing.
        resuming = None if self.loaded_how == "replay" else conf.get(CONFIG_KEY_RESUMING)
        around = self._lineage_around
        if resuming and around is not None and self._found is not None:
            resuming = around.has_begun(self._found, conf[CONFIG_KEY_CHECKPOINT_MAP])
        named = conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
        begin = Start(
            foreign_types.ours(self.request.input) if foreign_types.exist() else self.request.input,
            resuming,
            run_id == self.machine.metadata.get("run_id", missing),
            self.ns in named or self._ns_loaded is not None,
            conf.get(CONFIG_KEY_RESUME_MAP),
            named,
            self._ns_loaded,
        )
        if self._found is None:
            self.machine.start(begin)
        else:
            with damage.using(self._found, self.program):
                self.machine.start(begin)
        self.node_finished = conf.get(CONFIG_KEY_NODE_FINISHED)
        self._configs = TaskConfigs(self, quiet)
        self.scope = self._configs.scope

    # -- a task's config -------------------------------------------------

    def configure(self, task: Task) -> RunnableConfig:
        """The config of a task, kept with it."""
        config: RunnableConfig | None = task.config
        if config is None:
            config = task.config = self._configs.of(task)  # type: ignore[assignment]
        return config  # type: ignore[return-value]

    def stream_writer(self, task: Task) -> Callable[[Any], None]:
        """Make what ``get_stream_writer`` returns in a task of a run with a reader of the custom stream."""
        ns = tuple(task.ns.split(NS_SEP)[:-1])

        def write(value: Any) -> None:
            chunk: Chunk = (ns, "custom", value)
            # A nested run that asked for its own custom stream keeps it to itself.
            if "custom" in self.own_modes:
                self.put(chunk)
            elif self.outer_stream is not None:
                self.outer_stream.__call__(chunk)

        return write

    # -- the conversation with the machine ---------------------------------

    def tell(self, told: Told) -> Task | None:
        """Tell the machine what happened, and pass on what it asks for. Thread-safe.

        Returns:
            The task that this adds to the step, or None.
        """
        with self.lock:
            if self.node_finished is not None and isinstance(told, Draft):
                task = told.task
                if task.node is None or not task.node.hidden:
                    self.node_finished(task.name)
            added = self.machine.tell(told)
            if self.machine.outbox:
                self.flush()
        return added

    def teller(self) -> Callable[[Draft], Any]:
        """Return what is as good as :meth:`tell`, and faster, if no other thread can tell anything.

        What is to be shown is passed on after the call of ``next`` that has to follow at once; what is to be saved
        is not, as a refusal names the node of a task, which is known for as long as its step is open.
        """
        return self.tell if self.stores_steps or self.node_finished is not None else self.machine.tell

    def flush(self) -> None:
        """Do what the machine asked for: hand over saves, build chunks."""
        outbox, projector = self.machine.outbox, self.projector
        try:
            while outbox:
                # It stays there until it is done: an exception of a signal handler must not lose it.
                effect = outbox[0]
                if isinstance(effect, Draft):
                    if projector is not None:
                        projector.settled(effect)
                elif type(effect) is SaveWrites or type(effect) is SaveCheckpoint:
                    self._save(effect)
                elif projector is not None:
                    projector.project(effect)
                del outbox[0]
        except Exception:
            # It would be refused again, and what follows must not be stored without it.
            outbox.clear()
            raise

    def shown(self) -> list[Any]:
        """What the caller is to see of the chunks that are ready."""
        view, chunks = self.view, self.chunks
        seen = []
        while chunks:
            item = chunks.popleft()
            if view is not None:
                item = view(item)
            if item is not NOTHING:
                seen.append(item)
        return seen

    def let_go(self) -> None:
        """Let go of the driver and of all that knows this run: it is over.

        In a circle they would be garbage that only the collector finds, and memory that is used again at once is in
        the processor's cache: it makes a small subgraph faster by a tenth.
        """
        self.on_call = self.new_saves = _not_running
        self.projector = None
        if hasattr(self, "scope"):  # a run that could not start has none
            del self.scope, self._configs

    def lifecycle(self, kind: Literal["resume", "interrupt"], interrupts: tuple[Any, ...] = ()) -> Any:
        """Tell handlers of graph events that the run continues or pauses; an async run awaits the result."""
        if self.graph_callbacks is None or (kind == "resume" and not self.machine.resuming):
            return None
        place: dict[str, Any] = {
            "run_id": self.graph_callbacks.run_id,
            "status": lifecycle_status(self.machine.status),
            "checkpoint_id": self.machine.checkpoint["id"],
            "checkpoint_ns": tuple(self.ns.split(NS_SEP)) if self.ns else (),
        }
        if kind == "resume":
            return self.graph_callbacks.on_resume(GraphResumeEvent(**place))
        return self.graph_callbacks.on_interrupt(GraphInterruptEvent(**place, interrupts=interrupts))

    @property
    def keeps_history(self) -> bool:
        """Whether the run's checkpoints are looked for when it has ended well, unlike those of a task's graph."""
        return not self.nested or NS_END not in self.ns

    @property
    def stores_steps(self) -> bool:
        """Whether what tasks write is stored as soon as they end."""
        return self.saver is not None and self.durability != "exit"

    @property
    def leaves_nothing(self) -> bool:
        """Whether nothing is left to store or to wait for, if the run has ended well."""
        return self.saves is None and (self.saver is None or self.durability != "exit" or not self.keeps_history)

    @property
    def stream_keys(self) -> str | Sequence[str]:
        """The channels shown as the state."""
        return self.engine.stream_channels_asis

    def output(self) -> Any:
        """The run's result."""
        return self.machine.state.read(self.output_keys)


def _to_nobody(_: Any) -> None:
    """What nodes write to where nobody reads; not the default, which would leave the caller's writer in place."""


def _limit_of(value: Any) -> int | None:
    """Check `max_concurrency`.

    Raises:
        ValueError: If it is no whole number from 1 on.
    """
    if value is None or (isinstance(value, int) and value >= 1):
        return value
    raise ValueError(f"max_concurrency is {value!r}; expected a whole number from 1 on, or None for the default")


def _not_running(*_: Any, **__: Any) -> Any:
    raise RuntimeError("A task can only be called while the run is being driven")


def lifecycle_status(status: str) -> str:
    """A run's status in the words of the lifecycle events."""
    return _LIFECYCLE.get(status, status)


_LIFECYCLE = {"loading": "input", "planning": "pending", "stepping": "pending"}
