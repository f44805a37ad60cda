"""The file of a recording: lines of JSON, the first of which says what it is.

Rules
-----
* A file is made with mode 0600, and one that exists is not written over unless that was asked for.
* A line is written at once and whole, so a process that dies leaves a recording up to where it came. A last line
  without its end is left out when the file is read.
* Secrets are replaced before a line is written: what looks like one, and the values of keys named like one.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stategraph.agent.settings.secrets import HIDDEN
from stategraph.governance.redaction import Redactor
from stategraph.replay import codec
from stategraph.replay.codec import Json
from stategraph.replay.errors import RecordingError

SCHEMA: Final = 1
"""The version of the form of recordings that this code writes; it reads this one and those before."""


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

    def clean(self, value: Json) -> Json:
        """Return JSON without secrets; texts that have none stay as they are."""
        if isinstance(value, str):
            found = self._redactor.secrets(value)
            self.hidden += found != value
            return found
        if isinstance(value, list):
            return [self.clean(each) for each in value]
        return {name: self._named(name, each) for name, each in value.items()} if isinstance(value, dict) else value

    def _named(self, name: str, value: Json) -> Json:
        if isinstance(value, str) and value and value != HIDDEN and self._redactor.is_secret(name):
            self.hidden += 1
            return HIDDEN
        return self.clean(value)


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

    def write(self, line: Mapping[str, Json]) -> None:
        """Write a line, without secrets."""
        data = f"{codec.text(self._cleaner.clean(dict(line)))}\n".encode(errors="surrogatepass")
        with self._lock:
            while data:
                data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


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
