"""Say in which package a module of the `langgraph` namespace is, where that package is not installed.

LangGraph depends on `langgraph-prebuilt`, so programs take `langgraph.prebuilt` for granted; stategraph can do without.
A finder at the very end of `sys.meta_path` is asked only after all others have found nothing: it finds nothing either,
and raises the same error with a way out.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # the typing module is not needed here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Final

_PACKAGES: Final = {"langgraph.prebuilt": ("langgraph-prebuilt", "stategraph[prebuilt]")}
"""Packages by module, with the name to install."""


class _Explaining:
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname in _PACKAGES:
            package, requirement = _PACKAGES[fullname]
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: it belongs to the package {package}, which is not installed. Install it"
                f" with: pip install '{requirement}'",
                name=fullname,
            )


def explain() -> None:
    """Have missing modules explained in this process."""
    if not any(isinstance(finder, _Explaining) for finder in sys.meta_path):
        sys.meta_path.append(_Explaining())
