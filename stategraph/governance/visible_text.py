r"""Text as people are to see it: what is invisible, or changes how other text is shown, is written out.

Bidirectional controls can have `exe.fdp` read as `pdf.exe`, zero-width characters tell two equal-looking names apart,
and control characters move the cursor of a terminal. Each is replaced by an escape, such as `\u202e`, as Unicode
Technical Report 36 (Security Considerations) and Technical Standard 39 (default ignorables) advise. Line breaks and
tabs stay.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ORDINARY: Final = re.compile(r"[\n\t\x20-\x7e]*\Z")
_KEPT: Final = frozenset("\n\t")
_WRITTEN_OUT: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Controls, formats (bidirectional, zero-width, tags), surrogates, private use, separators of lines and paragraphs."""
_IGNORED: Final = ((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164))
_IGNORED_TOO: Final = ((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF))
"""Default ignorable characters of other categories: fillers, joiners, variation selectors."""


def visible(text: str) -> str:
    """Return a text with what is invisible in it written out: the same text if there is nothing."""
    if _ORDINARY.match(text):
        return text
    return "".join(_escape(each) if _is_invisible(each) else each for each in text)


def visible_line(text: str) -> str:
    """Return a text as `visible` does, on one line: as a cell of a table is."""
    return visible(text).replace("\n", _escape("\n")).replace("\t", _escape("\t"))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _is_invisible(character: str) -> bool:
    if character in _KEPT:
        return False
    code = ord(character)
    listed = any(first <= code <= last for first, last in (*_IGNORED, *_IGNORED_TOO))
    return listed or unicodedata.category(character) in _WRITTEN_OUT
