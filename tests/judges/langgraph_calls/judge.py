"""Every call of `langgraph-sdk`, made on our server and on `langgraph dev`: each answer has to be the same.

The calls, and what is left out of the comparison with its reason, are those of `make server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace

from tests.judges import servers
from tests.judges.frame import Asked, Judge, JudgeError, Verdict
from tests.server import __main__ as calls
from tests.server import scenarios, serving
from tests.server.projection import without_copies
from tests.server.session import Row

NAME = "langgraph-sdk calls equal"


def judge(asked: Asked) -> Sequence[Verdict]:
    """Make the calls on both servers, and compare the answers."""
    if not servers.answers(asked.url):  # some scenarios would wait for it
        return [Verdict(NAME, 0, 1, notes=[f"no server answers at {asked.url}"])]
    try:
        with serving.running(asked.python, serving.ENGINES[0], asked.scratch / "langgraph", calls.GRAPHS) as server:
            theirs, ours = asyncio.run(_on_both(server.url, asked.url))
    except serving.ServerError as error:
        raise JudgeError(str(error)) from error
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        differ = calls.compare(theirs, ours, scenarios.KNOWN_OF_OWN)
    left_out = sum(row.call in scenarios.KNOWN_OF_OWN for row in theirs)
    total = max(len(theirs), len(ours)) - left_out
    notes = [line for line in printed.getvalue().splitlines() if line.startswith("      ")]
    return [Verdict(NAME, max(0, total - differ), total, notes=notes)]


async def _on_both(theirs: str, ours: str) -> list[list[Row]]:
    found = await asyncio.gather(*(calls.play(url, scenarios.SCENARIOS) for url in (theirs, ours)))
    return [[replace(row, answer=without_copies(row.answer)) for row in rows] for rows in found]


JUDGES = [
    Judge(
        name="langgraph-calls",
        judge=judge,
        graphs=calls.GRAPHS,
        requirements="server",
        server_requirements="server",
        settings=("--protocols", "langgraph"),
    )
]
