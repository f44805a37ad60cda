"""`stategraph audit`: audit logs read, verified, exported, erased from and archived.

Who can reach the log and its keys is its administrator: the command has all roles, and what it changes is recorded in
the log under the name of the user who ran it.
"""

from __future__ import annotations

import argparse
import getpass
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from stategraph.cli import pruning
from stategraph.cli.output import NOTHING_DONE, STOPPED, Output, counted, expected, positive, table, write
from stategraph.cli.parser import Parser

if TYPE_CHECKING:
    from datetime import datetime

    from stategraph.governance.audit.filters import AuditFilter
    from stategraph.governance.audit.reader import AuditEntry, AuditReader
    from stategraph.governance.audit.storage import AuditStorage
    from stategraph.governance.audit.verification import Verification
    from stategraph.governance.context import Principal
    from stategraph.governance.keyring import Keyring

#: Names the log if the command line does not.
LOG_VARIABLE: Final = "STATEGRAPH_AUDIT"

_ROLES: Final = frozenset({"auditor", "admin", "privacy-officer"})
_SEVERITIES: Final = ("debug", "info", "warning", "error", "critical")
_ALGORITHMS: Final = ("AES-256-GCM", "ChaCha20-Poly1305")
_SHOWN: Final = 20
"""Findings of a tenant that are printed."""

_WORDS: Final = ("tenant", "types", "run_", "thread", "call", "principal", "capability", "decision", "trace", "id")
"""Arguments that are compared with what the log has; beside them `user` and `reason` are written to it."""


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "See docs/audit.md."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)
    add = partial(_add, actions)

    query = add("query", "Show events of a tenant, the newest first.", _query, of_tenant=True, filters=True)
    query.add_argument("--limit", type=positive, default=50, metavar="N", help="at most so many (default: 50)")
    query.add_argument("--oldest", action="store_true", help="begin with the oldest")
    query.epilog = "Exit code: 0 there are some, 1 there are none, 2 it does not work."

    verify = add("verify", "Verify the chains of tenants: every row, and every signed head.", _verify)
    verify.add_argument("--tenant", action="append", metavar="NAME", help="only this one; may be given several times")
    verify.add_argument("--heads", metavar="FILE", help="signed heads that were kept elsewhere, as lines of JSON")
    verify.add_argument("--archive", metavar="FILE", help="an archived month in place of the log: its audit-*.json")
    verify.epilog = "Exit code: 0 nothing was found, 1 something was, 2 it does not work."

    export = add("export", "Write events of a tenant to a file.", _export, of_tenant=True, filters=True)
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="the form (default: jsonl)")
    export.add_argument("--output", metavar="FILE", default="-", help="the file (default: standard output)")

    erase = add("erase", "Erase the data of events; the events stay, and verify.", _erase, of_tenant=True, filters=True)
    erase.add_argument("--reason", required=True, metavar="TEXT", help="stays in the log: no personal data")
    erase.add_argument("--dry-run", action="store_true", help="erase nothing, and say how many would be")
    erase.epilog = "Exit code: 0 done, 1 there was nothing to erase, 2 it does not work."

    archive = add("archive", "Write months that are over to files, and delete them from the log.", _archive)
    archive.add_argument(
        "--older-than", type=_age, required=True, metavar="AGE", help="only months so long ago, as in 365d"
    )
    target = archive.add_mutually_exclusive_group(required=True)
    target.add_argument("--to", metavar="FOLDER", help="for the files; made if it is not there")
    target.add_argument("--delete", action="store_true", help="write no files: the rows are gone")
    target.add_argument("--dry-run", action="store_true", help="archive nothing, and say which months would be")
    archive.epilog = "Exit code: 0 done, 1 no month is so old, 2 it does not work."

    rekey = add("rekey", "Encrypt data with the active key, so that older ones can go.", _rekey)
    rekey.add_argument("--tenant", metavar="NAME", help="only those of this organisation (default: of all)")
    rekey.epilog = "Exit code: 0 done, 1 nothing was left to encrypt, 2 it does not work."

    keygen = actions.add_parser("keygen", help="make a key file", description="Make a key file, or add new keys to it.")
    keygen.add_argument("file", metavar="FILE")
    keygen.add_argument("--algorithm", choices=_ALGORITHMS, default=_ALGORITHMS[0], help="how to encrypt")
    keygen.add_argument("--json", action="store_true", help="print JSON instead of text")
    keygen.set_defaults(run=run, act=_keygen, log=None, keys=None)


def _add(
    actions: Any, name: str, summary: str, act: Any, *, of_tenant: bool = False, filters: bool = False
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    if of_tenant:
        parser.add_argument("--tenant", required=True, metavar="NAME", help="the organisation")
    if filters:
        _add_filters(parser)
    parser.add_argument(
        "--log",
        metavar="URL",
        default=os.environ.get(LOG_VARIABLE),
        help="the log: sqlite:///audit.db, postgresql://... or jsonl:///folder; by default that in the environment "
        f"variable {LOG_VARIABLE}",
    )
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="the key file; by default that in the environment variable STATEGRAPH_AUDIT_KEYS, else none",
    )
    parser.add_argument("--as", dest="user", metavar="NAME", help="who does it, for the log (default: the user)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run, act=act)
    return parser


def _add_filters(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--type", action="append", dest="types", metavar="TYPE", help="as in action.started or 'approval.*'; repeatable"
    )
    add("--run", dest="run_", metavar="ID")
    add("--thread", metavar="ID")
    add("--call", metavar="ID")
    add("--principal", metavar="NAME", help="as in acme/ann")
    add("--capability", metavar="ID", help="as in 'mcp:github/*'")
    add("--decision", metavar="NAME")
    add("--trace", metavar="ID")
    add("--id", metavar="ID", help="of the event")
    add("--since", type=_moment, metavar="TIME", help="as in 2026-11-30T08:00 (UTC), or an age as in 24h")
    add("--until", type=_moment, metavar="TIME", help="before this time")
    add("--severity", choices=_SEVERITIES, help="this one and above")


def _moment(text: str) -> datetime:
    """Read a time, or an age.

    Raises:
        ArgumentTypeError: It is neither.
    """
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _age(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _age(text: str) -> datetime:
    """Read an age, and return the time that is so long ago.

    Raises:
        ArgumentTypeError: It is none, or longer than 1,000 years.
    """
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) - timedelta(seconds=pruning.age(text))


def _filter(arguments: argparse.Namespace) -> AuditFilter:
    from stategraph.governance.audit.event import Severity
    from stategraph.governance.audit.filters import AuditFilter

    return AuditFilter(
        types=tuple(arguments.types or ()),
        run_id=arguments.run_,
        thread_id=arguments.thread,
        call_id=arguments.call,
        principal=arguments.principal,
        capability_id=arguments.capability,
        decision=arguments.decision,
        trace_id=arguments.trace,
        id=arguments.id,
        since=arguments.since,
        until=arguments.until,
        severity=None if arguments.severity is None else Severity[arguments.severity.upper()],
    )


def run(arguments: argparse.Namespace) -> int:
    """Perform an action and return the exit code."""
    from stategraph.governance.errors import GovernanceError

    output = Output(as_json=arguments.json, store=arguments.log or "")
    output.log_to_stderr()
    try:
        _check_words(arguments)
        code: int = arguments.act(arguments, output)
    except KeyboardInterrupt:
        return STOPPED
    except (GovernanceError, OSError) as error:
        return output.fail(error)
    except Exception as error:
        if (known := expected(error)) is None:
            raise
        return output.fail(known)
    return code


def _check_words(arguments: argparse.Namespace) -> None:
    """Return if all that is compared with the log, or written to it, is text.

    Raises:
        ConfigurationError: Something has bytes that are no UTF-8.
    """
    from stategraph.agent.messages.encodable import is_encodable
    from stategraph.errors import ConfigurationError

    for name in (*_WORDS, "user", "reason"):
        value = getattr(arguments, name, None) or ()
        for each in [value] if isinstance(value, str) else value:
            if not is_encodable(each):
                option = {"types": "type", "user": "as"}.get(name, name.rstrip("_"))
                raise ConfigurationError(f"--{option} is {each!a}, which is no text in UTF-8")


def _in_a_cell(text: str | None) -> str:
    """Return a text for a column of a table, whatever is in it: recorded names come from anywhere."""
    from stategraph.governance.visible_text import visible_line

    return visible_line(text or "")


def _storage(arguments: argparse.Namespace) -> AuditStorage:
    from stategraph.errors import ConfigurationError
    from stategraph.governance.audit.storages.urls import storage_at

    if not arguments.log:
        raise ConfigurationError(
            f"No audit log was named: give --log sqlite:///audit.db, or set the environment variable {LOG_VARIABLE}"
        )
    return storage_at(arguments.log, create=False)


def _keyring(arguments: argparse.Namespace) -> Keyring | None:
    from stategraph.governance.keyring import Keyring

    return Keyring.from_file(arguments.keys) if arguments.keys else Keyring.from_environment()


def _principal(arguments: argparse.Namespace, tenant: str) -> Principal:
    from stategraph.governance.context import Principal

    return Principal(tenant, arguments.user or f"cli:{getpass.getuser()}", _ROLES)


def _reader(arguments: argparse.Namespace, storage: AuditStorage) -> AuditReader:
    from stategraph.governance.audit.reader import AuditReader

    return AuditReader(storage, _principal(arguments, arguments.tenant), keyring=_keyring(arguments))


def _query(arguments: argparse.Namespace, output: Output) -> int:
    where, found, cursor = _filter(arguments), list["AuditEntry"](), None
    with closing(_storage(arguments)) as storage:
        reader = _reader(arguments, storage)
        while len(found) < arguments.limit:
            size = min(1000, arguments.limit - len(found))
            page = reader.page(where, limit=size, cursor=cursor, newest=not arguments.oldest)
            found += page.entries
            if (cursor := page.cursor) is None:
                break
    rows = [
        (
            f"{each.seq}",
            f"{each.event.at:%Y-%m-%d %H:%M:%S}",
            _in_a_cell(each.event.type),
            _in_a_cell(each.event.principal),
            _in_a_cell(each.event.capability_id),
            _in_a_cell(each.event.decision),
            _in_a_cell(each.event.run_id),
        )
        for each in found
    ]
    titles = ("SEQ", "AT", "TYPE", "PRINCIPAL", "CAPABILITY", "DECISION", "RUN")
    reasons = Counter(each.unreadable for each in found if each.unreadable is not None)
    notes = [f"{counted(number, 'row')}: {reason}" for reason, number in reasons.items()]
    shown = "\n".join([table(titles, rows), *notes]) if rows else "No such events."
    output.show([each.facts() for each in found], shown)
    return 0 if found else NOTHING_DONE


def _verify(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.audit.archiving import verify_archive
    from stategraph.governance.audit.verification import verify

    keyring = _keyring(arguments)
    if arguments.archive:
        found = verify_archive(arguments.archive, keyring=keyring)
    else:
        heads = _heads(arguments.heads, output)
        with closing(_storage(arguments)) as storage:
            found = verify(storage, arguments.tenant, keyring=keyring, heads=heads)
            if arguments.tenant:
                found = _with_missing(storage, found)
    facts = [
        {
            "tenant": each.tenant,
            "ok": each.ok,
            "rows": each.rows,
            "first": each.first,
            "last": each.last,
            "signed": each.signed,
            "unsigned": each.unsigned,
            "erased": each.erased,
            "unread": each.unread,
            "heads": each.heads_checked,
            "findings": [{"seq": finding.seq, "message": finding.message} for finding in each.findings],
        }
        for each in found
    ]
    output.show(facts, "\n".join(_in_a_cell(line) for each in found for line in _told(each)) or "There are no rows.")
    return 0 if all(each.ok for each in found) else NOTHING_DONE


def _with_missing(storage: AuditStorage, found: list[Verification]) -> list[Verification]:
    """Return outcomes in which a tenant that the log does not have is a finding: a name is easily mistyped."""
    from dataclasses import replace

    from stategraph.governance.audit.verification import Finding

    with storage.reading() as reading:
        there = reading.tenants()
    missing = Finding(None, f"the log has no such tenant; it has: {', '.join(there) or 'none'}")
    return [replace(each, findings=(*each.findings, missing)) if each.tenant not in there else each for each in found]


def _told(found: Verification) -> list[str]:
    """Return the outcome of verifying a tenant, for people."""
    rows = counted(found.rows, "row")
    outcome = "verified" if found.ok else "CHANGED" if found.rows else "MISSING"
    lines = [f"{found.tenant}: {outcome}, {rows}, {found.first} to {found.last}"]
    if found.first > 1:
        lines.append(f"  rows before {found.first} are in archives")
    if found.erased:
        lines.append(f"  the data of {counted(found.erased, 'row')} were erased")
    if found.unread:
        lines.append(f"  not checked: the data of {counted(found.unread, 'row')}, whose keys were not given")
    if found.heads_unchecked:
        lines.append(f"  not checked: {counted(found.heads_unchecked, 'signature')}, whose keys were not given")
    if found.unsigned:
        lines.append(f"  not provable: the last {counted(found.unsigned, 'row')}, which no signed head covers")
    for finding in found.findings[:_SHOWN]:
        lines.append(f"  {'' if finding.seq is None else f'row {finding.seq}: '}{finding.message}")
    if len(found.findings) > _SHOWN:
        lines.append(f"  and {len(found.findings) - _SHOWN} more")
    return lines


def _heads(file: str | None, output: Output) -> list[Any]:
    from stategraph.cli.output import text_of
    from stategraph.errors import ConfigurationError
    from stategraph.governance.audit.lines import read_head_line

    if not file:
        return []
    text = text_of(file)
    *lines, torn = text.split("\n")  # a crash may have cut off the last one
    if torn:
        output.complain(f"The last line of '{file}' has no end and is left out: the file, or its copy, was cut off")
    try:
        return [read_head_line(line) for line in lines]
    except ValueError as error:
        raise ConfigurationError(f"'{file}': {error}") from error


def _export(arguments: argparse.Namespace, output: Output) -> int:
    where = _filter(arguments)
    with closing(_storage(arguments)) as storage:
        reader = _reader(arguments, storage)
        if arguments.output == "-":
            reader.export(cast("IO[str]", _Stdout()), where, format=arguments.format)
            return 0
        with _whole(arguments.output) as file:
            number = reader.export(file, where, format=arguments.format)
    output.show({"events": number, "file": arguments.output}, f"{counted(number, 'event')} in {arguments.output}.")
    return 0


@contextmanager
def _whole(path: str) -> Iterator[IO[str]]:
    """Open a file that is there when the block has ended well, for its owner alone; else all is as it was before.

    What is no file, such as a pipe, is written to at once.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
        return
    real = os.path.realpath(path)  # a link stays one
    number, name = tempfile.mkstemp(dir=os.path.dirname(real), prefix=f".{os.path.basename(real)[:100]}.")
    try:
        with open(number, "w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(name, real)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


class _Stdout:
    """Standard output, for what writes to a file: a reader that has seen enough is no error."""

    def write(self, text: str) -> None:
        write(text, end="")


def _erase(arguments: argparse.Namespace, output: Output) -> int:
    where = _filter(arguments)
    with closing(_storage(arguments)) as storage:
        reader = _reader(arguments, storage)
        if arguments.dry_run:
            number = sum(1 for each in reader.entries(where) if each.event.data or each.unreadable)
        else:
            number = reader.erase(where, reason=arguments.reason)
    verb = "would be erased" if arguments.dry_run else "were erased"
    output.show({"events": number, "dry_run": arguments.dry_run}, f"The data of {counted(number, 'event')} {verb}.")
    return 0 if number else NOTHING_DONE


def _archive(arguments: argparse.Namespace, output: Output) -> int:
    from dataclasses import asdict

    from stategraph.governance.audit.archiving import archive, months_before

    by, keyring = _principal(arguments, "operator"), _keyring(arguments)
    with closing(_storage(arguments)) as storage:
        months = months_before(storage, arguments.older_than)
        if not months or arguments.dry_run:
            text = f"Would be archived: {', '.join(months)}." if months else "No month is so old."
            output.show({"months": months, "dry_run": arguments.dry_run}, text)
            return 0 if months else NOTHING_DONE
        for month in months:
            done = archive(storage, month, arguments.to, by=by, keyring=keyring)
            where = f"in {Path(arguments.to) / done.file}" if arguments.to else "deleted"
            output.show(asdict(done), f"{month}: {counted(done.rows, 'row')} {where}.")
    return 0


def _rekey(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError
    from stategraph.governance.audit.erasing import rekey

    keyring = _keyring(arguments)
    if keyring is None or keyring.active is None:
        raise ConfigurationError(
            "There is no key to encrypt with: give --keys FILE, as 'stategraph audit keygen' makes it"
        )
    with closing(_storage(arguments)) as storage:
        with storage.reading() as reading:
            tenants = reading.tenants() if arguments.tenant is None else [arguments.tenant]
        number = sum(rekey(storage, tenant, keyring) for tenant in tenants)
    output.show(
        {"rows": number, "key_id": keyring.active}, f"{counted(number, 'row')} encrypted with key {keyring.active}."
    )
    return 0 if number else NOTHING_DONE


def _keygen(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.keyring import Keyring

    file = arguments.file
    before = Keyring.from_file(file) if Path(file).exists() else Keyring()
    keyring = before.with_new_key(algorithm=arguments.algorithm).with_new_signer()
    keyring.write(file)
    verb = "added to" if before.ids else "made in"
    output.show(
        {"file": file, "active": keyring.active, "signer": keyring.signer},
        f"Key {keyring.active} ({arguments.algorithm}) and signing key {keyring.signer} {verb} {file}. Keep a copy "
        "apart from the log: without it the data cannot be read.",
    )
    return 0
