"""`stategraph store`: what savers have stored in a database, measured, pruned, erased and brought to another form.

Values of checkpoints are never shown.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final, TypeAlias

from stategraph.cli import pruning
from stategraph.cli.output import NOTHING_DONE, Output, add_action, counted, positive, run_command, store_of, table
from stategraph.cli.progress import Pace, Progress

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_LARGE: Final = 10**8
"""Bytes of a database for which the beginning of a vacuum is told: it takes more than a second."""

_Action: TypeAlias = Callable[[Any, argparse.Namespace, Output], Awaitable[int]]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "Exit code: 0 done, 1 there was nothing to do, 2 it does not work. See docs/storage.md."
    add = partial(
        add_action, parser.add_subparsers(title="actions", metavar="ACTION", required=True), run=run, changes=True
    )

    size = add("size", "Measure the database and its largest threads; nothing is changed.", act=_size)
    size.set_defaults(changes=False)
    size.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many threads (default: 20)")

    prune = add("prune", "Delete checkpoints that are not needed any more.", act=_prune)
    prune.add_argument("thread_ids", metavar="THREAD", nargs="*", help="only these threads; by default all")
    prune.add_argument("--keep-last", type=positive, metavar="N", help="checkpoints that each branch keeps")
    prune.add_argument(
        "--max-age", type=pruning.age, metavar="AGE", help="delete branches nobody went on from since, as in 30d"
    )
    prune.add_argument(
        "--max-size", type=_bytes, metavar="SIZE", help="keep fewer checkpoints until a thread fits, as in 10M"
    )

    add("vacuum", "Give the space of what was deleted back to the disk.", act=_vacuum)

    erase = add("erase", "Delete all checkpoints of threads, and their rows in the index of threads.", act=_erase)
    erase.add_argument("thread_ids", metavar="THREAD", nargs="+")

    convert = add("convert", "Bring all threads to one form; may be stopped and started again.", act=_convert)
    convert.add_argument(
        "form",
        choices=("compact", "plain"),
        help="compact: bytes grow with the data; plain: the tables of langgraph-checkpoint-sqlite or -postgres, which "
        "their savers open",
    )


def _bytes(text: str) -> int:
    """Read a number of bytes, at least 1.

    Raises:
        ArgumentTypeError: It is none, or 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?)b?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write a number, with k, M or G behind it, as in 10M")
    size = int(float(found[1]) * _UNITS[found[2]])
    if size < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no size that a thread fits into: to keep the newest checkpoint alone write --keep-last 1, to "
            "delete a thread 'stategraph store erase'"
        )
    return size


def run(arguments: argparse.Namespace) -> int:
    """Perform an action on a database and return the exit code."""
    return run_command(_act, arguments)


async def _act(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import DamagedCheckpointError
    from stategraph.savers.urls import saver_at

    act: _Action = arguments.act
    async with saver_at(store_of(arguments), create=False, changes=arguments.changes) as saver:
        try:
            return await act(saver, arguments, output)
        except DamagedCheckpointError as error:
            return output.fail(error)


def _observer(output: Output, event: str, done: str) -> Callable[[int, int], None]:
    """Return what tells about once a second how far it is."""
    progress, pace = Progress(output), Pace()

    def tell(number: int, threads: int) -> None:
        if pace.is_due():
            progress.tell(event, f"{number:,} of {counted(threads, 'thread')} {done}", done=number, threads=threads)

    return tell


async def _size(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    found = await saver.asize()
    shown = found.threads[: arguments.limit]
    facts = {**asdict(found), "threads": [asdict(each) for each in shown], "thread_count": len(found.threads)}
    threads = counted(len(found.threads), "thread")
    text = f"{_readable(found.bytes)} on the disk, {threads}, saved in the {found.form} form."
    if shown:
        rows = [
            (each.thread_id, f"{each.checkpoints:,}", f"{each.writes:,}", f"{each.values:,}", _readable(each.bytes))
            for each in shown
        ]
        text += "\n" + table(("THREAD", "CHECKPOINTS", "WRITES", "VALUES", "SIZE"), rows)
    output.show(facts, text)
    return 0


async def _prune(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError

    limits = {"keep_last": arguments.keep_last, "max_age_s": arguments.max_age, "max_bytes": arguments.max_size}
    if all(each is None for each in limits.values()):
        raise ConfigurationError("Pruning needs to know what stays: give --keep-last, --max-age or --max-size")
    tell = _observer(output, "pruning", "pruned")
    missing = [each for each in arguments.thread_ids if not await saver.ahas_thread(each)]
    found = await saver.aprune(arguments.thread_ids or None, **limits, observer=tell)
    facts = {**_facts(found, arguments.max_size), "missing": missing}
    output.show(facts, _told(facts) + _there_was_no(missing))
    return 0 if facts["threads"] else NOTHING_DONE


def _facts(found: Sequence[Any], max_size: int | None) -> dict[str, Any]:
    """Return the result of pruning for programs."""
    pruned = [each for each in found if each.checkpoints]
    return {
        "checkpoints": sum(each.checkpoints for each in pruned),
        "bytes": sum(each.bytes for each in pruned),
        "threads": [asdict(each) for each in pruned],
        "larger": [each.thread_id for each in found if max_size is not None and each.left.bytes > max_size],
    }


def _told(facts: Mapping[str, Any]) -> str:
    """Return the result of pruning for people."""
    text = "There was nothing to delete."
    if facts["threads"]:
        text = f"{counted(facts['checkpoints'], 'checkpoint')} of {counted(len(facts['threads']), 'thread')} deleted, "
        text += f"{_readable(facts['bytes'])} less. 'stategraph store vacuum' gives the space back to the disk."
    if large := len(facts["larger"]):
        text += f" {counted(large, 'thread')} cannot be made so small: the checkpoints that stay are larger."
    return text


async def _vacuum(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    before = (await saver.asize()).bytes
    if before >= _LARGE:
        Progress(output).tell("vacuum", f"vacuum of {_readable(before)} begins", bytes=before)
    await saver.avacuum()
    after = (await saver.asize()).bytes
    text = f"{_readable(before)} before, {_readable(after)} after."
    if path := _log_in_use(arguments.store):
        text += f" A part of it is in '{path}' until the processes that read the database are done with it."
    output.show({"before": before, "after": after, "log": path}, text)
    return 0


def _log_in_use(store: str) -> str | None:
    """Return the log of a SQLite file that could not be emptied, as others read what is in it."""
    from stategraph.savers import sqlite_files

    if not store.startswith(sqlite_files.SCHEME):
        return None
    log = sqlite_files.log_of(sqlite_files.path_in(store))
    return str(log) if log.is_file() and log.stat().st_size else None


async def _erase(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.run.threads.indexes import index_of

    index = index_of(saver)
    await index.open()
    erased = []
    for thread_id in arguments.thread_ids:
        found = await saver.ahas_thread(thread_id)
        row = await index.get(thread_id)
        await saver.adelete_thread(thread_id)
        if row is not None:
            await index.remove(row)
        if found or row is not None:
            erased.append(thread_id)
    missing = [each for each in arguments.thread_ids if each not in erased]
    text = f"{counted(len(erased), 'thread')} erased."
    output.show({"erased": erased, "missing": missing}, text + _there_was_no(missing))
    return 0 if erased else NOTHING_DONE


def _there_was_no(missing: Sequence[str]) -> str:
    return f" There was no thread {', '.join(map(repr, missing))}." if missing else ""


async def _convert(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    changed = await saver.aconvert(arguments.form, observer=_observer(output, "converting", "converted"))
    found = await saver.asize()
    threads, are = counted(len(found.threads), "thread"), "is" if len(found.threads) == 1 else "are"
    text = f"{counted(changed, 'row')} of checkpoints and writes converted: {threads} {are} in the {found.form} form."
    output.show({"changed": changed, "form": found.form, "bytes": found.bytes}, text)
    return 0 if changed else NOTHING_DONE


def _readable(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number} B"
