"""Resources as commands print them: tables, names, YAML and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stategraph.cli.output import Output
from stategraph.cli.resources.columns import age, columns, labels
from stategraph.cli.style import Style
from stategraph.resources.manifests.describing import state_of
from stategraph.resources.model import Resource

FORMATS: Final = ("table", "wide", "yaml", "json", "name")


def add_output(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Add the option that says how results are printed; the first format is the default."""
    given = formats or FORMATS
    parser.add_argument(
        "-o", "--output", choices=given, default=given[0], help=f"how it is printed (default: {given[0]})"
    )


def show(resources: Sequence[Resource], arguments: argparse.Namespace, output: Output, *, one: bool = False) -> None:
    """Print resources.

    Args:
        resources: The resources.
        arguments: Has `output`, the format.
        output: Where to.
        one: Whether one was named: JSON and YAML are then the resource, and not a list.
    """
    match arguments.output:
        case "name":
            text = "\n".join(str(each.key) for each in resources)
        case "json":
            text = json.dumps(_listed(resources, one=one), ensure_ascii=False, indent=2)
        case "yaml":
            text = as_yaml(_listed(resources, one=one)).rstrip()
        case _:
            text = table(resources, arguments, Style(sys.stdout))
    if text:
        output.show_json(text)


def _listed(resources: Sequence[Resource], *, one: bool) -> Any:
    if one and len(resources) == 1:
        return document(resources[0])
    return {"apiVersion": "v1", "kind": "List", "items": [document(each) for each in resources]}


def document(resource: Resource) -> dict[str, Any]:
    """Return a resource as its manifest says it, with its status and what the store knows of it."""
    from stategraph.resources.loading import to_document

    return to_document(resource, status=True)


def as_yaml(value: Mapping[str, Any]) -> str:
    """Return a value as YAML."""
    from stategraph.resources.documents import write

    return write([value])


def row(resource: Resource, *, kind: bool, namespace: bool, wide: bool) -> tuple[str, ...]:
    """Return the cells of a resource; the arguments say which columns there are beside the usual ones."""
    ready, reason, message = state_of(resource)
    name = f"{resource.kind.lower()}/{resource.name}" if kind else resource.name
    cells = [*([resource.namespace or "-"] if namespace else []), name, ready, reason]
    cells.append(age(resource.metadata.creation_timestamp))
    if wide:
        source = "-" if resource.source is None else resource.source.place()
        cells += [str(resource.metadata.generation), source, labels(resource.metadata.labels), message or "-"]
    return tuple(cells)


def titles(*, namespace: bool, wide: bool) -> tuple[str, ...]:
    """Return the titles of the columns."""
    first = ("NAMESPACE", "NAME") if namespace else ("NAME",)
    more = ("GENERATION", "SOURCE", "LABELS", "MESSAGE") if wide else ()
    return (*first, "READY", "REASON", "AGE", *more)


def table(resources: Sequence[Resource], arguments: argparse.Namespace, style: Style) -> str:
    """Return resources as a table."""
    kinds = {each.kind for each in resources}
    shape = {"namespace": arguments.all_namespaces, "wide": arguments.output == "wide"}
    rows = [row(each, kind=len(kinds) > 1, **shape) for each in resources]
    return columns(titles(**shape), rows, style) if rows else ""


def nothing(namespace: str | None, labels: Mapping[str, str]) -> str:
    """Return a sentence that says there is nothing."""
    where = "" if namespace is None else f" in the namespace '{namespace}'"
    chosen = f" with the labels {','.join(f'{name}={value}' for name, value in labels.items())}" if labels else ""
    return f"No resources{where}{chosen}."
