"""Savers by engine: LangGraph's for LangGraph, ours for ours, opened, emptied, measured and closed in the same way.

A row that uses a saver names its kind. To compare another saver, add it to `KINDS`: a function for each engine and for
each of the two APIs, see `Opened`.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import langgraph.graph
from langgraph.checkpoint.memory import InMemorySaver

from benchmarks.workloads.base import LOOP, no_reset
from benchmarks.workloads.runs import forget_threads, stored_bytes

OURS = langgraph.graph.StateGraph.__module__.startswith("stategraph")
"""Whether this process has our engine."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A saver that is open.

    Attributes:
        saver: The saver.
        forget: Forgets threads, given their ids.
        stored: Returns the bytes that it keeps, by what they are for.
        close: Closes it, and deletes what it kept.
        folder: The folder of its file; None: it has none.
    """

    saver: Any
    forget: Callable[..., None]
    stored: Callable[[], dict[str, int]]
    close: Callable[[], None] = no_reset
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The saver's class, for the report."""
        return f"{type(self.saver).__module__}.{type(self.saver).__qualname__}"


def opened(kind: str, variant: str, folder: Path | None = None) -> Opened:
    """Open a saver of this engine.

    Args:
        kind: One of `KINDS`.
        variant: "async" or "sync": the API that its graph is called by.
        folder: Where its file is, if it has one; None: in a new folder, which is deleted when it is closed.
    """
    return KINDS[kind](variant, folder)


def _memory(_variant: str, _folder: Path | None) -> Opened:
    saver = InMemorySaver()
    forget_all = forget_threads(saver)
    return Opened(saver, lambda *_: forget_all(), lambda: stored_bytes(saver))


def _sqlite(variant: str, folder: Path | None, *, theirs: bool = False) -> Opened:
    """A file in WAL mode, with the durability that the savers choose by themselves."""
    kept = folder or Path(tempfile.mkdtemp(prefix="stategraph-bench-"))
    path = kept / "threads.db"
    exits, aexits = ExitStack(), AsyncExitStack()
    chosen = saver_class("SqliteSaver", "sqlite", variant, theirs=theirs)
    if variant == "async":
        saver = LOOP.run(aexits.enter_async_context(chosen.from_conn_string(str(path))))
        LOOP.run(saver.setup())
    else:
        saver = exits.enter_context(chosen.from_conn_string(str(path)))
        saver.setup()

    def stored() -> dict[str, int]:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return {"file": path.stat().st_size}

    def close() -> None:
        exits.close()
        LOOP.run(aexits.aclose())
        if folder is None:
            shutil.rmtree(kept)

    return Opened(saver, lambda *threads: _forget(saver, variant, threads), stored, close, kept)


def saver_class(name: str, package: str, variant: str, *, theirs: bool = False) -> Any:
    """Return the class of a saver: ours in our process, where there is one, else LangGraph's."""
    name = f"Async{name}" if variant == "async" else name
    if OURS and not theirs and importlib.util.find_spec("stategraph.savers") is not None:
        ours = getattr(importlib.import_module("stategraph.savers"), name, None)
        if ours is not None:
            return ours
    aio = ".aio" if variant == "async" else ""
    return getattr(importlib.import_module(f"langgraph.checkpoint.{package}{aio}"), name)


def _forget(saver: Any, variant: str, threads: Sequence[str]) -> None:
    for thread in threads:
        if variant == "async":
            LOOP.run(saver.adelete_thread(thread))
        else:
            saver.delete_thread(thread)


def _postgres(variant: str, _folder: Path | None) -> Opened:
    """A server of this process, reached by the saver's own connection."""
    url = _server()
    exits, aexits = ExitStack(), AsyncExitStack()
    chosen = saver_class("PostgresSaver", "postgres", variant)
    if variant == "async":
        saver = LOOP.run(aexits.enter_async_context(chosen.from_conn_string(url)))
        LOOP.run(saver.setup())
    else:
        saver = exits.enter_context(chosen.from_conn_string(url))
        saver.setup()

    def close() -> None:
        exits.close()
        LOOP.run(aexits.aclose())

    return Opened(saver, lambda *threads: _forget(saver, variant, threads), dict, close)


@cache
def _server() -> str:
    """Start PostgreSQL, which ends with this process, and return its address.

    Raises:
        postgres.UnavailableError: It cannot be run here.
    """
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    import postgres

    folder = tempfile.mkdtemp(prefix="stategraph-bench-")
    process, url = postgres.serve_on_socket(Path(folder))

    def stop() -> None:
        postgres.stop(process)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return str(url)


KINDS: dict[str, Callable[[str, Path | None], Opened]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "their_sqlite": partial(_sqlite, theirs=True),
    "postgres": _postgres,
}
