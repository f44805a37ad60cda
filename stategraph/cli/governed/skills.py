"""`stategraph skills`: skills of folders listed, and held against the specification."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from stategraph.cli.output import FAILED, NOTHING_DONE, Output, counted, table
from stategraph.cli.parser import Parser


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = "See docs/skills.md."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Parser)
    add = partial(_add, actions)

    listing = add("list", "List the skills of folders, with what they may do.", _list)
    listing.epilog = "Exit code: 0 done, 1 some are left out or there are none, 2 a folder cannot be read."
    validate = add("validate", "Hold skills against the Agent Skills specification.", _validate)
    validate.epilog = "Exit code: 0 all are valid, 2 some are not, or there are none."


def _add(actions: Any, name: str, summary: str, act: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="a folder of a skill, or one that holds some")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run, act=act)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Perform an action and return the exit code."""
    from stategraph.errors import ConfigurationError, MissingPackageError

    output = Output(as_json=arguments.json, store="")
    try:
        code: int = arguments.act(arguments, output)
    except (ConfigurationError, MissingPackageError, OSError) as error:
        return output.fail(error)
    return code


def _list(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.skills.registry import SkillRegistry

    skills = SkillRegistry(*arguments.folders)
    found = [skill for newest in skills for skill in skills.versions(newest.name)]
    facts = [
        {
            "name": skill.name,
            "version": skill.version,
            "description": skill.description,
            "folder": str(skill.folder),
            "digest": skill.digest,
            "allowed_tools": skill.allowed_tools,
            "scripts": skill.scripts,
            "left_out": skill.left_out,
        }
        for skill in found
    ]
    rows = [
        (
            skill.name,
            skill.version,
            "all" if skill.allowed_tools is None else " ".join(skill.allowed_tools) or "none",
            str(len(skill.scripts)),
            skill.digest[:12],
        )
        for skill in found
    ]
    text = table(("NAME", "VERSION", "TOOLS", "SCRIPTS", "DIGEST"), rows) if rows else "No skills."
    output.show({"skills": facts, "problems": [_fact(each) for each in skills.problems]}, text)
    for each in skills.problems:
        output.complain(f"left out: {each}")
    return NOTHING_DONE if skills.problems or not found else 0


def _validate(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.governance.skills import loader
    from stategraph.governance.skills.registry import folders_in

    folders = [each for given in arguments.folders for each in folders_in(Path(given))]
    problems = {str(folder): loader.problems_of(folder) for folder in folders}
    facts = [{"folder": name, "problems": [_fact(each) for each in found]} for name, found in problems.items()]
    lines = [str(each) for found in problems.values() for each in found]
    bad = sum(bool(found) for found in problems.values())
    lines.append(f"{counted(len(folders) - bad, 'skill')} valid, {bad} not." if folders else "There are no skills.")
    output.show(facts, "\n".join(lines))
    return 0 if folders and not bad else FAILED


def _fact(problem: Any) -> dict[str, Any]:
    return {"file": str(problem.file), "field": problem.field, "message": problem.message}
