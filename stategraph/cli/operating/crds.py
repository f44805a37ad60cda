"""`stategraph crds`: the kinds as CustomResourceDefinitions of Kubernetes."""

from __future__ import annotations

import argparse
import json

from stategraph.cli.output import Output, plain_command


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("kinds", metavar="KIND", nargs="*", help="kinds, in any word for them (default: all)")
    parser.add_argument("--json", action="store_true", help="print a list in JSON instead of YAML documents")
    parser.epilog = "Give them to 'kubectl apply --server-side -f -'. Exit code: 0 done, 2 there is no such kind."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the definitions and return the exit code."""
    return plain_command(_print, arguments, as_json=arguments.json)


def _print(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError, MissingPackageError
    from stategraph.resources.crds import definitions
    from stategraph.resources.kind_table import KINDS

    chosen = []
    for word in arguments.kinds:
        kind = KINDS.get(word)
        if kind is None:
            near = KINDS.suggestion(word)
            raise ConfigurationError(f"There is no kind '{word}'" + (f"; did you mean '{near}'?" if near else ""))
        chosen.append(kind)
    documents = json.loads(json.dumps(definitions(chosen or tuple(KINDS))))
    if arguments.json:
        output.show(documents, "")
        return 0
    try:
        import yaml  # an extra
    except ImportError as error:
        raise MissingPackageError("stategraph[resources]", "Definitions in YAML") from error
    output.show(documents, yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120).rstrip("\n"))
    return 0
