"""Targets of commands: graphs and agents of the person's own program, by their import path.

Rules
-----
* Only what the person typed is imported; nothing because stored data names it.
* The present folder is on the import path, as with `python -m`; for a file (`agent.py:graph`), its folder.
* What a module prints while it is imported goes to standard error, so that output stays what was asked for.
* An error says what was looked for and where, and names what is there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from stategraph.cli.parser import suggestion
from stategraph.errors import ConfigurationError

if TYPE_CHECKING:
    from stategraph.agent.settings.inputs import AgentInputs

#: Names that are looked for if the target names a module alone.
USUAL_NAMES: Final = ("graph", "app", "agent", "agents", "workflow")

#: Tells people which targets hold a conversation.
CONVERSING: Final = "an agent, agents, a graph with messages, or settings of create_run: MODULE:NAME or FILE:NAME"

#: Tells people how a target is written.
FORM: Final = "MODULE:NAME, as in my_app.graphs:graph, or FILE:NAME, as in agent.py:graph"


Kind: TypeAlias = Literal["graph", "agents", "settings"]

#: What messages call them.
_KINDS: Final[Mapping[Kind, str]] = {
    "graph": "a compiled graph",
    "agents": "agents",
    "settings": "settings of create_run",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A graph or agents, found.

    Attributes:
        path: The path with the name that was found.
        kind: Whether it is a compiled graph, a list of `AgentInputs`, or settings of `create_run`.
        value: It.
    """

    path: str
    kind: Kind
    value: Any

    @property
    def agents(self) -> Sequence[AgentInputs]:
        """The agents; none if it is a graph."""
        return self.value if self.kind == "agents" else ()

    @property
    def graph(self) -> Any:
        """The compiled graph; None if it is agents."""
        return self.value if self.kind == "graph" else None


@dataclass(frozen=True, slots=True)
class Imported:
    """A value that a module has under a name.

    Attributes:
        path: The module and the name, `MODULE:NAME`.
        shown: The same as the person wrote it.
        value: It, whatever it is.
    """

    path: str
    shown: str
    value: Any


def imported(path: str) -> Imported:
    """Import whatever a person names.

    Args:
        path: See `FORM`. Without a name, the usual ones are looked for.

    Raises:
        ConfigurationError: It cannot be imported.
    """
    where, _, name = path.partition(":")
    module = _module(where, path)
    if name:
        value = _attribute(module, name, where)
    else:
        usual = [each for each in USUAL_NAMES if hasattr(module, each)] or _graphs(module)
        if not usual:
            raise ConfigurationError(
                f"'{where}' has no graph under a usual name: write {where}:NAME. {_offers(module)}"
            )
        name = usual[0]
        value = getattr(module, name)
    return Imported(f"{module.__name__}:{name}", f"{where}:{name}", value)


def load(path: str) -> Target:
    """Import a graph, agents, or settings of `create_run`.

    Args:
        path: See `FORM`.

    Raises:
        ConfigurationError: It cannot be imported, or is something else.
    """
    found = imported(path)
    return _target(found.shown, found.value)


def load_graph(path: str) -> Target:
    """Import a graph.

    Raises:
        ConfigurationError: It cannot be imported, or is no graph.
    """
    target = load(path)
    if target.kind != "graph":
        raise ConfigurationError(
            f"'{target.path}' is {_KINDS[target.kind]}, and this command takes a compiled graph: talk to them with "
            f"'stategraph chat {path}'"
        )
    return target


def _module(where: str, path: str) -> ModuleType:
    if not where:
        raise ConfigurationError(f"'{path}' names no module: write {FORM}")
    folder, name = Path.cwd(), where
    if (os.sep in where or where.startswith(".")) and Path(where).is_dir():
        raise ConfigurationError(f"'{where}' is a folder: write {FORM}.{_there(Path(where))}")
    if where.endswith(".py") or os.sep in where:
        file = Path(where).resolve()
        if not file.is_file():
            raise ConfigurationError(f"There is no file '{file}': write {FORM}")
        folder, name = file.parent, file.stem
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"'{where}' needs the module '{error.name}', which is not there ({_at(error)}): install its package in "
                f"the environment of this Python, {sys.executable}"
            ) from error
        raise ConfigurationError(_missing(name, error.name, folder)) from error
    except Exception as error:
        raise ConfigurationError(f"'{where}' fails when it is imported: {_told(error)} ({_at(error)})") from error
    except SystemExit as error:
        raise ConfigurationError(
            f"'{where}' ends the process when it is imported ({_at(error)}): put what is to happen only in a program "
            "of its own below 'if __name__ == \"__main__\":'"
        ) from error


def _missing(name: str, missing: str, folder: Path) -> str:
    hint = suggestion(missing, _modules_in(folder))
    if (folder / name.partition(".")[0] / name.replace(".", os.sep)).with_suffix(".py").is_file():
        hint = f", did you mean to be in the folder '{name.partition('.')[0]}'? cd {name.partition('.')[0]}"
    return f"There is no module '{name}' in '{folder}' or elsewhere on the import path{hint or '.'}{_there(folder)}"


def _modules_in(folder: Path) -> list[str]:
    files = sorted(each.stem for each in folder.glob("*.py") if each.stem != "__init__")
    return files + sorted(each.parent.name for each in folder.glob("*/__init__.py"))


def _there(folder: Path) -> str:
    """Return a sentence that names the modules in a folder; an empty text if there are none."""
    here = _modules_in(folder)
    return f" There: {', '.join(here[:8])}{', ...' if len(here) > 8 else ''}." if here else ""


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _at(error: BaseException) -> str:
    """Return the file and line of a program where an error was raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if "importlib" not in each.filename and each.filename != __file__]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else "no line is known"


def _attribute(module: ModuleType, name: str, where: str) -> Any:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            hint = suggestion(part, [each for each in vars(value) if not each.startswith("_")])
            raise ConfigurationError(f"'{where}' has no '{name}'{hint or '.'} {_offers(module)}")
        value = getattr(value, part)
    return value


def _offers(module: ModuleType) -> str:
    found = _graphs(module)
    file = getattr(module, "__file__", None) or module.__name__
    if found:
        return f"Graphs in {file}: {', '.join(found)}"
    others = [name for name, value in vars(module).items() if not name.startswith("_") and _may_be(module, value)]
    return f"There is no compiled graph in {file}{'; there are ' if others else ''}{', '.join(others)}"


def _may_be(module: ModuleType, value: object) -> bool:
    """Return whether a value is agents or settings, or a function of the module that may return some or a graph."""
    if inspect.isfunction(value):
        return value.__module__ == module.__name__ and not _needed(value)
    if isinstance(value, Mapping):
        return "agents" in value
    agents = value if isinstance(value, list | tuple) else [value]
    return bool(agents) and all(map(_is_agent, agents))


def _graphs(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if not name.startswith("_") and is_graph(value)]


def is_graph(value: object) -> bool:
    """Return whether a value is a compiled graph."""
    return not inspect.isclass(value) and callable(getattr(value, "astream", None)) and hasattr(value, "nodes")


def _target(path: str, value: object) -> Target:
    made = ""
    if inspect.isfunction(value):
        value, made = _called(path, value), " returned"
    if is_graph(value):
        return Target(path, "graph", value)
    if isinstance(value, Mapping) and ("agents" in value or "graph" in value):
        return Target(path, "settings", value)
    agents = list(value) if isinstance(value, list | tuple) else [value]
    if agents and all(_is_agent(each) for each in agents):
        return Target(path, "agents", agents)
    if callable(getattr(value, "compile", None)) and hasattr(value, "add_node"):
        name = path.partition(":")[2]
        raise ConfigurationError(
            f"'{path}' is a graph that is not compiled: add a line 'graph = {name}.compile()', and name that"
        )
    what = f"the class {value.__name__}" if inspect.isclass(value) else f"a value of type {type(value).__name__}"
    raise ConfigurationError(
        f"'{path}'{made or ' is'} {what}; expected a compiled graph, AgentInputs, a list of them, or a function "
        "without arguments that returns one of these"
    )


def _is_agent(value: object) -> bool:
    from stategraph.agent.settings.inputs import AgentInputs

    return isinstance(value, AgentInputs)


def _needed(make: Callable[..., object]) -> list[str]:
    """Return the names of the arguments that a function cannot be called without."""
    return [
        each.name
        for each in inspect.signature(make).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]


def _called(path: str, make: Callable[[], object]) -> object:
    if needed := _needed(make):
        raise ConfigurationError(
            f"'{path}' is a function that wants {', '.join(needed)}; expected one without arguments that returns a "
            "graph"
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):
            made = make()
    except Exception as error:
        raise ConfigurationError(f"'{path}' failed when it was called: {_told(error)} ({_at(error)})") from error
    if inspect.iscoroutine(made):
        made.close()
        raise ConfigurationError(f"'{path}' is an async function: return the graph from one that need not be awaited")
    return made
