"""The machine by itself: told events, asked for effects, with no driver, clock or saver.

A `Rig` plays the driver with pure functions for nodes, and a `Disk` keeps what
the machine asks to be saved. Programs are drawn at random where a property must
hold for all of them.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.constants import INTERRUPT, PULL, PUSH, TASKS
from stategraph.core import checkpoint as checkpoints
from stategraph.core import plan
from stategraph.core.channels.barrier import NamedBarrierValue
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.topic import Topic
from stategraph.core.effects import CheckpointReached, SaveCheckpoint, SaveWrites, ValuesChanged
from stategraph.core.machine import Machine
from stategraph.core.moves import TRANSITIONS, Directive, Drain, Interrupted, RunTasks
from stategraph.core.program import Node, Program, build
from stategraph.core.settings import UNHEARD, Settings, Start, Thread, Watch
from stategraph.core.task import Draft, Task, Write, path_key
from stategraph.core.views import Keys
from stategraph.errors import EmptyInputError, GraphInterrupt
from stategraph.types import Command, Interrupt, Send, interrupt_id
from tests.properties import examples

LOG, TOTAL = "log", "total"


# -- programs as data ----------------------------------------------------


@dataclass(frozen=True)
class Spec:
    """A node: its kind, the nodes after it, and the joins it takes part in."""

    name: str
    kind: str
    after: tuple[str, ...] = ()
    join: str | None = None


def to(name: str) -> str:
    return f"to:{name}"


def make_program(specs: Sequence[Spec]) -> Program:
    joins: dict[str, set[str]] = {}
    for spec in specs:
        if spec.join is not None:
            joins.setdefault(spec.join, set()).add(spec.name)
    channels: dict[str, Any] = {
        LOG: BinaryOperatorAggregate(list, operator.add),
        TOTAL: BinaryOperatorAggregate(int, operator.add),
        TASKS: Topic(Send, accumulate=False),
    }
    names = [*(spec.name for spec in specs), "worker"]
    channels |= {to(name): EphemeralValue(Any, guard=False) for name in names}
    channels |= {f"join:{name}": NamedBarrierValue(str, sources) for name, sources in joins.items()}
    for name, channel in channels.items():
        channel.key = name
    nodes = {}
    bodies = {spec.name: spec for spec in specs} | {"worker": Spec("worker", "plain")}
    for name, spec in bodies.items():
        triggers = (to(name), f"join:{name}") if name in joins else (to(name),)
        nodes[name] = Node(
            name=name,
            triggers=tuple(sorted(triggers)),
            reads=Keys((LOG, TOTAL)),
            mapper=None,
            tags=(),
            runs=True,
            error_handler=None,
            has_subgraphs=False,
            body=spec,
        )
    return build(nodes, channels, {}, [LOG, TOTAL, *(to(name) for name in names)])


def execute(task: Task) -> list[Write] | Interrupt:
    """What a node does: its writes, or its question if that is not answered yet."""
    spec: Spec = task.body
    mark = f"{spec.name}{task.input}" if spec.name == "worker" else spec.name
    if spec.kind == "ask":
        if not task.resume:
            return Interrupt(value=f"{spec.name}?", id=interrupt_id(task.ns, 0))
        mark += f"={task.resume[0]}"
    writes: list[Write] = [(LOG, [mark]), (TOTAL, len(mark))]
    writes += [(to(name), None) for name in spec.after]
    if spec.join is not None:
        writes.append((f"join:{spec.join}", spec.name))
    if spec.kind == "fan":
        writes += [(TASKS, Send("worker", n)) for n in range(3)]
    return writes


@st.composite
def programs(draw: st.DrawFn) -> tuple[Spec, ...]:
    layers = [[f"n{layer}{i}" for i in range(draw(st.integers(1, 3)))] for layer in range(draw(st.integers(1, 3)))]
    specs = []
    for depth, layer in enumerate(layers):
        following = layers[depth + 1] if depth + 1 < len(layers) else []
        for name in layer:
            after = draw(st.sets(st.sampled_from(following), max_size=2)) if following else set()
            join = draw(st.sampled_from([None, *following]))
            specs.append(Spec(name, draw(st.sampled_from(["plain", "fan", "ask"])), tuple(sorted(after)), join))
    return tuple(specs)


# -- a driver and a saver made of nothing --------------------------------


class PowerCut(Exception):
    """The process died between two effects."""


@dataclass
class Disk:
    """What has been saved. It dies when `lives` effects have been performed."""

    saved: dict[str, SaveCheckpoint] = field(default_factory=dict)
    writes: dict[str, dict[str, list[Write]]] = field(default_factory=dict)
    lives: int | None = None
    performed: int = 0

    def perform(self, effects: Iterable[Any]) -> None:
        for effect in effects:
            if isinstance(effect, SaveCheckpoint | SaveWrites):
                if self.performed == self.lives:
                    raise PowerCut
                self.performed += 1
            match effect:
                case SaveCheckpoint(checkpoint=checkpoint):
                    self.saved[checkpoint["id"]] = deepcopy(effect)
                case SaveWrites(checkpoint_id, task_id, writes):
                    self.writes.setdefault(checkpoint_id, {})[task_id] = deepcopy(list(writes))

    def thread(self) -> Thread:
        if not self.saved:
            return Thread(checkpoints.empty(new_id(-2), "now"), {"step": -2})
        newest = deepcopy(self.saved[max(self.saved)])
        checkpoint_id = newest.checkpoint["id"]
        return Thread(
            newest.checkpoint,
            newest.metadata,
            parent_id=newest.parent_id,
            pending=deepcopy(self.writes.get(checkpoint_id, {})),
            stored_id=checkpoint_id,
        )

    def finished_tasks(self) -> set[str]:
        """Tasks whose results are safe."""
        return {
            task_id
            for by_task in self.writes.values()
            for task_id, writes in by_task.items()
            if any(channel == LOG for channel, _ in writes)
        }

    def contents(self) -> tuple[Any, Any]:
        return self.saved, self.writes

    def without_pauses(self) -> tuple[Any, Any]:
        """The contents but for the note of what had been seen when a run was resumed."""
        saved = deepcopy(self.saved)
        for effect in saved.values():
            effect.checkpoint["versions_seen"].pop(INTERRUPT, None)
        return saved, self.writes


def new_id(step: int) -> str:
    return f"{step + 2:08x}-0000-6000-8000-000000000000"


SETTINGS = Settings(
    ns="",
    nested=False,
    saves="step",
    limit=100,
    output_keys=[LOG, TOTAL],
    interrupt_before=(),
    interrupt_after=(),
    parents={},
    new_id=new_id,
    now=lambda: "now",
    next_version=None,
    strict_resume=False,
    watch=Watch(values=True, ended=True, planned=True, checkpoints=True),
    parent=None,
)

Order = Callable[[list[Task]], list[Task]]


def tasks_of(directive: Directive) -> list[Task]:
    """The tasks that a machine asks for."""
    if isinstance(directive, Task):
        return [directive]
    return directive.tasks if isinstance(directive, RunTasks) else []


def recorded(told: Any) -> Any:
    """What was told, but for the machine's own objects."""
    return Draft(told.task.id, deepcopy(told.writes)) if isinstance(told, Draft) else deepcopy(told)


Told = tuple[str, tuple[Any, ...]]


class Rig:
    """Drives one run of a program and writes down everything it told the machine."""

    def __init__(self, program: Program, disk: Disk, *, order: Order = list, config: Settings = SETTINGS) -> None:
        self.machine = Machine(program, disk.thread(), config)
        self.disk = disk
        self.order = order
        self.told: list[Told] = []
        self.effects: list[Any] = []
        self.executed: list[str] = []
        self.visited: list[tuple[str, str, str]] = []

    def tell(self, what: str, *args: Any) -> Any:
        """Tell the machine an event, then do what it asks for."""
        before = self.machine.status
        self.told.append((what, tuple(recorded(arg) for arg in args)))
        result = getattr(self.machine, what)(*args)
        self.visited.append((before, what, self.machine.status))
        effects, self.machine.outbox[:] = list(self.machine.outbox), []
        self.effects += effects
        self.disk.perform(effects)
        return result

    def run(self, start: Start) -> Rig:
        self.tell("start", start)
        asked = False
        while not asked and isinstance(directive := self.tell("next"), Task | RunTasks):
            for task in self.order(tasks_of(directive)):
                self.executed.append(task.id)
                outcome = execute(task)
                if isinstance(outcome, Interrupt):
                    asked = True
                    self.tell("tell", Interrupted(task.id, [], GraphInterrupt((outcome,)), (outcome,)))
                else:
                    self.tell("tell", Draft(task, outcome))
        return self

    @property
    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = self.machine.state.read([LOG, TOTAL])
        return values

    def answers(self) -> dict[str, str]:
        return {i.id: i.value[:-1] for i in self.machine.interrupts}


def first_input(specs: Sequence[Spec]) -> dict[str, Any]:
    layer = [spec.name for spec in specs if spec.name.startswith("n0")]
    return {LOG: [], TOTAL: 0} | {to(name): None for name in layer}


def finish(
    specs: Sequence[Spec], disk: Disk, *, order: Order = list, executed: list[str] | None = None
) -> dict[str, Any]:
    """Run a thread to its end, from wherever the disk has it, and answer its questions."""
    program = make_program(specs)
    start = Start(first_input(specs)) if not disk.saved else Start(None, resuming=True)
    for _ in range(50):
        rig = Rig(program, disk, order=order).run(start)
        if executed is not None:
            executed += rig.executed
        if rig.machine.status == "done":
            return rig.values
        start = Start(Command(resume=rig.answers()), resuming=True)
    raise AssertionError("the thread does not come to an end")


# -- the rules, one by one -----------------------------------------------

CHAIN = (Spec("n0", "plain", ("n1",)), Spec("n1", "plain"))


def test_a_chain_runs_and_its_checkpoints_hang_together() -> None:
    disk = Disk()
    assert finish(CHAIN, disk) == {LOG: ["n0", "n1"], TOTAL: 4}
    chain = [disk.saved[key] for key in sorted(disk.saved)]
    assert [saved.metadata["step"] for saved in chain] == [-1, 0, 1]
    assert [saved.metadata["source"] for saved in chain] == ["input", "loop", "loop"]
    assert [saved.parent_id for saved in chain] == [None, *(saved.checkpoint["id"] for saved in chain[:-1])]


def test_writes_are_saved_before_the_checkpoint_that_contains_them() -> None:
    rig = Rig(make_program(CHAIN), Disk()).run(Start(first_input(CHAIN)))
    kinds = [type(effect) for effect in rig.effects if isinstance(effect, SaveCheckpoint | SaveWrites)]
    assert kinds == [SaveCheckpoint, SaveWrites, SaveCheckpoint, SaveWrites, SaveCheckpoint]


def test_nobody_listening_means_no_facts() -> None:
    quiet = SETTINGS._replace(watch=UNHEARD)
    rig = Rig(make_program(CHAIN), Disk(), config=quiet).run(Start(first_input(CHAIN)))
    assert all(isinstance(effect, SaveCheckpoint | SaveWrites) for effect in rig.effects)
    loud = Rig(make_program(CHAIN), Disk()).run(Start(first_input(CHAIN)))
    assert {Draft, ValuesChanged} <= {type(effect) for effect in loud.effects}


def test_nothing_to_run_is_the_callers_mistake() -> None:
    with pytest.raises(EmptyInputError):
        Rig(make_program(CHAIN), Disk()).run(Start(None))


def test_the_recursion_limit_stops_a_loop() -> None:
    loop = (Spec("n0", "plain", ("n0",)),)
    tight = SETTINGS._replace(limit=3)
    rig = Rig(make_program(loop), Disk(), config=tight).run(Start(first_input(loop)))
    assert rig.machine.status == "out_of_steps"
    # One more than the limit: it is counted for graphs whose first step only takes the input in.
    assert rig.values[LOG] == ["n0"] * 4


def test_a_drain_stops_between_steps() -> None:
    disk = Disk()
    rig = Rig(make_program(CHAIN), disk)
    rig.tell("start", Start(first_input(CHAIN)))
    for task in tasks_of(rig.tell("next")):
        rig.tell("tell", Draft(task, execute(task)))  # type: ignore[arg-type]
    assert rig.tell("next", True) == Drain()
    assert rig.machine.status == "draining"
    assert finish(CHAIN, disk) == {LOG: ["n0", "n1"], TOTAL: 4}


def test_a_breakpoint_pauses_before_its_node_and_only_once() -> None:
    disk = Disk()
    stops = SETTINGS._replace(interrupt_before=("n1",))
    program = make_program(CHAIN)
    paused = Rig(program, disk, config=stops).run(Start(first_input(CHAIN)))
    assert paused.machine.status == "interrupt_before"
    assert paused.values[LOG] == ["n0"]
    resumed = Rig(program, disk, config=stops).run(Start(None, resuming=True))
    assert resumed.machine.status == "done"
    assert resumed.values[LOG] == ["n0", "n1"]


def test_a_question_waits_while_its_neighbour_finishes_and_is_not_run_again() -> None:
    pair = (Spec("n00", "ask"), Spec("n01", "plain"))
    disk, program = Disk(), make_program(pair)
    paused = Rig(program, disk).run(Start(first_input(pair)))
    assert [i.value for i in paused.machine.interrupts] == ["n00?"]
    assert len(paused.executed) == 2
    answer = Start(Command(resume=dict.fromkeys(paused.answers(), "yes")), resuming=True)
    resumed = Rig(program, disk).run(answer)
    assert len(resumed.executed) == 1
    assert resumed.values[LOG] == ["n00=yes", "n01"]


# -- properties ----------------------------------------------------------


@examples(200)
@given(specs=programs(), random=st.randoms(use_true_random=False))
def test_completion_order_changes_no_checkpoint(specs: tuple[Spec, ...], random: Any) -> None:
    def shuffled(tasks: list[Task]) -> list[Task]:
        return random.sample(tasks, len(tasks))

    planned, mixed = Disk(), Disk()
    assert finish(specs, planned) == finish(specs, mixed, order=shuffled)
    assert planned.contents() == mixed.contents()


@examples(400)
@given(specs=programs(), lives=st.integers(0, 30))
def test_a_power_cut_after_any_effect_loses_and_repeats_nothing(specs: tuple[Spec, ...], lives: int) -> None:
    undisturbed = Disk()
    expected = finish(specs, undisturbed)

    disk = Disk(lives=lives)
    with contextlib.suppress(PowerCut):
        Rig(make_program(specs), disk).run(Start(first_input(specs)))
    safe, disk.lives = disk.finished_tasks(), None
    again: list[str] = []
    assert finish(specs, disk, executed=again) == expected
    assert safe.isdisjoint(again)
    assert disk.without_pauses() == undisturbed.without_pauses()


@examples(200)
@given(specs=programs())
def test_every_move_is_in_the_table(specs: tuple[Spec, ...]) -> None:
    rig = Rig(make_program(specs), Disk()).run(Start(first_input(specs)))
    for before, what, after in rig.visited:
        ways = TRANSITIONS[before][what]
        planned = TRANSITIONS["planning"]["next"] if "planning" in ways else ()
        assert after in (*ways, *planned)


def replay(program: Program, thread: Thread, told: Sequence[Told], results: dict[str, list[Write]]) -> list[Any]:
    """Tell a fresh machine a recorded trace; returns its effects."""
    machine = Machine(program, thread, SETTINGS)
    effects: list[Any] = []
    for what, args in told:
        given = deepcopy(args)
        if what == "tell" and isinstance(given[0], Draft):
            task = machine.tasks[given[0].task]  # type: ignore[index]  # recorded by its id
            machine.tell(Draft(task, deepcopy(results[task.id])))
        else:
            getattr(machine, what)(*given)
        effects += machine.outbox
        machine.outbox.clear()
    return effects


def plain(effects: Iterable[Any]) -> list[Any]:
    """Saves as values that compare; other effects by their kind."""
    return [e if isinstance(e, SaveCheckpoint | SaveWrites) else type(e).__name__ for e in effects]


@examples(200)
@given(specs=programs())
def test_replaying_a_recorded_trace_gives_the_same_effects_and_changes_nothing_saved(specs: tuple[Spec, ...]) -> None:
    program, disk = make_program(specs), Disk()
    recorded = Rig(program, disk)
    recorded.run(Start(first_input(specs)))
    results = {
        task_id: [write for write in writes if write[0] != "__no_writes__"]
        for by_task in disk.writes.values()
        for task_id, writes in by_task.items()
    }
    once = deepcopy(disk.contents())
    effects = replay(program, Disk().thread(), recorded.told, results)
    assert plain(effects) == plain(recorded.effects)
    disk.perform(effects)
    assert disk.contents() == once


@given(
    st.lists(st.text("ab_~,|: z0", min_size=1, max_size=4), unique=True, max_size=5),
    st.integers(0, 12),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_tasks_are_applied_in_the_order_of_their_spelled_paths(
    names: list[str], packets: int, handled: bool, shuffled: Any
) -> None:
    paths: list[tuple[Any, ...]] = [(PULL, name) for name in names]
    shuffled.shuffle(paths)
    paths = [(PUSH, index, False) for index in range(packets)] + paths
    if handled and paths:
        paths.append((*paths[0][:3], "node_error_handler", False))
    machine = Machine.__new__(Machine)
    machine._single, machine._tasks = None, {}
    for number, path in enumerate(paths):
        name = path[1] if path[0] == PULL else "packet"
        machine._tasks[str(number)] = Task(str(number), name, None, path, (), "", 0, 0)
    spelled = sorted(machine.tasks.values(), key=lambda task: path_key(task.path))
    assert list(plan.in_order(tuple(machine._tasks.values()))) == spelled


# -- what is cut off, refused or left out --------------------------------


class Stopped(BaseException):
    """What a signal handler raises: no node's fault."""


def torn_program(raised: BaseException) -> Program:
    """A chain of two nodes, of which the second writes what a reducer stumbles over."""

    def add(total: int, new: int) -> int:
        if new == 1:
            raise raised
        return total + new

    program = make_program(CHAIN)
    specs: dict[str, Any] = {**program.specs, TOTAL: BinaryOperatorAggregate(int, add)}
    specs[TOTAL].key = TOTAL
    return build(program.nodes, specs, {}, program.input_channels)


def run_to_the_stumble(saves: Any, *, lone: bool, raised: BaseException) -> Rig:
    # Whoever listens to all there is makes every step go the long way.
    config = SETTINGS._replace(saves=saves, watch=UNHEARD if lone else SETTINGS.watch)
    rig = Rig(torn_program(raised), Disk(), config=config)
    rig.tell("start", Start(first_input(CHAIN)))
    for writes in ([(LOG, ["n0"]), (TOTAL, 5), (to("n1"), None)], [(LOG, ["n1"]), (TOTAL, 1)]):
        (task,) = tasks_of(rig.tell("next"))
        rig.tell("tell", Draft(task, writes))
    with pytest.raises(type(raised)):
        rig.tell("next")
    rig.tell("close")
    return rig


@pytest.mark.parametrize("lone", [True, False], ids=["alone", "by the long way"])
def test_a_step_that_a_signal_cut_off_leaves_the_thread_as_it_was(lone: bool) -> None:
    rig = run_to_the_stumble("exit", lone=lone, raised=Stopped())
    assert rig.machine.status == "stepping"
    assert rig.disk.contents() == ({}, {})


@pytest.mark.parametrize("lone", [True, False], ids=["alone", "by the long way"])
def test_a_step_that_a_reducer_refuses_leaves_the_steps_before_it_and_what_its_task_wrote(lone: bool) -> None:
    rig = run_to_the_stumble("exit", lone=lone, raised=ValueError("no such number"))
    (saved,) = rig.disk.saved.values()
    assert saved.metadata["step"] == 0
    assert saved.checkpoint["channel_values"][TOTAL] == 5
    (by_task,) = rig.disk.writes.values()
    (writes,) = by_task.values()
    assert writes == [(LOG, ["n1"]), (TOTAL, 1)]


def test_a_run_that_stores_at_each_step_has_nothing_left_to_store_at_its_end() -> None:
    rig = Rig(make_program(CHAIN), Disk()).run(Start(first_input(CHAIN)))
    before = deepcopy(rig.disk.contents())
    rig.tell("close")
    assert rig.disk.contents() == before


def test_a_run_that_stores_at_its_end_stores_one_checkpoint_of_its_last_step() -> None:
    disk = Disk()
    rig = Rig(make_program(CHAIN), disk, config=SETTINGS._replace(saves="exit")).run(Start(first_input(CHAIN)))
    assert disk.contents() == ({}, {})
    rig.tell("close")
    (saved,) = disk.saved.values()
    assert saved.metadata == {"source": "loop", "step": 1, "parents": {}}
    assert saved.parent_id is None
    assert saved.checkpoint["channel_values"][LOG] == ["n0", "n1"]
    assert finish(CHAIN, disk)[LOG] == ["n0", "n1"]


def test_what_only_its_task_knows_is_stored_under_the_id_that_it_began_with() -> None:
    """A namespace with the id of a task is no other run's, so that no step of it needs an id of its own."""
    stored = []
    for ns in ("n0", "n0:task"):
        disk = Disk()
        config = SETTINGS._replace(saves="exit", nested=True, ns=ns, watch=UNHEARD)
        Rig(make_program(CHAIN), disk, config=config).run(Start(first_input(CHAIN))).tell("close")
        (saved,) = disk.saved.values()
        assert saved.metadata == {"source": "loop", "step": 1, "parents": {}}
        assert saved.checkpoint["channel_values"][LOG] == ["n0", "n1"]
        stored.append(saved.checkpoint["id"])
    assert stored == [new_id(1), new_id(-2)]


def test_tasks_of_a_run_that_stores_nothing_are_numbered() -> None:
    rigs = [
        Rig(make_program(CHAIN), Disk(), config=SETTINGS._replace(saves=saves)).run(Start(first_input(CHAIN)))
        for saves in ("never", "exit", "step")
    ]
    numbered, *digested = [rig.executed for rig in rigs]
    first, second = (int(task_id.removeprefix(new_id(-2)[:24])) for task_id in numbered)
    assert second == first + 1
    for ids in digested:
        assert len(set(ids)) == 2
        assert not any(task_id.startswith(new_id(-2)[:24]) for task_id in ids)


def test_a_run_that_stores_nothing_stores_nothing() -> None:
    disk = Disk()
    rig = Rig(make_program(CHAIN), disk, config=SETTINGS._replace(saves="never")).run(Start(first_input(CHAIN)))
    rig.tell("close")
    assert rig.machine.status == "done"
    assert disk.contents() == ({}, {})
    assert rig.values[LOG] == ["n0", "n1"]


def test_an_empty_command_and_an_answer_without_a_saver_are_refused() -> None:
    disk, program = Disk(), make_program(CHAIN)
    Rig(program, disk).run(Start(first_input(CHAIN)))
    with pytest.raises(EmptyInputError, match="empty Command"):
        Rig(program, disk).run(Start(Command()))
    unsaved = SETTINGS._replace(saves="never")
    with pytest.raises(RuntimeError, match="without checkpointer"):
        Rig(program, Disk(), config=unsaved).run(Start(Command(resume="yes")))


def test_input_that_the_graph_does_not_take_is_named() -> None:
    rig = Rig(make_program(CHAIN), Disk()).run(Start({**first_input(CHAIN), "lgo": 1}))
    (note,) = rig.machine.state.ignored
    assert note.startswith("Input key 'lgo' is ignored: the graph takes ['log', 'total'")


def test_a_command_at_a_checkpoint_that_is_named_makes_a_fork_of_its_own() -> None:
    disk, program = Disk(), make_program(CHAIN)
    Rig(program, disk).run(Start(first_input(CHAIN)))
    chain = [disk.saved[key] for key in sorted(disk.saved)]
    before = deepcopy(disk.writes)
    middle = deepcopy(chain[1])
    there = Thread(
        middle.checkpoint,
        middle.metadata,
        parent_id=middle.parent_id,
        pending={},
        stored_id=middle.checkpoint["id"],
        addressed=True,
        found=True,
    )
    machine = Machine(program, there, SETTINGS._replace(new_id=lambda step: new_id(step + 100)))
    machine.start(Start(Command(update=[(LOG, ["by hand"])])))
    disk.perform(machine.outbox)

    (fork,) = [saved for saved in disk.saved.values() if saved.metadata["source"] == "fork"]
    assert fork.parent_id == middle.checkpoint["id"]
    assert fork.checkpoint["channel_values"][LOG] == ["n0", "by hand"]
    assert fork.checkpoint["updated_channels"] is None
    # The checkpoint that it started from may have other children.
    assert disk.writes == before


def test_a_packet_that_is_none_and_one_to_nowhere_are_named_and_left_out() -> None:
    rig = Rig(make_program(CHAIN), Disk())
    rig.tell("start", Start(first_input(CHAIN)))
    (task,) = tasks_of(rig.tell("next"))
    rig.tell("tell", Draft(task, [(TASKS, "worker"), (TASKS, Send("wroker", 1)), (TASKS, Send("worker", 2))]))
    assert [(task.name, task.input, task.path) for task in tasks_of(rig.tell("next"))] == [
        ("worker", 2, (PUSH, 2, False))
    ]
    no_packet, nowhere = rig.machine.state.ignored
    assert no_packet == "A packet of type str is ignored: expected a Send"
    assert nowhere.startswith(
        "A Send to 'wroker' is ignored: the graph has no node of that name. Did you mean 'worker'?"
    )


def test_the_next_step_is_shown_when_a_run_pauses_after_a_node() -> None:
    disk = Disk()
    stops = SETTINGS._replace(interrupt_after=("n0",))
    rig = Rig(make_program(CHAIN), disk, config=stops).run(Start(first_input(CHAIN)))
    assert rig.machine.status == "interrupt_after"
    assert [task.name for task in rig.machine.tasks.values()] == ["n1"]
    assert isinstance(rig.effects[-1], CheckpointReached)
    quiet = stops._replace(watch=UNHEARD)
    unheard = Rig(make_program(CHAIN), Disk(), config=quiet).run(Start(first_input(CHAIN)))
    assert [task.name for task in unheard.machine.tasks.values()] == ["n1"]
    resumed = Rig(make_program(CHAIN), disk, config=stops).run(Start(None, resuming=True))
    assert resumed.machine.status == "done"
    assert resumed.values[LOG] == ["n0", "n1"]
