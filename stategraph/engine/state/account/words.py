"""An account in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stategraph.constants import START
from stategraph.engine.state.account.facts import (
    Account,
    Cause,
    Change,
    Reason,
    Source,
    StepAccount,
    TaskAccount,
    Verdict,
    Writer,
)

_INPUT = "the input"


def of(explanation: Account) -> str:
    """Return an account in words."""
    if not explanation.checkpoint_id:
        return f"Thread '{explanation.thread_id}': nothing is stored."
    return "\n".join(lines(explanation))


def lines(explanation: Account) -> Iterator[str]:
    """Yield the account by lines; those of tasks and nodes are indented."""
    where = f"Thread '{explanation.thread_id}'"
    if explanation.namespace:
        where += f", inside of {explanation.namespace}"
    state = "nothing is left to run" if explanation.is_over else "waits"
    yield f"{where}, checkpoint {explanation.checkpoint_id}: {state}"
    for step in explanation.steps:
        yield ""
        yield from _step(step)
    if explanation.upcoming:
        yield ""
        yield "Behind it:"
        for task in explanation.upcoming:
            yield from _task(task)
    yield ""
    yield "Nodes:"
    for verdict in explanation.verdicts:
        yield f"  {verdict_text(verdict)}"
    if explanation.unknown:
        yield ""
        yield "Not known:"
        yield from (f"  {sentence}" for sentence in explanation.unknown)


def _step(step: StepAccount) -> Iterator[str]:
    made = {
        "input": "the input of the run",
        "update": "an update from outside",
        "fork": "a copy, with which a branch begins",
        "loop": "nodes",
    }.get(step.source, step.source or "not known")
    number = "" if step.number is None else f" {step.number}"
    version = f", version {step.version} of the graph" if step.version else ""
    yield f"Step{number}, checkpoint {step.checkpoint_id}: {made}{version}"
    for task in step.tasks:
        if task.node or step.source != "update":
            yield from _task(task)
    for change in step.changes:
        yield f"    {change_text(change)}"
    yield from (f"    ({sentence})" for sentence in step.unknown)


def _task(task: TaskAccount, indent: str = "  ") -> Iterator[str]:
    yield f"{indent}{task_text(task)}"
    for call in task.calls:
        yield from _task(call, indent + "    ")
    if task.inside is not None:
        yield f"{indent}  inside ({task.namespace}):"
        for step in task.inside.steps:
            for each in step.tasks:
                if each.node != START:
                    yield from _task(each, indent + "    ")
        for each in task.inside.upcoming:
            yield from _task(each, indent + "    ")


def task_text(task: TaskAccount) -> str:
    """Return a task as a sentence: what became of it, and why it started."""
    name = _INPUT if task.node == START else task.node or "a function whose name is not stored"
    became = {
        "ended": "ran",
        "given_up": "was given up, as its fan-out had enough without it",
        "failed": f"failed: {task.error}",
        "handled": f"failed, and was handled: {task.error}",
        "asks": "waits",
        "paused": "waits, as the run pauses before it",
        "open": "comes next",
    }[task.status]
    if task.node == START and task.status == "ended":
        return f"{name} was taken in{_then(task)}"
    for question in task.questions:
        answered = "answered" if question.answered else f"id {question.id}"
        what = "a limit of the run asks" if question.limit else "asked"
        became += f", {what}: {question.value} ({answered})"
    why = "; ".join(dict.fromkeys(_because(source) for source in task.sources()))
    version = next((_version(cause) for cause in task.causes if cause.version), "")
    return f"{name} {became}{f' because {why}{version}' if why else ''}{_then(task)}"


def _version(cause: Cause) -> str:
    """Return the versions that a channel had; of those of LangGraph's savers, which have a random part, the number."""
    now, seen = (each.partition(".")[0].lstrip("0") or each for each in (cause.version, cause.seen))
    before = f", it had seen {seen}" if seen else ""
    return f" ({cause.channel} at version {now}{before})"


def _then(task: TaskAccount) -> str:
    if not task.led_to:
        return ""
    return f"; led to {', '.join(task.led_to)}"


def _because(source: Source) -> str:
    who = _INPUT if source.node == START else source.node
    match source.way:
        case "input":
            return "the run got an input"
        case "edge":
            return f"an edge leads here from {who}"
        case "join":
            return f"{who} has arrived at its join"
        case "router":
            return f"router {source.via} of {who} chose it"
        case "command":
            return f"a Command of {who} named it" if who else "the Command that the run was given named it"
        case "send":
            return f"{who} sent it a packet"
        case "call":
            return f"{who} called it"
        case "failure":
            return f"it handles the failure of {who}"
        case "update":
            return f"the state was updated from outside{f' as {who}' if who else ''}"
        case "channel":
            return f"{who} wrote a channel that it listens to"
    return f"{who} led to it" if who else "of something that is not stored"


def change_text(change: Change) -> str:
    """Return what a step did to a key of the state, as a sentence."""
    writers = ", then ".join(_writer(writer) for writer in change.writers) or "somebody who is not stored"
    if not change.changed:
        return f"{change.channel}: {change.after or 'no value'}, as before, written by {writers}"
    return f"{change.channel}: {change.before or 'no value'} -> {change.after or 'no value'}, written by {writers}"


def _writer(writer: Writer) -> str:
    who = {"input": _INPUT, "command": "the run's Command", "update": "an update from outside"}.get(writer.way, "")
    if writer.way == "update" and writer.node:
        who += f" as {writer.node}"
    value = f" ({writer.value})" if writer.value else ""
    return f"{who or writer.node or 'a task without a name'}{value}"


def verdict_text(verdict: Verdict) -> str:
    """Return the verdict on a node as a sentence."""
    times = "" if verdict.times < 2 else f" {verdict.times} times"
    status = {"ran": f"ran{times}", "waits": "waits" if not verdict.times else f"ran{times} and waits"}
    told = status.get(verdict.status, verdict.status)
    why = "; ".join(dict.fromkeys(reason_text(reason, verdict.node) for reason in verdict.reasons))
    return f"{verdict.node} {told}{f': {why}' if why else ''}"


def reason_text(reason: Reason, node: str = "") -> str:
    """Return a reason as part of a sentence."""
    who = _INPUT if reason.node == START else reason.node
    others, missing = _names(reason.others), _names(reason.missing)
    match reason.kind:
        case "asks":
            return f"it asked {reason.text}"
        case "answered":
            return f"it asked {reason.text}; an answer is stored, and no run has gone on with it"
        case "limit":
            return f"a limit of the run is reached: {reason.text}"
        case "failed":
            return f"it failed: {reason.text}"
    return (
        _waiting(reason, others, missing)
        or _not_run(reason, who, others, missing)
        or _because(Source(reason.kind, reason.node, via=reason.text))  # type: ignore[arg-type]
    )


def _waiting(reason: Reason, others: str, missing: str) -> str:
    match reason.kind:
        case "paused":
            return "the run has paused before it; invoke(None, config) goes on"
        case "pauses_before":
            return "the graph pauses before it (interrupt_before); invoke(None, config) goes on"
        case "pauses_after":
            return f"the graph pauses after {others} (interrupt_after); invoke(None, config) goes on"
        case "barrier":
            return f"{others} led to it, and a step begins when the one before is over: {missing} has not ended"
        case "flow":
            return f"{others or _INPUT} led to it, and {missing or 'something'} may still lead to it"
        case "deferred":
            return f"it waits until nothing else is left: {missing or 'tasks'} has not ended"
        case "open":
            rules = f" ({reason.text})" if reason.text else ""
            return f"it comes next; it has not ended in any run, or its run is still going on{rules}"
        case "refused":
            return f"the step has ended, and what was written is refused: {reason.text}"
        case "cut":
            return f"{others} led to it; the process ended before the checkpoint of the step was stored"
    return ""


def _not_run(reason: Reason, who: str, others: str, missing: str) -> str:
    match reason.kind:
        case "not_run":
            state = {
                "asks": "waits for an answer",
                "failed": "failed",
                "handled": "failed, and was handled",
                "given_up": "was given up",
            }.get(reason.text, "has not run")
            return f"{who or _INPUT} leads to it, and {state}"
        case "given_up":
            return "it was given up, as its fan-out had enough without it"
        case "elsewhere":
            return f"{reason.text} of {who} led {f'to {others}' if others else 'nowhere'} instead"
        case "join_waits":
            arrived = f"{others} has arrived, and {missing} has not" if others else f"{missing} has not arrived"
            return f"its join waits: {arrived}"
        case "handler":
            return f"it handles failures of {who}, which has not failed"
        case "no_edge":
            return "nothing that is declared leads to it; a Command or a Send could"
        case "no_graph":
            return "the graph is not given, so why is not known"
    return ""


def _names(names: Sequence[str]) -> str:
    return " and ".join(_input_or(name) for name in names)


def _input_or(name: str) -> str:
    return _INPUT if name == START else name


def listed(names: Iterable[str]) -> str:
    """Return names as part of a sentence; `nothing` if there are none."""
    return ", ".join(_input_or(name) for name in names) or "nothing"
