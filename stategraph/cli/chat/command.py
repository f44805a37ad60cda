"""`stategraph chat`: talk to an agent or a graph in the terminal, or through a pipe.

From a pipe each line is a message, or the answer to a question, in the order in which they are asked for.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stategraph.cli.output import STORE_VARIABLE, Output, plain_command

if TYPE_CHECKING:
    from stategraph.run.runtime import AgentRuntime


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="an agent, agents, a graph with messages, or settings of create_run: MODULE:NAME or FILE:NAME (default: "
        "the embedded demo, which needs no key)",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get(STORE_VARIABLE),
        help="the database of threads, such as sqlite:///threads.db; by default that in the environment variable "
        f"{STORE_VARIABLE}, else they last as long as the chat",
    )
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
    if arguments.web:
        from stategraph.cli import dev

        return dev.serve_page(arguments.target, store=arguments.store, open_browser=True)
    return plain_command(_chat, arguments, as_json=arguments.json)


def _chat(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.cli.chat.markdown import is_available
    from stategraph.cli.chat.person import Person
    from stategraph.cli.chat.screen import Screen
    from stategraph.cli.chat.talk import Talk
    from stategraph.cli.programs.targets import imported
    from stategraph.dev import loading
    from stategraph.errors import ConfigurationError

    target = loading.load(imported(arguments.target).path if arguments.target else None)
    person = Person(quiet=arguments.json)
    screen = Screen(plain=arguments.plain, names=target.agents)
    settings = dict(target.settings)
    shared: dict[str, Any] = {name: settings.pop(name) for name in ("checkpointer", "store") if name in settings}
    if arguments.store:
        shared["checkpointer"] = arguments.store
    elif arguments.thread and "checkpointer" not in shared and target.graph is None:
        raise ConfigurationError(
            f"--thread needs the database that the thread is in: give --store, or set {STORE_VARIABLE}"
        )
    if person.is_there:
        screen.line(f"{screen.style.bold(target.name or arguments.target)}  {target.note}")
        screen.line("Type a message. /help lists commands, Ctrl-C stops an answer, Ctrl-D ends the chat.", dim=True)
        if not arguments.plain and not is_available():
            screen.line("Markdown is shown as it is written: pip install 'stategraph[cli]' has it rendered.", dim=True)
        screen.line("")
    with _runtime(settings, shared) as runtime:
        return Talk(runtime, replace(target, settings=settings), person, screen, output).hold(arguments.thread)


def _runtime(settings: Mapping[str, Any], shared: Mapping[str, Any]) -> AgentRuntime:
    """Return a runtime in which approvals can be asked for, and threads are kept at least as long as it is open."""
    from stategraph.engine.checkpoints.memory import in_memory_saver
    from stategraph.run.config import HumanInTheLoop
    from stategraph.run.runtime import AgentRuntime

    given = dict(shared)
    if given.get("checkpointer") is None:
        given["checkpointer"] = in_memory_saver()
    if "human_in_the_loop" not in settings:
        given["human_in_the_loop"] = HumanInTheLoop(enabled=True)
    return AgentRuntime(thread_index=True, **given)
