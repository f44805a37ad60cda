"""Events made ready to be stored: checked, cleaned, and written as JSON, before the caller goes on.

The data are read here and not later: the caller may change them afterwards, and secrets are registered with the
redactor for the duration of a call only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from stategraph.agent.messages.encodable import encodable
from stategraph.errors import ConfigurationError
from stategraph.governance.audit.event import AuditEvent, AuditEventType
from stategraph.governance.audit.record import Record, make_record
from stategraph.governance.keyring import Keyring
from stategraph.governance.redaction import Redactor

LONGEST_TEXT: Final = 512
"""Characters of a text beside the data, such as the id of a call; longer ones are cut."""

OWN: Final = "audit."
"""Beginning of the types of events that the log itself tells: what they say decides how its rows are verified."""

_TYPES: Final = frozenset(str(each) for each in AuditEventType)
_PLUGIN: Final = "plugin."
_LARGE: Final = 8 * 1024
_MANY: Final = 200


def prepare(event: AuditEvent, redactor: Redactor, keyring: Keyring | None, most: int) -> Record:
    """Make a record of an event.

    Args:
        event: The event.
        redactor: Hides secrets in it.
        keyring: Encrypts its data.
        most: Characters of its data as JSON at most; see `Redactor.clean_json`.

    Raises:
        ConfigurationError: It has no tenant or id, a time without a zone, or a type that is not known.
    """
    type = str(event.type)
    if (type not in _TYPES or type.startswith(OWN)) and not type.startswith(_PLUGIN):
        raise ConfigurationError(
            f"AuditEvent: there is no type {type!r} to record; expected an AuditEventType that the log does not tell "
            "itself, or a text that begins with 'plugin.'"
        )
    return prepare_any(event, redactor, keyring, most)


def prepare_any(event: AuditEvent, redactor: Redactor, keyring: Keyring | None, most: int) -> Record:
    """Make a record of an event of any type, as `prepare` does; for the events of the log itself."""
    for name in ("tenant", "id"):
        value = getattr(event, name)
        if not _is_name(value):
            raise ConfigurationError(
                f"AuditEvent: {name} is {value!r}; expected a text of 1 to {LONGEST_TEXT} characters that has a form "
                "in UTF-8"
            )
    if not isinstance(event.at, datetime) or event.at.tzinfo is None:
        raise ConfigurationError(f"AuditEvent: at is {event.at!r}; expected a time with a zone: datetime.now(UTC)")
    texts = (
        *(event.run_id, event.thread_id, event.call_id, event.principal, event.capability_id, event.decision),
        event.trace_id,
    )
    data = redactor.clean_json(event.data, most) if event.data else ""
    return make_record(event, _cleaned(texts, redactor), encodable(data), keyring)


def _is_name(value: Any) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT or "\0" in value:
        return False
    return value.isascii() or _utf8(value) == value


def _cleaned(texts: tuple[str | None, ...], redactor: Redactor) -> tuple[str | None, ...]:
    """Return texts without secrets, and such as every database takes; most are fine as they are."""
    joined = "\n".join(filter(None, texts))
    fine = joined.isascii() and "\0" not in joined and len(joined) <= LONGEST_TEXT
    if fine and redactor.label(joined) == joined:
        return tuple(None if text is None else str(text) for text in texts)
    return tuple(None if text is None else _shown(text, redactor) for text in texts)


def _shown(text: str, redactor: Redactor) -> str:
    text = _utf8(redactor.label(str(text)).replace("\0", "\ufffd"))
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."


def _utf8(text: str) -> str:
    """Return a text that has a form in UTF-8; halves of characters are escaped, as JSON escapes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def is_large(data: Mapping[str, Any]) -> bool:
    """Return whether it takes a noticeable time to clean data, so that an event loop leaves it to a thread."""
    size, todo, seen = 0, [data], 0
    while todo:
        each: Any = todo.pop()
        seen += 1
        if isinstance(each, str | bytes):
            size += len(each)
        elif isinstance(each, Mapping):
            todo.extend(each.values())
        elif isinstance(each, list | tuple):
            todo.extend(each)
        elif each is not None and not isinstance(each, int | float):
            size += _LARGE // 8  # an object of unknown size
        if size > _LARGE or seen > _MANY:
            return True
    return False
