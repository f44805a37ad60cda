"""Values that a checkpoint cannot hold: named when storing them fails, or when they would come back as something else.

Rules
-----
* Why a save failed is only looked for once it has failed.
* A serialiser stores an object as its fields and the name of its class. If that name does not lead back to the class
  (it was made inside a function), or the class does not take these fields, a later run gets a bare dict, without an
  error. What nodes write is looked through for such objects, a limited number of values each time, and each class is
  warned of once.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import ModuleType
from typing import Any, Final
from weakref import WeakSet

from stategraph.core import explain

logger = logging.getLogger(__name__)

_DEPTH: Final = 24
_LOOKED_AT: Final = 256
"""Values that are looked at in one write."""

# Classes that come back as they are. Of others than these only those that a module holds anyway are kept.
_sound: Final[set[type]] = {str, int, float, bool, type(None), bytes, bytearray}
_warned: Final[WeakSet[type]] = WeakSet()


# -- after a save has failed -----------------------------------------------------------------------------------------


def explain_failure(error: BaseException, serde: Any, values: Iterable[tuple[str, Any]], writer: str | None) -> None:
    """Say which value it was that could not be stored.

    Args:
        error: What the saver raised; its message is added to.
        serde: The saver's serialiser, or None.
        values: What was to be stored, by channel.
        writer: The node that wrote it; None if that is not known.
    """
    if serde is None or not _can_store(serde, 0):
        return
    for channel, value in values:
        found = _culprit(serde, value, channel, _DEPTH)
        if found is not None:
            path, what = found
            kind = type(what)
            by = f" by node '{writer}'" if writer else ""
            explain.add_words(
                error,
                f"The value at {path}, of type {kind.__module__}.{kind.__qualname__}, was written{by} to channel "
                f"'{channel}' and cannot be stored in a checkpoint. Return plain data, a dataclass or a pydantic model "
                "instead, keep the object out of the state (in the run's context, say), or declare the key as an "
                "UntrackedValue.",
            )
            return


def _can_store(serde: Any, value: Any) -> bool:
    try:
        serde.dumps_typed(value)
    except Exception:  # whatever the serialiser or the value's own code raises
        return False
    return True


def _culprit(serde: Any, value: Any, path: str, depth: int) -> tuple[str, Any] | None:
    """The innermost value that cannot be stored, with its path; None if this one can."""
    if _can_store(serde, value):
        return None
    if depth > 0:
        for step, part in _parts(value):
            found = _culprit(serde, part, f"{path}{step}", depth - 1)
            if found is not None:
                return found
    return path, value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a serialiser takes a value apart into, and how that is written in Python."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (str, bytes, bytearray)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    elif hasattr(value, "model_dump"):
        for name, part in vars(value).items():
            yield f".{name}", part


# -- before ------------------------------------------------------------------------------------------------------------


def warn_of_changelings(writes: Iterable[tuple[str, Any]], task_id: str, node_of: Callable[[str], str | None]) -> None:
    """Log a warning for what will not come back from a checkpoint as what it is.

    Args:
        writes: What a task wrote.
        task_id: The task.
        node_of: Names the node of a task.
    """
    for channel, value in writes:
        # What is almost always all there is to look at costs half a microsecond.
        kind = type(value)
        if kind in _sound or (kind is list and set(map(type, value[:_LOOKED_AT])) <= _sound):
            continue
        _look(value, channel, lambda: node_of(task_id))


def _look(value: Any, channel: str, writer: Callable[[], str | None]) -> None:
    waiting = [(channel, value)]
    for _ in range(_LOOKED_AT):
        if not waiting:
            return
        path, value = waiting.pop()
        kind = type(value)
        if kind in _sound:
            continue
        if kind is dict:
            if not set(map(type, value.values())) <= _sound:
                items = islice(value.items(), _LOOKED_AT)
                waiting += [(f"{path}[{key!r}]", part) for key, part in items if type(part) not in _sound]
        elif kind in (list, tuple, set, frozenset):
            kinds = set(map(type, islice(value, _LOOKED_AT)))
            if kind in (set, frozenset) and tuple in kinds:
                _warn(kind, path, channel, writer, "a set of tuples, which comes back as a list of lists")
            if not kinds <= _sound:
                parts = enumerate(islice(value, _LOOKED_AT))
                waiting += [(f"{path}[{i}]", part) for i, part in parts if type(part) not in _sound]
        elif (fault := _fault(kind)) is None:
            _sound.add(kind)
        elif fault:
            _warn(kind, path, channel, writer, f"of type {kind.__module__}.{kind.__qualname__}, {fault}")


def _fault(kind: type) -> str | None:
    """What keeps a class from coming back; None if nothing does, "" for one that is none of our business."""
    if not (dataclasses.is_dataclass(kind) or hasattr(kind, "model_dump")):
        return ""
    module = sys.modules.get(kind.__module__) or _imported(kind.__module__)
    if getattr(module, kind.__name__, None) is not kind:
        return "which comes back as a dict of its fields, since its module has no class of that name"
    if dataclasses.is_dataclass(kind) and any(not field.init for field in dataclasses.fields(kind)):
        return "which comes back as a dict of its fields, since its constructor does not take all of them"
    return None


def _imported(name: str) -> ModuleType | None:
    """The module in which a reader looks for a class: this engine's own name one that may not be loaded yet."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _warn(kind: type, path: str, channel: str, writer: Callable[[], str | None], what: str) -> None:
    if kind not in _warned:
        _warned.add(kind)
        node = writer()
        by = f"Node '{node}'" if node else "A task"
        logger.warning("%s wrote to channel '%s' a value that no checkpoint keeps: at %s %s", by, channel, path, what)
