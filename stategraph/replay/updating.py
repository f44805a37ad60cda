"""A recording made again: the same calls of the graph as it is now, with what is outside."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stategraph.engine.checkpoints.saver_interfaces import InMemorySaver
from stategraph.governance.redaction import Redactor
from stategraph.replay import calls, lines
from stategraph.replay.calls import Call, Graph
from stategraph.replay.codec import Json
from stategraph.replay.errors import RecordingError
from stategraph.replay.recording import Recorder, record

_HIDDEN: Final = re.compile(r"\[redacted(?::[^\]\n]*)?\]")
"""Stands in a recording for a secret."""


def update(path: str | os.PathLike[str], graph: Graph, *, redactor: Redactor | None = None) -> int:
    """Make the calls of a recording again, and replace it; models and tools are called.

    What failed when it was recorded may fail again. The file stays as it was if the graph cannot be recorded.

    Args:
        path: The recording.
        graph: The compiled graph, as it is now. A thread of the recording is made anew, in memory.
        redactor: Finds secrets, which are replaced in the file.

    Returns:
        How many calls were made.

    Raises:
        RecordingError: The file cannot be read, or the graph not recorded; or a call was given a secret, which the file
            has no more.
    """
    return asyncio.run(aupdate(path, graph, redactor=redactor))


async def aupdate(path: str | os.PathLike[str], graph: Graph, *, redactor: Redactor | None = None) -> int:
    """Do the same on an event loop; sync calls run in a thread."""
    made = _calls(Path(path))
    with _replacing(Path(path), graph, redactor) as recorder:
        for call in made:
            if call.is_async:
                await _again(recorder, call)
            else:
                await asyncio.to_thread(_perform, recorder, call)
    return len(made)


def _calls(path: Path) -> list[Call]:
    begun = [line for line in lines.read(path)[1:] if line["kind"] == "begin"]
    for line in begun:
        for given in ("input", "config", "options"):
            for place in _hidden(line[given], given):
                raise RecordingError(
                    f"'{path}' cannot be made again: {place} of call {line['call']} was a secret, and the file has "
                    "[redacted] in its place, which models, tools and functions must not be given. Record it again "
                    "from the program that knows the secret: record(path, graph, overwrite=True)"
                )
    return [Call.of_line(line) for line in begun]


def _hidden(value: Json, place: str) -> Iterator[str]:
    """Yield the places where a secret was replaced."""
    if isinstance(value, str) and _HIDDEN.search(value):
        yield place
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _hidden(each, f"{place}[{number}]")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _hidden(each, f"{place}.{name}")


@contextmanager
def _replacing(path: Path, graph: Graph, redactor: Redactor | None) -> Iterator[Recorder]:
    has_saver = lines.read(path)[0]["has_saver"]
    if has_saver:
        played = graph.copy({"checkpointer": InMemorySaver()})
    else:
        played = graph if calls.saver_of(graph) is None else graph.copy({"checkpointer": None})
    try:
        file, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise RecordingError(f"No file can be made beside '{path}': {error.strerror}") from error
    os.close(file)
    fresh = Path(name)
    try:
        with record(fresh, played, overwrite=True, redactor=redactor) as recorder:
            yield recorder
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _perform(recorder: Recorder, call: Call) -> None:
    try:
        if call.method == "invoke":
            recorder.invoke(call.input, call.config, **call.options)
        else:
            for _ in recorder.stream(call.input, call.config, **call.options):
                pass
    except RecordingError:
        raise
    except Exception:
        return  # is recorded, as it was before


async def _again(recorder: Recorder, call: Call) -> None:
    try:
        if call.method == "invoke":
            await recorder.ainvoke(call.input, call.config, **call.options)
        else:
            async for _ in recorder.astream(call.input, call.config, **call.options):
                pass
    except RecordingError:
        raise
    except Exception:
        return  # is recorded, as it was before
