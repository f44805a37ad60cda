"""Previews of an action's arguments for people: little enough to read, and nothing that is a key to something.

- Values under names that look like those of credentials are not copied, and neither is text that looks like one.
- What is invisible, or changes how other text is shown, is written out (`stategraph.governance.visible_text`).
- 4 KiB of JSON at most, 4 levels deep; what is left out is marked, and counted.
- A person who edits gets the marks, and may leave them: what they stand for is put back (`restored`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from stategraph.engine.checkpoints import serializability
from stategraph.governance.canonical import same_json
from stategraph.governance.visible_text import visible

MOST_BYTES: Final = 4096
MOST_LEVELS: Final = 4

HIDDEN: Final = "[hidden]"
"""Stands for a value that looks like a credential."""

_DEEPER: Final = "[deeper]"
_MORE_ITEMS: Final = "…"
_MORE: Final = "… [+{} characters]"

_LARGEST: Final = 2**53 - 1
"""Larger numbers, and what is no number, have no form in JSON that is the same everywhere: they are shown as text."""

_MOST_TEXT: Final = 1000
_MOST_ITEMS: Final = 20

_NAMES: Final = re.compile(
    r"(^|[_\-. ])(pass|passwd|password|passphrase|pwd|secret|token|credential|credentials|authorization|auth|cookie|"
    r"session|apikey|bearer|otp|pin|cvv|cvc|jwt|signature|private)([_\-. ]|s?$)|"
    r"(api|access|private|secret|signing|encryption|client|service|account|ssh)[_\-. ]?key",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TEXTS: Final = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:sk|pk|rk|ghp|gho|ghs|ghu|glpat|xox[abpr])"
    r"[-_][\w-]{12,}|\bAKIA[A-Z0-9]{12,}|\bAIza[\w-]{20,}|\bBearer +[\w.~+/-]{12,}|://[^/\s:@]+:[^/\s@]+@",
)


def is_credential(name: str) -> bool:
    """Return whether a name looks like that of a credential."""
    return _NAMES.search(_CAMEL.sub("_", name)) is not None


def preview(arguments: Mapping[str, Any], clean: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Return what people are shown of arguments, as JSON of at most `MOST_BYTES` bytes.

    Args:
        arguments: The arguments.
        clean: Hides further secrets, such as `Redactor.clean`; applied first.
    """
    given: Any = arguments if clean is None else clean(dict(arguments))
    if not isinstance(given, Mapping):
        given = {"arguments": given}
    for most_text, most_items in ((_MOST_TEXT, _MOST_ITEMS), (200, 10), (60, 5), (20, 3)):
        shown = _shown(given, 1, most_text, most_items)
        if len(json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace")) <= MOST_BYTES:
            return dict(shown)
    return {_MORE_ITEMS: f"{len(given)} arguments, too large to be shown"}


def _shown(value: Any, level: int, most_text: int, most_items: int) -> Any:
    if isinstance(value, str):
        if _TEXTS.search(value):
            return HIDDEN
        left_out = len(value) - most_text
        return visible(value) if left_out <= 0 else visible(value[:most_text]) + _MORE.format(left_out)
    if value is None or isinstance(value, bool | int | float):
        return shown_number(value)
    if not isinstance(value, Mapping | list | tuple):
        return _shown(str(value), level, most_text, most_items)
    if level > MOST_LEVELS:
        return _DEEPER
    if isinstance(value, Mapping):
        items = list(value.items())
        shown: dict[str, Any] = {
            visible(str(name)[:most_text]): HIDDEN
            if is_credential(str(name)) and each not in (None, "")
            else _shown(each, level + 1, most_text, most_items)
            for name, each in items[:most_items]
        }
        if len(items) > most_items:
            shown[_MORE_ITEMS] = f"{len(items) - most_items} more"
        return shown
    each_shown = [_shown(each, level + 1, most_text, most_items) for each in value[:most_items]]
    return each_shown if len(value) <= most_items else [*each_shown, f"… {len(value) - most_items} more"]


def shown_number(value: int | float | None) -> object:
    """Return a number, or its text or size where JSON has no form of it that is the same everywhere."""
    if isinstance(value, int) and serializability.has_large_integer(value):
        return f"a whole number of {value.bit_length():,} bits"  # Python writes none of more than 4,300 digits
    if value is None or isinstance(value, bool) or abs(value) <= _LARGEST:
        return value
    return str(value)


def restored(edited: Any, shown: Any, original: Any) -> Any:
    """Return edited arguments with what a preview had left out put back where the person left its mark.

    Args:
        edited: What the person wrote.
        shown: The preview that they were given.
        original: The arguments of the preview.
    """
    if same_json(edited, shown):
        return original
    if isinstance(edited, Mapping) and isinstance(shown, Mapping) and isinstance(original, Mapping):
        return _restored_fields(edited, shown, original)
    lists = isinstance(edited, list) and isinstance(shown, list) and isinstance(original, list)
    return _restored_items(edited, shown, original) if lists and edited and len(edited) == len(shown) else edited


def _restored_fields(edited: Mapping[str, Any], shown: Mapping[str, Any], original: Mapping[str, Any]) -> Any:
    both = shown.keys() & original.keys()
    kept = {
        name: restored(each, shown[name], original[name]) if name in both else each for name, each in edited.items()
    }
    if _MORE_ITEMS not in shown or kept.pop(_MORE_ITEMS, None) is None:
        return kept
    return {**kept, **{name: each for name, each in original.items() if name not in shown}}


def _restored_items(edited: list[Any], shown: list[Any], original: list[Any]) -> list[Any]:
    if len(shown) == len(original):
        return [restored(*each) for each in zip(edited, shown, original, strict=True)]
    first = len(shown) - 1  # the last item stands for those that were left out
    kept = [restored(*each) for each in zip(edited[:first], shown[:first], original[:first], strict=True)]
    return [*kept, *original[first:]] if same_json(edited[-1], shown[-1]) else [*kept, edited[-1]]
