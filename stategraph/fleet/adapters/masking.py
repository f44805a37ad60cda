"""Errors as clients may read them: without secrets of the environment, and not endless."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

#: Characters of an error that a client is told.
MOST: Final = 2_000

_SECRET_NAME: Final = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_SECRET_TEXT: Final = re.compile(r"\b(sk|pk|xox[bap]|gh[pousr])[-_][\w*-]{8,}|(?<=Bearer )\S+", re.ASCII)
_LEAST: Final = 6


def masked(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text without the values of variables that are named like secrets, and without what looks like a key.

    Args:
        text: The text.
        environment: The variables; None: those of the process.
    """
    variables = os.environ if environment is None else environment
    values = {value for name, value in variables.items() if _SECRET_NAME.search(name) and len(value) >= _LEAST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***")
    text = _SECRET_TEXT.sub("***", text)
    return text if len(text) <= MOST else f"{text[:MOST]} ..."
