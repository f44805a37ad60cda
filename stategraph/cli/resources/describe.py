"""`stategraph describe`: the state of a resource, and why it is so.

Beside what a resource says of itself stand what it uses, with the state of that, and what uses it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Final

from stategraph.cli.output import Output
from stategraph.cli.parser import Parser
from stategraph.cli.resources import formats
from stategraph.cli.resources.asked import add_asked, asked_of, chosen, kinds_in
from stategraph.cli.resources.columns import age, coloured, columns, labels, padded
from stategraph.cli.resources.opening import add_store, opened_store, run_on_resources
from stategraph.cli.style import Style
from stategraph.resources.manifests import describing
from stategraph.resources.model import Resource

#: Columns of the names of facts.
_WIDTH: Final = 13

#: Fields of a status that are shown elsewhere.
_SHOWN: Final = frozenset({"conditions", "observedGeneration"})


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    add_asked(parser)
    formats.add_output(parser, "text", "json")
    add_store(parser)
    parser.epilog = "Exit code: 0 done, 2 something that was named is not there."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Describe resources, and return the exit code."""
    return run_on_resources(_describe, arguments, as_json=arguments.output == "json")


async def _describe(arguments: argparse.Namespace, output: Output) -> int:
    async with opened_store(arguments) as store:
        kinds = await kinds_in(store)
        wanted = asked_of(arguments, kinds)
        found = await chosen(store, wanted)
        everything = (await store.snapshot()).resources
    around = describing.Around(everything, kinds)
    if arguments.output == "json":
        output.show([describing.facts(each, around) for each in found], "")
    elif found:
        style = Style(sys.stdout)
        output.show_json("\n\n\n".join(text_of(each, around, style) for each in found))
    else:
        output.complain(formats.nothing(wanted.namespace, wanted.labels))
    return 0


def text_of(resource: Resource, around: describing.Around, style: Style) -> str:
    """Return a resource as people read it."""
    return "\n".join(_lines(resource, around, style))


def _lines(resource: Resource, around: describing.Around, style: Style) -> Iterator[str]:
    yield from _told(resource, style)
    yield from _section("Conditions:", _conditions(resource, style), style)
    yield from _section("Why it is not ready:", "\n".join(describing.why_not(resource)), style)
    for title, others in (
        ("Uses:", [(str(key), *_state(other)) for key, other in around.used(resource)]),
        ("Used by:", [(str(each.key), *_state(each)) for each in around.users(resource)]),
        ("Owns:", [(str(each.key), *_state(each)) for each in around.owned(resource)]),
    ):
        yield from _section(title, columns(("NAME", "READY", "REASON"), others, style) if others else "", style)
    rest = {name: value for name, value in resource.status.items() if name not in _SHOWN}
    yield from _section("Status:", formats.as_yaml(rest).rstrip() if rest else "", style)
    meta = resource.metadata
    if meta.finalizers and resource.is_deleting:
        yield from ("", f"It is being deleted, and held up by {', '.join(meta.finalizers)}.")


def _section(title: str, text: str, style: Style) -> Iterator[str]:
    """Yield a title and the indented lines below it; nothing for an empty text."""
    if text:
        yield from ("", style.bold(title))
        yield from (f"  {line}".rstrip() for line in text.splitlines())


def _conditions(resource: Resource, style: Style) -> str:
    rows = [
        (each.type, each.status, each.reason, age(each.last_transition_time), str(each.observed_generation))
        for each in resource.conditions
    ]
    return columns(("TYPE", "STATUS", "REASON", "SINCE", "GENERATION"), rows, style) if rows else ""


def _told(resource: Resource, style: Style) -> Iterator[str]:
    meta = resource.metadata
    ready, reason, _ = describing.state_of(resource)
    observed = max((each.observed_generation for each in resource.conditions), default=0)
    generation = str(meta.generation)
    if observed != meta.generation:
        generation += f" (controllers have seen {observed})" if observed else " (no controller has seen it)"
    facts = {
        "Name": meta.name,
        "Namespace": meta.namespace,
        "Kind": f"{resource.kind} ({resource.api_version})",
        "Labels": labels(meta.labels) if meta.labels else "",
        "File": resource.source.place() if resource.source else "",
        "Created": f"{meta.creation_timestamp} ({age(meta.creation_timestamp)} ago)",
        "Generation": generation,
        "Owner": ", ".join(f"{each.kind.lower()}/{each.name}" for each in meta.owner_references),
        "Ready": coloured(ready, ready, style) + (f" ({reason})" if reason else ""),
    }
    for name, value in {**facts, **dict(meta.annotations)}.items():
        if value:
            yield f"{padded(f'{name}:', _WIDTH)} {value}"


def _state(resource: Resource | None) -> tuple[str, str]:
    if resource is None:
        return "False", "NotFound"
    ready, reason, _ = describing.state_of(resource)
    return ready, reason
