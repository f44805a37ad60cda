"""`stategraph runs`: the runs of a database, seen and moved from outside.

Inputs and contexts of runs are never shown. What a run has told is, with `--events` and `--follow`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from stategraph.cli import effects, pruning
from stategraph.cli.output import (
    NOTHING_DONE,
    Output,
    add_action,
    add_store,
    positive,
    run_command,
    since,
    store_of,
    table,
)

if TYPE_CHECKING:
    from stategraph.workers.eventlog import LoggedEvent
    from stategraph.workers.registry.runs import RunRegistry
    from stategraph.workers.registry.values import RunInfo

_STATUSES: Final = ("pending", "running", "interrupted", "success", "error", "timeout", "cancelled", "dead")
_WELL: Final = ("success", "interrupted")

#: Characters of a payload or an error that a line of text has.
_LINE: Final = 200

_Action: TypeAlias = Callable[["RunRegistry", argparse.Namespace, Output], Awaitable[int]]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "Exit code: 0 done, 1 there was nothing to do or the run did not end well, 2 it does not work."
    add = partial(add_action, parser.add_subparsers(title="actions", metavar="ACTION", required=True), run=run)

    listing = add("list", "List the newest runs.", act=_list)
    listing.add_argument("--status", choices=_STATUSES, help="only runs in this status")
    listing.add_argument("--thread", metavar="ID", help="only runs of this thread")
    listing.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many (default: 20)")

    show = add("show", "Show one run: its status, and what it waits for.", act=_show)
    show.add_argument("run_id", metavar="RUN_ID")
    show.add_argument("--events", action="store_true", help="also show its events")
    show.add_argument("--follow", action="store_true", help="show what it tells until it ends")

    cancel = add("cancel", "Ask a run to stop.", act=_cancel)
    cancel.add_argument("run_id", metavar="RUN_ID")
    cancel.add_argument("--reason", default="cancelled by the command line", help="the reason, for later readers")

    resume = add("resume", "Answer a run that is interrupted; a new run goes on from there.", act=_resume)
    resume.add_argument("run_id", metavar="RUN_ID")
    resume.add_argument(
        "--answer", required=True, metavar="JSON", help="the answer, such as '\"yes\"' or '{\"ok\": true}'"
    )
    resume.add_argument(
        "--new-id", default="", metavar="ID", help="the id of the new run; the same one twice is one run"
    )

    pruning.prepare(add("prune", "Delete runs that ended long ago, with their events.", act=pruning.prune))

    effects.prepare(add("effects", "List effects that are in doubt, or delete old ones.", act=effects.show))

    add("workers", "List the workers: what they have, and which were killed or hang.", act=_workers)

    dead = add("dead", "List the runs that were given up, or give them new attempts.", act=_dead)
    dead.add_argument("--limit", type=positive, default=20, metavar="N", help="list at most so many (default: 20)")
    requeue = dead.add_subparsers(metavar="requeue", required=False).add_parser(
        "requeue", description="Give dead runs new attempts.", help="give dead runs new attempts"
    )
    requeue.add_argument("run_ids", metavar="RUN_ID", nargs="*")
    requeue.add_argument("--all", action="store_true", help="all dead runs")
    add_store(requeue, again=True)
    requeue.set_defaults(act=_requeue)


def run(arguments: argparse.Namespace) -> int:
    """Perform an action on a registry and return the exit code."""
    return run_command(_act, arguments)


async def _act(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.workers.registry.runs import RunRegistry

    registry = RunRegistry.from_url(store_of(arguments), bus=arguments.nats, create=False)
    act: _Action = arguments.act
    try:
        return await act(registry, arguments, output)
    finally:
        await registry.aclose()


async def _list(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    found = await registry.list(status=arguments.status, thread_id=arguments.thread, limit=arguments.limit)
    output.show([_plain(run) for run in found], _listed(found) if found else "No runs.")
    return 0


def _listed(runs: Sequence[RunInfo]) -> str:
    now = time.time()
    rows = [
        (
            run.run_id,
            run.thread_id,
            run.status.value,
            str(run.attempt),
            run.queue,
            run.target,
            since(now - run.created_at),
            _note(run),
        )
        for run in runs
    ]
    return table(("RUN", "THREAD", "STATUS", "ATTEMPT", "QUEUE", "TARGET", "AGE", "NOTE"), rows)


def _note(run: RunInfo) -> str:
    if run.error is not None:
        return run.error.partition(":")[0]
    return "" if run.cancel_requested is None else "was asked to stop"


async def _show(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    if arguments.follow:
        return await _follow(registry, arguments.run_id, output)
    info = await registry.get(arguments.run_id)
    events = [event async for event in _stored(registry, arguments.run_id)]
    question = _question(events) if info.status == "interrupted" else None
    value = {**_plain(info), "waits_for": question, "events": len(events)}
    lines = [_described(info, question, len(events))]
    if arguments.events:
        value["events"] = [_event(event) for event in events]
        lines += ["", *map(_told, events)]
    output.show(value, "\n".join(lines))
    return 0


async def _follow(registry: RunRegistry, run_id: str, output: Output) -> int:
    from stategraph.workers.eventlog import attach

    async with aclosing(attach(registry, run_id)) as events:
        async for event in events:
            output.show(_event(event), _told(event))
    return 0 if (await registry.get(run_id)).status in _WELL else NOTHING_DONE


async def _cancel(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    asked = await registry.cancel(arguments.run_id, arguments.reason)
    info = await registry.get(arguments.run_id)
    if not asked:
        text = f"Run '{info.run_id}' has ended already: {info.status.value}."
    elif info.finished_at is None:
        text = f"Run '{info.run_id}' was asked to stop; its worker learns it by a signal, or with its next heartbeat."
    else:
        text = f"Run '{info.run_id}' is {info.status.value}."
    output.show({"asked": asked, **_plain(info)}, text)
    return 0 if asked else NOTHING_DONE


async def _resume(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError

    try:
        answer = json.loads(arguments.answer)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"The answer is not JSON ({error}): a text has quotes of its own, as in --answer '\"yes\"'"
        ) from None
    new = await registry.resume(arguments.run_id, answer, new_id=arguments.new_id)
    output.show(_plain(await registry.get(new)), f"Run '{new}' goes on from there.")
    return 0


async def _dead(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    found = await registry.list(status="dead", limit=arguments.limit)
    output.show([_plain(run) for run in found], _listed(found) if found else "No dead runs.")
    return 0


async def _workers(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    del arguments
    found = await registry.workers()
    now = time.time()
    rows = [
        (
            each.worker_id,
            f"{each.busy} of {each.capacity}",
            ", ".join(each.queues) or "-",
            each.version,
            since(now - each.started_at),
            since(now - each.seen_at),
            "gone" if each.gone else "lives",
        )
        for each in found
    ]
    text = table(("WORKER", "RUNS", "QUEUES", "VERSION", "STARTED", "SEEN", "STATE"), rows) if rows else "No workers."
    output.show([asdict(each) for each in found], text)
    return 0


async def _requeue(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError

    if bool(arguments.run_ids) == arguments.all:
        raise ConfigurationError("Name the dead runs that are to have new attempts, or give --all for all of them")
    wanted = arguments.run_ids or [run.run_id for run in await registry.list(status="dead", limit=1_000_000)]
    for run_id in wanted:
        await registry.get(run_id)  # nothing is changed if one of them is not there
    done = {run_id: await registry.requeue(run_id) for run_id in wanted}
    lines = [f"Run '{each}' " + ("has new attempts." if moved else "is not dead.") for each, moved in done.items()]
    output.show(
        [{"run_id": each, "requeued": moved} for each, moved in done.items()], "\n".join(lines) or "No dead runs."
    )
    return 0 if done and all(done.values()) else NOTHING_DONE


# Values.


async def _stored(registry: RunRegistry, run_id: str) -> AsyncGenerator[LoggedEvent, None]:
    """Yield the events that are stored by now."""
    from stategraph.workers.eventlog import PAGE, logged

    seq = 0
    while rows := await registry.events_after(run_id, seq, PAGE):
        for row in rows:
            seq = row[0]
            yield logged(registry, run_id, row)


def _question(events: Sequence[LoggedEvent]) -> object:
    """Return the values of the interrupts that a run ended with; None if it did not tell any."""
    for event in reversed(events):
        if event.type == "updates" and isinstance(event.data, dict) and "__interrupt__" in event.data:
            return [getattr(each, "value", each) for each in event.data["__interrupt__"]]
    return None


def _plain(run: RunInfo) -> dict[str, Any]:
    return asdict(run)


def _event(event: LoggedEvent) -> dict[str, object]:
    data = json.loads(_json(event.data))
    return {"seq": event.seq, "attempt": event.attempt, "type": event.type, "data": data}


def _json(value: object) -> str:
    from stategraph.run.json_safe import to_json

    return to_json(value)


def _told(event: LoggedEvent) -> str:
    return f"{event.seq:>5}  {event.attempt}  {event.type:<12}  {_short(_json(event.data))}"


def _described(run: RunInfo, question: object, events: int) -> str:
    rows = [
        ("run", run.run_id),
        ("thread", run.thread_id),
        ("status", run.status.value),
        ("target", run.target),
        ("queue", f"{run.queue}, priority {run.priority}"),
        ("attempts", str(run.attempt)),
        ("owner", run.owner),
        ("tenant", run.tenant),
        ("created", _at(run.created_at)),
        ("finished", _at(run.finished_at)),
        ("lease until", _at(run.lease_until)),
        ("is to stop", run.cancel_requested),
        ("error", run.error),
        ("waits for", None if question is None else _short(_json(question))),
        ("events", str(events)),
    ]
    return "\n".join(f"{name:<13}{value}" for name, value in rows if value)


def _short(text: str) -> str:
    return text if len(text) <= _LINE else f"{text[:_LINE]}..."


def _at(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
