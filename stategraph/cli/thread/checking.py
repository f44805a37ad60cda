"""`stategraph thread check`: which stored threads a graph could not go on with, and why.

Nothing is run, and nothing is written to the database.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeAlias

from stategraph.cli.output import Output, counted, write_error
from stategraph.cli.progress import Pace
from stategraph.cli.thread.opened import Opened
from stategraph.errors import ConfigurationError

_Facts: TypeAlias = dict[str, Any]
"""The result for one thread, as JSON."""

BREAKS: Final = 1
"""The exit code if threads would break."""

_PAGE: Final = 100


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "--graph", required=True, metavar="TARGET", help="the new graph: MODULE:NAME or FILE:NAME, such as new.py:graph"
    )
    parser.add_argument(
        "--thread", action="append", dest="threads", metavar="THREAD", help="only this one; may be given several times"
    )
    parser.add_argument("--owner", metavar="NAME", help="only threads of this owner")
    parser.add_argument(
        "--results",
        metavar="FILE",
        help="append a line of JSON for each thread to this file, and leave out those that it has: a check that was "
        "stopped goes on where it was",
    )
    parser.add_argument("--all", action="store_true", dest="every", help="also list threads that go on as they are")
    parser.epilog = "Exit code: 0 no thread breaks, 1 some do, 2 it does not work."


async def check(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    """Check the threads, and tell which break."""
    from stategraph.cli.programs.targets import load_graph
    from stategraph.engine.engine import StateGraphEngine
    from stategraph.graph.versions.checking import acheck_thread

    graph = load_graph(arguments.graph).graph
    if not isinstance(graph, StateGraphEngine):
        raise ConfigurationError(
            f"'{arguments.graph}' is a {type(graph).__name__}; expected a graph that this engine has compiled"
        )
    done = _known(arguments.results)
    verdicts = Counter(each["verdict"] for each in done.values())
    found: list[_Facts] = [each for each in done.values() if _is_shown(each, arguments)]
    pace = Pace()
    with _Results(arguments.results) as results:
        async with aclosing(_threads(opened, arguments)) as names:
            async for name in names:
                if name in done:
                    continue
                facts = asdict(await acheck_thread(graph, opened.saver, name))
                results.add(facts)
                verdicts[facts["verdict"]] += 1
                if _is_shown(facts, arguments):
                    found.append(facts)
                if pace.is_due():
                    write_error(f"{counted(verdicts.total(), 'thread')} checked, {verdicts['breaks']} break")
    if not verdicts.total():
        return output.fail(LookupError("There are no threads to check"))
    output.show({"threads": dict(verdicts), "found": found}, _told(found, verdicts))
    return BREAKS if verdicts["breaks"] else 0


def _is_shown(facts: _Facts, arguments: argparse.Namespace) -> bool:
    return bool(arguments.every or facts["problems"] or facts["warnings"])


async def _threads(opened: Opened, arguments: argparse.Namespace) -> AsyncGenerator[str, None]:
    """Yield the threads to check, the oldest first."""
    if arguments.threads:
        for name in arguments.threads:
            yield (await opened.threads.info(name)).id
        return
    after: str | None = None
    while True:
        page = await opened.threads.list(
            owner=arguments.owner, order="created", oldest_first=True, limit=_PAGE, after=after
        )
        for each in page.threads:
            yield each.id
        if page.next is None:
            return
        after = page.next


def _told(found: list[_Facts], verdicts: Counter[str]) -> str:
    lines = []
    for each in found:
        version = "" if each["version"] is None else f" (version {each['version']})"
        lines.append(f"{each['thread_id']}{version}: {each['verdict']}")
        lines += [f"  {problem}" for problem in each["problems"]]
        lines += [f"  warning: {warning}" for warning in each["warnings"]]
    words = {"fits": "as they are", "migrates": "migrated", "pinned": "pinned", "empty": "empty", "breaks": "break"}
    summary = ", ".join(f"{verdicts[verdict]} {word}" for verdict, word in words.items() if verdicts[verdict])
    return "\n".join([*lines, f"{counted(verdicts.total(), 'thread')}: {summary}."])


class _Results:
    """The file that results are appended to; none if it has no name."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def __enter__(self) -> _Results:
        self._file = None if self._path is None else Path(self._path).open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, facts: _Facts) -> None:
        """Append a line; a reader that comes after a stop finds it whole or not at all."""
        if self._file is not None:
            self._file.write(json.dumps(facts, ensure_ascii=False) + "\n")
            self._file.flush()


def _known(path: str | None) -> dict[str, _Facts]:
    """Return the results that a file has, by thread."""
    if path is None or not Path(path).exists():
        return {}
    text = Path(path).read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:  # the process was stopped while it wrote the last line
        Path(path).write_text(whole, encoding="utf-8")
    known: dict[str, _Facts] = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            facts = json.loads(line)
            known[facts["thread_id"]] = facts
            facts["verdict"], facts["problems"], facts["warnings"], facts["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"Line {number} of '{path}' is no result of this command: name another file with --results"
            ) from error
    return known
