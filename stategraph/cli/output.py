"""Output of commands: results and progress on standard output, errors in sentences on standard error.

Rules
-----
* With `--json` every result is JSON, errors too; without it, text for people.
* An error that the user can do something about is a sentence and exit code 2. Any other is a fault of this package or
  of a program, and keeps its traceback.
* What is told while runs are executed is written by threads (`lines`): a reader that is slow holds up no heartbeat.
* Passwords and tokens in addresses are not shown.
* What steers a terminal is shown there as escapes (`style`), and goes to files and other programs as it is.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO
from urllib.parse import parse_qsl, unquote, urlencode

from stategraph.cli.parser import Parser
from stategraph.cli.style import for_terminal

if TYPE_CHECKING:
    from stategraph.agent.settings.secrets import Secrets
    from stategraph.cli.lines import Lines

#: Names the database if the command line does not: an address on the command line can be read by every user of the
#: machine.
STORE_VARIABLE: Final = "STATEGRAPH_STORE"

#: The same for the NATS server.
NATS_VARIABLE: Final = "STATEGRAPH_NATS"

NOTHING_DONE: Final = 1
FAILED: Final = 2
#: Ctrl-C, as shells number it.
STOPPED: Final = 130

_HIDDEN: Final = "***"


#: The schemes of addresses of NATS servers, whose login may be a token alone.
_NATS: Final = ("nats", "tls")

#: Packages whose errors are about the database.
_CLIENTS: Final = ("psycopg", "psycopg_pool")


class UnwritableOutputError(Exception):
    """Standard output takes no more, such as a file on a full disk."""


def write(text: str, end: str = "\n") -> None:
    """Print a line at once, as several processes may share the output; a reader that has seen enough is no error.

    Characters that the output's encoding does not have are written as escapes.

    Args:
        text: The line.
        end: Written behind it.

    Raises:
        UnwritableOutputError: It cannot be written.
    """
    if sys.stdout is None:  # it was closed before the start
        return
    try:
        _put(f"{text}{end}", sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise UnwritableOutputError(f"The output cannot be written: {error.strerror}. Send it elsewhere") from error


def write_error(text: str, end: str = "\n") -> None:
    """Print a line on standard error at once.

    What it tells of goes on if it cannot be written: its reader has seen enough, or the disk is full.

    Args:
        text: The line.
        end: Written behind it.
    """
    if sys.stderr is None:  # it was closed before the start
        return
    try:
        _put(f"{text}{end}", sys.stderr)
    except OSError:
        _discard(sys.stderr)


def _put(text: str, stream: TextIO) -> None:
    # `print` writes the end of the line by itself if nothing is buffered
    stream.write(encodable(text, stream))
    stream.flush()


def _discard(stream: TextIO) -> None:
    """Lose what a stream holds and is given from now on, as Python would complain again at its exit."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def encodable(text: str, stream: TextIO) -> str:
    """Return a text with escapes for what a stream cannot encode, as on a terminal without UTF-8, or must not show."""
    text = for_terminal(text, stream)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


class Output:
    """The output of one command.

    Args:
        as_json: Whether results are JSON.
        store: The address of the database, whose secrets are kept out of all texts.
        nats: That of the NATS server, as well.
    """

    def __init__(self, *, as_json: bool, store: str, nats: str = "") -> None:
        self.as_json = as_json
        self.store = masked(store)
        self.nats = masked(nats)
        self._addresses = (store, nats)
        self._secrets: Secrets | None = None
        self._lines: dict[TextIO, Lines] = {}

    def show(self, value: object, text: str, *, optional: bool = False) -> None:
        """Print a result.

        Args:
            value: The result for programs.
            text: The result for people.
            optional: Whether it may be left out if the reader is slow.
        """
        self._write(self.clean(_json(value) if self.as_json else text), optional=optional)

    def show_json(self, text: str) -> None:
        """Print a result that is JSON already."""
        self._write(self.clean(text))

    def _write(self, text: str, *, optional: bool = False) -> None:
        if (lines := self._lines.get(sys.stdout)) is not None:
            lines.put(for_terminal(text, sys.stdout), optional=optional)
        else:
            write(text)

    def complain(self, text: str) -> None:
        """Print a line on standard error."""
        if (lines := self._lines.get(sys.stderr)) is not None:
            lines.put(for_terminal(text, sys.stderr), optional=True)
        else:
            write_error(text)

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Write by threads until the end of the block, where what waits comes out."""
        from stategraph.cli.lines import Lines

        for stream in (sys.stdout, sys.stderr):
            left_out = partial(_left_out, self.as_json and stream is sys.stdout)
            with suppress(OSError, ValueError, AttributeError):  # it is no file, or there is none
                self._lines[stream] = Lines(stream.fileno(), left_out)
                # What graphs print comes in between, line by line, and not when a buffer is full.
                stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        try:
            yield
        finally:
            for lines in self._lines.values():
                lines.close()
            self._lines.clear()

    def fail(self, error: BaseException) -> int:
        """Print what went wrong, and return the exit code."""
        message = self.clean(str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error))
        if self.as_json:
            self._write(_json({"error": {"type": type(error).__name__, "message": message}}))
        self.complain(f"stategraph: {message}")
        return FAILED

    def clean(self, text: str) -> str:
        """Hide the secrets of the addresses in a text."""
        if self._secrets is None:
            found = [secret for each in self._addresses for secret in _secrets_of(each)]
            if not found:
                return text
            from stategraph.agent.settings.secrets import Secrets  # the forms that other code writes them in; 0.2 s

            self._secrets = Secrets(found)
        return self._secrets.text(text)

    def log_to_stderr(self) -> None:
        """Have the warnings of this process's loggers on standard error, without secrets."""
        handler = _Handler(self)
        handler.setFormatter(_CleanFormatter(self))
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
        # Tells every attempt to connect again; what it comes to is told by what wanted the connection.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _left_out(as_json: bool, number: int) -> str:
    if as_json:
        return _json({"at": time.time(), "event": "left_out", "lines": number})
    return f"{number} lines were left out, as the reader of this output is slow"


class _Handler(logging.Handler):
    """Hands records to an output."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.complain(self.format(record))
        except Exception:
            self.handleError(record)


class _CleanFormatter(logging.Formatter):
    """Formats records without secrets."""

    def __init__(self, output: Output) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        self._output = output

    def format(self, record: logging.LogRecord) -> str:
        return self._output.clean(super().format(record))


def add_store(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add the options that every command on a database has.

    Args:
        parser: Parses the command.
        again: The command is part of another one that has these options: without them, those are meant.
    """
    parser.add_argument(
        "--store",
        metavar="URL",
        default=argparse.SUPPRESS if again else os.environ.get(STORE_VARIABLE),
        help="the database of runs and checkpoints: sqlite:///runs.db or postgresql://...; by default that in the "
        f"environment variable {STORE_VARIABLE}, which other users of the machine cannot read",
    )
    add_nats(parser, again=again)
    default = argparse.SUPPRESS if again else False
    parser.add_argument("--json", action="store_true", default=default, help="print JSON instead of text")


def add_nats(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add the option that names the NATS server, see `add_store`."""
    parser.add_argument(
        "--nats",
        metavar="URL",
        default=argparse.SUPPRESS if again else os.environ.get(NATS_VARIABLE),
        help="the NATS server that wakes workers and readers: nats://127.0.0.1:4222 or tls://TOKEN@host; by default "
        f"that in the environment variable {NATS_VARIABLE}",
    )


def add_probes(parser: argparse.ArgumentParser) -> None:
    """Add the option of processes that are watched."""
    parser.add_argument(
        "--probes",
        metavar="HOST:PORT",
        help="answer /live, /ready and /metrics there, without credentials: for Prometheus and Kubernetes alone "
        "(default: nowhere)",
    )


def add_action(actions: Any, name: str, summary: str, *, of_thread: bool = False, **defaults: Any) -> Parser:
    """Add an action of a command on a database, and return its parser.

    Args:
        actions: The actions of the command.
        name: The word for it.
        summary: A sentence for its help.
        of_thread: Whether a thread has to be named first.
        **defaults: What its arguments have beside those that are typed: `run`, and `act`, which that calls.
    """
    parser: Parser = actions.add_parser(name, help=summary, description=summary)
    if of_thread:
        parser.add_argument("thread_id", metavar="THREAD")
    add_store(parser)
    parser.set_defaults(**defaults)
    return parser


def add_threads_store(parser: argparse.ArgumentParser, *, otherwise: str) -> None:
    """Add the option of commands that execute on threads, and need no database for it.

    Args:
        parser: Parses the command.
        otherwise: What keeps threads without the option and the variable.
    """
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get(STORE_VARIABLE),
        help="the database of threads, such as sqlite:///threads.db; by default that in the environment variable "
        f"{STORE_VARIABLE}, else {otherwise}",
    )


def checked_store(store: str | None) -> str | None:
    """Return an address that was given with `--store`, or none.

    Raises:
        ConfigurationError: It is of no database that is known.
    """
    from stategraph.errors import ConfigurationError
    from stategraph.savers.urls import check_address

    if store:
        try:
            check_address(store)
        except ConfigurationError as error:
            raise ConfigurationError(f"--store: {error}") from None
    return store


def text_of(file: str) -> str:
    """Return the text of a file; of standard input for `-`.

    Raises:
        ConfigurationError: It cannot be read.
    """
    from stategraph.errors import ConfigurationError

    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"'{file}' cannot be read: {error}") from error


def write_file(file: str, text: str) -> None:
    """Write a file of text.

    Raises:
        ConfigurationError: It cannot be written.
    """
    from stategraph.errors import ConfigurationError

    try:
        Path(file).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"'{file}' cannot be written: {error.strerror}") from error


def positive(text: str) -> int:
    """Read an argument that is a number of at least 1.

    Raises:
        ArgumentTypeError: It is less.
        ValueError: It is no number.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def port(text: str) -> int:
    """Read an argument that is the number of a port, or 0.

    Raises:
        ArgumentTypeError: There is no such port.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"'{text}' is no port; expected a number from 0 to 65535")
    return int(text)


def store_of(arguments: argparse.Namespace) -> str:
    """Return the address of the database.

    Raises:
        ConfigurationError: None was given, or it is that of a database in memory.
    """
    from stategraph.errors import ConfigurationError

    if not arguments.store:
        raise ConfigurationError(
            f"No database was named: give --store sqlite:///runs.db, or set the environment variable {STORE_VARIABLE}"
        )
    if arguments.store.endswith(":memory:"):
        raise ConfigurationError("A database in memory has no other processes: name a file, as in sqlite:///runs.db")
    store: str = arguments.store
    return store


def existing_store_of(arguments: argparse.Namespace) -> str:
    """Return the address of the database, which is not made if it is not there.

    Raises:
        ConfigurationError: None was given, it is in memory, or there is no such file.
    """
    from stategraph.errors import ConfigurationError
    from stategraph.savers.sqlite_files import SCHEME, path_in

    store = store_of(arguments)
    path = path_in(store)
    if store.startswith(SCHEME) and not Path(path).exists():
        raise ConfigurationError(f"There is no database '{path}': check the path in --store")
    return store


def masked(url: str) -> str:
    """Return an address with stars for its password."""
    scheme, name, password, where, query = _parts_of(url)
    if scheme in ("", "sqlite"):
        return url
    if scheme in _NATS and name and password is None:
        name = _HIDDEN  # a token
    login = name if password is None else f"{name}:{_HIDDEN}"
    asked = urlencode([(key, _HIDDEN if "password" in key else value) for key, value in query], safe="*/:")
    return f"{scheme}://{login}{where}{asked and f'?{asked}'}"


def _secrets_of(url: str) -> list[str]:
    scheme, name, password, _, query = _parts_of(url)
    if scheme == "sqlite":
        return []
    if scheme in _NATS and password is None:
        password = name  # a token
    asked = [value for key, value in query if "password" in key]
    return [text for text in (password, unquote(password or ""), *asked) if text]


def _parts_of(url: str) -> tuple[str, str, str | None, str, list[tuple[str, str]]]:
    """Return scheme, user, password, the rest and the query of an address, as libpq takes it apart.

    `urlsplit` ends a login at "/", "?" and "#", which passwords may contain.
    """
    scheme, _, rest = url.partition("://")
    login, at, where = rest.rpartition("@")
    if "password=" in login.partition("?")[2]:  # that "@" is in a password of the query
        where, _, query = rest.partition("?")
        login, at, where = where.rpartition("@")
    else:
        where, _, query = where.partition("?")
    name, colon, password = login.partition(":")
    return scheme, name, password if colon else None, at + where, parse_qsl(query)


def run_command(
    command: Callable[[argparse.Namespace, Output], Awaitable[int]],
    arguments: argparse.Namespace,
    *,
    in_background: bool = False,
) -> int:
    """Run a command and return its exit code; an error that a user can do something about is printed as a sentence.

    Args:
        command: The command.
        arguments: Its arguments.
        in_background: Whether its output is written by threads.
    """
    import anyio

    output = Output(as_json=arguments.json, store=arguments.store or "", nats=arguments.nats or "")
    output.log_to_stderr()
    with output.in_background() if in_background else nullcontext():
        try:
            return anyio.run(command, arguments, output)
        except KeyboardInterrupt:
            return STOPPED
        except Exception as error:
            if (known := expected(error)) is None:
                raise
            return output.fail(known)


def plain_command(
    command: Callable[[argparse.Namespace, Output], int], arguments: argparse.Namespace, *, as_json: bool
) -> int:
    """Run a command that uses no database and no event loop, as `run_command` runs others."""
    from stategraph.errors import ConfigurationError, MissingPackageError

    output = Output(as_json=as_json, store="")
    try:
        return command(arguments, output)
    except KeyboardInterrupt:
        return STOPPED
    except (ConfigurationError, MissingPackageError, OSError) as error:
        return output.fail(error)


def expected(error: BaseException) -> BaseException | None:
    """Return the error that a user can do something about.

    Args:
        error: An error, or a group.

    Returns:
        It, or the first one in the group; None if it, or one in the group, is of another kind.
    """
    import sqlite3

    from stategraph.errors import ConfigurationError, MissingPackageError
    from stategraph.workers.leases import IllegalRunMove
    from stategraph.workers.nats.connection import NatsUnavailableError
    from stategraph.workers.registry.port import StoreUnavailableError
    from stategraph.workers.registry.values import ThreadBusy, UnknownRunError

    known = (
        ConfigurationError,
        IllegalRunMove,
        MissingPackageError,
        NatsUnavailableError,
        StoreUnavailableError,
        ThreadBusy,
        UnknownRunError,
        sqlite3.OperationalError,
    )
    leaves = list(_leaves(error))
    for each in leaves:
        # Exactly a `DatabaseError` is a file that is no database, or a damaged one.
        of_database = type(each) is sqlite3.DatabaseError or type(each).__module__.partition(".")[0] in _CLIENTS
        if not of_database and not isinstance(each, known):
            return None
    return leaves[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def counted(number: int, word: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their titles, in columns."""
    columns = list(zip(titles, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, *rows)
    )
    return "\n".join(lines)


def since(seconds: float) -> str:
    """Return a duration in its largest unit, as in `3 min`."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"
