"""`stategraph thread`: the threads of a database, read, compared, copied, exported, deleted.

Nothing is imported that stored data names: values of classes that are not known here are shown as what they were stored
as.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from stategraph.cli.output import (
    NOTHING_DONE,
    Output,
    add_action,
    existing_store_of,
    positive,
    run_command,
    since,
    table,
)
from stategraph.cli.style import Style
from stategraph.cli.thread import checking, deltas, exchange, explaining
from stategraph.cli.thread.opened import Opened, opened
from stategraph.cli.values import in_a_line, plain

if TYPE_CHECKING:
    from stategraph.run.threads.values import Thread, ThreadView

_STATUSES = ("idle", "running", "interrupted", "failed", "unfinished")

_Action: TypeAlias = Callable[[Opened, argparse.Namespace, Output], Awaitable[int]]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "Exit code: 0 done, 1 there was nothing to do or no difference, 2 it does not work."
    add = partial(add_action, parser.add_subparsers(title="actions", metavar="ACTION", required=True), run=run)

    listing = add("list", "List threads, those used last first.", act=_list)
    listing.add_argument("--status", choices=_STATUSES, help="only threads in this status")
    listing.add_argument("--owner", metavar="NAME", help="only threads of this owner")
    listing.add_argument("--search", metavar="TEXT", help="only threads whose title or metadata contain this")
    listing.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many (default: 20)")

    show = add("show", "Show the conversation of a thread, or its state.", act=_show, of_thread=True)
    show.add_argument("--checkpoint", metavar="ID", help="as it was at this checkpoint")
    show.add_argument("--state", action="store_true", help="show the values of the state")

    history = add("history", "List the checkpoints of a thread, the newest first.", act=_history, of_thread=True)
    history.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many (default: 20)")

    diff = add("diff", "Compare two states of a thread, or of two threads.", act=_diff, of_thread=True)
    diff.add_argument(
        "--from", dest="old", metavar="ID", help="the checkpoint to compare with (default: the one before)"
    )
    diff.add_argument("--to", dest="new", metavar="ID", help="the checkpoint that is compared (default: the newest)")
    diff.add_argument("--with", dest="other", metavar="THREAD", help="compare with the state of another thread")

    diff.add_argument("--steps", action="store_true", help="also say which nodes ran, and where the two first part")
    diff.add_argument("--graph", metavar="TARGET", help="the graph, MODULE:NAME or FILE:NAME, which knows its edges")

    explaining.prepare(
        add("explain", "Say why each node ran, waits or did not run.", act=explaining.explain, of_thread=True)
    )

    fork = add("fork", "Copy a thread; both go on separately.", act=_fork, of_thread=True)
    fork.add_argument("--checkpoint", metavar="ID", help="copy this state (default: the newest)")
    fork.add_argument("--message", metavar="ID", help="copy the conversation up to this message, it included")
    fork.add_argument("--new-id", metavar="ID", help="the name of the copy (default: a new one)")
    fork.add_argument("--title", metavar="TEXT", help="the title of the copy (default: that of the thread)")

    export = add("export", "Write a thread as JSON, with its whole state.", act=exchange.export, of_thread=True)
    export.add_argument("--output", "-o", metavar="FILE", help="write to this file")

    importing = add("import", "Make a thread of an export.", act=exchange.import_)
    importing.add_argument("file", metavar="FILE", help="an export; - for standard input")
    importing.add_argument("--new-id", metavar="ID", help="the name of the thread (default: the one it had)")
    importing.add_argument("--owner", metavar="NAME", help="whose it is (default: nobody's)")

    checking.prepare(add("check", "Tell which threads a graph would break on.", act=checking.check))

    delete = add("delete", "Delete threads, with all of their checkpoints.", act=_delete)
    delete.add_argument("thread_ids", metavar="THREAD", nargs="+")


def run(arguments: argparse.Namespace) -> int:
    """Perform an action on a database and return the exit code."""
    return run_command(_act, arguments)


async def _act(arguments: argparse.Namespace, output: Output) -> int:
    act: _Action = arguments.act
    async with opened(existing_store_of(arguments)) as database:
        try:
            return await act(database, arguments, output)
        except LookupError as error:
            return output.fail(error)


async def _list(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    found, more = await _found(opened, arguments)
    now = datetime.now().astimezone()
    rows = [
        (each.id, each.status, since((now - each.updated_at).total_seconds()), each.owner or "", each.title or "")
        for each in found
    ]
    text = table(("THREAD", "STATUS", "USED", "OWNER", "TITLE"), rows) if rows else "No threads."
    if more:
        text += f"\nThere are more: raise --limit above {arguments.limit}."
    output.show([each.to_json() for each in found], text)
    return 0


async def _found(opened: Opened, arguments: argparse.Namespace) -> tuple[list[Thread], bool]:
    """Return the threads that are looked for, and whether there are more than the limit."""
    from stategraph.cli.thread.statuses import in_status, with_status

    limit, owner = arguments.limit, arguments.owner
    if arguments.search is not None:
        page = await opened.threads.search(arguments.search, owner=owner, limit=limit)
    elif arguments.status is None:
        page = await opened.threads.list(owner=owner, limit=limit)
    else:
        found: list[Thread] = []
        async with aclosing(in_status(opened, arguments.status, owner=owner)) as threads:
            async for each in threads:
                if len(found) == limit:
                    return found, True
                found.append(each)
        return found, False
    shown = [await with_status(opened, each) for each in page.threads]
    return [each for each in shown if arguments.status in (None, each.status)], page.next is not None


async def _show(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.thread.statuses import error_of, with_status

    view = await opened.threads.get(arguments.thread_id, checkpoint_id=arguments.checkpoint)
    view = replace(view, thread=await with_status(opened, view.thread))
    error = await error_of(opened, view.thread.id) if view.thread.status == "failed" else None
    missing = await deltas.not_shown(opened, view)
    facts = {
        "thread": view.thread.to_json(),
        "error": error,
        "checkpoint_id": view.checkpoint_id,
        "content": [dict(each) for each in view.content],
        "interrupts": [{"interrupt_id": each.interrupt_id, "payload": each.payload} for each in view.interrupts],
        "values": plain(view.values),
        "not_shown": missing,
    }
    text = _state(view) if arguments.state else _conversation(view, error)
    is_partial = missing and (arguments.state or not view.messages)
    output.show(plain(facts), f"{text}\n\n{deltas.told(missing)}" if is_partial else text)
    return 0


def _conversation(view: ThreadView, error: str | None) -> str:
    style, thread = Style(sys.stdout), view.thread
    lines = [
        f"{thread.title or 'Thread'} ({thread.id}), {thread.status}, used {thread.updated_at:%Y-%m-%d %H:%M} UTC",
        "",
    ]
    if not view.messages:
        lines += ["No messages."] if not view.values else [_values(view.values)]
    for turn in view.content:
        lines.append(style.bold(str(turn["role"])))
        for part in turn["content"]:
            lines += [f"  {line}" for line in _part(part, style).splitlines()]
    for each in view.interrupts:
        of_several = f" ({each.interrupt_id})" if len(view.interrupts) > 1 else ""
        lines.append(style.asked(f"waits for{of_several}: {in_a_line(each.payload, 1_000)}"))
    lines += [style.removed(f"failed with: {in_a_line(error, 1_000)}")] if error else []
    return "\n".join(lines)


def _part(part: Any, style: Style) -> str:
    kind = part.get("type")
    if kind == "text":
        return str(part["text"])
    if kind == "tool_call":
        call = part["tool_call"]
        told = f"{call.get('name')}({in_a_line(call.get('args') or {})})"
        result = call.get("output")
        return style.dim(told if result is None else f"{told}\n  -> {in_a_line(result, 400)}")
    if kind in ("think", "reasoning"):
        return style.dim(f"(thinks) {in_a_line(part.get('think') or part.get('reasoning'), 400)}")
    return style.dim(in_a_line(part, 400))


def _state(view: ThreadView) -> str:
    return f"checkpoint {view.checkpoint_id}\n\n{_values(view.values)}"


def _values(values: object) -> str:
    return json.dumps(plain(values), ensure_ascii=False, indent=2)


async def _history(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    await opened.threads.info(arguments.thread_id)
    facts: list[dict[str, Any]] = []
    config = {"configurable": {"thread_id": arguments.thread_id, "checkpoint_ns": ""}}
    async with aclosing(opened.saver.alist(config, limit=arguments.limit)) as listing:
        async for each in listing:
            versions, seen = each.checkpoint["channel_versions"], each.checkpoint.get("updated_channels")
            facts.append(
                {
                    "checkpoint_id": each.checkpoint["id"],
                    "parent_id": ((each.parent_config or {}).get("configurable") or {}).get("checkpoint_id"),
                    "at": each.checkpoint["ts"],
                    "step": each.metadata.get("step"),
                    "source": each.metadata.get("source"),
                    "changed": sorted(name for name in (seen or versions) if _is_shown(name)),
                    "waits": any(channel == "__interrupt__" for _, channel, _ in each.pending_writes or ()),
                }
            )
    rows = [
        (
            str(each["checkpoint_id"]),
            str(each["step"]),
            str(each["source"]),
            str(each["at"])[:19].replace("T", " "),
            ", ".join(each["changed"]) + ("  (waits)" if each["waits"] else ""),
        )
        for each in facts
    ]
    text = table(("CHECKPOINT", "STEP", "SOURCE", "AT", "CHANGED"), rows) if rows else "No checkpoints."
    output.show(facts, text)
    return 0 if facts else NOTHING_DONE


def _is_shown(name: str) -> bool:
    return not name.startswith(("__", "branch:", "join:"))


async def _diff(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.thread.differences import as_json, as_text, differences

    new = await opened.threads.get(arguments.thread_id, checkpoint_id=arguments.new)
    if arguments.other is not None:
        old = await opened.threads.get(arguments.other, checkpoint_id=arguments.old)
    else:
        before = arguments.old or await _before(opened, arguments.thread_id, new.checkpoint_id)
        if before is None:
            return output.fail(LookupError(f"Thread '{arguments.thread_id}' has no checkpoint before that one"))
        old = await opened.threads.get(arguments.thread_id, checkpoint_id=before)
    found = differences(plain(old.values), plain(new.values))
    missing = sorted({*await deltas.not_shown(opened, old), *await deltas.not_shown(opened, new)})
    steps, told = await explaining.steps_between(opened, arguments, old, new)
    facts = {
        "from": {"thread_id": old.thread.id, "checkpoint_id": old.checkpoint_id},
        "to": {"thread_id": new.thread.id, "checkpoint_id": new.checkpoint_id},
        "differences": as_json(found),
        **steps,
        "not_shown": missing,
    }
    title = f"from {old.thread.id} {old.checkpoint_id}\nto   {new.thread.id} {new.checkpoint_id}\n"
    text = f"{title}\n{told}{as_text(found, Style(sys.stdout)) or 'No difference.'}"
    output.show(facts, f"{text}\n\n{deltas.told(missing)}" if missing else text)
    return 0 if found else NOTHING_DONE


async def _before(opened: Opened, thread_id: str, checkpoint_id: str | None) -> str | None:
    """Return the checkpoint that one was made from."""
    config = {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}
    saved = await opened.saver.aget_tuple(config)
    parent = saved.parent_config if saved is not None else None
    found: str | None = parent["configurable"].get("checkpoint_id") if parent else None
    return found


async def _fork(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    made = await opened.threads.fork(
        arguments.thread_id,
        checkpoint_id=arguments.checkpoint,
        message_id=arguments.message,
        new_thread_id=arguments.new_id,
        title=arguments.title,
    )
    waits = ", which waits for an answer as the thread does" if made.status == "interrupted" else ""
    output.show(made.to_json(), f"Thread '{made.id}' is a copy{waits}.")
    return 0


async def _delete(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    deleted: list[str] = []
    missing: list[str] = []
    for thread_id in arguments.thread_ids:
        try:
            await opened.threads.delete(thread_id)
        except LookupError:
            missing.append(thread_id)
        else:
            deleted.append(thread_id)
    text = f"{len(deleted):,} {'thread' if len(deleted) == 1 else 'threads'} deleted."
    if missing:
        text += f" There was no thread {', '.join(map(repr, missing))}."
    output.show({"deleted": deleted, "missing": missing}, text)
    return 0 if deleted else NOTHING_DONE
