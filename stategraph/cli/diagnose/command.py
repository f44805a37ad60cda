"""`stategraph diagnose`: look at everything that a deployment stands on, and say what is wrong and what to do.

Every text that is printed or written into a report is cleaned of secrets: values of variables and files whose names
say so, and logins in addresses.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.diagnose import configuration, connections, environment, stores
from stategraph.cli.diagnose.findings import Finding, exit_code, guarded
from stategraph.cli.output import Output, add_store, plain_command, write, write_error
from stategraph.cli.serve import TOKEN_VARIABLE

if TYPE_CHECKING:
    from stategraph.agent.settings.secrets import Secrets

#: Have the address of models and its key, as OpenAI's client reads them.
MODELS_VARIABLE: Final = "OPENAI_BASE_URL"
KEY_VARIABLE: Final = "OPENAI_API_KEY"

_MARKS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_store(parser)
    parser.add_argument("--config", metavar="FILE", default="langgraph.json", help="(default: that of this folder)")
    parser.add_argument("--settings", metavar="FILE", help="settings of the server in TOML")
    parser.add_argument(
        "--server",
        metavar="URL",
        help=f"a server to ask, with the token in the environment variable {TOKEN_VARIABLE}, if there is one",
    )
    parser.add_argument(
        "--models",
        metavar="URL",
        nargs="?",
        const="",
        help=f"ask an endpoint of models for its list (default: {MODELS_VARIABLE}); the key is in {KEY_VARIABLE}",
    )
    parser.add_argument("--agents", action="store_true", help="ask all agents of the database's directory")
    parser.add_argument("--report", metavar="FILE", help="write everything into a file that has no secrets, to send it")
    parser.epilog = "Nothing is changed. Exit code: 0 all is well, 1 something may go wrong, 2 something does not work."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at everything, and return the exit code."""
    return plain_command(_diagnose, arguments, as_json=arguments.json)


def _diagnose(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError

    secrets = _secrets(arguments)
    found = [_cleaned(each, secrets) for each in _findings(arguments)]
    code = exit_code(found)
    if arguments.report:
        try:
            Path(arguments.report).write_text(_as_json(found, code), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"The report '{arguments.report}' cannot be written: {error.strerror}") from error
    if arguments.json:
        write(_as_json(found, code), end="")
    else:
        for each in found:
            write("\n".join(_lines(each)))
        counted = {level: sum(each.level == level for each in found) for level in _MARKS}
        write(f"{counted['ok']} ok, {counted['warn']} warnings, {counted['fail']} failures")
    if arguments.report:
        write_error(f"The report is in {arguments.report}. Look through it before you send it.")
    return code


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    config = Path(arguments.config)
    settings = None if arguments.settings is None else Path(arguments.settings)
    yield from guarded(environment.AREA, lambda: environment.check(config.resolve().parent))
    yield from guarded(configuration.AREA, lambda: configuration.check(config, settings, os.environ))
    if arguments.store:
        yield from guarded(stores.AREA, lambda: stores.check(arguments.store))
    else:
        yield Finding("ok", stores.AREA, "address", "none was named: --store, or STATEGRAPH_STORE")
    if arguments.nats:
        yield from guarded("nats", lambda: connections.nats(arguments.nats))
    if arguments.server:
        yield from guarded("server", lambda: connections.server(arguments.server, os.environ.get(TOKEN_VARIABLE)))
    if arguments.models is not None:
        url = arguments.models or os.environ.get(MODELS_VARIABLE) or "https://api.openai.com/v1"
        yield from guarded("models", lambda: connections.endpoint(url, os.environ.get(KEY_VARIABLE)))
    if arguments.agents and arguments.store:
        yield from guarded("agents", lambda: connections.agents(arguments.store))


def _secrets(arguments: argparse.Namespace) -> Secrets:
    """Return everything that must not be shown."""
    from stategraph.agent.settings.secrets import Secrets

    config = Path(arguments.config)
    env = config.parent / ".env"
    addresses = (arguments.store, arguments.nats, arguments.server, arguments.models)
    given = {f"address{number}": each for number, each in enumerate(addresses) if each}
    found = list[str]()
    for variables in (os.environ, configuration.variables_of(config), given):
        found += configuration.secrets_of(variables)
    if env.is_file():
        found += configuration.secrets_of(configuration.variables_in(env))
    found += [each.partition("://")[2].partition("@")[0] for each in addresses if each and "@" in each]
    return Secrets(found)


def _cleaned(each: Finding, secrets: Secrets) -> Finding:
    texts = {name: secrets.text(text) for name, text in asdict(each).items()}
    return Finding(each.level, each.area, each.name, texts["found"], texts["expected"], texts["way_out"])


def _as_json(found: list[Finding], code: int) -> str:
    told: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "exit_code": code,
        "findings": [asdict(each) for each in found],
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _lines(each: Finding) -> Iterator[str]:
    yield f"{_MARKS[each.level]} {each.area}: {each.name}: {each.found}"
    if each.expected:
        yield f"       expected: {each.expected}"
    if each.way_out:
        yield f"       {each.way_out}"
