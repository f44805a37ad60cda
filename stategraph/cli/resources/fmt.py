"""`stategraph fmt`: references in manifests rewritten into the one spelling."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from stategraph.cli.output import NOTHING_DONE, Output, plain_command, text_of, write
from stategraph.cli.parser import Parser
from stategraph.cli.resources.manifests import files_of


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "files", metavar="FILE", nargs="*", default=["."], help="files and folders; - for standard input (default: .)"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something would change")
    parser.add_argument("--diff", action="store_true", help="change nothing; show what would change")
    parser.epilog = (
        "Comments, order and quotes stay as they are. Exit code: 0 done, 1 something would change (--check, --diff), 2 "
        "a file cannot be read."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rewrite files, and return the exit code."""
    return plain_command(_fmt, arguments, as_json=False)


def _fmt(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.resources.errors import ResourceError
    from stategraph.resources.manifests.fmt import formatted

    if arguments.files == ["-"]:
        try:
            write(formatted(text_of("-")), end="")
        except ResourceError as error:
            return output.fail(error)
        return 0
    code, dry = 0, arguments.check or arguments.diff
    for file in files_of(arguments.files):
        text = text_of(str(file))
        try:
            new = formatted(text, str(file))
        except ResourceError as error:
            code = output.fail(error)
            continue
        if new == text:
            continue
        if not dry:
            _replace(file, new)
        output.show(str(file), _difference(text, new, str(file)) if arguments.diff else str(file))
        code = max(code, NOTHING_DONE if dry else 0)
    return code


def _difference(old: str, new: str, file: str) -> str:
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), file, file)
    return "".join(lines).rstrip("\n")


def _replace(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    from stategraph.errors import ConfigurationError

    beside = file.with_name(f".{file.name}.new")
    try:
        beside.write_text(text, encoding="utf-8", newline="")
        beside.chmod(file.stat().st_mode)
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigurationError(f"'{file}' cannot be written: {error.strerror}") from error
