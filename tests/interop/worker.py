"""The child process: performs single steps of cases on one engine, over a line protocol.

Requests and answers are one JSON object a line, on stdin and on the stdout the process was started with. A request
names the case, the index of the step, the saver, the mode, the database, the thread and its scratch directory; ``look``
only looks at the thread. An answer is a report: what the step returned or raised, which nodes ran, and all that can be
seen of the thread afterwards.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import kit
import plain

KEY = b"interchange-test"


def describe_engine() -> dict[str, Any]:
    """Say which engine this process got."""
    import langgraph.graph

    ours = langgraph.graph.StateGraph.__module__.startswith("stategraph")
    return {"engine": "stategraph" if ours else "langgraph", "modules": langgraph.graph.__file__}


def load_cases() -> str:
    """Import every module of ``cases``.

    Returns:
        The tracebacks of those that could not be imported; their cases fail, the others go on.
    """
    package = importlib.import_module("cases")
    problems = []
    for module in pkgutil.iter_modules(package.__path__):
        try:
            importlib.import_module(f"cases.{module.name}")
        except Exception:
            problems.append(traceback.format_exc())
    return "\n".join(problems)


def _serializer(encrypted: bool) -> Any:
    if not encrypted:
        return None
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    return EncryptedSerializer.from_pycryptodome_aes(key=KEY)


def _own(kind: str, encrypted: bool) -> dict[str, Any] | None:
    """Return the options of this project's saver; None if the engine of this process gets the other engine's.

    In the plain form each engine has its own saver on the same tables, in the compact one both have this project's.
    """
    form = kind.partition("-")[2]
    if not form or (form == "plain" and describe_engine()["engine"] == "langgraph"):
        return None
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    return {"mode": form, "serde": _serializer(encrypted) or JsonPlusSerializer()}


@contextmanager
def open_saver(kind: str, database: str, encrypted: bool) -> Iterator[Any]:
    """Open a synchronous saver on a database, and close it again."""
    if (options := _own(kind, encrypted)) is not None:
        from stategraph import savers

        cls: Any = savers.SqliteSaver if kind.startswith("sqlite") else savers.PostgresSaver
        with cls.from_conn_string(database, **options) as own:
            own.setup()
            yield own
    elif kind.startswith("sqlite"):
        import sqlite3

        from langgraph.checkpoint.sqlite import SqliteSaver

        connection = sqlite3.connect(database, check_same_thread=False)
        connection.execute("PRAGMA synchronous=OFF")
        try:
            yield SqliteSaver(connection, serde=_serializer(encrypted))
        finally:
            connection.close()
    else:
        import psycopg
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg.rows import dict_row

        with psycopg.connect(database, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
            saver = PostgresSaver(connection, serde=_serializer(encrypted))
            saver.setup()
            yield saver


@asynccontextmanager
async def open_async_saver(kind: str, database: str, encrypted: bool) -> AsyncIterator[Any]:
    """Open an asynchronous saver on a database, and close it again."""
    if (options := _own(kind, encrypted)) is not None:
        from stategraph import savers

        cls: Any = savers.AsyncSqliteSaver if kind.startswith("sqlite") else savers.AsyncPostgresSaver
        async with cls.from_conn_string(database, **options) as own:
            await own.setup()
            yield own
    elif kind.startswith("sqlite"):
        import aiosqlite
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with aiosqlite.connect(database) as connection:
            await connection.execute("PRAGMA synchronous=OFF")
            yield AsyncSqliteSaver(connection, serde=_serializer(encrypted))
    else:
        import psycopg
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg.rows import dict_row

        async with await psycopg.AsyncConnection.connect(
            database, autocommit=True, prepare_threshold=0, row_factory=dict_row
        ) as connection:
            saver = AsyncPostgresSaver(connection, serde=_serializer(encrypted))
            await saver.setup()
            yield saver


def perform(request: dict[str, Any]) -> dict[str, Any]:
    """Do one step, or only look, and report."""
    if request["case"] not in kit.CASES:
        raise LookupError(f"the module of case {request['case']} could not be imported on this engine")
    found = kit.CASES[request["case"]]()
    kit.HERE.scratch = Path(request["scratch"])
    kit.HERE.mode = request["mode"]
    kit.HERE.effects = []
    step = found.steps[request["index"]] if request["op"] == "step" else None
    args = request["saver"], request["database"], found.encrypted
    if request["mode"] == "sync":
        with open_saver(*args) as saver:
            graph = found.build(checkpointer=saver)
            thread = kit.Thread(graph, request["thread"], None, found.durability)
            return _report(thread, step, lambda: list(saver.list(_all_of(request))))
    with asyncio.Runner() as loop:
        opened = open_async_saver(*args)
        saver = loop.run(opened.__aenter__())
        try:
            graph = found.build(checkpointer=saver)
            thread = kit.Thread(graph, request["thread"], loop, found.durability)
            return _report(thread, step, lambda: loop.run(_alist(saver, _all_of(request))))
        finally:
            loop.run(opened.__aexit__(None, None, None))


def _all_of(request: dict[str, Any]) -> dict[str, Any]:
    return {"configurable": {"thread_id": request["thread"]}}


async def _alist(saver: Any, config: dict[str, Any]) -> list[Any]:
    return [entry async for entry in saver.alist(config)]


def _report(thread: kit.Thread, step: kit.Step | None, stored: Any) -> dict[str, Any]:
    report: dict[str, Any] = {}
    if step is not None:
        try:
            report["result"] = plain.encode(step(thread))
        except Exception as error:
            report["result"] = {"raised": type(error).__name__, "message": str(error)}
            report["traceback"] = traceback.format_exc()
        report["effects"] = sorted(kit.HERE.effects)
    report["state"] = plain.encode(thread.state(subgraphs=True))
    report["history"] = plain.encode(thread.history())
    report["stored"] = plain.stored(stored())
    return report


def main() -> None:
    """Serve requests until stdin closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        described = describe_engine()
        problems = load_cases()
        plan = {name: _plan(factory) for name, factory in kit.CASES.items()}
        reply({**described, "cases": plan, "problems": problems})
    except Exception:
        reply({"error": traceback.format_exc()})
        return
    for line in sys.stdin:
        try:
            reply({"report": perform(json.loads(line))})
        except Exception:
            reply({"error": traceback.format_exc()})


def _plan(factory: Any) -> dict[str, Any]:
    """The shape of a case; one that cannot even be built is still listed, so that it fails rather than vanishes."""
    try:
        found = factory()
    except Exception:
        return {"steps": 0, "modes": [], "error": traceback.format_exc()}
    return {"steps": len(found.steps), "modes": list(found.modes)}


if __name__ == "__main__":
    main()
