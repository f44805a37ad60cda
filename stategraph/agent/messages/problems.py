"""Texts of errors, safe against a faulty `__str__`."""

from __future__ import annotations

from stategraph.agent.messages import encodable


def text(error: BaseException) -> str:
    """Return what an error says; empty if it says nothing, or cannot."""
    try:
        return encodable.encodable(str(error))
    except Exception:
        return ""


def named(error: BaseException) -> str:
    """Return the class of an error and what it says."""
    return f"{type(error).__name__}: {text(error)}"


def said(error: BaseException) -> str:
    """Return what an error says, with its class where that alone would be a riddle."""
    words, kind = text(error), type(error).__name__
    if not words:
        return kind
    return f"{kind}: {words}" if isinstance(error, KeyError) else words
