"""`stategraph keys`: API keys of a server, made, listed and revoked in the file that `[auth.api_keys]` names."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from stategraph.cli.output import NOTHING_DONE, Output, plain_command, table
from stategraph.cli.parser import Parser


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "See docs/serving.md. A server that runs takes a change of the file over within seconds."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)
    add = partial(_add, actions)

    create = add("create", "Make a key, and print it once: the file has its hash alone (scrypt).", _create)
    create.add_argument("identity", metavar="IDENTITY", help="whose it is, such as the name of a user or a program")
    create.add_argument(
        "--permission",
        metavar="NAME",
        action="append",
        default=[],
        help="what whoever has it may do, in the application's words, such as 'threads:read'; several times",
    )
    create.epilog = "Exit code: 0 made, 2 the file cannot be written, or has a line that is no key."
    listing = add("list", "List the keys of a file: ids, whose they are, and what they may.", _list)
    listing.epilog = "Exit code: 0 done, 1 there are none, 2 the file cannot be read."
    revoke = add("revoke", "Take a key away.", _revoke)
    revoke.add_argument("key_id", metavar="ID", help="the id of the key, as the list has it: sg_ID_...")
    revoke.epilog = "Exit code: 0 revoked, 1 there is no such key, 2 the file cannot be read or written."


def _add(actions: Any, name: str, summary: str, act: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("--file", metavar="FILE", default="keys.jsonl", help="the file of keys (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run, act=act)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Perform an action and return the exit code."""
    return plain_command(_act, arguments, as_json=arguments.json)


def _act(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import MissingPackageError

    try:
        from stategraph.server.access import api_keys, key_files
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "anyio"):
            raise
        raise MissingPackageError("stategraph[server]", "The file of API keys") from error
    code: int = arguments.act(arguments, output, api_keys, key_files)
    return code


def _create(arguments: argparse.Namespace, output: Output, api_keys: Any, key_files: Any) -> int:
    secret, kept = api_keys.make(arguments.identity, arguments.permission)
    key_files.add(arguments.file, kept)
    text = f"{secret}\nThis is the key of '{kept.identity}', shown this once; '{arguments.file}' has its hash."
    output.show({"key": secret, **_fact(kept)}, text)
    return 0


def _list(arguments: argparse.Namespace, output: Output, _: Any, key_files: Any) -> int:
    found = key_files.read(arguments.file)
    rows = [(each.key_id, each.identity, " ".join(each.permissions)) for each in found]
    output.show(list(map(_fact, found)), table(("ID", "IDENTITY", "PERMISSIONS"), rows) if rows else "No keys.")
    return 0 if found else NOTHING_DONE


def _revoke(arguments: argparse.Namespace, output: Output, _: Any, key_files: Any) -> int:
    key_id = arguments.key_id
    if not key_files.revoke(arguments.file, key_id):
        output.complain(f"There is no key with the id '{key_id}' in '{arguments.file}': 'stategraph keys list' has all")
        return NOTHING_DONE
    output.show({"revoked": key_id}, f"Key '{key_id}' is revoked.")
    return 0


def _fact(key: Any) -> dict[str, Any]:
    return {"id": key.key_id, "identity": key.identity, "permissions": list(key.permissions)}
