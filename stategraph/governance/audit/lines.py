"""Rows and signed heads as lines of JSON: the form of files, of archives and of exports that can be verified."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from stategraph.governance.audit.chain import SignedHead
from stategraph.governance.audit.record import Row

_HASHES: Final = ("data_hash", "prev_hash", "hash")
_INTEGERS: Final = frozenset({"seq", "at", "stored", "severity", "duration_us"})
_OPTIONAL: Final = frozenset(
    {
        *("run_id", "thread_id", "call_id", "principal", "capability_id", "decision", "trace_id"),
        *("duration_us", "key_id"),
    }
)

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def row_line(row: Row) -> str:
    """Return a row as a line of JSON: hashes in hex, data in base64."""
    found = row._asdict()
    found["data"] = None if row.data is None else base64.b64encode(row.data).decode()
    for name in _HASHES:
        found[name] = found[name].hex()
    return _encode(found)


def read_row_line(line: str) -> Row:
    """Return the row of a line.

    Raises:
        ValueError: It is none, or the same row in another spelling, so that any changed byte is found; nothing of it is
            shown.
    """
    try:
        row = Row._make(_read(name, value) for name, value in json.loads(line).items())
        if row_line(row) != line.removesuffix("\n"):
            raise ValueError("it is written in another way")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"This is no row of an audit log: {type(error).__name__}") from None
    return row


def _read(name: str, value: Any) -> Any:
    if name == "data":
        return None if value is None else base64.b64decode(value, validate=True)
    if name in _HASHES:
        return bytes.fromhex(value)
    if type(value) is not (int if name in _INTEGERS else str) and not (value is None and name in _OPTIONAL):
        raise TypeError(name)
    return value


def head_line(head: SignedHead) -> str:
    """Return a signed head as a line of JSON."""
    return _encode(
        {
            "tenant": head.tenant,
            "seq": head.seq,
            "hash": head.hash.hex(),
            "at": head.at,
            "key_id": head.key_id,
            "signature": head.signature.hex(),
        }
    )


def read_head_line(line: str) -> SignedHead:
    """Return the signed head of a line.

    Raises:
        ValueError: It is none, or the same head in another spelling.
    """
    try:
        found = json.loads(line)
        head = SignedHead(
            str(found["tenant"]),
            int(found["seq"]),
            bytes.fromhex(found["hash"]),
            int(found["at"]),
            str(found["key_id"]),
            bytes.fromhex(found["signature"]),
        )
        if head_line(head) != line.removesuffix("\n"):
            raise ValueError("it is written in another way")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"This is no signed head of an audit log: {type(error).__name__}") from None
    return head
