"""One run while it is executed: its machine, what listens to it, and what it has asked for.

Rules
-----
* It holds what changes during a run. What is decided before is in its plan, what it started from in `Loaded`.
* It knows neither its driver nor the caller: a driver hands it what it is to use, and asks it.
* What is listened to is decided once. A fact without a listener costs nothing.
* Only one thread at a time touches the machine: the driver, or a thread that holds ``lock`` while a task calls
  another one.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Protocol, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_NODE_FINISHED,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_STRICT_RESUME,
    MISSING,
    NS_SEP,
    RETURN,
)
from stategraph.core.dataflow.machine import FlowMachine
from stategraph.core.effects import Request, SaveCheckpoint, SaveWrites
from stategraph.core.machine import Machine
from stategraph.core.moves import Told
from stategraph.core.settings import UNHEARD, Settings, Start, Watch
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import damage, histories, known_lists
from stategraph.engine.checkpoints.round_trip import Checks
from stategraph.engine.checkpoints.saving import SaveCalls, Saved
from stategraph.engine.compile.functions import sequences_are_wrapped
from stategraph.engine.compile.task_functions import get_runnable_for_task
from stategraph.engine.config import foreign_types
from stategraph.engine.config.environment import Environment
from stategraph.engine.config.quiet_manager import Quiet
from stategraph.engine.config.runnable_config import patch_configurable
from stategraph.engine.ports import Clock, FactSink
from stategraph.engine.runs import halts, lineage, strictness
from stategraph.engine.runs.loading import Loaded
from stategraph.engine.runs.outlet import outlet_of
from stategraph.engine.runs.run_plan import RunPlan
from stategraph.engine.runs.task_configs import FlowConfigs, TaskConfigs
from stategraph.engine.streams.modes import display_of
from stategraph.engine.streams.payloads import End
from stategraph.engine.streams.projection import Projector
from stategraph.engine.tasks.scope import Calls, TaskScope
from stategraph.engine.tracing.graph_callbacks import GraphInterruptEvent, GraphResumeEvent
from stategraph.engine.tracing.graph_runs import GraphRunHandler, GraphSave, SaveOperation
from stategraph.types import Command, RetryPolicy


class Storing(Protocol):
    """Takes what the machine asks to be saved."""

    def put(self, request: Request) -> None:
        """Ask for a save."""


class Execution:
    """One run of a graph; see the module.

    Attributes:
        plan: All that was decided before.
        outlet: Where its chunks go.
        lock: Held by the thread that tells the machine something.
        machine: The run as the core knows it, once it is loaded.
        loaded: What it started from.
        input: The caller's input, without an answer to whether the run may go on behind a limit.
        allowed: Steps that such an answer allows; None: as many as the config.
        lineage: What the graphs inside it have to agree with; None if they are told where to start.
        saves: What is stored passes through here, once it has begun; None if nothing is.
        callbacks: The run manager of a traced run, or None.
        graph_callbacks: The handlers that hear of pauses and resumptions, or None.
        traced: Whether callbacks hear about every step of a node.
        whole: Whether a node runs as one Runnable, because callbacks or a wrapper of sequences need to see it so.
        takes_turns: Whether something may run beside it, such as another node of the run around it.
        streams_nodes: Whether a callback wants a node's output piece by piece.
        calls: Starts the functions that its tasks call, once it has begun.
        configs: Makes the configs of tasks and the scopes of attempts, once it has begun.
        clock: Tells the time.
        retry_policy: For tasks without their own.
    """

    # Of so many attributes a dict would not be shared with other runs, and asking it takes twice as long.
    __slots__ = (
        "_node_finished",
        "_project_end",
        "_projector",
        "_saved",
        "_sink",
        "_taken",
        "allowed",
        "callbacks",
        "calls",
        "clock",
        "configs",
        "graph_callbacks",
        "input",
        "lineage",
        "loaded",
        "lock",
        "machine",
        "outlet",
        "plan",
        "retry_policy",
        "saves",
        "streams_nodes",
        "takes_turns",
        "traced",
        "whole",
    )

    def __init__(self, plan: RunPlan) -> None:
        """Open a run. Nothing is loaded or started yet.

        Raises:
            IgnoredInputError: If the graph is strict and something that was asked for would have no effect.
        """
        self.plan = plan
        self.outlet = outlet_of(plan)
        self.lock = threading.RLock()
        self.clock: Clock = plan.environment.clock
        self.retry_policy: Sequence[RetryPolicy] = plan.spec.retry_policy
        self.takes_turns = plan.nested
        self.machine: Machine
        self.loaded: Loaded
        self.configs: TaskConfigs
        self.calls: Calls
        self.input = plan.input
        self.allowed: halts.Allowed | None = None
        self.lineage: lineage.Lineage | None = None
        self.saves: Storing | None = None
        self.callbacks: Any = None
        self.graph_callbacks: Any = None
        self.traced = self.whole = self.streams_nodes = False
        self._projector: Projector | None = None
        self._project_end: Callable[[End], None] | None = None
        facts = plan.environment.facts
        self._sink: FactSink | None = None if facts is None else facts(plan.ns)
        # How many facts the sink has taken.
        self._taken = 0
        self._saved: Saved | None = None
        self._node_finished: Callable[[str], None] | None = None
        if plan.spec.strict:
            strictness.check_request(plan)

    # -- beginning -------------------------------------------------------

    def load(self, loaded: Loaded) -> None:
        """Make the machine from what the saver returned.

        Raises:
            DamagedCheckpointError: If it cannot be used.
            IgnoredInputError: If the graph is strict and the checkpoint, or a question to answer, is not there.
        """
        plan = self.plan
        if loaded.found is not None and loaded.found.pending_writes:
            loaded = self._take_limit_answer(loaded)
        self.loaded = loaded
        if loaded.found is None:
            self._make_machine()
        else:
            with damage.using(loaded.found, plan.spec.program):
                self._make_machine()
        if loaded.lists:
            known_lists.offer_positions(loaded.lists, self.machine.state)
        if plan.spec.strict:
            self.machine.state.ignored = strictness.Refusals()
            if loaded.how == "id" and not plan.nested:
                strictness.check_found(loaded.base, loaded.found)
            strictness.check_resume(plan, self.machine)

    def _take_limit_answer(self, loaded: Loaded) -> Loaded:
        """Take what the input answers to the question whether a run may go on behind a limit; no task is to get it."""
        found, self.input, self.allowed = halts.answered(self.plan, cast(Any, loaded.found))
        return loaded if found is loaded.found else loaded._replace(found=found)

    def _make_machine(self) -> None:
        plan, loaded = self.plan, self.loaded
        thread = loaded.thread(plan)
        self.lineage = loaded.lineage(plan, thread)
        watch = self._watch() if self.outlet.modes or self._sink is not None else UNHEARD
        program, setup = plan.spec.program, plan.setup
        settings = setup.settings if watch is UNHEARD and plan.asks_nothing else _settings(plan, watch)
        ways = None
        if watch is UNHEARD:
            ways = setup.ways if plan.saver is None else setup.stored_ways if plan.stores_steps else None
        if self.allowed is not None:
            # A run that continues may take as many steps as its limit, and two, as LangGraph's.
            settings = settings._replace(limit=self.allowed.steps - 2)
        machine = Machine if program.flow is None else FlowMachine
        self.machine = machine(program, thread, settings, ways)

    def _watch(self) -> Watch:
        modes, sink = self.outlet.modes, self._sink
        watch = display_of(modes).watch if modes else UNHEARD
        return watch if sink is None else Watch(*map(operator.or_, watch, sink.watch))

    def begin(self, callbacks: Any, quiet: type[Quiet], calls: Calls, saves: Storing | None, *, ticks: bool) -> None:
        """Start the machine with the run's input, and pass on what it asks for.

        Args:
            callbacks: The run manager of a traced run; None if nobody listens.
            quiet: The class of the managers that its tasks have if nobody listens.
            calls: Starts the functions that tasks call.
            saves: Stores what the machine asks for; None without a saver.
            ticks: Whether somebody wants to see each step planned.
        """
        self.traced = callbacks is not None
        self.whole = self.traced or sequences_are_wrapped()
        self.callbacks = callbacks
        self.calls = calls
        self.saves = saves
        plan, loaded, begin = self.plan, self.loaded, self._start(ticks)
        if loaded.found is None:
            self.machine.start(begin)
        else:
            with damage.using(loaded.found, plan.spec.program):
                self.machine.start(begin)
        self._node_finished = plan.config[CONF].get(CONFIG_KEY_NODE_FINISHED)
        self.configs = (TaskConfigs if plan.spec.program.flow is None else FlowConfigs)(self, quiet)
        outlet = self.outlet
        if outlet.modes:
            shown = _Shown(plan, self.machine, loaded, self.configs)
            self._projector = Projector(shown, outlet.modes, outlet.emitter, bare=outlet.bare)
            self._project_end = self._projector.end_projector()
        if self.machine.outbox:
            self.flush()

    def _start(self, ticks: bool) -> Start:
        plan, loaded, machine = self.plan, self.loaded, self.machine
        conf = plan.config[CONF]
        copies = plan.saver is None and not ticks and plan.control.drain_reason is None
        given = foreign_types.ours(self.input) if foreign_types.exist() else self.input
        if plan.spec.command_check is not None and isinstance(given, Command):
            given = plan.spec.command_check(given)
        if not conf:
            return Start(given, copies=copies)
        # A replayed subgraph takes its input again instead of continuing.
        resuming = None if loaded.how == "replay" else conf.get(CONFIG_KEY_RESUMING)
        if resuming and loaded.around is not None and loaded.found is not None:
            resuming = loaded.around.has_begun(loaded.found, conf[CONFIG_KEY_CHECKPOINT_MAP])
        named = conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
        same_run = False
        if loaded.found is not None:
            run_id = plan.config.get("metadata", {}).get("run_id")
            same_run = run_id == machine.metadata.get("run_id", MISSING)
        return Start(
            given,
            resuming,
            same_run,
            plan.ns in named or loaded.ns is not None,
            conf.get(CONFIG_KEY_RESUME_MAP),
            named,
            loaded.ns,
            copies,
        )

    def save_calls(self, put_writes: str) -> SaveCalls:
        """Return how saves reach the saver of a run that has one.

        Args:
            put_writes: Name of the saver's method that records writes.
        """
        plan, machine = self.plan, self.machine
        assert plan.saver is not None
        calls = SaveCalls(
            plan.saver,
            self.loaded.address(plan.ns),
            getattr(plan.saver, put_writes),
            partial(_node_of, machine),
            checks=Checks(plan.spec.strict, plan.spec.program.specs),
            at_exit=plan.durability == "exit",
            saved=self._saved,
            step_has_ended=lambda: not any(map(machine.waits_for, machine.tasks)),
        )
        if self.loaded.brought is not None and plan.spec.versions is not None:
            calls.mark(machine.checkpoint["id"], plan.spec.versions.current)
        calls.remember(self.loaded.lists, lambda: machine.state.is_read)
        return calls

    def observe(self, observers: Sequence[GraphRunHandler], run_id: UUID) -> None:
        """Have handlers hear of the saves of the run, which has this id for callbacks."""

        def saved(operation: SaveOperation, duration_s: float, error: BaseException | None) -> None:
            for observer in observers:
                observer.on_graph_save(GraphSave(run_id, operation, duration_s, error))

        self._saved = Saved(self.clock, saved)

    # -- the conversation with the machine ---------------------------------

    def tell(self, told: Told) -> Task | None:
        """Tell the machine what happened, and pass on what it asks for. Thread-safe.

        Returns:
            The task that this adds to the step, or None.
        """
        with self.lock:
            if self._node_finished is not None and isinstance(told, Draft):
                task = told.task
                if task.node is None or not task.node.hidden:
                    self._node_finished(task.name)
            added = self.machine.tell(told)
            if self.machine.outbox:
                self.flush()
        return added

    def recorded(self, caller: Task, func: Callable[..., Any]) -> Any:
        """Return what the task's next call returned in an earlier execution, if it is of this function; or None."""
        with self.lock:
            writes = self.machine.recorded(caller, get_runnable_for_task(func).get_name())
        return next((value for channel, value in writes if channel == RETURN), None)

    def teller(self) -> Callable[[Draft], Any]:
        """Return what is as good as :meth:`tell`, and faster, if no other thread can tell anything.

        What is to be shown is passed on after the call of ``next`` that has to follow at once; what is to be saved
        is not, as a refusal names the node of a task, which is known for as long as its step is open.
        """
        if self._node_finished is not None:
            return self.tell
        return self._tell_to_store if self.plan.stores_steps else self.machine.tell

    def _tell_to_store(self, told: Draft) -> None:
        self.machine.tell(told)
        self.flush()

    def flush(self) -> None:
        """Do what the machine asked for: hand over saves, build chunks."""
        outbox, saves = self.machine.outbox, self.saves
        try:
            while outbox:
                # It stays there until it is done: an exception of a signal handler must not lose it.
                effect: Any = outbox[0]
                if (kind := type(effect)) in _SAVES:
                    if saves is not None:
                        saves.put(effect)
                else:
                    if kind in _ENDS:
                        if self._project_end is not None:
                            self._project_end(effect)
                    elif self._projector is not None:
                        self._projector.project(effect)
                    if self._sink is not None:
                        self._sink.take(self._taken, effect)
                        self._taken += 1
                del outbox[0]
        except Exception:
            # It would be refused again, and what follows must not be stored without it.
            outbox.clear()
            raise

    def lifecycle(self, kind: Literal["resume", "interrupt"], interrupts: tuple[Any, ...] = ()) -> Any:
        """Tell handlers of graph events that the run continues or pauses; an async run awaits the result."""
        if self.graph_callbacks is None or (kind == "resume" and not self.machine.resuming):
            return None
        ns = self.plan.ns
        place: dict[str, Any] = {
            "run_id": self.graph_callbacks.run_id,
            "status": lifecycle_status(self.machine.status),
            "checkpoint_id": self.machine.checkpoint["id"],
            "checkpoint_ns": tuple(ns.split(NS_SEP)) if ns else (),
        }
        if kind == "resume":
            return self.graph_callbacks.on_resume(GraphResumeEvent(**place))
        return self.graph_callbacks.on_interrupt(GraphInterruptEvent(**place, interrupts=interrupts))

    def output(self) -> Any:
        """Return the run's result."""
        return self.machine.state.read(self.plan.setup.output_keys)


class _Shown(NamedTuple):
    """A run as the projection of its stream modes reads it; see `streams.payloads.ShownRun`."""

    plan: RunPlan
    machine: Machine
    loaded: Loaded
    configs: TaskConfigs

    @property
    def environment(self) -> Environment:
        return self.plan.environment

    @property
    def ns(self) -> str:
        return self.plan.ns

    @property
    def output_keys(self) -> str | Sequence[str]:
        return self.plan.setup.output_keys

    @property
    def stream_keys(self) -> str | Sequence[str]:
        return self.plan.spec.stream_channels

    def configure(self, task: Task) -> RunnableConfig:
        return self.configs.kept(task)

    def checkpoint_config(self, checkpoint_id: str) -> RunnableConfig:
        loaded, plan = self.loaded, self.plan
        base = loaded.base if plan.saver is None else loaded.address(plan.ns)
        return patch_configurable(base, {CONFIG_KEY_CHECKPOINT_ID: checkpoint_id})

    def parent_config(self) -> RunnableConfig | None:
        machine, found = self.machine, self.loaded.found
        if found is not None and found.checkpoint["id"] == machine.checkpoint["id"]:
            return found.parent_config
        return self.checkpoint_config(machine.parent_id) if machine.parent_id else None


def _node_of(machine: Machine, task_id: str) -> str | None:
    task = machine.tasks.get(task_id)
    return None if task is None else task.name


def _settings(plan: RunPlan, watch: Watch) -> Settings:
    """Return how the machine of a run behaves."""
    saver = plan.saver
    saves: Literal["never", "step", "exit"] = "never"
    if saver is not None:
        saves = "exit" if plan.durability == "exit" else "step"
    setup, conf, ids = plan.setup, plan.config[CONF], plan.environment.ids
    # By position: so many names take as long again to pass as all that is passed to make.
    return Settings(
        plan.ns,
        plan.nested,
        saves,
        plan.config["recursion_limit"],
        setup.output_keys,
        setup.interrupt_before,
        setup.interrupt_after,
        conf.get(CONFIG_KEY_CHECKPOINT_MAP, {}),
        ids.checkpoint_id,
        plan.environment.now,
        None if saver is None else saver.get_next_version,
        plan.spec.strict or bool(conf.get(CONFIG_KEY_STRICT_RESUME, False)),
        watch,
        plan.parent,
        histories.codec(plan.spec.program) if plan.spec.program.deltas else None,
        None if plan.spec.versions is None else plan.spec.versions.marks,
    )


def lifecycle_status(status: str) -> str:
    """Return a run's status in the words of the lifecycle events."""
    return _LIFECYCLE.get(status, status)


_ENDS: Final = frozenset((TaskScope, Draft))
"""The kinds of effects that say that a task ended well."""

_SAVES: Final = frozenset((SaveCheckpoint, SaveWrites))

_LIFECYCLE = {"loading": "input", "planning": "pending", "stepping": "pending"}
