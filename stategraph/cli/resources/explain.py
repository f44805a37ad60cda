"""`stategraph explain`: the fields of a kind in words."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any, Final

from stategraph.cli.output import Output, table
from stategraph.cli.parser import Parser
from stategraph.cli.resources.asked import kind_of, kinds_in
from stategraph.cli.resources.formats import add_output
from stategraph.cli.resources.opening import add_store, address_of, is_there, opened_store, run_on_resources
from stategraph.resources.kind_table import KINDS, Kind

_TEXT: Final = {"type": "string"}
_WORDS: Final = {"type": "object", "additionalProperties": _TEXT}

#: What every resource has beside its spec and status.
_METADATA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What every resource has beside its spec.",
    "required": ["name"],
    "properties": {
        "name": {**_TEXT, "description": "Its name: small letters, digits, dashes and dots."},
        "namespace": {**_TEXT, "description": "Its namespace; names are unique in one.", "default": "default"},
        "labels": {**_WORDS, "description": "Words to select resources by: 'stategraph get all -l app=kitchen'."},
        "annotations": {**_WORDS, "description": "Words that nobody selects by."},
    },
}

#: What the store and controllers say of a resource.
_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What controllers say of it; what a manifest has here is not read.",
    "properties": {
        "conditions": {
            "type": "array",
            "description": "Aspects of its state: Ready, Valid, ReferencesResolved, Progressing, Degraded.",
            "items": {
                "type": "object",
                "title": "Condition",
                "properties": {
                    "type": _TEXT,
                    "status": {"enum": ["True", "False", "Unknown"]},
                    "reason": {**_TEXT, "description": "Why, as one word."},
                    "message": {**_TEXT, "description": "Why, with file, line and field where there is one."},
                    "observedGeneration": {"type": "integer", "description": "The generation that it is about."},
                    "lastTransitionTime": {**_TEXT, "description": "When the status last changed (RFC 3339)."},
                },
            },
        },
        "observedGeneration": {"type": "integer", "description": "The generation that was reconciled last."},
    },
}


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "path",
        metavar="KIND[.FIELD]",
        nargs="?",
        help="a kind, and fields in it: workflow, workflow.spec.steps, ag.spec.memory; none: the kinds that there are",
    )
    parser.add_argument("--recursive", action="store_true", help="name all fields below, with their types alone")
    add_output(parser, "text", "json")
    add_store(parser)
    parser.epilog = (
        "Custom kinds are looked for in the database, if there is one. Exit code: 0 done, 2 there is no such field."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain a field, and return the exit code."""
    return run_on_resources(_explain, arguments, as_json=arguments.output == "json")


async def _explain(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.resources.manifests.explain import explain

    if arguments.path is None:
        return await _list(arguments, output)
    word, *path = [each for each in arguments.path.split(".") if each]
    kind = await _kind(word, arguments)
    schema = whole(kind)
    if path and path[0] not in schema["properties"]:
        spec = schema["$defs"][schema["properties"]["spec"]["$ref"].rpartition("/")[2]]
        if path[0] in spec.get("properties", {}):  # whoever leaves 'spec' out means it
            path = ["spec", *path]
    found = explain(schema, path)
    if arguments.output == "json":
        output.show_json(json.dumps(_plain(found), ensure_ascii=False, indent=2))
        return 0
    head = f"KIND: {kind.name}\nVERSION: {kind.group}/v1\n\n"
    output.show_json(head + found.told(recursive=arguments.recursive))
    return 0


async def _list(arguments: argparse.Namespace, output: Output) -> int:
    """Show the kinds that there are, each with its words and what it is for."""
    kinds: Iterable[Kind] = KINDS
    if is_there(address_of(arguments)):
        async with opened_store(arguments) as store:
            kinds = await kinds_in(store)
    facts = [
        {
            "kind": each.name,
            "words": [each.plural, *each.short_names],
            "description": whole(each).get("description") or "",
        }
        for each in kinds
    ]
    if arguments.output == "json":
        output.show_json(json.dumps(facts, ensure_ascii=False, indent=2))
        return 0
    rows = [(str(each["kind"]), ", ".join(each["words"]), str(each["description"]).split("\n")[0]) for each in facts]
    output.show_json(f"{table(('KIND', 'WORDS', 'WHAT IT IS'), rows)}\n\nThe fields of one: stategraph explain agent")
    return 0


async def _kind(word: str, arguments: argparse.Namespace) -> Kind:
    if KINDS.get(word) is None and is_there(address_of(arguments)):
        async with opened_store(arguments) as store:
            return kind_of(word, await kinds_in(store))
    return kind_of(word)


def whole(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of a resource of a kind, with its spec under `$defs`."""
    from stategraph.resources.schema import spec_schema

    spec = dict(spec_schema(kind) or {"type": "object", "additionalProperties": True})
    definitions = spec.pop("$defs", {})
    name = f"{kind.name}Spec"
    return {
        "type": "object",
        "description": spec.get("description", ""),
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {**_TEXT, "description": f"The group and version: {kind.group}/v1."},
            "kind": {"const": kind.name},
            "metadata": _METADATA,
            "spec": {"$ref": f"#/$defs/{name}"},
            "status": _STATUS,
        },
        "$defs": {**definitions, name: spec},
    }


def _plain(field: Any) -> dict[str, Any]:
    shown = {"name": field.name, "type": field.type, "required": field.required, "description": field.description}
    more = {"default": field.default, "choices": list(field.choices), "fields": [_plain(each) for each in field.fields]}
    return {**shown, **{name: value for name, value in more.items() if value not in (None, [])}}
