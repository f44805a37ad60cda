"""langgraph.json as values, checked.

The file's keys are LangGraph's (https://docs.langchain.com/langsmith/application-structure): `graphs`, `env`,
`dependencies`, `store`, `auth`, `http`. What is for building images is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stategraph.errors import ConfigurationError

FILE: Final = "langgraph.json"


@dataclass(frozen=True, slots=True)
class GraphPlace:
    """The place of a graph.

    Attributes:
        path: `file.py:name`, or `package.module:name`.
        description: What it does, for people and models; None: not said.
    """

    path: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """The content of a configuration file.

    Attributes:
        folder: That of the file; paths are relative to it.
        graphs: Where each graph is, by its id.
        env: Environment variables, or the path of a file that has them.
        dependencies: Folders that modules are imported from, and names of packages, which have to be installed.
        store: Settings of the store: `index`, `ttl`.
        auth: Settings of authentication: `path` and others.
        http: Settings of the server: `app`, `cors`, `disable_...`.
    """

    folder: Path
    graphs: Mapping[str, GraphPlace]
    env: Mapping[str, str] | str = field(default_factory=dict, repr=False)
    dependencies: Sequence[str] = ()
    store: Mapping[str, Any] = field(default_factory=dict)
    auth: Mapping[str, Any] = field(default_factory=dict)
    http: Mapping[str, Any] = field(default_factory=dict)


def read(path: str | Path) -> Configuration:
    """Read a configuration file.

    Args:
        path: The file, or its folder.

    Raises:
        ConfigurationError: It is not there, is no JSON, or says something that is not understood.
    """
    file = Path(path)
    if file.is_dir():
        file /= FILE
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"The configuration '{file}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"The configuration '{file}' is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise ConfigurationError(f"The configuration '{file}' is a JSON {type(said).__name__}; expected an object")
    return _Reader(str(file), said).configuration(file.resolve().parent)


class _Reader:
    def __init__(self, file: str, said: Mapping[str, Any]) -> None:
        self._file = file
        self._said = said

    def configuration(self, folder: Path) -> Configuration:
        return Configuration(
            folder,
            self._graphs(),
            self._env(),
            tuple(self._get("dependencies", list, "a list of folders and packages")),
            **{name: self._get(name, dict, "an object") for name in ("store", "auth", "http")},
        )

    def _get(self, name: str, kind: type, expected: str) -> Any:
        value = self._said.get(name)
        if value is None:
            return kind()
        if not isinstance(value, kind):
            raise ConfigurationError(f"{self._file}: '{name}' is {value!r}; expected {expected}")
        return value

    def _graphs(self) -> dict[str, GraphPlace]:
        given = self._get("graphs", dict, "an object such as {'agent': './agent.py:graph'}")
        if not given:
            raise ConfigurationError(f"{self._file} has no graphs; expected 'graphs': {{'agent': './agent.py:graph'}}")
        return {name: self._place(name, value) for name, value in given.items()}

    def _place(self, name: str, value: Any) -> GraphPlace:
        path = value.get("path") if isinstance(value, dict) else value
        if not isinstance(path, str) or not all(path.rpartition(":")):
            raise ConfigurationError(
                f"{self._file}: the graph {name!r} is at {path!r}; expected './file.py:name' or 'package.module:name'"
            )
        description = value.get("description") if isinstance(value, dict) else None
        return GraphPlace(path, description)

    def _env(self) -> Mapping[str, str] | str:
        env = self._said.get("env") or {}
        if isinstance(env, str):
            return env
        if isinstance(env, dict):
            return {str(name): str(value) for name, value in env.items()}
        raise ConfigurationError(f"{self._file}: 'env' is a list or a number; expected a file's name, or an object")
