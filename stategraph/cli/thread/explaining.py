"""`stategraph thread explain`: why each node of a run ran, waits or did not run, and who wrote what.

It is told from what is stored. With `--graph` it is known which edge, router or command led to a node; without, the
database alone tells who ran and who wrote what.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stategraph.cli.output import NOTHING_DONE, Output, positive
from stategraph.cli.style import harmless
from stategraph.cli.thread.opened import Opened
from stategraph.errors import ConfigurationError

if TYPE_CHECKING:
    from stategraph.run.threads.values import ThreadView


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--checkpoint", metavar="ID", help="the run up to this checkpoint (default: the newest)")
    parser.add_argument("--graph", metavar="TARGET", help="the graph: MODULE:NAME or FILE:NAME, such as app.py:graph")
    parser.add_argument(
        "--namespace", default="", metavar="NAME", help="of a graph inside of a node, as the account names it"
    )
    parser.add_argument("--node", metavar="NODE", help="only whether this node ran, and why")
    parser.add_argument("--steps", type=positive, default=100, metavar="N", help="at most so many steps (default: 100)")
    parser.add_argument("--svg", metavar="FILE", help="also draw the graph with the way that was taken; needs --graph")


async def explain(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    """Tell the account of a thread's last run."""
    from stategraph.engine.state.account import asking, words
    from stategraph.run.threads.conversation import thread_config

    await opened.threads.info(arguments.thread_id)
    graph = graph_of(arguments.graph)
    if arguments.svg and graph is None:
        raise ConfigurationError("--svg draws the graph: name it with --graph")
    at = thread_config(arguments.thread_id, arguments.checkpoint, arguments.namespace)
    below = _nested(graph, arguments.namespace)
    found = await asking.aexplain_stored(opened.saver, at, graph=below, steps=arguments.steps)
    if not found.checkpoint_id:
        where = f" at '{arguments.checkpoint}'" if arguments.checkpoint else ""
        return output.fail(LookupError(f"Nothing is stored of thread '{arguments.thread_id}'{where}"))
    if arguments.svg:
        svg = found.svg(await below.aget_graph(xray=True))
        await asyncio.to_thread(Path(arguments.svg).write_text, svg, encoding="utf-8")
    if arguments.node is None:
        output.show(found.to_json(), _harmless(str(found)))
        return 0
    try:
        verdict = found.node(arguments.node)
    except KeyError as error:
        return output.fail(LookupError(error.args[0]))
    output.show(asking.as_json(verdict), harmless(words.verdict_text(verdict)))
    return 0 if verdict.status != "did not run" else NOTHING_DONE


async def steps_between(
    opened: Opened, arguments: argparse.Namespace, old: ThreadView, new: ThreadView
) -> tuple[dict[str, Any], str]:
    """Return which nodes ran in one of two states and where they part, as JSON and as text; empty if nobody asked."""
    if not arguments.steps:
        return {}, ""
    from stategraph.engine.state.account import asking, comparing
    from stategraph.run.threads.conversation import thread_config

    one, other = (thread_config(each.thread.id, each.checkpoint_id) for each in (old, new))
    found = await asking.adiff_stored(opened.saver, one, other, graph=graph_of(arguments.graph))
    told = found.to_json()
    facts = {name: told.get(name) for name in ("shared", "parting", "nodes")}
    return facts, _harmless("\n".join(comparing.step_lines(found))) + "\n\n"


def _harmless(text: str) -> str:
    return "\n".join(harmless(line) for line in text.split("\n"))


def graph_of(target: str | None) -> Any:
    """Return the graph that is named; None if none is.

    Raises:
        ConfigurationError: It cannot be imported, or is none of this engine.
    """
    if target is None:
        return None
    from stategraph.cli.programs.targets import load_graph
    from stategraph.engine.engine import StateGraphEngine

    graph = load_graph(target).graph
    if not isinstance(graph, StateGraphEngine):
        raise ConfigurationError(
            f"'{target}' is a {type(graph).__name__}; expected a graph that this engine has compiled"
        )
    return graph


def _nested(graph: Any, namespace: str) -> Any:
    """Return the graph that a namespace names inside of another one; None if it is not known."""
    for part in namespace.split("|") if namespace else ():
        if graph is not None and not part.isdecimal():
            graph = dict(graph.get_subgraphs()).get(part.partition(":")[0])
    return graph
