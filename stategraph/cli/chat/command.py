"""`stategraph chat`: talk to an agent or a graph in the terminal, or through a pipe.

From a pipe each line is a message, or the answer to a question, in the order in which they are asked for.
"""

from __future__ import annotations

import argparse
from typing import Any

from stategraph.cli.output import STORE_VARIABLE, Output, add_threads_store, checked_store, plain_command
from stategraph.cli.programs.targets import CONVERSING, Imported, imported, is_graph
from stategraph.cli.resources import declared


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help=f"{CONVERSING}; or an agent or a network that is declared, agent/NAME; other graphs: 'stategraph run' "
        "(default: the embedded demo, which needs no key)",
    )
    declared.prepare(parser)
    add_threads_store(parser, otherwise="they last as long as the chat")
    parser.add_argument("--thread", metavar="ID", help="go on with this thread")
    parser.add_argument("--web", action="store_true", help="talk in the browser instead: the same as 'stategraph dev'")
    parser.add_argument("--plain", action="store_true", help="show Markdown as it is written")
    parser.add_argument("--json", action="store_true", help="print each event as a line of JSON")
    parser.epilog = (
        "Ctrl-C stops an answer, Ctrl-D ends the chat. Exit code: 0 done, 1 the thread waits for an answer, 2 it does "
        "not work."
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Talk, and return the exit code."""
    if arguments.web and arguments.target and declared.is_named(arguments.target):
        return plain_command(_refuse_page, arguments, as_json=arguments.json)
    if arguments.web:
        from stategraph.cli import dev

        return dev.serve_page(arguments.target, store=arguments.store, open_browser=True)
    if arguments.target and declared.is_named(arguments.target):
        declared.place(arguments)
        return plain_command(_chat_declared, arguments, as_json=arguments.json)
    return plain_command(_chat, arguments, as_json=arguments.json)


def _refuse_page(arguments: argparse.Namespace, output: Output) -> int:
    """Say where what is declared is in the browser."""
    from stategraph.errors import ConfigurationError

    del arguments, output
    raise ConfigurationError("--web is for code: 'stategraph dev --resources' has what is declared in the browser")


def _chat_declared(arguments: argparse.Namespace, output: Output) -> int:
    """Talk to a resource."""
    from stategraph.resources.errors import ResourceError

    try:
        with declared.conversing(arguments) as given:
            return _talk(given, arguments, output)
    except ResourceError as error:
        return output.fail(error)


def _chat(arguments: argparse.Namespace, output: Output) -> int:
    found = imported(arguments.target) if arguments.target else None
    if found is not None:
        _check_conversing(found)
    return _talk(found.path if found else None, arguments, output)


def _talk(given: Any, arguments: argparse.Namespace, output: Output) -> int:
    """Talk to a target, see `loading.load`."""
    from stategraph.cli.chat.markdown import is_available
    from stategraph.cli.chat.person import Person
    from stategraph.cli.chat.screen import Screen
    from stategraph.cli.chat.talk import Talk
    from stategraph.dev import loading
    from stategraph.dev.hosting import host
    from stategraph.errors import ConfigurationError

    store = checked_store(arguments.store)
    target = loading.load(given)
    person = Person(quiet=arguments.json)
    screen = Screen(plain=arguments.plain, names=target.agents)
    if arguments.thread and not store and "checkpointer" not in target.settings and target.graph is None:
        raise ConfigurationError(
            f"--thread needs the database that the thread is in: give --store, or set {STORE_VARIABLE}"
        )
    runtime, target = host(target, store)
    if person.is_there:
        screen.line(f"{screen.style.bold(target.name or arguments.target)}  {target.note}")
        screen.line("Type a message. /help lists commands, Ctrl-C stops an answer, Ctrl-D ends the chat.", dim=True)
        if not arguments.plain and not is_available():
            screen.line("Markdown is shown as it is written: pip install 'stategraph[cli]' has it rendered.", dim=True)
        screen.line("")
    with runtime:
        return Talk(runtime, target, person, screen, output).hold(arguments.thread)


def _check_conversing(found: Imported) -> None:
    """Check that a graph holds a conversation.

    Raises:
        ConfigurationError: It does not.
    """
    from stategraph.errors import ConfigurationError
    from stategraph.run.graphs.loading import takes_messages

    if is_graph(found.value) and not takes_messages(found.value):
        raise ConfigurationError(
            f"The graph '{found.shown}' has no 'messages' in its state that a reducer merges, so there is nothing to "
            f"talk to: execute it with 'stategraph run {found.shown} --input ...', or add messages: Annotated[list, "
            "add_messages] to its state"
        )
