"""Messages, values and exceptions between a host and its workers, as bytes.

- A message is a tuple in msgpack; `stategraph.workers.process.framing` gives it a length.
- A value is written by the checkpoint serialiser. Of the classes in it, only those of allowed modules are made again;
  another one is an error and never silently something else.
- An exception is its class, arguments and attributes, with its causes. It is made again without calling `__init__`, and
  without attributes that have no stored form, such as a response's connection. One whose class is not known here, or
  whose arguments cannot be sent, is a JobError that says what it was. The traceback of the worker is a note on it.

Messages of a host: `job`, `cancel`, `credit` (so many more events may be sent), `reply` (to a call), `tell` (news for a
job), `superseded` (another attempt takes its place), `allow`, `stop`. Messages of a worker: `ready`, `event`, `call`,
`done`, `failed`, `cancelled`.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import ormsgpack

from stategraph import types, wire
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.errors import JobError, TransferError
from stategraph.workers.references import Targets

Message: TypeAlias = tuple[Any, ...]

#: Packages whose classes may always cross: messages of LangChain, checkpoints, values of ours.
_SHARED = ("langchain_core", "langgraph.checkpoint", "stategraph", wire.ADDRESS)

_HERE = str(Path(__file__).parent)

#: Attributes of exceptions that are no part of what they say.
_OWN_STATE = ("__notes__", "_stategraph_reply")

#: Causes beyond this many are left out.
_MOST_CAUSES = 8


def pack(message: Message) -> bytes:
    """Return a message as bytes."""
    return ormsgpack.packb(message)


def unpack(data: bytes) -> Message:
    """Return the message that bytes hold."""
    return tuple(ormsgpack.unpackb(data))


class Codec:
    """Writes and reads values and exceptions.

    Args:
        targets: The modules whose classes may be made again.
    """

    def __init__(self, targets: Targets) -> None:
        self._serializer = _WireSerializer(targets)
        self.targets = targets

    def encode(self, value: object, what: str) -> bytes:
        """Return a value as bytes.

        Args:
            value: The value.
            what: What it is, for the message.

        Raises:
            TransferError: The value, or one in it, has no stored form.
        """
        return encode(value, what)

    def decode(self, data: bytes, what: str) -> Any:
        """Return the value that bytes hold.

        Args:
            data: What `encode` returned; empty: None.
            what: What it is, for the message.

        Raises:
            TransferError: A class in it may not be made again, or is not there.
        """
        if not data:
            return None
        self._serializer.problem = None
        try:
            (value,) = self._serializer.loads_typed(("msgpack", data))
        except TransferError:
            raise
        except Exception as error:
            problem = self._serializer.problem or f"{type(error).__name__}: {error}"
            raise TransferError(f"{what} cannot be read: {problem}") from error
        return value

    # Exceptions.

    def describe(self, error: BaseException, where: str, depth: int = 0) -> dict[str, object]:
        """Return an exception as data.

        Args:
            error: The exception.
            where: The worker, for the note.
            depth: How many exceptions it is the cause of.
        """
        cls = type(error)
        record: dict[str, Any] = {
            "module": cls.__module__,
            "name": cls.__qualname__,
            "said": _said(error),
            "args": _encoded(list(error.args)),
            "state": {},
            "notes": [str(each) for each in getattr(error, "__notes__", ())],
        }
        left_out = []
        for name, value in vars(error).items():
            encoded = None if name in _OWN_STATE else _encoded(value)
            if encoded is not None:
                record["state"][name] = encoded
            elif name not in _OWN_STATE:
                left_out.append(name)
        if left_out:
            record["notes"].append(f"Attributes that stayed in {where}: {', '.join(left_out)}")
        if depth == 0:
            text = "".join(traceback.format_exception(cls, error, _beyond_this_package(error.__traceback__))).rstrip()
            record["trace"] = f"In {where}:\n{text}"
        cause = error.__cause__
        if cause is not None and depth < _MOST_CAUSES:
            record["cause"] = self.describe(cause, where, depth + 1)
        return record

    def rebuild(self, record: Mapping[str, Any]) -> BaseException:
        """Make the exception again that data describe."""
        error = self._made(record)
        for note in (*record["notes"], *((record["trace"],) if "trace" in record else ())):
            error.add_note(note)
        if "cause" in record:
            error.__cause__ = self.rebuild(record["cause"])
        return error

    def _made(self, record: Mapping[str, Any]) -> BaseException:
        cls = self._exception_class(record["module"], record["name"])
        kind = f"{record['module']}.{record['name']}".removeprefix("builtins.")
        if cls is not None and record["args"] is not None:
            try:
                arguments = self.decode(record["args"], "the arguments of an exception")
                attributes = record["state"].items()
                state = {name: self.decode(value, f"the attribute {name!r}") for name, value in attributes}
                error: BaseException = cls.__new__(cls, *arguments)
                error.__dict__.update(state)
                error.args = tuple(arguments)
            except Exception:  # what the class's own code raises
                return JobError(f"{kind}: {record['said']}", kind=kind)
            return error
        return JobError(f"{kind}: {record['said']}", kind=kind)

    def _exception_class(self, module: str, name: str) -> type[Exception] | None:
        """Return the class of an exception: one that is loaded here, or of an allowed module."""
        found: object = sys.modules.get(module)
        if found is None and self.targets.permits(module):
            try:
                found = importlib.import_module(module)
            except Exception:  # what the module's own code raises
                return None
        for part in name.split("."):
            found = getattr(found, part, None)
        return found if isinstance(found, type) and issubclass(found, Exception) else None


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorData:
    """An exception among the values of a call.

    Attributes:
        record: What `Codec.describe` returned.
    """

    record: dict[str, Any]

    @staticmethod
    def of(value: Any, codec: Codec) -> Any:
        """Return an exception as data, and any other value as it is."""
        return ErrorData(codec.describe(value, "a worker")) if isinstance(value, BaseException) else value

    @staticmethod
    def taken(value: Any, codec: Codec) -> Any:
        """Return the exception that data describe, and any other value as it is."""
        return codec.rebuild(value.record) if isinstance(value, ErrorData) else value


def encode(value: object, what: str) -> bytes:
    """Return a value as bytes, see `Codec.encode`."""
    try:
        return _PLAIN.dumps_typed([value])[1]
    except Exception as error:
        path, culprit = next(_culprits(value, ""), ("", value))
        at = f" at {path}" if path else ""
        raise TransferError(
            f"{what} cannot be sent between processes: the value of type {type(culprit).__name__}{at} has no stored "
            "form; use what checkpoints store: plain values, messages, dataclasses, Pydantic models"
        ) from error


_PLAIN = StrictSerializer()


def _beyond_this_package(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the worker's own frames at its start; all of it if it has no others."""
    found = trace
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_HERE):
        found = found.tb_next
    return found or trace


def _encoded(value: object) -> bytes | None:
    try:
        return encode(value, "an exception")
    except TransferError:
        return None


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # what the class's own code raises
        return ""


def _culprits(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the innermost values that have no stored form, with the path to each."""
    try:
        _PLAIN.dumps_typed([value])
    except Exception:
        inner = list(_inside(value, path))
        found = [each for where, item in inner for each in _culprits(item, where)]
        yield from found or [(path, value)]


def _inside(value: Any, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r}]", each) for key, each in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"{path}[{index}]", each) for index, each in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f"{path}.{each.name}", getattr(value, each.name)) for each in dataclasses.fields(value))
    elif hasattr(value, "model_fields_set"):
        yield from ((f"{path}.{name}", each) for name, each in dict(value).items())


class _WireSerializer(StrictSerializer):
    """The checkpoint serialiser, for classes of allowed modules.

    Attributes:
        problem: Why a class could not be made again; None if none was met.
    """

    def __init__(self, targets: Targets) -> None:
        super().__init__()
        self._targets = targets
        self._classes: dict[tuple[str, str], object] = {}
        self.problem: str | None = None

    def _allowed_class(self, module: str, name: str) -> object:
        found = self._classes.get((module, name))
        if found is None:
            found = self._classes[module, name] = self._class_at(module, name)
        return found

    def _class_at(self, module: str, name: str) -> object:
        known = super()._allowed_class(module, name) if module != wire.ADDRESS else getattr(types, name, None)
        if known is not None:
            return known
        shared = any(module == each or module.startswith(f"{each}.") for each in _SHARED)
        if not (shared or self._targets.permits(module)):
            raise self._refused(
                f"it holds a value of the class {name!r} of the module '{module}', which is not among the allowed "
                f"modules ({', '.join(self._targets.allowed)}); allow it"
            )
        try:
            found: object = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise self._refused(
                f"it holds a value of the class {name!r} of the module '{module}', which cannot be imported here; "
                "define the class at the top of a module"
            ) from error
        if not isinstance(found, type):
            raise self._refused(f"'{module}:{name}' is no class")
        return found

    def _refused(self, problem: str) -> TransferError:
        self.problem = problem
        return TransferError(problem)
