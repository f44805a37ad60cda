"""`stategraph store`: what savers have stored in a database, measured, pruned, erased and brought to another form.

Values of checkpoints are never shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from stategraph.cli import pruning
from stategraph.cli.output import NOTHING_DONE, Output, add_store, existing_store_of, positive, run_command, table

_UNITS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}

_Action: TypeAlias = Callable[[Any, argparse.Namespace, Output], Awaitable[int]]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "Exit code: 0 done, 1 there was nothing to do, 2 it does not work. See docs/storage.md."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    size = _add(actions, "size", "Measure the database and its largest threads.", _size)
    size.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many threads (default: 20)")

    prune = _add(actions, "prune", "Delete checkpoints that are not needed any more.", _prune)
    prune.add_argument("thread_ids", metavar="THREAD", nargs="*", help="only these threads; by default all")
    prune.add_argument("--keep-last", type=positive, metavar="N", help="checkpoints that each branch keeps")
    prune.add_argument(
        "--max-age", type=pruning.age, metavar="AGE", help="delete branches nobody went on from since, as in 30d"
    )
    prune.add_argument(
        "--max-size", type=_bytes, metavar="SIZE", help="keep fewer checkpoints until a thread fits, as in 10M"
    )

    _add(actions, "vacuum", "Give the space of what was deleted back to the disk.", _vacuum)

    erase = _add(actions, "erase", "Delete all checkpoints of threads, and their rows in the index of threads.", _erase)
    erase.add_argument("thread_ids", metavar="THREAD", nargs="+")

    convert = _add(actions, "convert", "Bring all threads to one form; may be stopped and started again.", _convert)
    convert.add_argument(
        "form",
        choices=("compact", "plain"),
        help="compact: bytes grow with the data; plain: the tables of langgraph-checkpoint-sqlite or -postgres, which "
        "their savers open",
    )


def _add(actions: Any, name: str, summary: str, act: _Action) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    add_store(parser)
    parser.set_defaults(act=act, run=run)
    return parser


def _bytes(text: str) -> int:
    """Read a number of bytes.

    Raises:
        ArgumentTypeError: It is none.
    """
    unit = text[-1:] if text[-1:] in ("k", "M", "G") else ""
    number = text.removesuffix(unit)
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write a number, with k, M or G behind it, as in 10M")
    return int(number) * _UNITS[unit]


def run(arguments: argparse.Namespace) -> int:
    """Perform an action on a database and return the exit code."""
    return run_command(_act, arguments)


async def _act(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import DamagedCheckpointError
    from stategraph.savers.urls import saver_at

    store = existing_store_of(arguments)
    act: _Action = arguments.act
    async with saver_at(store) as saver:
        try:
            return await act(saver, arguments, output)
        except DamagedCheckpointError as error:
            return output.fail(error)


async def _size(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    found = await saver.asize()
    shown = found.threads[: arguments.limit]
    facts = {**asdict(found), "threads": [asdict(each) for each in shown], "thread_count": len(found.threads)}
    text = f"{_readable(found.bytes)} on the disk, {len(found.threads):,} threads, saved in the {found.form} form."
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
    pruned = [each for each in await saver.aprune(arguments.thread_ids or None, **limits) if each.checkpoints]
    checkpoints, freed = sum(each.checkpoints for each in pruned), sum(each.bytes for each in pruned)
    facts = {"checkpoints": checkpoints, "bytes": freed, "threads": [asdict(each) for each in pruned]}
    text = f"{checkpoints:,} checkpoints of {len(pruned):,} threads deleted, {_readable(freed)} less."
    if pruned:
        text += " 'stategraph store vacuum' gives the space back to the disk."
    output.show(facts, text if pruned else "There was nothing to delete.")
    return 0 if pruned else NOTHING_DONE


async def _vacuum(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    before = (await saver.asize()).bytes
    await saver.avacuum()
    after = (await saver.asize()).bytes
    output.show({"before": before, "after": after}, f"{_readable(before)} before, {_readable(after)} after.")
    return 0


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
    text = f"{len(erased):,} {'thread' if len(erased) == 1 else 'threads'} erased."
    if missing:
        text += f" There was no thread {', '.join(map(repr, missing))}."
    output.show({"erased": erased, "missing": missing}, text)
    return 0 if erased else NOTHING_DONE


async def _convert(saver: Any, arguments: argparse.Namespace, output: Output) -> int:
    changed = await saver.aconvert(arguments.form)
    found = await saver.asize()
    text = f"{changed:,} checkpoints and writes converted: {len(found.threads):,} threads are in the {found.form} form."
    output.show({"changed": changed, "form": found.form, "bytes": found.bytes}, text)
    return 0 if changed else NOTHING_DONE


def _readable(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number} B"
