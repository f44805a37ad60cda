"""Keep what a host gave as a secret out of every text that leaves the package.

- Secrets are handed to other people's code in two places: chat models and MCP sessions. Each of them holds the
  `Secrets` that it was given and cleans every error and every text that comes back before it is raised, logged, told
  or stored. So nothing behind them (logs, events, traces, checkpoints, what a model reads) has to know a secret to
  hide it.
- An error keeps its class: its arguments, its texts and its notes are changed where they are, and so is the whole chain
  behind it. An error whose text cannot be changed is replaced by a `RedactedError`. Copies stand for the HTTP requests
  and responses that it holds, of which LangChain tells tracers.
- A secret is also found in the forms that other code writes it in: without the white space around it, each line of it,
  without the scheme of a header, escaped as in a `repr` or in JSON, percent-encoded, or as HTTP basic authentication;
  and so are parts of it that are secret by themselves: the password of an address, a cookie, a key in JSON.
- Where a text was cut (`...`), the beginning of a secret before the cut and the end of one after it are hidden too.
- Texts shorter than `SHORTEST` are not replaced: they would be found in everything.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from operator import is_
from types import NoneType
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit, urlunsplit

from pydantic import SecretBytes, SecretStr

from stategraph.engine.config.hidden import HIDDEN as HIDDEN
from stategraph.engine.config.hidden import names_secret as names_secret
from stategraph.engine.config.hidden import without_logins as without_logins

SHORTEST: Final = 6
"""Characters of the shortest text that is replaced."""

_CUTS: Final = ("...", "\u2026")
"""Marks with which other libraries shorten a text; pydantic does so in its errors."""

_OF_BODIES = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers that say how a body was sent."""

T = TypeVar("T")

_NO_TEXT = frozenset({NoneType, bool, int, float})
_COLLECTIONS = frozenset({list, tuple, set, frozenset})
"""Classes that can be made of their items; subclasses, such as named tuples, may not be."""

_SCHEME = re.compile(r"(?:api-?key|basic|bearer|digest|token)\s+", re.IGNORECASE)


class RedactedError(Exception):
    """Stands for an error whose text had a secret in it and could not be changed; begins with the error's class."""


class Secrets:
    """Texts that must not be shown.

    Args:
        texts: The secrets as they were given.
    """

    __slots__ = ("_forms",)

    def __init__(self, texts: Iterable[str] = ()) -> None:
        forms = {form for text in texts for form in _forms(text) if len(form) >= SHORTEST}
        # The longest first: a secret may be a part of another one.
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __repr__(self) -> str:
        return f"<{len(self._forms)} texts that are not shown>"

    def __or__(self, others: Secrets) -> Secrets:
        joined = Secrets()
        joined._forms = tuple(sorted({*self._forms, *others._forms}, key=lambda form: (-len(form), form)))
        return joined

    def become(self, others: Secrets) -> None:
        """Hide other secrets from now on, for those that hold this object: a token was granted or renewed.

        Args:
            others: All that are to be hidden.
        """
        self._forms = others._forms

    def text(self, text: str) -> str:
        """Hide the secrets in a text.

        Args:
            text: Any text.

        Returns:
            The same text if there is no secret in it.
        """
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        if any(cut in text for cut in _CUTS):
            for form in self._forms:
                text = _without_beginning(text, form, HIDDEN)
            text = text[::-1]
            for form in self._forms:
                text = _without_beginning(text, form[::-1], HIDDEN[::-1])
            text = text[::-1]
        return text

    def value(self, value: T) -> T:
        """Hide the secrets in the texts of a value.

        Args:
            value: Texts, and mappings, lists, tuples and sets of them; anything else is returned as it is.
        """
        return cast("T", self._value(value, ()))

    def _value(self, value: object, around: tuple[int, ...]) -> object:
        """Return the same object if there is no secret in it.

        Args:
            value: Any value.
            around: The containers around it, by identity.
        """
        if not self._forms or type(value) in _NO_TEXT or id(value) in around:
            return value
        match value:
            case str():
                hidden = self.text(value)
                return value if hidden == value else hidden
            case bytes():
                hidden = self.text(text := value.decode("latin-1"))
                return value if hidden == text else hidden.encode("latin-1")
            case Mapping():
                return self._mapping(value, (*around, id(value)))
            case list() | tuple() | set() | frozenset() if type(value) in _COLLECTIONS:
                return self._collection(value, (*around, id(value)))
        return value

    def _mapping(self, value: Mapping[object, object], within: tuple[int, ...]) -> Mapping[object, object]:
        pairs = [(self._value(key, within), self._value(each, within)) for key, each in value.items()]
        same = all(key is old for (key, _), old in zip(pairs, value, strict=True)) and all(
            each is old for (_, each), old in zip(pairs, value.values(), strict=True)
        )
        return value if same else dict(pairs)

    def _collection(self, value: Collection[object], within: tuple[int, ...]) -> Collection[object]:
        changed = [self._value(each, within) for each in value]
        if all(map(is_, changed, value)):
            return value
        make: Callable[[Iterable[object]], Collection[object]] = type(value)
        return make(changed)

    def error(self, error: BaseException) -> BaseException:
        """Hide the secrets in an error, and in all that it came from.

        Args:
            error: Changed where it is.

        Returns:
            The error; a `RedactedError` if its text could not be changed.
        """
        if not self._forms:
            return error
        found = list(_reachable(error))
        links = [(each.__cause__, each.__context__, each.__suppress_context__) for each in found]
        shown: dict[int, BaseException] = {}
        for each in reversed(found):  # what a group has in it comes behind it
            shown[id(each)] = self._cleaned(each, shown)
        for each, (cause, context, suppressed) in zip(found, links, strict=True):
            made = shown[id(each)]
            made.__traceback__ = each.__traceback__
            made.__cause__ = None if cause is None else shown[id(cause)]
            made.__context__ = None if context is None else shown[id(context)]
            made.__suppress_context__ = suppressed
        return shown[id(error)]

    def _cleaned(self, error: BaseException, shown: Mapping[int, BaseException]) -> BaseException:
        """Clean one error, or find another that stands for it; those within a group are done already."""
        self._clean(error)
        if isinstance(error, BaseExceptionGroup):
            inner = [shown.get(id(one), one) for one in error.exceptions]
            if any(new is not old for new, old in zip(inner, error.exceptions, strict=True)):
                error = error.derive(inner)
        return RedactedError(f"{type(error).__name__}: {self.text(_said(error))}") if self._shows(error) else error

    def _clean(self, error: BaseException) -> None:
        """Change what of an error can be changed."""
        try:
            error.args = self.value(error.args)
            for name, value in list(vars(error).items()):
                hidden = self._exchanged(value) if _is_exchanged(value) else self.value(value)
                if hidden is not value:
                    setattr(error, name, hidden)
        except Exception:
            return  # it refuses: `_shows` finds out

    def _exchanged(self, value: Any) -> Any:
        """Copy an HTTP request or response without the secrets, the address's query and what was sent."""
        kept = [(name, each) for name, each in value.headers.multi_items() if name.lower() not in _OF_BODIES]
        headers = [(name, self.text(each)) for name, each in kept]
        if not hasattr(value, "status_code"):
            return type(value)(value.method, self.text(shown_address(str(value.url))), headers=headers)
        # Neither need be there: an answer may not have been read, or have been made up.
        content, request = _attribute(value, "content"), _attribute(value, "request")
        request = request and self._exchanged(request)
        return type(value)(value.status_code, headers=headers, content=self.value(content), request=request)

    def _shows(self, error: BaseException) -> bool:
        texts = [_said(error), _repr(error)]
        if isinstance(error, UnicodeError):
            texts.append(str(getattr(error, "object", "")))
        return any(self.text(text) != text for text in texts)

    def guard(self) -> Guard:
        """Open a block in which errors lose the secrets on their way out."""
        return Guard(self)


class Guard:
    """A context manager that cleans the errors which leave its block; a guard may be used again.

    Args:
        secrets: The texts to hide.
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __enter__(self) -> None:
        return None

    def shown(self, error: Exception) -> BaseException:
        """Return the error that leaves the block for one that was raised in it."""
        return self._secrets.error(error)

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, Exception):
            return
        shown = self.shown(error)
        if shown is not error:
            cause, context, suppressed = shown.__cause__, shown.__context__, shown.__suppress_context__
            try:
                raise shown
            finally:
                # Python has noted the original as the context, which may still have its text.
                shown.__cause__, shown.__context__, shown.__suppress_context__ = cause, context, suppressed


def _reachable(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and all that it came from or holds, each once; without recursion, as chains may be long."""
    known: set[int] = set()
    todo = [error]
    while todo:
        each = todo.pop()
        if id(each) in known:
            continue
        known.add(id(each))
        yield each
        within = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        todo += [one for one in (each.__cause__, each.__context__, *within) if one is not None]


def _is_exchanged(value: Any) -> bool:
    kind = type(value)
    return kind.__name__ in ("Request", "Response") and kind.__module__.partition(".")[0] in ("httpx", "httpx2")


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception:
        return None


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _repr(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:
        return ""


def _without_beginning(text: str, form: str, hidden: str) -> str:
    """Replace the beginning of a secret wherever the text was cut after it."""
    start = form[:SHORTEST]
    at = text.find(start)
    while at >= 0:
        end = at + SHORTEST
        while text[end : end + 1] == form[end - at : end - at + 1] != "":
            end += 1
        if text.startswith(_CUTS, end):
            text = text[:at] + hidden + text[end:]
            end = at + len(hidden)
        at = text.find(start, end)
    return text


def _forms(secret: str) -> Iterator[str]:
    """Yield the ways in which a secret may appear in a text."""
    lines = [line.strip() for line in secret.splitlines()]
    for each in (secret, secret.strip(), *lines, *_within(secret.strip())):
        plain = _SCHEME.sub("", each, count=1) if _SCHEME.match(each) else each
        for form in (each, plain):
            yield form
            yield repr(form)[1:-1]
            yield repr(form.encode("utf-8", "replace"))[2:-1]
            yield json.dumps(form)[1:-1]
            yield quote(form, safe="")
            yield quote_plus(form)


def _within(secret: str) -> Iterator[str]:
    """Yield the parts of a secret that are secret by themselves: logins, cookies, keys in JSON."""
    yield from _in_login(secret)
    if secret[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            yield from in_options({"": json.loads(secret)})
    elif ";" in secret:
        yield from (part.partition("=")[2].strip() for part in secret.split(";"))
    if secret[:6].lower() == "basic ":
        with suppress(ValueError):
            yield base64.b64decode(secret[6:], validate=True).decode().partition(":")[2]


# Places of secrets.


def in_address(address: str) -> Iterator[str]:
    """Find the secrets of an address: the name and password before its host, and the values of its query.

    Args:
        address: A URL, or any text.

    Yields:
        Them as they are written, and decoded.
    """
    yield from _in_login(address)
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    if parts.scheme and parts.netloc:
        for _, value in parse_qsl(parts.query, keep_blank_values=False):
            yield value


def _in_login(address: str) -> Iterator[str]:
    """Yield the password before the host of an address, or the name if it stands alone, and both as HTTP has them."""
    try:
        parts = urlsplit(address)
        password, user = parts.password, parts.username
    except ValueError:
        return
    if not parts.scheme or not (password or user):
        return
    secret = password or user or ""
    yield from (secret, unquote(secret))
    pair = f"{unquote(user or '')}:{unquote(password or '')}"
    yield base64.b64encode(pair.encode("utf-8", "replace")).decode()


def shown_address(address: str) -> str:
    """Return the parts of an address that are not secret: scheme, host, port and path."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def in_options(options: Mapping[Any, Any]) -> Iterator[str]:
    """Find the secrets among the options of a client.

    They are the values of options that are named like secrets (`apiKey`, `default_headers`, `aws_secret_access_key`),
    however deep, what pydantic holds as a secret, and the secret parts of addresses.

    Args:
        options: In either spelling.

    Yields:
        The secrets.
    """
    yield from _in_value(options, ())


def _in_value(value: Any, around: tuple[int, ...]) -> Iterator[str]:
    if isinstance(value, str):
        yield from in_address(value)
    elif isinstance(value, SecretStr | SecretBytes):
        yield from texts_in(value, around)
    if not isinstance(value, Mapping | list | tuple) or id(value) in around:
        return
    within = (*around, id(value))
    for name, each in value.items() if isinstance(value, Mapping) else enumerate(value):
        if isinstance(name, str) and names_secret(name):
            yield from texts_in(each, within)
        else:
            yield from _in_value(each, within)


def texts_in(value: Any, around: tuple[int, ...] = ()) -> Iterator[str]:
    """Find the texts of a value that is secret as a whole.

    Args:
        value: A text, bytes, one of pydantic's secrets, or mappings and lists of them.
        around: The containers around it, by identity.

    Yields:
        The texts.
    """
    if isinstance(value, SecretStr | SecretBytes):
        value = value.get_secret_value()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        yield value
    if not isinstance(value, Mapping | list | tuple) or id(value) in around:
        return
    for each in value.values() if isinstance(value, Mapping) else value:
        yield from texts_in(each, (*around, id(value)))
