"""For each node whether it ran, waits or did not run, and why.

| kind of reason | meaning |
|---|---|
| `asks` | it has asked something, and waits for the answer |
| `limit` | a limit of the run is reached, and the question whether it goes on is put at this node |
| `failed` | it has failed |
| `paused`, `pauses_before`, `pauses_after` | the run has paused before it, or the graph is compiled to |
| `barrier` | a node that leads to it has ended, and others of the same step have not |
| `flow` | it was triggered, and others that have not ended may still lead to it |
| `deferred` | it waits until nothing else is left |
| `answered` | its answer is stored, and no run has gone on with it |
| `open` | it comes next, and nothing is recorded of it |
| `refused` | the step has ended, and what its tasks wrote was refused |
| `cut` | the step has ended, and its checkpoint is missing |
| `not_run` | a node from which an edge leads here has not run |
| `elsewhere` | a router, or a command, of a node that may lead here led elsewhere |
| `join_waits` | an edge from several nodes waits for some of them |
| `handler` | it handles the failure of a node that has not failed |
| `no_edge` | nothing that is declared leads here |
| `no_graph` | the graph is not given |
| `given_up` | its fan-out had enough without it |
| `input`, `edge`, `router`, ... | what started it, for a node that ran: see `facts.Way` |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from stategraph.constants import START
from stategraph.core import checkpoint as checkpoints
from stategraph.core.state import State
from stategraph.core.task import Task
from stategraph.engine.state.account.behind import Behind
from stategraph.engine.state.account.facts import Account, Reason, TaskAccount, Verdict
from stategraph.engine.state.account.outline import Outline

_WAITS = frozenset({"asks", "failed", "paused", "open"})


def of_nothing(outline: Outline) -> tuple[Verdict, ...]:
    """Return the verdicts for a thread of which nothing is stored."""
    return tuple(Verdict(name, "did not run", 0, (Reason("not_run", START),)) for name in sorted(outline.nodes))


def of(outline: Outline, explanation: Account, last: Behind) -> tuple[Verdict, ...]:
    """Return the verdict for each node of an account.

    Args:
        outline: What is known of the graph.
        explanation: The account, without verdicts.
        last: What comes after its checkpoint.
    """
    tasks = list(explanation.tasks())
    ran = {name: [task for task in tasks if task.node == name and task.ran] for name in _names(outline, tasks)}
    refused = _refused(explanation, last)
    found = []
    for name in sorted(ran):
        waits = list(_waits(outline, name, explanation, last, refused))
        times = len(ran[name])
        if waits:
            found.append(Verdict(name, "waits", times, tuple(waits)))
        elif times:
            found.append(Verdict(name, "ran", times, tuple(_started(ran[name][-1]))))
        elif not outline.is_known:
            found.append(Verdict(name, "did not run", 0, (Reason("no_graph"),)))
        else:
            found.append(Verdict(name, "did not run", 0, tuple(_not_run(outline, name, tasks))))
    return tuple(found)


def _names(outline: Outline, tasks: Iterable[TaskAccount]) -> set[str]:
    return {*outline.nodes, *(task.node for task in tasks if task.node and task.node != START)}


def _started(task: TaskAccount) -> Iterator[Reason]:
    for source in task.sources():
        yield Reason(source.way, source.node, text=source.via)


# -- waits -------------------------------------------------------------------------


def _waits(outline: Outline, name: str, explanation: Account, last: Behind, refused: Reason | None) -> Iterator[Reason]:
    own = [task for task in explanation.upcoming if task.node == name]
    if any(task.status in _WAITS for task in own):
        for task in own:
            if task.status in _WAITS:
                yield from _of_task(outline, task, explanation)
    elif name in last.waiting:
        yield _in_window(name, explanation, last)
    elif name in outline.deferred:
        if not own:
            yield from _deferred(outline, name, explanation, refused)
    else:
        yield from _behind_a_barrier(outline, name, explanation, last, refused)


def _open(explanation: Account) -> tuple[str, ...]:
    return tuple(dict.fromkeys(task.node for task in explanation.upcoming if task.status in _WAITS))


def _deferred(outline: Outline, name: str, explanation: Account, refused: Reason | None) -> Iterator[Reason]:
    """Yield why a node waits that begins when nothing else is left, if something has led to it since it last ran."""
    tasks = list(explanation.tasks())
    since = max((at + 1 for at, task in enumerate(tasks) if task.node == name and task.ran), default=0)
    if not explanation.upcoming or not _opens(outline, name, tasks[since:]):
        return
    arrived, open_ = tuple(sorted(_arrived(name, tasks[since:]))), _open(explanation)
    yield Reason("deferred", others=arrived, missing=open_) if open_ else refused or Reason("cut", others=arrived)


def _behind_a_barrier(
    outline: Outline, name: str, explanation: Account, last: Behind, refused: Reason | None
) -> Iterator[Reason]:
    """Yield why a node waits to which tasks of the open step have led."""
    flows = last.state is not None and last.state.program.flow is not None
    leading = tuple(dict.fromkeys(t.node for t in explanation.upcoming if name in t.led_to))
    if not flows and leading and _opens(outline, name, explanation.upcoming, _arrived(name, explanation.tasks())):
        open_ = _open(explanation)
        yield Reason("barrier", others=leading, missing=open_) if open_ else refused or Reason("cut", others=leading)
    elif refused is not None and any(task.node == name for task in explanation.upcoming):
        yield refused


def _of_task(outline: Outline, task: TaskAccount, explanation: Account) -> Iterator[Reason]:
    if task.status == "failed":
        yield Reason("failed", text="; ".join([task.error, *task.policy]))
        return
    asked = False
    for question in task.questions:
        asked = True
        kind = "limit" if question.limit else "answered" if question.answered else "asks"
        yield Reason(kind, text=f"{question.value} (id {question.id})")
    if asked:
        return
    if task.status == "paused":
        yield Reason("paused")
    elif outline.pauses_before(task.node):
        yield Reason("pauses_before")
    elif explanation.steps and (
        after := [each.node for each in explanation.steps[-1].tasks if outline.pauses_after(each.node)]
    ):
        yield Reason("pauses_after", others=tuple(after))
    else:
        yield Reason("open", text="; ".join(task.policy))


def _in_window(name: str, explanation: Account, last: Behind) -> Reason:
    """Return why a node of a graph without a barrier waits that was triggered."""
    flow = last.state.program.flow if last.state is not None else None
    leading = tuple(dict.fromkeys(task.node for task in last.waiting[name]))
    running = {task.node for task in explanation.upcoming if task.status in _WAITS}
    triggered = set(last.waiting) - {name}
    if flow is None or name in flow.deferred:
        return Reason("deferred", others=leading, missing=tuple(sorted(running)))
    before = flow.before[name]
    missing = sorted(each for each in running | triggered if flow.bits.get(each, 0) & before)
    return Reason("flow", others=leading, missing=tuple(missing)) if missing else Reason("cut", others=leading)


def _opens(outline: Outline, name: str, tasks: Sequence[TaskAccount], arrived: Set[str] = frozenset()) -> bool:
    """Return whether what has ended starts a node, and does not only arrive at a join.

    Args:
        outline: What is known of the graph.
        name: The node.
        tasks: The tasks that may have started it.
        arrived: Those that have arrived at its joins before.
    """
    ended = [task.node for task in tasks if name in task.led_to]
    joins = outline.joins_of(name)
    if any(outline.always_leads(node, name) or not any(node in names for names in joins.values()) for node in ended):
        return True
    return any(names <= {*arrived, *ended} for names in joins.values())


def _arrived(name: str, tasks: Iterable[TaskAccount]) -> set[str]:
    """Return the nodes whose tasks have led to a node."""
    return {task.node for task in tasks if name in task.led_to}


def _refused(explanation: Account, last: Behind) -> Reason | None:
    """Return why what the tasks behind a checkpoint wrote is refused, if all have ended; None if it is not."""
    state = last.state
    if state is None or not explanation.upcoming or any(task.status in _WAITS for task in explanation.upcoming):
        return None
    trial = State(state.program, checkpoints.detached(last.stored.saved.checkpoint), None, last.stored.history)
    tasks = []
    for planned in last.tasks:
        task = Task(planned.id, planned.node, None, planned.path or ("",), planned.triggers, "", 0, 0)
        task.writes = list(planned.status.output)
        tasks.append(task)
    try:
        trial.apply(tasks)
    except Exception as error:  # of a channel or a reducer, which is what the run has raised
        return Reason("refused", text=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    return None


# -- did not run ---------------------------------------------------------------------


def _not_run(outline: Outline, name: str, tasks: Sequence[TaskAccount]) -> Iterator[Reason]:
    if any(task.node == name and task.status == "given_up" for task in tasks):
        yield Reason("given_up")
        return
    handled = [source for source, handler in outline.handlers.items() if handler == name]
    for source in handled:
        yield Reason("handler", source)
    yield from _joins(outline, name, tasks)
    joined = {each for names in outline.joins_of(name).values() for each in names}
    sources = outline.before_of(name)
    for source in sources:
        yield from _from(outline, source, name, [task for task in tasks if task.node == source], source in joined)
    if not sources and not handled:
        yield Reason("no_edge")


def _from(outline: Outline, source: str, name: str, own: Sequence[TaskAccount], is_joined: bool) -> Iterator[Reason]:
    """Yield why a node did not lead to another one that it may lead to."""
    if any(task.status == "ended" for task in own):
        yield from _elsewhere(outline, source, name, own)
    elif not is_joined:
        yield Reason("not_run", source, text=own[-1].status if own else "")


def _joins(outline: Outline, name: str, tasks: Sequence[TaskAccount]) -> Iterator[Reason]:
    arrived = _arrived(name, tasks)
    for names in outline.joins_of(name).values():
        if missing := tuple(sorted(names - arrived)):
            yield Reason("join_waits", others=tuple(sorted(names & arrived)), missing=missing)


def _elsewhere(outline: Outline, source: str, name: str, own: Sequence[TaskAccount]) -> Iterator[Reason]:
    """Yield where routers and commands of a node that has run led, in place of a node that they may lead to."""
    routers = outline.routers_to(source, name)
    commands = name in outline.commands.get(source, ())
    if routers or commands:
        led = tuple(dict.fromkeys(each for task in own for each in task.led_to))
        yield Reason("elsewhere", source, others=led, text=" or ".join([*routers, *["a Command"] * commands]))
