"""`stategraph runs effects`: the ledger of effects, seen from outside.

Results of effects are never shown.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from stategraph.cli import pruning
from stategraph.cli.output import Output, add_store, positive, table

if TYPE_CHECKING:
    from stategraph.workers.registry.runs import RunRegistry


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--limit", type=positive, default=100, metavar="N", help="at most so many (default: 100)")
    forgetting = parser.add_subparsers(metavar="forget", required=False).add_parser(
        "forget",
        description="Delete effects that were committed long ago. A run that asks for one calls again.",
        help="delete effects that were committed long ago",
        epilog="Effects in doubt stay, however old. May be stopped at any time and started again.",
    )
    forgetting.add_argument(
        "--older-than",
        type=pruning.age,
        required=True,
        metavar="AGE",
        help="only effects that were committed so long ago, as in 90d; choose more than runs may be repeated for",
    )
    add_store(forgetting, again=True)
    forgetting.set_defaults(act=forget)


async def show(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    """List the effects in doubt, the oldest first."""
    import anyio.to_thread

    from stategraph.workers.ledger.book import EffectBook

    book = EffectBook(registry.operations)
    found = await anyio.to_thread.run_sync(book.doubtful, arguments.limit)
    facts: list[dict[str, Any]] = [
        {
            "tenant": each.scope,
            "key": each.key,
            "run_id": each.claimant.run_id,
            "external_ref": each.external_ref,
        }
        for each in found
    ]
    rows = [tuple(str(value or "") for value in each.values()) for each in facts]
    output.show(facts, table(("TENANT", "KEY", "RUN", "EXTERNAL"), rows) if rows else "No effects are in doubt.")
    return 0


async def forget(registry: RunRegistry, arguments: argparse.Namespace, output: Output) -> int:
    """Delete committed effects that are old."""
    import anyio.to_thread

    from stategraph.workers.ledger.book import EffectBook

    book = EffectBook(registry.operations)
    deleted = await anyio.to_thread.run_sync(book.forget, arguments.older_than)
    output.show({"effects": deleted}, f"{deleted:,} {'effect' if deleted == 1 else 'effects'} deleted.")
    return 0
