"""Secrets of results: what tools return and raise is cleaned before anything else sees it.

Rules
-----
* A result keeps its shape: texts in it are cleaned, and everything else stays as it is, an object of a stranger too.
* Personal data stay: a tool that looks an address up is to return it. A policy hides them (`with: redact`).
* The text of an error is cleaned in the error itself, as the ways in raise it again.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from pydantic import BaseModel

from stategraph.governance.pipeline.action import Ran, Services
from stategraph.governance.pipeline.outside import Redacting

_DEPTH: Final = 64
_HIDDEN: Final = "[left out: it cannot be read]"


def result(services: Services, ran: Ran) -> Ran:
    """Return a result without secrets: the same if there are none, or no redactor."""
    if services.redactor is None:
        return ran
    hiding = _Hiding(services.redactor)
    parts = [ran.content, ran.artifact, ran.kept]
    cleaned = [hiding.value(each, 0) for each in parts]
    if ran.error is not None:
        hiding.error(ran.error)
    same = all(new is old for new, old in zip(cleaned, parts, strict=True))
    return ran if same else Ran(cleaned[0], cleaned[1], cleaned[2], ran.error)


def error(services: Services, raised: BaseException) -> None:
    """Take secrets out of the text of an error."""
    if services.redactor is not None:
        _Hiding(services.redactor).error(raised)


class _Hiding:
    """Cleans one result.

    Args:
        redactor: Finds secrets. One of a host's own may have `clean` alone.
    """

    def __init__(self, redactor: Redacting) -> None:
        self._text: Callable[[str], Any] = getattr(redactor, "secrets", redactor.clean)
        self._is_secret: Callable[[str], bool] = getattr(redactor, "is_secret", _never)
        self._around: set[int] = set()

    def value(self, value: Any, depth: int) -> Any:
        """Return a value without secrets: itself if there are none."""
        if type(value) is str:
            cleaned = self._text(value)
            return value if cleaned == value else cleaned
        if value is None or isinstance(value, bool | int | float | bytes):
            return value
        if id(value) in self._around or depth > _DEPTH:
            return _HIDDEN
        self._around.add(id(value))
        try:
            return self._within(value, depth + 1)
        except Exception:  # an object of a stranger may raise whatever it is asked
            return _HIDDEN
        finally:
            self._around.discard(id(value))

    def _within(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            each = [self.value(one, depth) for one in value]
            if all(new is old for new, old in zip(each, value, strict=True)):
                return value
            return type(value)(*each) if hasattr(value, "_fields") else type(value)(each)
        if isinstance(value, BaseModel):
            changed = self._changed(value.__dict__, depth)
            return value.model_copy(update=changed) if changed else value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self._copied(value, self._changed(fields, depth))
        return value

    def _mapping(self, value: dict[Any, Any], depth: int) -> Any:
        cleaned = {self.value(name, depth): self._named(name, each, depth) for name, each in value.items()}
        pairs = zip(cleaned.items(), value.items(), strict=False)
        same = len(cleaned) == len(value) and all(new[0] is old[0] and new[1] is old[1] for new, old in pairs)
        return value if same else cleaned

    def _named(self, name: Any, value: Any, depth: int) -> Any:
        if type(name) is str and type(value) is str and value and self._is_secret(name):
            return "[redacted]"
        return self.value(value, depth)

    def _changed(self, fields: Mapping[str, Any], depth: int) -> dict[str, Any]:
        cleaned = {name: self.value(each, depth) for name, each in fields.items()}
        return {name: each for name, each in cleaned.items() if each is not fields[name]}

    def _copied(self, value: Any, changed: Mapping[str, Any]) -> Any:
        if not changed:
            return value
        made = copy.copy(value)
        for name, each in changed.items():
            object.__setattr__(made, name, each)  # also of one that is frozen
        return made

    def error(self, raised: BaseException) -> None:
        """Clean the text of an error, and what its class makes it of."""
        with suppress(Exception):
            args = tuple(self.value(each, 0) for each in raised.args)
            if any(new is not old for new, old in zip(args, raised.args, strict=True)):
                raised.args = args
        names = [*vars(raised), *(("strerror", "filename", "filename2") if isinstance(raised, OSError) else ())]
        for name in names:
            with suppress(Exception):
                old = getattr(raised, name)
                if type(old) is str and (new := self.value(old, 0)) is not old:
                    setattr(raised, name, new)


def _never(name: str) -> bool:
    return False
