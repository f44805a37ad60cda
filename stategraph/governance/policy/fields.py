"""Reading of checked fields: an error names the file, the rule and the field, what was found and what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from stategraph.governance.errors import PolicyError

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_NO_DEFAULT: Final[Any] = object()


class Fields:
    """The fields of one object of a file.

    Args:
        value: The object.
        where: The file, and the rule if it is in one.
        path: The field that the object stands in; empty: the whole file, or a rule.
    """

    def __init__(self, value: Any, where: str, path: str = "") -> None:
        self.where = where
        self.path = path
        if not isinstance(value, Mapping):
            self.fail("", f"is {_shown(value)}; expected an object with fields")
        self.value: Mapping[str, Any] = value

    def only(self, known: Iterable[str]) -> None:
        """Refuse fields that are not known.

        Raises:
            PolicyError: There is one.
        """
        known = list(known)
        for each in self.value:
            if each not in known:
                near = difflib.get_close_matches(str(each), known, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
                self.fail(str(each), f"is not a known field; {hint}")

    def text(self, name: str, default: Any = _NO_DEFAULT) -> Any:
        """Return a text that is not empty."""
        value = self._get(name, default)
        if value is not default and (not isinstance(value, str) or not value.strip()):
            self.fail(name, f"is {_shown(value)}; expected a text that is not empty")
        return value

    def one_of(self, name: str, choices: Iterable[str], default: Any = _NO_DEFAULT) -> Any:
        """Return one of some texts."""
        value = self._get(name, default)
        choices = [str(each) for each in choices]
        if value is not default and value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            self.fail(name, f"is {_shown(value)}; expected one of {', '.join(choices)}{hint}")
        return value

    def texts(self, name: str, default: Any = _NO_DEFAULT) -> Any:
        """Return a list of texts that are not empty, as a tuple."""
        value = self._get(name, default)
        if value is default:
            return value
        if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
            self.fail(name, f"is {_shown(value)}; expected a list of texts")
        if not value:
            self.fail(name, "is an empty list; leave it out, or name something")
        if twice := sorted({each for each in value if value.count(each) > 1}):
            self.fail(name, f"names {', '.join(map(repr, twice))} twice")
        return tuple(value)

    def number(self, name: str, least: float, default: Any = None, *, whole: bool = False) -> Any:
        """Return a number from `least` on."""
        value = self._get(name, default)
        if value is default:
            return value
        kinds = (int,) if whole else (int, float)
        if type(value) not in kinds or not least <= value < float("inf"):
            self.fail(name, f"is {_shown(value)}; expected a {'whole number' if whole else 'number'} from {least:g}")
        return value

    def seconds(self, name: str, most: float, default: Any = None) -> Any:
        """Return a duration in seconds, of a number of seconds or a text such as `15m`."""
        value = self._get(name, default)
        if value is default:
            return value
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            seconds = float(found[1]) * _SECONDS[found[2]]
        elif type(value) in (int, float):
            seconds = float(value)
        else:
            seconds = -1.0
        if not 0 < seconds <= most:
            limit = f", up to {most / 86400:g}d" if most < float("inf") else ""
            self.fail(name, f"is {_shown(value)}; expected a duration such as 30s, 15m or 2h{limit}")
        return seconds

    def flag(self, name: str, default: bool) -> bool:
        """Return `true` or `false`."""
        found = self._get(name, default)
        if not isinstance(found, bool):
            self.fail(name, f"is {_shown(found)}; expected true or false")
        return found

    def object(self, name: str) -> Fields:
        """Return the fields of an object within this one."""
        return Fields(self._get(name, _NO_DEFAULT), self.where, self._full(name))

    def fail(self, name: str, what: str) -> NoReturn:
        """Raise the error about a field.

        Raises:
            PolicyError: Always.
        """
        field = self._full(name)
        raise PolicyError(f"{self.where}: {field + ' ' if field else ''}{what}")

    def _get(self, name: str, default: Any) -> Any:
        value = self.value.get(name, default)
        if value is _NO_DEFAULT:
            self.fail(name, "is not there; it is required")
        return value

    def _full(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path and name else self.path or name


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
