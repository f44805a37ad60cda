"""`stategraph plugin`: plug-ins that are installed, a project for a new one, and a check that one starts."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

from stategraph.cli.output import Output, counted, plain_command
from stategraph.cli.parser import Parser

_TRUST: Final = ("public", "verified", "trusted", "internal")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "See docs/plugins.md."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)

    listing = _add(actions, "list", "List the plug-ins that installed distributions offer; nothing is imported.", _list)
    listing.epilog = "Exit code: 0 done."

    new = _add(actions, "new", "Begin a project of a plug-in, with a test.", _new)
    new.add_argument("folder", metavar="FOLDER", help="the folder to make")
    new.add_argument("--package", metavar="NAME", help="the name that is imported (default: that of the folder)")
    new.epilog = "Exit code: 0 done, 2 it does not work."

    check = _add(actions, "check", "Start a plug-in as it would be, call its tools if asked to, and stop it.", _check)
    check.add_argument("plugin", metavar="PLUGIN", help="'package.module:Class', or the name of one installed")
    check.add_argument("--trust", choices=_TRUST, default="verified", help="its trust level (default: %(default)s)")
    check.add_argument(
        "--permission", action="append", metavar="NAME", help="what it may do; may be repeated (default: tools)"
    )
    check.add_argument("--config", type=Path, metavar="FILE", help="its configuration, in JSON, YAML or TOML")
    check.add_argument("--call", metavar="TOOL", help="a tool to call")
    check.add_argument("--arguments", metavar="JSON", default="{}", help="the tool's arguments (default: %(default)s)")
    check.epilog = "Exit code: 0 it works, 2 it does not."


def _add(actions: Any, name: str, summary: str, act: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=partial(_run, act))
    return parser


def _run(act: Any, arguments: argparse.Namespace) -> int:
    return plain_command(act, arguments, as_json=arguments.json)


def _list(arguments: argparse.Namespace, output: Output) -> int:
    del arguments
    from stategraph.resources.plugins.discovery import GROUP, installed

    found = installed()
    lines = [f"{each.name}  {each.target}  {each.distribution} {each.version}" for each in found]
    facts = [
        {"name": each.name, "target": each.target, "distribution": each.distribution, "version": each.version}
        for each in found
    ]
    output.show(facts, "\n".join(lines) or f"no installed distribution offers an entry point of the group '{GROUP}'")
    return 0


def _new(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.new import command

    arguments.template = "plugin"
    return command.make(arguments, output)


def _check(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError
    from stategraph.resources.plugins.configuration import read
    from stategraph.resources.plugins.errors import PluginError
    from stategraph.resources.plugins.spec import PluginSpec

    sys.path.insert(0, str(Path.cwd()))
    try:
        given = json.loads(arguments.arguments)
    except ValueError as error:
        raise ConfigurationError(f"--arguments is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ConfigurationError(f"--arguments is a {type(given).__name__}; expected a mapping")
    named = {"module" if ":" in arguments.plugin else "package": arguments.plugin}
    try:
        spec = PluginSpec(
            "checked",
            trust=arguments.trust,
            permissions=frozenset(arguments.permission or ("tools",)),
            config={} if arguments.config is None else read(arguments.config),
            **named,
        )
        facts = asyncio.run(_started(spec, arguments.call, given))
    except PluginError as error:
        return output.fail(error)
    lines = [f"{arguments.plugin} starts and is well ({facts['isolation']}), and offers:"]
    lines.append(f"  {counted(len(facts['tools']), 'tool')}: {', '.join(facts['tools']) or 'none'}")
    lines += [f"  a controller of {each}" for each in facts["controllers"]]
    lines += [f"  a hook of {each}" for each in facts["hooks"]]
    if arguments.call:
        lines.append(f"{arguments.call} returned {json.dumps(facts['result'], ensure_ascii=False)}")
    output.show(facts, "\n".join(lines))
    return 0


async def _started(spec: Any, tool: str | None, arguments: dict[str, Any]) -> dict[str, Any]:
    from stategraph.resources.plugins.discovery import target_of
    from stategraph.resources.plugins.host import PluginHost
    from stategraph.resources.plugins.lifecycle import RestartBudget

    # A person has named it, so it may be imported.
    allow = [] if spec.module is None else [spec.module.partition(":")[0]]
    if spec.module is None and spec.runs_in == "none":
        allow = [target_of(spec.changed(trust="verified", isolation="process"), ()).partition(":")[0]]
    async with PluginHost(allow=allow, budget=lambda: RestartBudget(most=1, first_s=3600)) as host:
        status = await host.apply(spec)
        offers = host.offers(spec.name)
        facts: dict[str, Any] = {
            "isolation": status.isolation,
            "tools": sorted(offers.tools),
            "controllers": sorted(offers.controllers),
            "hooks": [each.event for each in offers.hooks],
        }
        if tool is not None:
            facts["result"] = await host.call(spec.name, tool, arguments)
        return facts
