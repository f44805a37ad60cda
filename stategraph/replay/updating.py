"""A recording made again: the same calls of the graph as it is now, with what is outside."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stategraph.engine.checkpoints.saver_interfaces import InMemorySaver
from stategraph.governance.redaction import Redactor
from stategraph.replay import lines
from stategraph.replay.calls import Call, Graph
from stategraph.replay.errors import RecordingError
from stategraph.replay.recording import Recorder, record


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
        RecordingError: The file cannot be read, or the graph not recorded.
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
    return [Call.of_line(line) for line in lines.read(path)[1:] if line["kind"] == "begin"]


@contextmanager
def _replacing(path: Path, graph: Graph, redactor: Redactor | None) -> Iterator[Recorder]:
    fresh = path.with_name(f"{path.name}.new")
    has_saver = lines.read(path)[0]["has_saver"]
    played = graph.copy({"checkpointer": InMemorySaver()}) if has_saver else graph
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
