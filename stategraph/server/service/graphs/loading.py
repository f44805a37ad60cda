"""A graph of a program, from what names it: a file or a module and a name in it, or the object itself."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stategraph import import_paths
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.errors import ConfigurationError
from stategraph.run import building
from stategraph.run.runtime_settings import RunKeywords
from stategraph.server.service.graphs.factories import Factory

#: Settings of `create_run` that are in the graph; all others are the run's, and would be missing without a word.
_IN_GRAPH: Final = frozenset({"agents", "edges", "graph", "sticky_agents"})

_EXPECTED: Final = (
    "a compiled graph, a StateGraph, an @entrypoint, a function that makes one of these, an AgentInputs, a list of "
    "them, or settings such as {'agents': [...]}"
)


def found_at(path: str, folder: Path) -> Any:
    """Import what a path names.

    Args:
        path: `file.py:name` or `package.module:name`.
        folder: What files are relative to.

    Raises:
        ConfigurationError: It cannot be imported, or has no such name.
    """
    place, _, name = path.rpartition(":")
    if not (place.endswith(".py") or "/" in place or "\\" in place):
        return import_paths.imported(path, "The graph")
    file = (folder / place).resolve()
    if file.suffix != ".py":
        raise ConfigurationError(f"The graph '{path}' is in no Python file; graphs in other languages are not served")
    module = _module_of(file, path)
    if not hasattr(module, name):
        raise ConfigurationError(f"The graph '{path}' was not found: '{file}' has no name {name!r}")
    return getattr(module, name)


def _module_of(file: Path, path: str) -> Any:
    """Return the module that a file is, imported once under a name of its own."""
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:12]
    name = f"stategraph_served_{file.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ConfigurationError(f"The graph '{path}' was not found: there is no file '{file}'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise ConfigurationError(
                f"The graph '{path}' cannot be imported: {type(error).__name__}: {error}"
            ) from error
        raise
    return module


def usable(found: Any, name: str) -> Any:
    """Return a compiled graph, or a `Factory`.

    Args:
        found: What a program has under the graph's path.
        name: The path, for errors.

    Raises:
        ConfigurationError: It is something else.
    """
    if hasattr(found, "astream") and hasattr(found, "checkpointer"):
        return found
    if hasattr(found, "compile") and hasattr(found, "nodes"):
        return found.compile()
    if isinstance(found, AgentInputs):
        return _of_settings({"agents": [found]}, name)
    if isinstance(found, Mapping) and found:
        return _of_settings(found if "agents" in found or "graph" in found else {"agents": [dict(found)]}, name)
    if isinstance(found, list | tuple) and found:
        return _of_settings({"agents": list(found)}, name)
    if callable(found) and not isinstance(found, type):
        return Factory(found, name)
    raise ConfigurationError(f"The graph {name!r} is of type {type(found).__name__}; expected {_EXPECTED}")


def _of_settings(settings: Mapping[str, Any], name: str) -> Any:
    """Return the graph of agents, or of settings of `create_run`."""
    if lost := sorted(set(settings) - _IN_GRAPH):
        raise ConfigurationError(
            f"The graph {name!r} has settings that belong to runs of the Run API, which a graph alone would not keep: "
            f"{', '.join(lost)}. Serve it with 'stategraph serve' as the target, or leave them out"
        )
    if settings.get("graph") is not None:
        return usable(settings["graph"], name)
    agents = [each if isinstance(each, AgentInputs) else AgentInputs(**each) for each in settings.get("agents") or ()]
    config = RunKeywords(run_id="served", **{**settings, "agents": agents}).config()
    return building.graph_of(config, None, public=True).compiled
