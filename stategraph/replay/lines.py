"""The file of a recording: lines of JSON, the first of which says what it is.

Rules
-----
* A file is made with mode 0600, and one that exists is not written over unless that was asked for.
* A line is written at once and whole, so a process that dies leaves a recording up to where it came. A last line
  without its end is left out when the file is read.
* Secrets are replaced before a line is written: what looks like one, and the whole value of whatever is named like one:
  keys, channels, parameters, pairs. Texts that were hidden by name in what a graph was given are hidden in all that
  follows, too, as a replay hands `[redacted]` to the program in their place.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from stategraph.agent.settings.secrets import HIDDEN, Secrets
from stategraph.governance.redaction import Redactor
from stategraph.replay import codec
from stategraph.replay.codec import Json
from stategraph.replay.errors import RecordingError

SCHEMA: Final = 1
"""The version of the form of recordings that this code writes; it reads this one and those before."""


_log: Final = logging.getLogger("stategraph.replay")

_GIVEN: Final = frozenset({"input", "config", "options"})
"""What a program is given by its caller, in the first line of a call."""

_FRAME: Final = frozenset(
    {"kind", "method", "what", "name", "node", "task", "tasks", "ns", "call", "id", "step", "graph"}
)
"""Parts of lines that are of the recording itself; a secret that has the same text is not hidden in them."""


class Cleaner:
    """Replaces secrets in JSON.

    Attributes:
        hidden: How many were replaced so far.

    Args:
        redactor: Finds them; None: one that knows the usual forms and names.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self.hidden = 0
        self._redactor = redactor or Redactor(personal=False)
        self._secrets = Secrets()
        self._lock = threading.Lock()

    def line(self, line: Mapping[str, Json]) -> dict[str, Json]:
        """Return a line without secrets; remembers those that a program was given in it under their names."""
        for name in _GIVEN if line["kind"] == "begin" else ("value",) if line["kind"] == "answer" else ():
            self._learn(line.get(name))
        return {name: each if name in _FRAME else self._part(name, each) for name, each in line.items()}

    def _part(self, name: str, value: Json) -> Json:
        return [self._pair(each) for each in value] if name == "writes" else self.clean(value)

    def _learn(self, value: Json) -> None:
        found = {each for each in _texts(value, self._is_secret) if each != HIDDEN}
        if found:
            with self._lock:
                self._secrets |= Secrets(found)

    def clean(self, value: Json) -> Json:
        """Return JSON without secrets; texts that have none stay as they are."""
        if isinstance(value, str):
            known = self._secrets.text(value) if self._secrets else value
            found = self._redactor.secrets(known)
            self.hidden += found != value
            return found
        if isinstance(value, list):
            return [self.clean(each) for each in value]
        return self._dict(value) if isinstance(value, dict) else value

    def _dict(self, value: dict[str, Json]) -> Json:
        kind = value.get(codec.KIND)
        if kind == "argument":
            return self.named(value["name"], value["value"])
        if kind == "dict":
            return {**value, "items": [self._pair(each) for each in value["items"]]}
        if kind == "tuple" and len(value["items"]) == 2:
            return {**value, "items": self._pair(value["items"])}
        return {
            name: each if kind is not None and name in (codec.KIND, "class") else self.named(name, each)
            for name, each in value.items()
        }

    def named(self, name: Json, value: Json) -> Json:
        """Return what stands under a name without secrets: nothing of it, if the name is that of a secret."""
        if value is None or isinstance(value, bool) or value in ("", HIDDEN) or not self._is_secret(name):
            return self.clean(value)
        self.hidden += 1
        return HIDDEN

    def _pair(self, pair: list[Json]) -> list[Json]:
        return [self.clean(pair[0]), self.named(pair[0], pair[1])]

    def _is_secret(self, name: Json) -> bool:
        if isinstance(name, dict) and name.get(codec.KIND) == "bytes":
            name = codec.decode(name).decode("latin-1")
        return isinstance(name, str) and self._redactor.is_secret(name)


def _texts(value: Json, is_secret: Callable[[Json], bool], named: bool = False) -> Iterator[str]:
    """Yield the texts that stand under names of secrets, by themselves or in lists."""
    if isinstance(value, str):
        if named:
            yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each, is_secret, named)
    elif isinstance(value, dict):
        for name, each in _named_in(value):
            yield from _texts(each, is_secret, is_secret(name) or (named and name is None))


def _named_in(value: dict[str, Json]) -> Iterator[tuple[Json, Json]]:
    """Yield what an object of JSON holds with its names; None for one that stands by itself."""
    kind = value.get(codec.KIND)
    if kind is None:
        yield from value.items()
    elif kind == "dict":
        yield from map(tuple, value["items"])
    elif "fields" in value:
        yield from value["fields"].items()
    elif kind == "tuple" and len(value["items"]) == 2:
        yield None, value["items"][0]
        yield tuple(value["items"]) if isinstance(value["items"][0], str) else (None, value["items"][1])
    else:
        yield None, value.get("items")


class Writer:
    """Writes a recording; several threads may.

    Args:
        path: The file, which is made here.
        cleaner: Replaces secrets.
        overwrite: Whether a file that is there is replaced.

    Raises:
        RecordingError: There is a file already, or none can be made.
    """

    def __init__(self, path: Path, cleaner: Cleaner, *, overwrite: bool) -> None:
        self.path = path
        self._cleaner = cleaner
        self._lock = threading.Lock()
        made = os.O_TRUNC if overwrite else os.O_EXCL
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | made, 0o600)
        except FileExistsError:
            raise RecordingError(
                f"There is a file '{path}' already: choose another name, or allow to replace it (overwrite=True)"
            ) from None
        except OSError as error:
            raise RecordingError(f"The recording '{path}' cannot be written: {error.strerror}") from error
        os.fchmod(self._file, 0o600)  # one that was there keeps its mode otherwise

    @property
    def is_open(self) -> bool:
        """Return whether the file has not been closed."""
        return self._file >= 0

    def write(self, line: Mapping[str, Json]) -> None:
        """Write a line, without secrets. One that comes after the end, of what a node left behind, is left out."""
        data = f"{codec.text(self._cleaner.line(line))}\n".encode(errors="surrogatepass")
        with self._lock:
            if self._file < 0:
                _log.debug("a line of the kind '%s' came after the end of the recording '%s'", line["kind"], self.path)
                return
            while data:
                data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Close the file; again, it does nothing."""
        with self._lock:
            file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def read(path: Path) -> list[dict[str, Json]]:
    """Return the lines of a recording, the first of them its header.

    Raises:
        RecordingError: It cannot be read, is no recording, is damaged in its middle, or of a newer version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"The recording '{path}' cannot be read: {error.strerror}") from error
    whole, _, _ = data.rpartition(b"\n")  # behind it is a line that a process had no time to end
    lines = []
    for number, line in enumerate(whole.split(b"\n"), start=1):
        try:
            found = json.loads(line.decode(errors="surrogatepass"))
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
            raise RecordingError(
                _no_recording(path) if number == 1 else f"'{path}' is damaged in line {number}: no JSON"
            )
        lines.append(found)
    _check_header(path, lines[0])
    return lines


def _no_recording(path: Path) -> str:
    return f"'{path}' is no recording: its first line is not the header that 'stategraph record' writes"


def _check_header(path: Path, header: Mapping[str, Json]) -> None:
    schema = header.get("schema")
    if header["kind"] != "recording" or type(schema) is not int:
        raise RecordingError(_no_recording(path))
    if schema > SCHEMA:
        raise RecordingError(
            f"'{path}' has schema {schema}, written by stategraph {header.get('stategraph')}; this version reads up to "
            f"{SCHEMA}: use that version or a newer one, or record again"
        )
