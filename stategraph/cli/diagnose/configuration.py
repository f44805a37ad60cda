"""The configuration: files that are found, what each of them says, and variables. Secrets are known by their names."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from stategraph.cli.diagnose.findings import Finding

AREA: Final = "configuration"

#: Variables that are shown, by the beginnings of their names.
SHOWN: Final = ("STATEGRAPH_", "MOSS_", "LANGGRAPH_", "OTEL_", "LANGSMITH_", "LANGCHAIN_")

#: Names whose values are secret.
SECRET: Final = re.compile(r"(?i)(key|token|secret|passw|credential|authorization|cookie|dsn|headers)")

HIDDEN: Final = "***"

_OWN: Final = ("STATEGRAPH_STORE", "STATEGRAPH_NATS")


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables whose names say that they are secret, and passwords in the addresses of others."""
    found = [value for name, value in environment.items() if SECRET.search(name)]
    for value in environment.values():
        found += re.findall(r"://[^\s/:@]*:([^\s@]+)@", value)
        found += re.findall(r"(?i)(?:password|token|api_?key|secret)=([^\s&;]+)", value)
    return [each for each in found if each]


def variables_in(file: Path) -> dict[str, str]:
    """Return the variables of a file such as `.env`."""
    found = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and re.fullmatch(r"\w+", name.strip()):
            found[name.strip()] = value.strip().strip("'\"")
    return found


def variables_of(config: Path) -> dict[str, str]:
    """Return the variables that a langgraph.json sets, itself or by a file."""
    try:
        said = json.loads(config.read_text(encoding="utf-8")).get("env")
    except (OSError, ValueError, AttributeError):
        return {}
    if isinstance(said, dict):
        return {str(name): str(value) for name, value in said.items()}
    file = config.parent / str(said)
    return variables_in(file) if isinstance(said, str) and file.is_file() else {}


def check(config: Path, settings: Path | None, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at files of settings and at variables.

    Args:
        config: The langgraph.json; it need not be there.
        settings: The server's settings; None: none were named.
        environment: The variables.
    """
    yield from _langgraph(config)
    yield from _settings(settings)
    yield from _env(config.parent / ".env")
    shown = {name: value for name, value in sorted(environment.items()) if name.startswith(SHOWN)}
    said = [f"{name}={HIDDEN if SECRET.search(name) else value}" for name, value in shown.items()]
    yield Finding("ok", AREA, "variables", "; ".join(said) or "none of stategraph's or LangGraph's are set")
    for name in shown:
        if shown[name] != shown[name].strip():
            yield Finding(
                "warn", AREA, "variables", f"{name} begins or ends with white space", "none", "set it without"
            )


def _langgraph(config: Path) -> Iterator[Finding]:
    if not config.exists():
        yield Finding("ok", AREA, "langgraph.json", f"there is no {config}")
        return
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        from stategraph.server.service.graphs import configuration

        found = configuration.read(config)
    except MissingPackageError as error:
        yield Finding("warn", AREA, "langgraph.json", f"{config} was not read: {error}", "the extra `server`")
        return
    except ConfigurationError as error:
        yield Finding("fail", AREA, "langgraph.json", str(error), "a langgraph.json", "correct the file")
        return
    yield Finding("ok", AREA, "langgraph.json", f"{config}: graphs {', '.join(found.graphs) or 'none'}")
    for name, target in found.graphs.items():
        file = target.path.rpartition(":")[0]
        if file.endswith(".py") and not (config.parent / file).exists():
            way_out = f"write the file, or correct the graph {name!r}"
            yield Finding("fail", AREA, "graph", f"{name}: there is no {config.parent / file}", "a file", way_out)


def _settings(settings: Path | None) -> Iterator[Finding]:
    if settings is None:
        yield Finding("ok", AREA, "settings", "none were named with --settings")
        return
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        from stategraph.server import configuring

        configuring.read(settings)
    except (ConfigurationError, MissingPackageError) as error:
        yield Finding("fail", AREA, "settings", str(error), "settings of a server", "correct the file")
        return
    said = tomllib.loads(settings.read_text(encoding="utf-8"))
    yield Finding("ok", AREA, "settings", f"{settings}: {'; '.join(_lines(said))}")
    keys = said.get("auth", {}).get("api_keys", {}).get("file")
    if keys is not None:
        yield from _kept_close(settings.parent / keys)


def _lines(said: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in said.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{before}{name}.")
        else:
            yield f"{before}{name}={HIDDEN if SECRET.search(name) and isinstance(value, str) else value}"


def _env(file: Path) -> Iterator[Finding]:
    if file.is_file():
        yield Finding("ok", AREA, ".env", f"{file} sets {', '.join(sorted(variables_in(file))) or 'nothing'}")
        yield from _kept_close(file)


def _kept_close(file: Path) -> Iterator[Finding]:
    """Look whether others may read a file with secrets."""
    if not file.exists():
        yield Finding("warn", AREA, "permissions", f"there is no {file}", "a file", "make it, or do not name it")
    elif os.name == "posix" and file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        mode = stat.filemode(file.stat().st_mode)
        yield Finding(
            "warn", AREA, "permissions", f"others may read {file} ({mode})", "-rw-------", f"chmod 600 {file}"
        )
