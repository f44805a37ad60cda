"""`stategraph new`: a folder with a project in it.

Files of a template are copied as they are, but for three words: `__package__`, the name that is imported,
`__project__`, that of the project, and `__version__`, that of the stategraph it was made with.
"""

from __future__ import annotations

import argparse
import keyword
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import stategraph
from stategraph.cli.output import Output, plain_command
from stategraph.cli.style import Style

_TEMPLATES: Final = Path(__file__).with_name("templates")
_SUFFIX: Final = ".template"

_TALK: Final = ("stategraph chat {package}.agent:settings", "stategraph dev {package}.agent:settings")

#: Templates with what they make, and what to do next in the new folder.
_KINDS: Final = {
    "agent": ("an agent with tools, one of which needs an approval", _TALK),
    "graph": (
        "a graph that asks a person",
        ('stategraph run {package}.graph --input \'{{"question": "Where is it?"}}\'',),
    ),
    "backend": ("a chat backend over HTTP that streams", ("python -m {package}",)),
    "plugin": ("a plug-in with a tool", ("stategraph plugin check {package}.plugin:Words",)),
}


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="the folder to make")
    kinds = "; ".join(f"{name}: {what}" for name, (what, _) in _KINDS.items())
    parser.add_argument("--template", choices=_KINDS, default="agent", help=f"{kinds} (default: agent)")
    parser.add_argument("--package", metavar="NAME", help="the name that is imported (default: that of the folder)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.epilog = "Exit code: 0 done, 2 it does not work."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make a project and return the exit code."""
    return plain_command(make, arguments, as_json=arguments.json)


def make(arguments: argparse.Namespace, output: Output) -> int:
    """Make a project of a template and return the exit code."""
    folder = Path(arguments.folder)
    package = _package(arguments.package or re.sub(r"\W+", "_", folder.resolve().name.lower()).strip("_"))
    _check_empty(folder)
    words = {
        "__package__": package,
        "__project__": package.replace("_", "-"),
        "__version__": stategraph.__version__,
    }
    made = []
    for template, name in _files(arguments.template):
        text = template.read_text(encoding="utf-8")
        for word, value in words.items():
            text, name = text.replace(word, value), name.replace(word, value)
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        made.append(name)
    what, commands = _KINDS[arguments.template]
    steps = [f"cd {shlex.quote(arguments.folder)}", *(each.format(package=package) for each in commands)]
    steps += ["pip install -e '.[dev]'", "python -m pytest"]
    style = Style(sys.stdout)
    lines = [f"{style.bold(arguments.folder)} has {what}:", *(f"  {name}" for name in made), "", "Next:"]
    lines += [f"  {style.bold(step)}" for step in steps]
    output.show({"folder": str(folder), "package": package, "files": made, "next": steps}, "\n".join(lines))
    return 0


def _files(kind: str) -> Iterator[tuple[Path, str]]:
    """Yield the files of a template, each with its name in the project."""
    root = _TEMPLATES / kind
    for file in sorted(root.rglob(f"*{_SUFFIX}")):
        yield file, file.relative_to(root).as_posix().removesuffix(_SUFFIX)


def _package(name: str) -> str:
    """Return a name for a package.

    Raises:
        ConfigurationError: It cannot be imported, or hides another module.
    """
    from stategraph.errors import ConfigurationError

    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ConfigurationError(
            f"'{name}' cannot be imported: give a name of letters, digits and _, as in --package my_agent"
        )
    if name in sys.stdlib_module_names or name in ("stategraph", "langgraph", "langchain", "tests", "pytest", "openai"):
        raise ConfigurationError(f"A package '{name}' would hide the module '{name}': give another name with --package")
    return name


def _check_empty(folder: Path) -> None:
    """See that nothing is written over.

    Raises:
        ConfigurationError: There are files in the folder, or it is a file.
    """
    from stategraph.errors import ConfigurationError

    if folder.is_dir():
        found = sorted(each for each in os.listdir(folder) if each != ".git")
        if found:
            raise ConfigurationError(f"'{folder}' has files already, such as '{found[0]}': name a folder of its own")
    elif folder.exists():
        raise ConfigurationError(f"'{folder}' is a file: name a folder")
