"""A graph whose calls are recorded.

Rules
-----
* Only calls through the recorder are recorded; the graph itself stays as it is.
* A thread has to begin in its recording, so that a replay needs no database: one with checkpoints is refused.
* Caches of nodes are left out: a node that the cache would answer runs.
* Calls come one after the other: a second one beside the first is refused.
* A recording that has no last line is one of a process that died: it is replayed as far as it goes.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextvars import Context
from pathlib import Path
from typing import Any, NoReturn, Self

from stategraph._version import __version__
from stategraph.engine.config import environment, procedures
from stategraph.engine.config.environment import Environment
from stategraph.governance.redaction import Redactor
from stategraph.replay import calls, codec, lines
from stategraph.replay.calls import Call, Config, Graph
from stategraph.replay.codec import Json
from stategraph.replay.errors import RecordingError
from stategraph.replay.guard import Guard
from stategraph.replay.record_tape import RecordTape
from stategraph.replay.stores import TapedStore
from stategraph.replay.surroundings import RecordedClock, SeededIds, ticks


def record(
    path: str | os.PathLike[str], graph: Graph, *, overwrite: bool = False, redactor: Redactor | None = None
) -> Recorder:
    """Record the calls of a graph.

    Example:
        `with record("run.jsonl", graph) as recorder: recorder.invoke({"question": "Why?"})`

    Args:
        path: The file, which is made.
        graph: The compiled graph.
        overwrite: Whether a file that is there is replaced.
        redactor: Finds secrets, which are replaced in the file; None: one that knows the usual forms and names.

    Returns:
        What is called in place of the graph, in a `with` or `async with` block.

    Raises:
        RecordingError: The file is there, or cannot be made, or this is no compiled graph.
    """
    if not hasattr(graph, "checkpointer") or not hasattr(graph, "digest"):
        raise RecordingError(
            f"record() was given a {type(graph).__name__}; expected a compiled graph: graph = builder.compile(...)"
        )
    return Recorder(Path(path), graph, overwrite=overwrite, redactor=redactor)


class Recorder:
    """Stands in for a graph, and records its calls; made by `record`.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, graph: Graph, *, overwrite: bool, redactor: Redactor | None) -> None:
        self.path = path
        self._graph = taped(graph, TapedStore(graph.store) if graph.store is not None else None)
        self._cleaner = lines.Cleaner(redactor)
        self._seed = os.urandom(16).hex()
        self._numbers = itertools.count(1)
        self._calls = 0
        self._tick = 0
        self._known: dict[str, set[tuple[str, str]]] = {}
        self._writer = lines.Writer(path, self._cleaner, overwrite=overwrite)
        self._turn = threading.Lock()
        try:
            self._writer.write(
                {
                    "kind": "recording",
                    "schema": lines.SCHEMA,
                    "stategraph": __version__,
                    "graph": described(graph),
                    "has_saver": calls.saver_of(graph) is not None,
                    "has_store": graph.store is not None,
                    "seed": self._seed,
                    "recorded_at": environment.current().now(),
                }
            )
        except BaseException:
            self._writer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the recording. One with a call that is still under way has no last line: it is not whole."""
        if not self._turn.locked():
            self._writer.write({"kind": "closed", "calls": self._calls, "hidden": self._cleaner.hidden})
        self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    # -- the graph's methods ------------------------------------------------------

    def invoke(self, input: object, config: Mapping[str, Json] | None = None, **options: object) -> Any:
        """Call the graph, as its `invoke`, and record it."""
        return procedures.perform(self._invoking(Call("invoke", False, input, config, options)))

    async def ainvoke(self, input: object, config: Mapping[str, Json] | None = None, **options: object) -> Any:
        """Call the graph, as its `ainvoke`, and record it."""
        return await procedures.aperform(self._invoking(Call("invoke", True, input, config, options)))

    def stream(self, input: object, config: Mapping[str, Json] | None = None, **options: object) -> Iterator[Any]:
        """Call the graph, as its `stream`, and record it."""
        call = Call("stream", False, input, config, options)
        error: BaseException | None = None
        context, given = procedures.perform(self._beginning(call))
        try:
            yield from map(self._part, calls.streamed(self._graph, call, given, context))
        except BaseException as raised:
            error = raised
            raise
        finally:
            procedures.perform(self._ending(call, error))

    async def astream(
        self, input: object, config: Mapping[str, Json] | None = None, **options: object
    ) -> AsyncIterator[Any]:
        """Call the graph, as its `astream`, and record it."""
        call = Call("stream", True, input, config, options)
        failed: list[BaseException] = []
        begun = await procedures.aperform(self._beginning(call))
        try:
            async for part in calls.astreamed(self._graph, call, begun[1], begun[0]):
                yield self._part(part)
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            await procedures.aperform(self._ending(call, *failed))

    # -- a call -------------------------------------------------------------------

    def _invoking(self, call: Call) -> procedures.Procedure[Any]:
        context, given = yield from self._beginning(call)
        try:
            result = yield call.invoking(self._graph, given, context)
        except BaseException as error:
            yield from self._ending(call, error)
            raise
        yield from self._ending(call, None, result)
        return result

    def _beginning(self, call: Call) -> procedures.Procedure[tuple[Context, Config]]:
        """Write the first line of a call; the result is the context to make it in, and its config."""
        if not self._writer.is_open:
            raise RecordingError(
                f"The recording '{self.path}' has ended: call the graph inside of the `with` block of record()"
            )
        if not self._turn.acquire(blocking=False):
            raise RecordingError(
                "Another call through this recorder is under way, and a recording holds one after the other: await it, "
                "read its stream to the end or close it, or give each call a recording of its own"
            )
        try:
            return (yield from self._begun(call))
        except BaseException:
            self._turn.release()
            raise

    def _begun(self, call: Call) -> procedures.Procedure[tuple[Context, Config]]:
        around = environment.current()
        if around.tape is not None:
            raise RecordingError("A run that is recorded or replayed cannot record another one: record the outer one")
        if calls.saver_of(self._graph) is not None and call.thread_id is None:
            raise RecordingError(
                "The graph has a saver, and the call names no thread: give {'configurable': {'thread_id': ...}}"
            )
        found = yield call.stored(self._graph)
        if found and call.thread_id not in self._known:
            raise RecordingError(
                f"The thread '{call.thread_id}' has {len(found)} checkpoints already, which a replay would not have: "
                "record it from its beginning, in a thread of its own"
            )
        if call.thread_id is not None:
            self._known[call.thread_id] = {(line[0], line[1]) for line in calls.digests(found, self._cleaner)}
        line = call.to_line()
        self._calls += 1
        self._tick = max(self._tick, ticks(around.clock.time()))
        self._writer.write({**line, "call": self._calls, "tick": self._tick})
        tape = RecordTape(self._writer.write, self._numbers)
        ids = self._ids = SeededIds(f"{self._seed}/{self._calls}", self._tick)
        surroundings = Environment(RecordedClock(around.clock, self._writer.write), ids, around.runner, tape.sink, tape)
        return environment.context_with(surroundings), call.merged(Guard(_refuse))

    def _part(self, part: Any) -> Any:
        self._writer.write({"kind": "part", "value": codec.encode(part)})
        return part

    def _ending(self, call: Call, error: BaseException | None = None, result: Any = None) -> procedures.Procedure[None]:
        """Write the last line of a call, and let the next one begin."""
        try:
            yield from self._ended(call, error, result)
        finally:
            self._turn.release()

    def _ended(self, call: Call, error: BaseException | None, result: Any) -> procedures.Procedure[None]:
        """Write the last line of a call. Nobody waits for the saver who presses Ctrl-C or closes a stream."""
        self._tick = self._ids.last + 1
        line: dict[str, Json] = {"kind": "end", "call": self._calls}
        if error is not None:
            line["error"] = codec.error(error)
        elif call.method == "invoke":
            line["result"] = codec.encode(result)
        if error is None or isinstance(error, Exception):
            known = self._known.get(call.thread_id or "", set())
            new = calls.digests((yield call.stored(self._graph)), self._cleaner)
            line["checkpoints"] = [each for each in new if (each[0], each[1]) not in known]
        self._writer.write(line)


def taped(graph: Graph, store: object, **update: object) -> Any:
    """Return a graph with another store, if it has one, without a cache."""
    changed = {**update, **({} if graph.store is None else {"store": store})}
    if graph.cache is not None:
        changed["cache"] = None
    return graph.copy(changed) if changed else graph


def described(graph: Graph) -> dict[str, Json]:
    """Return what a recording says about a graph."""
    versions = graph.spec.versions
    return {
        "name": graph.get_name(),
        "digest": graph.digest,
        "nodes": sorted(graph.nodes),
        "version": None if versions is None else str(versions.current),
    }


def _refuse(message: str) -> NoReturn:
    raise RecordingError(message)
