"""The `stategraph` command.

Each subcommand is one row of `_COMMANDS`: its module is imported when it is asked for, and imports what it needs when
it runs. Exit codes: 0, done, or nothing to report; 1, it works but something may go wrong, there was nothing to do, or
somebody has to answer; 2, what was asked for does not work, which includes a command line that cannot be read.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final

import stategraph
from stategraph.cli.output import FAILED, UnwritableOutputError, write_error
from stategraph.cli.parser import Parser

#: Name, summary, and the module in this package with `prepare(parser)`.
_COMMANDS: Final = (
    ("new", "Begin a project: an agent, a graph or a chat backend, with tests.", "new.command"),
    ("run", "Run a graph, show what it does, and print its result.", "programs.running"),
    (
        "replay",
        "Replay a recorded run without a network, and say where the graph does something else.",
        "programs.replaying",
    ),
    (
        "fuzz",
        "Kill the processes of a graph at saves and anywhere, and see that it comes to the same.",
        "programs.fuzzing",
    ),
    ("chat", "Talk to an agent or a graph in the terminal.", "chat.command"),
    ("dev", "Serve a chat page for an agent or a graph on this machine.", "dev"),
    ("serve", "Serve graphs and agents over HTTP: LangGraph's API, A2A, MCP, AG-UI and others.", "serve"),
    ("keys", "Make, list and revoke the API keys of a server.", "access.keys"),
    ("graph", "Draw a graph: in the terminal, as Mermaid or as SVG.", "programs.graph"),
    ("thread", "Look at threads of a database: read, compare, copy, export, delete them.", "thread.commands"),
    ("apply", "Store manifests, and bring about what they declare.", "resources.apply"),
    ("get", "List resources, print them, and follow them as they change.", "resources.get"),
    ("describe", "Say how resources are, and why.", "resources.describe"),
    ("diff", "Say what an apply would change, field by field.", "resources.diff"),
    ("validate", "Check manifests beside each other, without a store.", "resources.validate"),
    ("explain", "Explain the fields of a kind.", "resources.explain"),
    ("fmt", "Rewrite references in manifests into the one spelling.", "resources.fmt"),
    (
        "convert",
        "Turn manifests of kagent, CrewAI or Argo into resources, or say why not.",
        "converting.convert",
    ),
    ("migrate", "Bring manifests of earlier versions into the present form.", "converting.migrate"),
    ("delete", "Delete resources, with what they own.", "resources.delete"),
    ("wait", "Wait until resources are ready, or gone.", "resources.wait"),
    ("logs", "Print what the runs of a resource told, and follow them.", "observing.logs"),
    (
        "top",
        "Show what a database does now: runs, queues, workers, graphs, plug-ins, budgets.",
        "observing.top",
    ),
    ("console", "Look at resources in the terminal, as they change.", "console.command"),
    ("plugin", "List plug-ins, begin a project of one, and check that one starts.", "operating.plugins"),
    ("crds", "Print the kinds as CustomResourceDefinitions of Kubernetes.", "operating.crds"),
    ("operator", "Reconcile the resources of a Kubernetes cluster.", "operating.operator"),
    ("runs", "Look at the runs of a database, stop them, and answer them.", "runs"),
    ("worker", "Execute the runs of a database until told to stop.", "worker"),
    (
        "agents",
        "List the agents of a directory, read their cards, ask them, register and remove them.",
        "agents.command",
    ),
    ("store", "Measure what a database has stored of threads, prune it, and convert it.", "store"),
    ("policy", "Check policies of governed actions, hold them against tables of cases, and explain them.", "policy"),
    (
        "capabilities",
        "List what agents, graphs and registries can do, and release what others have changed.",
        "governed.capabilities",
    ),
    ("skills", "List skills of folders, and hold them against the specification.", "governed.skills"),
    ("audit", "Read, verify, export, erase from and archive the audit log of governed actions.", "governed.audit"),
    ("approvals", "List requests for approval of governed actions, approve and deny them.", "governed.approvals"),
    ("doctor", "Say which engine LangGraph programs run on here, and what would go wrong.", "diagnosis"),
    ("diagnose", "Look at everything that a deployment stands on, and say what is wrong.", "diagnose.command"),
    ("completion", "Have a shell complete commands and options.", "completion.command"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments behind the program's name; None means those of this process.

    Returns:
        The exit code.

    Raises:
        SystemExit: On `--help`, `--version` (code 0) or arguments that cannot be read (code 2).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words).parse(words)
    arguments.make_parser = _parser
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except UnwritableOutputError as error:
        write_error(f"stategraph: {error}")
        return FAILED


def _parser(words: Sequence[str]) -> Parser:
    """Return the parser of a command line; only the command that it names is described."""
    parser = Parser(
        prog="stategraph", description="A lightweight state-graph engine that LangGraph programs run on unmodified."
    )
    parser.add_argument("--version", action="version", version=f"stategraph {stategraph.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    named = next((each for each in words if not each.startswith("-")), None)
    for name, summary, module in _COMMANDS:
        command = commands.add_parser(name, help=summary, description=summary)
        if name == named:
            importlib.import_module(f"{__name__}.{module}").prepare(command)
    return parser
