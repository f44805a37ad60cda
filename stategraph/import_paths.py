"""Import paths: how a person or a host names code, as `package.module:attribute`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from stategraph.errors import ConfigurationError


def parts(path: str, what: str, error: type[Exception] = ConfigurationError) -> tuple[str, str]:
    """Return the module and the attribute of an import path.

    Args:
        path: `package.module:attribute`; the attribute may have dots.
        what: Beginning of the error's sentence, such as `The target`.
        error: Class of the error.

    Raises:
        ConfigurationError: The path has another form; an `error`, if one was given.
    """
    module, colon, attribute = path.partition(":")
    if not (colon and module and attribute):
        raise error(f"{what} {path!r} is no import path; expected 'package.module:attribute'")
    return module, attribute


def imported(path: str, what: str, error: type[Exception] = ConfigurationError, *, hint: str = "") -> Any:
    """Import what a path names. Only for paths from a person or a host: stored data must never get here.

    Args:
        path: `package.module:attribute`; the attribute may have dots.
        what: Beginning of the error's sentence, such as `The target`.
        error: Class of the error.
        hint: Sentence that follows if the module cannot be imported; empty: none.

    Raises:
        ConfigurationError: The path has another form, the module cannot be imported, for whatever reason, or has no
            such attribute; an `error`, if one was given.
    """
    module, attribute = parts(path, what, error)
    try:
        found: Any = importlib.import_module(module)
    except Exception as reason:  # any error of the module's own code
        told = f"{what} {path!r} cannot be imported: {type(reason).__name__}: {reason}"
        raise error(f"{told}. {hint}" if hint else told) from reason
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise error(f"{what} {path!r} was not found: the module {module!r} has no attribute {attribute!r}")
        found = getattr(found, name)
    return found


def mapping_at(path: str, what: str) -> dict[str, Any]:
    """Import a mapping, or call what is imported if it is a function that returns one.

    Args:
        path: `package.module:attribute`.
        what: Beginning of the error's sentence, such as `--services`.

    Raises:
        ConfigurationError: It cannot be imported, or is no mapping.
    """
    found = imported(path, what)
    found = found() if callable(found) else found
    if not isinstance(found, Mapping):
        raise ConfigurationError(
            f"{what} '{path}' is of type {type(found).__name__}; expected a mapping such as {{'model_factory': ...}}, "
            "or a function that returns one"
        )
    return dict(found)
