"""Stand-ins for names that the suite imports and this engine does not have.

Rules:

* Only imports at the top level of a file are considered: a missing name there stops pytest from collecting the whole
  file, a missing name inside a test already fails that test alone.
* A name that exists is never replaced. A module that exists and cannot be imported counts as missing; the report says
  why.
* While files are collected a stand-in accepts everything (it may be subclassed, decorated with, called, subscripted).
  Once tests run, whatever touches it fails, also when the test would have swallowed the error.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
import warnings
from abc import ABCMeta
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = "langgraph"


@dataclass(slots=True)
class _Phase:
    """Whether tests run yet, and what the running test has touched."""

    running: bool = False
    touched: list[str] = field(default_factory=list)


_phase = _Phase()


def _touch(name: str) -> None:
    if _phase.running:
        _phase.touched.append(name)
        pytest.fail(f"touches {name}, which this engine does not have")


class _PlaceholderType(ABCMeta):
    """Metaclass of all stand-ins, so that one can stand in for a class, a function or a constant alike."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        _touch(cls.__qualname__)
        return make_placeholder(f"{cls.__qualname__}()")

    def __getattr__(cls, name: str) -> Any:
        if name.startswith(("__", "_abc", "_pytest", "pytest")):
            raise AttributeError(name)
        _touch(f"{cls.__qualname__}.{name}")
        return make_placeholder(f"{cls.__qualname__}.{name}")

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __instancecheck__(cls, instance: Any) -> bool:
        _touch(cls.__qualname__)
        return False

    def __eq__(cls, other: object) -> bool:
        _touch(cls.__qualname__)
        return cls is other

    def __hash__(cls) -> int:
        _touch(cls.__qualname__)
        return id(cls)

    def __str__(cls) -> str:
        _touch(cls.__qualname__)
        return cls.__qualname__

    def __bool__(cls) -> bool:
        _touch(cls.__qualname__)
        return True

    def __iter__(cls) -> Iterator[Any]:
        _touch(cls.__qualname__)
        return iter(())


def make_placeholder(name: str) -> Any:
    """Return a stand-in that reports itself under the dotted `name`."""
    return _PlaceholderType(name, (), {"__qualname__": name})


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One name that a file of the suite needs: `name` is None for a plain `import module`."""

    module: str
    name: str | None


def top_level_imports(source: str) -> list[Import]:
    """List what a file imports from LangGraph's tree when it is loaded, outside of `try` and `if TYPE_CHECKING`."""
    found: list[Import] = []
    pending: list[ast.stmt] = list(ast.parse(source).body)
    while pending:
        match pending.pop(0):
            case ast.ImportFrom(module=str(module), names=names, level=0) if _is_ours(module):
                found += [Import(module, alias.name) for alias in names]
            case ast.Import(names=names):
                found += [Import(alias.name, None) for alias in names if _is_ours(alias.name)]
            case ast.If(test=test, body=body, orelse=orelse):
                pending += orelse if "TYPE_CHECKING" in ast.unparse(test) else [*body, *orelse]
    return found


def _is_ours(module: str) -> bool:
    return module.startswith(f"{ROOT}.")


def supply(folder: Path) -> list[str]:
    """Put a stand-in wherever a file below `folder` would fail to load, and return their dotted names."""
    wanted = {found for file in folder.rglob("*.py") for found in top_level_imports(file.read_text(encoding="utf-8"))}
    supplied: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for item in sorted(wanted, key=lambda item: (item.module, item.name or "")):
            module = _load(item.module, supplied)
            if item.name is not None:
                _supply_name(module, item.name, supplied)
    return supplied


def _load(name: str, supplied: list[str]) -> types.ModuleType:
    """Import a module, or put an empty one in its place when it (or a parent of it) cannot be had."""
    reason = ""
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        reason = "" if missing else f" (cannot be imported: {error})"
    parent, _, leaf = name.rpartition(".")
    holder = _load(parent, supplied) if parent else None
    module = types.ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
    if holder is not None:
        setattr(holder, leaf, module)
    supplied.append(f"{name}{reason}")
    return module


def _supply_name(module: types.ModuleType, name: str, supplied: list[str]) -> None:
    dotted = f"{module.__name__}.{name}"
    reason = ""
    try:
        if hasattr(module, name):
            return
        importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        reason = "" if error.name in (dotted, module.__name__) else f" (cannot be imported: {error})"
    except Exception as error:
        reason = f" (cannot be imported: {error})"
    else:
        return
    setattr(module, name, make_placeholder(dotted))
    supplied.append(f"{dotted}{reason}")


def start_running() -> None:
    """From here on a touched stand-in fails the test that touches it."""
    _phase.running = True


def take_touched() -> list[str]:
    """Return the stand-ins touched since the last call."""
    touched, _phase.touched = _phase.touched, []
    return touched
