"""Redaction: hide secrets and personal data in whatever is stored, logged or shown.

A `Redactor` finds them in three ways:

- by name: the values of keys such as `password`, `apiKey` or `Set-Cookie`, however deep;
- by form: the kinds of `secret_patterns`, such as private keys, JWTs, keys of clouds, card numbers and addresses;
- by value: secrets that are registered while they are in use, in all forms in which other code writes them.

What is hidden is replaced, never cut out: `[redacted]`, or `[redacted:kind]` for what was known by its form.
A value that was cleaned is not changed by cleaning it again.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import html
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from enum import Enum
from operator import or_
from typing import Any, Final, TypeAlias
from uuid import UUID

from stategraph.agent.settings.secrets import HIDDEN, SHORTEST, Secrets, names_secret, texts_in
from stategraph.governance.secret_patterns import PATTERNS, SecretPattern, Suspicion, words_of

Recogniser: TypeAlias = Callable[[str], Iterable[tuple[int, int, str]]]
"""Finds secrets or personal data in a text: yields where each begins and ends, and its kind."""

DEPTH: Final = 64
"""Containers within each other that are looked into."""

VALUES: Final = 100_000
"""Values of one structure that are looked at; those behind them are left out."""

_DEEP: Final = "[left out: too deep]"
_LARGE: Final = "[left out: too large]"
_LARGE_NUMBER: Final = 10**11
_MOST_BITS: Final = 4096
_LARGE_INTEGER: Final = "[left out: a large number]"
"""From here on a number may be that of a card."""

_CUT: Final = 1024
"""Characters that stay of a text in a value that is too large."""

_LONGEST: Final = 4096
"""Characters of a secret, at most, that is found where a text is cut."""

_KEPT_NAMES: Final = frozenset(
    {
        *("cache_key", "effect_key", "foreign_key", "idempotency_key", "issue_key", "key", "key_id", "page_token"),
        *("partition_key", "primary_key", "project_key", "public_key", "row_key", "sort_key", "next_page_token"),
    }
)
"""Names that look like those of secrets, and are not."""

_SECRET_NAMES: Final = frozenset(
    {"cvc", "cvv", "pin", "pwd", "passphrase", "otp", "private_key_pem", "connection_string"}
)
_KNOWN_NAMES: Final = 4096

_NAME_PARTS: Final = (
    *("key", "token", "secret", "passw", "passphrase", "credential", "cookie", "header", "authorization", "query"),
    "connection",
)
"""One of these is a part of every name of a secret, in small letters, but for those of `_SHORT_NAMES`."""

_SHORT_NAMES: Final = frozenset({"cvc", "cvv", "pin", "pwd", "otp"})

_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=True
).encode


class Redactor:
    """Hides secrets and personal data; thread-safe.

    Args:
        names: Further names of keys whose values are secret, in small letters with underscores.
        keep: Names of keys whose values are not secret by their name.
        personal: Whether e-mail addresses, card numbers and IBANs are hidden too. Previews for the person who approves
            an action need the recipient of a mail; the log does not.
        recognisers: Further finders, such as one that asks Presidio; see `docs/audit.md`.
    """

    def __init__(
        self,
        *,
        names: Iterable[str] = (),
        keep: Iterable[str] = (),
        personal: bool = True,
        recognisers: Iterable[Recogniser] = (),
    ) -> None:
        names, keep = frozenset(names), frozenset(keep)
        self._names = (_SECRET_NAMES - keep) | names
        self._keep = (_KEPT_NAMES | keep) - self._names
        self._patterns = tuple(each for each in PATTERNS if personal or not each.personal)
        self._suspicion = Suspicion(self._patterns)
        self._label_suspicions = (
            Suspicion(each for each in PATTERNS if not each.personal and not each.named),
            Suspicion(each for each in PATTERNS if not each.personal),
        )
        self._recognisers = tuple(recognisers)
        own = (max(words_of(name.lower()) or {""}, key=len) for name in names)
        self._name_parts = (*_NAME_PARTS, *filter(None, own))
        self._by_name: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._registered: dict[str, tuple[Secrets, int]] = {}
        self._secrets = Secrets()

    @contextmanager
    def register(self, *secrets: Any) -> Iterator[None]:
        """Hide secrets by their value for as long as the block lasts, in every thread.

        Args:
            *secrets: Texts, bytes, pydantic's secrets, or mappings and lists of them. Those shorter than 6 characters
                would be found everywhere, and are not hidden by value.
        """
        texts = {text for secret in secrets for text in texts_in(secret)}
        with self._lock:
            for text in texts:
                forms, users = self._registered.get(text) or (Secrets(_encoded(text)), 0)
                self._registered[text] = forms, users + 1
                self._secrets |= forms
        try:
            yield
        finally:
            with self._lock:
                for text in texts:
                    forms, users = self._registered.pop(text)
                    if users > 1:
                        self._registered[text] = forms, users - 1
                self._secrets = functools.reduce(or_, (forms for forms, _ in self._registered.values()), Secrets())

    def clean(self, value: Any) -> Any:
        """Return a value without secrets; never raises.

        Args:
            value: JSON, or a text. Other values become JSON: dates and the like as texts, models and dataclasses as
                objects, and what has no form in JSON as the name of its class.

        Returns:
            The cleaned value, as JSON: a new one, unless it is a text or a number.
        """
        try:
            return _Cleaning(self).value(value, 0)
        except Exception as error:
            return f"[left out: {type(value).__name__} cannot be read: {type(error).__name__}]"

    def text(self, text: str) -> str:
        """Return a text without secrets; never raises."""
        try:
            return self.found_in(text)
        except Exception as error:
            return f"[left out: a text cannot be read: {type(error).__name__}]"

    def found_in(self, text: str, suspects: tuple[SecretPattern, ...] | None = None, *, recognise: bool = True) -> str:
        """Return a text without secrets; raises what a recogniser raises.

        Args:
            text: The text.
            suspects: The kinds that may be in it; None: not known.
            recognise: Whether the host's recognisers are asked.
        """
        if self._secrets:
            text = self._secrets.text(text)
        if len(text) < SHORTEST:
            return text
        if suspects is None:
            small = text.lower()
            suspects = self._suspicion.about(small, words_of(small))
        for pattern in suspects:
            text = _applied(pattern, text)
        for find in self._recognisers if recognise else ():
            text = _replaced(text, find(text))
        return text

    def clean_json(self, value: Any, most: int | None = None) -> str:
        """Return what `clean` returns as JSON, with its keys in order; never raises.

        This is what the audit log uses: a value in which nothing is suspected is not walked through.

        Args:
            value: As for `clean`.
            most: Characters of the JSON at most. In a longer one texts are cut; if that is not enough, its length is
                all that stays. None: no limit.
        """
        try:
            text = _encode(value)
            if most is not None and len(text) > most:
                return self._shortened(value, len(text), most)
            small = text.lower()
            words = words_of(small)
            suspects = self._suspicion.about(small, words)
            plain = not suspects and not self._recognisers and not self._has_names(small, words)
            if plain and (not self._secrets or self._secrets.text(text) == text):
                return text
            return _encode(_Cleaning(self, suspects).value(value, 0))
        except Exception:
            text = _encode(self.clean(value))
            return text if most is None or len(text) <= most else self._shortened(value, len(text), most)

    def _shortened(self, value: Any, length: int, most: int) -> str:
        try:
            text = _encode(_Cleaning(self, cut=_CUT).value(value, 0))
        except Exception:
            text = ""
        return text if text and len(text) <= most else _encode({"left_out": {"characters": length}})

    def secrets(self, text: str) -> str:
        """Return a text without secrets, known by value and by form; personal data stay; never raises."""
        try:
            small = text.lower()
            return self.found_in(text, self._label_suspicions[1].about(small, words_of(small)), recognise=False)
        except Exception as error:
            return f"[left out: a text cannot be read: {type(error).__name__}]"

    def label(self, text: str) -> str:
        """Return a short text, such as an id, without secrets; never raises.

        Personal data are not hidden: the name of a user may be an e-mail address. What is a secret by the words beside
        it is hidden in texts that have spaces, quotes or `=`: an id has none, and may contain the word `token`.
        """
        try:
            if self._secrets:
                text = self._secrets.text(text)
            small = text.lower()
            is_id = not any(each in text for each in " =\"'")
            for pattern in self._label_suspicions[0 if is_id else 1].about(small, words_of(small)):
                text = _applied(pattern, text)
            return text
        except Exception as error:
            return f"[left out: a text cannot be read: {type(error).__name__}]"

    def _has_names(self, small: str, words: Set[str]) -> bool:
        """Return whether there may be a key in JSON whose name is that of a secret."""
        return any(part in small for part in self._name_parts) or not _SHORT_NAMES.isdisjoint(words)

    def is_secret(self, name: str) -> bool:
        """Return whether the value of a key is secret by the key's name."""
        known = self._by_name.get(name)
        if known is None:
            small = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
            known = small in self._names or (small not in self._keep and names_secret(name))
            if len(self._by_name) < _KNOWN_NAMES:  # names may come from a model
                self._by_name[name] = known
        return known

    def log_filter(self) -> RedactingFilter:
        """Return a filter for handlers of `logging`, which cleans messages, their arguments and tracebacks."""
        return RedactingFilter(self)


class RedactingFilter(logging.Filter):
    """Cleans records of logging; add it to handlers, as filters of loggers do not see the records of their children."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record, for this handler and those behind it; returns True."""
        try:
            message = record.getMessage()
        except Exception:
            message = str(record.msg)
        record.msg, record.args = self._redactor.text(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        record.exc_info = None  # some handlers format it anew
        for name in ("exc_text", "stack_info"):
            if text := getattr(record, name):
                setattr(record, name, self._redactor.text(text))
        return True


class _Cleaning:
    """One structure that is being cleaned."""

    __slots__ = ("_around", "_cut", "_left", "_redactor", "_suspects")

    def __init__(
        self, redactor: Redactor, suspects: tuple[SecretPattern, ...] | None = None, cut: int | None = None
    ) -> None:
        self._suspects = suspects
        self._cut = cut
        self._redactor = redactor
        self._left = VALUES
        self._around: set[int] = set()

    def value(self, value: Any, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind is int or kind is float:
            return self._number(value)
        self._left -= 1
        if self._left < 0:
            return _LARGE
        if depth >= DEPTH:
            return _DEEP
        if isinstance(value, Mapping | list | tuple | Set):
            if id(value) in self._around:
                return _DEEP
            self._around.add(id(value))
            try:
                return self._container(value, depth + 1)
            finally:
                self._around.discard(id(value))
        try:
            return self._other(value, depth + 1)
        except Exception:  # an object of a stranger may raise whatever it is asked
            return f"[left out: {kind.__name__}]"

    def _text(self, text: str) -> str:
        cut = self._cut
        if cut is None or len(text) <= cut:
            return self._redactor.found_in(text, self._suspects)
        # A secret that the cut would part is hidden as a whole.
        return f"{self._redactor.found_in(text[: cut + _LONGEST])[:cut]}... [{len(text):,} characters]"

    def _container(self, value: Any, depth: int) -> Any:
        if not isinstance(value, Mapping):
            return [self.value(each, depth) for each in value]
        cleaned: dict[str, Any] = {}
        for name, each in value.items():
            is_large = isinstance(name, int) and name.bit_length() >= _MOST_BITS
            key = name if type(name) is str else _LARGE_INTEGER if is_large else str(name)
            hidden = each is not None and type(each) is not bool and self._redactor.is_secret(key)
            cleaned[self._text(key)] = HIDDEN if hidden else self.value(each, depth)
            self._left -= 1
            if self._left < 0:
                cleaned["..."] = _LARGE
                break
        return cleaned

    def _number(self, value: int | float) -> Any:
        if -_LARGE_NUMBER < value < _LARGE_NUMBER:
            return value
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, int) and value.bit_length() >= _MOST_BITS:
            return _LARGE_INTEGER
        text = str(value)
        cleaned = self._text(text)
        return value if cleaned == text else cleaned

    def _other(self, value: Any, depth: int) -> Any:
        match value:
            case str():
                return self._text(str(value))
            case Enum():
                return self.value(value.value, depth)
            case bool() | int() | float():
                return self._number(int(value) if isinstance(value, int) else float(value))
            case bytes() | bytearray():
                return self._text(bytes(value).decode("utf-8", "replace"))
            case date() | time():
                return value.isoformat()
            case UUID() | Decimal():
                return self._text(str(value))
            case BaseException():
                return self._text(f"{type(value).__name__}: {value}")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.value({each.name: getattr(value, each.name) for each in dataclasses.fields(value)}, depth)
        dump = getattr(value, "model_dump", None)
        if callable(dump) and not isinstance(value, type):
            return self.value(dump(), depth)
        return f"[left out: {type(value).__name__}]"


def _applied(pattern: SecretPattern, text: str) -> str:
    found = []
    for match in pattern.pattern.finditer(text):
        groups = [name for name in match.re.groupindex if name.startswith("hidden") and match[name] is not None]
        start, end = match.span(groups[0] if groups else 0)
        length = end - start if pattern.check is None else pattern.check(text[start:end])
        if length:
            found.append((start, start + length, pattern.kind))
    return _replaced(text, found)


def _replaced(text: str, found: Iterable[tuple[int, int, str]]) -> str:
    """Replace parts of a text; parts that overlap are replaced as one."""
    parts, at = [], 0
    for start, end, kind in sorted(found):
        if end <= at:
            continue
        if start < at:
            start = at
        parts += [text[at:start], f"[redacted:{kind}]"]
        at = end
    return "".join([*parts, text[at:]]) if parts else text


def _encoded(text: str) -> Iterator[str]:
    """Yield a secret, and the forms of it that are not written as text: base64, wherever in a longer text, and hex."""
    yield text
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield html.escape(text)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) < SHORTEST:
        return
    yield data.hex()
    yield data.hex().upper()
    for offset in range(3):
        # Its place in what was encoded shifts its bits: the characters at both ends depend on what is beside it.
        whole = base64.b64encode(b"\0" * offset + data)
        first = (0, 2, 3)[offset]
        last = len(whole.rstrip(b"=")) - (0 if (offset + len(data)) % 3 == 0 else 1)
        form = whole[first:last].decode()
        if len(form) >= SHORTEST:
            yield form
            yield form.replace("+", "-").replace("/", "_")
