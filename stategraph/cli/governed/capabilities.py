"""`stategraph capabilities`: what a target can do, and which descriptions of others wait for a person.

A target is a registry, agents, a graph, tools or functions of the person's own program. A file is one in which a
registry keeps versions (`SqliteVersions`).
"""

from __future__ import annotations

import argparse
import difflib
import getpass
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import NOTHING_DONE, Output, table

if TYPE_CHECKING:
    from stategraph.governance.capabilities.port import Offer
    from stategraph.governance.capabilities.versions import KnownVersion
    from stategraph.governance.registry import Entry, Registry
    from stategraph.governance.view import CapabilityView

_SHORT: Final = 12
_HEADER: Final = b"SQLite format 3\x00"
_EXPECTED: Final = (
    "expected a Registry, AgentInputs, settings of create_run, a compiled graph, a function, a LangChain tool, a "
    "SkillRegistry, or a list of these"
)


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target",
        metavar="TARGET|FILE",
        help="MODULE:NAME or FILE.py:NAME, a registry, agents, a graph, tools or functions; or the file in which a "
        "registry keeps versions of what others describe",
    )
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", help="only ids such as 'mcp:github/*'")
    parser.add_argument("--release", metavar="ID", help="release a version from quarantine, in such a file")
    parser.add_argument("--scope", default=None, help="whose version to release, such as a tenant (default: host)")
    parser.add_argument("--by", metavar="NAME", help="who has looked at it (default: your name on this machine)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.epilog = (
        "Exit code: 0 done, 1 something is in quarantine, cannot be used, or has a fault, 2 it does not work. Servers "
        "are not contacted. See docs/capabilities.md."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List capabilities, or release one, and return the exit code."""
    from stategraph.errors import ConfigurationError, MissingPackageError
    from stategraph.governance.errors import GovernanceError

    output = Output(as_json=arguments.json, store="")
    try:
        if _is_database(arguments.target):
            return _file(arguments, output)
        if arguments.release is not None:
            raise ConfigurationError(
                f"'{arguments.target}' is no file with versions of capabilities: --release needs the one that the "
                "registry was given, as SqliteVersions(FILE)"
            )
        return _target(arguments, output)
    except (ConfigurationError, MissingPackageError, GovernanceError, OSError) as error:
        return output.fail(error)


def _is_database(target: str) -> bool:
    file = Path(target)
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(len(_HEADER)) == _HEADER


# A target.


def _target(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.programs import targets
    from stategraph.governance.capability import without_version

    found = targets.imported(arguments.target)
    registry = _registry(found.shown, found.value)
    entries = registry.entries(*arguments.patterns)
    newest = {without_version(each.capability.id): each.capability.id for each in entries}
    names, digest = _names(registry)
    facts = [_facts(each, names) for each in entries]
    rows = [
        (
            names.get(each.capability.id, "-"),
            each.capability.id,
            each.capability.risk,
            each.capability.trust,
            each.capability.digest[:_SHORT],
        )
        for each in entries
    ]
    faults = _faults(registry) if not arguments.patterns else []
    unusable = [each for each in entries if each.state != "usable"]
    text = table(("NAME", "ID", "RISK", "TRUST", "DIGEST"), rows) + "\n" if rows else ""
    text += "".join(f"{each.capability.id} is {each.state}: {each.why}\n" for each in unusable if arguments.patterns)
    text += "".join(f"{each}\n" for each in faults)
    text += f"{len(newest)} {'capability' if len(newest) == 1 else 'capabilities'}. Digest of the whole view: {digest}"
    output.show({"capabilities": facts, "view_digest": digest, "problems": faults}, text)
    return NOTHING_DONE if unusable or faults else 0


def _faults(registry: Registry) -> list[str]:
    """Return what is wrong with what a registry has, for a session that sees all of it."""
    from stategraph.governance.view_checks import problems

    return problems(registry, _view(registry))


def _names(registry: Registry) -> tuple[dict[str, str], str]:
    """Return the names that models would call capabilities by, and the digest of all that can be used."""
    view = _view(registry)
    return {each.id: name for name, each in view.names.items()}, view.digest


def _view(registry: Registry) -> CapabilityView:
    """Return what a session sees that may see everything."""
    from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
    from stategraph.governance.view import CapabilityGraph

    principal = Principal(registry.tenant or "host", "cli")
    return CapabilityGraph.build(registry, RuntimeSessionContext(principal, AgentRef("cli"), "cli"))


def _facts(entry: Entry, names: dict[str, str]) -> dict[str, Any]:
    shown = entry.capability.model_dump(mode="json")
    state = {"state": entry.state} | ({"why": entry.why} if entry.why else {})
    return {"called": names.get(entry.capability.id), **shown, **state}


def _registry(path: str, value: Any) -> Registry:
    from stategraph.governance.registry import Registry

    if isinstance(value, Registry):
        return value
    return Registry(*_offers(path, value))


def _offers(path: str, value: Any) -> Sequence[Offer]:
    """Make capabilities of a value of the person's program.

    Raises:
        ConfigurationError: It is nothing that can be done.
    """
    from langchain_core.tools import BaseTool

    from stategraph.agent.settings.inputs import AgentInputs
    from stategraph.cli.programs.targets import is_graph
    from stategraph.errors import ConfigurationError
    from stategraph.governance.capabilities import agents, functions, graphs, skills
    from stategraph.governance.capabilities.port import Offer
    from stategraph.governance.capabilities.traits import Traits
    from stategraph.governance.skills.registry import SkillRegistry

    if isinstance(value, Mapping) and "agents" in value:
        return _of_settings(value)
    if isinstance(value, SkillRegistry):
        return skills.offers(value)
    if isinstance(value, Offer):
        return [value]
    if isinstance(value, AgentInputs):
        return agents.tools_of([value])
    if is_graph(value):
        return [graphs.offer(value, Traits(description=value.get_name(), name=path.rpartition(":")[2]))]
    if isinstance(value, BaseTool) or inspect.isroutine(value):
        return [functions.offer(value, in_place=True)]
    if isinstance(value, list | tuple) and value:
        return [offer for each in value for offer in _offers(path, each)]
    raise ConfigurationError(f"'{path}' is a value of type {type(value).__name__}; {_EXPECTED}")


def _of_settings(settings: Mapping[str, Any]) -> Sequence[Offer]:
    """Make capabilities of the tools of agents in settings of `create_run`."""
    from stategraph.agent.settings.inputs import AgentInputs, GraphEdge
    from stategraph.governance.capabilities import agents

    edges = settings.get("edges")
    ways = None if edges is None else [GraphEdge.of(each) for each in edges]
    return agents.tools_of([AgentInputs.of(each) for each in settings["agents"]], ways)


# A file.


def _file(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.capabilities.selection import compiled
    from stategraph.governance.capabilities.versions import SqliteVersions, utc_now

    with SqliteVersions(arguments.target, create=False) as versions:
        if arguments.release is not None:
            by = arguments.by or getpass.getuser()
            made = versions.release(arguments.scope or "host", arguments.release, by=by, now=utc_now())
            output.show(_known(made), f"{made.id} of {made.scope} is released, by {made.released_by}.")
            return 0
        known = versions.all()
    matches = compiled(tuple(arguments.patterns) or ("*",))
    return _show(output, [each for each in known if arguments.scope in (None, each.scope) and matches(each.id)])


def _show(output: Output, known: Sequence[KnownVersion]) -> int:
    waiting = [each for each in known if not each.released]
    rows = [(each.scope, each.id, each.digest[:_SHORT], _released(each)) for each in known]
    text = table(("SCOPE", "ID", "DIGEST", "RELEASED"), rows) if rows else "No versions."
    for each in waiting:
        text += f"\n\n{each.id} of {each.scope} says:\n{each.description}\n{_changed(each, known)}"
        text += f"Release it with --release '{each.id}' --scope '{each.scope}'"
    output.show([_known(each) for each in known], text)
    return NOTHING_DONE if waiting else 0


def _changed(version: KnownVersion, known: Sequence[KnownVersion]) -> str:
    """Return how a version differs from the last one before it that was released; all of it, if there is none."""
    before = [
        each
        for each in known
        if (each.scope, each.key) == (version.scope, version.key) and each.released and each.version < version.version
    ]
    if not before:
        return f"{version.contents}\n" if version.contents else ""
    last = max(before, key=lambda each: each.version)
    lines = [f"Changed since {last.id}: {', '.join(_differing(last.parts, version.parts)) or 'not known'}"]
    if last.contents and version.contents:
        both = last.contents.splitlines(), version.contents.splitlines()
        lines += [line for line in difflib.unified_diff(*both, lineterm="", n=1) if line[:3] not in ("---", "+++")]
    elif last.description != version.description:
        lines.append(f"{last.id} said:\n{last.description}")
    return "".join(f"{line}\n" for line in lines)


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]


def _released(version: KnownVersion) -> str:
    if version.released_at is None:
        return f"no: in quarantine since {version.seen_at:%Y-%m-%d %H:%M} UTC"
    by = "as the first one" if version.released_by == "first" else f"by {version.released_by}"
    return f"{by}, {version.released_at:%Y-%m-%d %H:%M} UTC"


def _known(version: KnownVersion) -> dict[str, Any]:
    return {
        "scope": version.scope,
        "id": version.id,
        "digest": version.digest,
        "description": version.description,
        "contents": version.contents,
        "parts": dict(version.parts),
        "seen_at": version.seen_at.isoformat(),
        "released_by": version.released_by,
        "released_at": None if version.released_at is None else version.released_at.isoformat(),
    }
