"""Our prebuilt agents and nodes, and those of an installed langgraph-prebuilt, on our engine, as one fixture."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

NAME = "langgraph.prebuilt"
COMPAT = Path(__file__).resolve().parents[2] / "compat"


def loaded() -> list[str]:
    return [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]


def load(home: str) -> SimpleNamespace:
    """Import the modules from one of the places that have them, and leave no trace of it."""
    import langgraph

    before = {name: sys.modules.pop(name) for name in loaded()}
    had = getattr(langgraph, "prebuilt", None)
    sys.path.insert(0, home)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            names = ("tool_node", "chat_agent_executor", "tool_validator", "interrupt")
            parts = {name: importlib.import_module(f"{NAME}.{name}") for name in names}
            top = importlib.import_module(NAME)
    finally:
        sys.path.remove(home)
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(before)
        if had is not None:
            langgraph.prebuilt = had
    assert Path(top.__file__).is_relative_to(home)
    if top.ToolRuntime.__module__.startswith(NAME):
        # Pydantic looks the names in its annotations up in its module.
        top.ToolRuntime.__module__ = "tests.prebuilt.the_other_tool_node"
        sys.modules[top.ToolRuntime.__module__] = parts["tool_node"]
    return SimpleNamespace(**vars(top), **{name: part for name, part in parts.items() if name not in vars(top)})


@pytest.fixture(scope="session")
def ours() -> SimpleNamespace:
    return load(str(COMPAT))


@pytest.fixture(scope="session")
def theirs() -> SimpleNamespace:
    try:
        home = metadata.distribution("langgraph-prebuilt").locate_file("")
    except metadata.PackageNotFoundError:
        pytest.skip("langgraph-prebuilt is not installed, so there is nothing to compare with")
    return load(str(home))


@pytest.fixture(params=["ours", "theirs"])
def prebuilt(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Each of the two: what a test says holds of both."""
    found: SimpleNamespace = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def _deprecations() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
