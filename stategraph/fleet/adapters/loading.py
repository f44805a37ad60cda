"""From a framework's name and `module:attribute` to an adapter."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from stategraph._version import __version__
from stategraph.fleet.adapters.history import Remembered
from stategraph.fleet.adapters.port import About, Adapter, AdapterError, Answering, Sessions

#: The frameworks of Python, with the package whose version is told. Each has a module in `frameworks` with `adapter`.
FRAMEWORKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "adk": "google-adk",
        "autogen": "autogen-agentchat",
        "crewai": "crewai",
        "langchain": "langchain-core",
        "langgraph": "langgraph",
        "openai_agents": "openai-agents",
        "semantic_kernel": "semantic-kernel",
    }
)

#: An agent without a framework, or of one that has no adapter here.
CUSTOM: Final = "custom"


def load(framework: str, target: str) -> Adapter:
    """Return the adapter of an agent.

    Args:
        framework: One of `FRAMEWORKS`, or `custom`.
        target: `package.module:attribute`. The folder of the process comes first where modules are looked for.

    Raises:
        AdapterError: There is no such framework or agent, or the framework is not installed.
    """
    if framework != CUSTOM and framework not in FRAMEWORKS:
        known = ", ".join([*FRAMEWORKS, CUSTOM])
        raise AdapterError(f"There is no adapter for {framework!r}; expected one of {known}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = _imported(target)
    if framework == CUSTOM:
        return custom(found, target)
    module = importlib.import_module(f"stategraph.fleet.adapters.frameworks.{framework}")
    is_ours = framework == "langgraph" and type(found).__module__.startswith("stategraph.")
    made: Adapter = module.adapter(found, __version__ if is_ours else version_of(FRAMEWORKS[framework]))
    return made


def custom(found: Any, target: str) -> Adapter:
    """Return the adapter that a target is, or that is made of its function.

    Raises:
        AdapterError: It is neither.
    """
    if inspect.isasyncgenfunction(found):
        answering: Answering = found
        about = About(CUSTOM, "", (inspect.getdoc(found) or "").partition("\n")[0])
        return Sessions(about, lambda context_id: Remembered(context_id, answering))
    if inspect.isclass(found):
        found = found()
    if isinstance(found, Adapter):
        return found
    raise AdapterError(
        f"{target!r} is {type(found).__name__}; expected an async generator function that takes a Turn, or an object "
        "with framework, version, description, skills, open and close (see stategraph.fleet.adapters.Adapter)"
    )


def version_of(package: str) -> str:
    """Return the version of an installed package.

    Raises:
        AdapterError: It is not installed.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise AdapterError(
            f"'{package}' is not installed in {sys.prefix}: run the adapter with the Python of the framework's "
            "environment (stategraph agents serve ... --python PATH)"
        ) from None


def _imported(target: str) -> Any:
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise AdapterError(f"The agent {target!r} is no import path; expected 'package.module:attribute'")
    try:
        found: Any = importlib.import_module(name)
    except Exception as error:  # any error of the module's own code
        raise AdapterError(f"{target!r} cannot be imported: {type(error).__name__}: {error}") from error
    for each in attribute.split("."):
        if not hasattr(found, each):
            raise AdapterError(f"{target!r} was not found: the module {name!r} has no attribute {attribute!r}")
        found = getattr(found, each)
    return found
