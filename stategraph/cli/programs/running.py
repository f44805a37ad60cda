"""`stategraph run`: a graph executed once, from the terminal or a script.

Rules
-----
* Steps and tokens go to standard error as they come, the result to standard output.
* With `--json` standard output has a line for each event, and at last `{"event": "end", ...}` with the result.
* A graph that asks something ends the command with exit code 1, and is answered with `--resume` on the same thread.
  An answer that nothing waits for is refused.
* An error of the program is shown with the lines of the program alone; one of the engine or a library in a sentence.
* In a database the thread is listed as what its last run came to.
"""

from __future__ import annotations

import argparse
import traceback
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import Output, add_threads_store, expected, run_command
from stategraph.cli.programs.configs import config_of
from stategraph.cli.programs.errors import in_a_sentence, of_program
from stategraph.cli.programs.inputs import fields_of, input_of, json_object, json_or_text
from stategraph.cli.programs.shown import Shown
from stategraph.cli.programs.stopping import stopping_at_ctrl_c
from stategraph.cli.programs.targets import FORM, load_graph
from stategraph.cli.resources import declared

if TYPE_CHECKING:
    from stategraph.run.ports import Settle

_MODES: Final = ["updates", "messages", "custom", "values"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        help=f"a graph: {FORM}; or a resource that is declared: workflow/NAME, agent/NAMESPACE/NAME. Agents and "
        "settings of create_run: 'stategraph chat'",
    )
    declared.prepare(parser)
    parser.add_argument(
        "--input",
        "-i",
        metavar="INPUT",
        help="JSON, or the user's words for a graph with messages; @FILE reads a file, - standard input",
    )
    parser.add_argument(
        "--resume",
        metavar="ANSWER",
        help="in place of an input: JSON or a text, the answer to what the thread waits for; of several questions "
        "answers by their ids",
    )
    parser.add_argument("--thread", metavar="ID", help="the thread to go on with; by default a new one")
    add_threads_store(parser, otherwise="the graph's own saver, or none")
    parser.add_argument("--context", metavar="JSON", help="the context of the graph's nodes")
    parser.add_argument("--config", metavar="JSON", help="a RunnableConfig, such as '{\"recursion_limit\": 50}'")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="record the run in a new file, which 'stategraph replay' replays without a network",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="show the result alone")
    parser.add_argument("--traceback", action="store_true", help="show the whole traceback of an error")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each event, and the result in the last one"
    )
    parser.epilog = (
        "Ctrl-C stops after the nodes that run, a second one at once. Exit code: 0 done, 1 the graph waits for an "
        "answer, 2 it does not work, 130 stopped by Ctrl-C."
    )
    parser.set_defaults(run=run, nats=None)


def run(arguments: argparse.Namespace) -> int:
    """Run a graph and return the exit code."""
    declared.place(arguments)
    return run_command(_run, arguments)


async def _run(arguments: argparse.Namespace, output: Output) -> int:
    if declared.is_named(arguments.target):
        async with declared.graph(arguments) as found:
            return await _run_graph(found, arguments, output)
    return await _run_graph(load_graph(arguments.target).graph, arguments, output)


async def _run_graph(graph: Any, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.engine.config.runtime import RunControl
    from stategraph.errors import ConfigurationError, GraphDrained
    from stategraph.types import Command

    answers = arguments.resume is not None
    if answers and arguments.input is not None:
        raise ConfigurationError("--input begins and --resume answers: give one of them")
    if answers and arguments.thread is None:
        raise ConfigurationError("--resume answers what a thread waits for: give --thread too")
    given = None if answers else input_of(arguments.input, graph, goes_on=arguments.thread is not None)
    thread_id = arguments.thread or uuid.uuid4().hex[:12]
    config = config_of(arguments.config, thread_id)
    options = {"context": json_object("--context", arguments.context), "subgraphs": True}
    shown = Shown(output, quiet=arguments.quiet)
    async with _with_saver(graph, arguments.store) as graph:
        if answers:
            answer = json_or_text(arguments.resume)
            await _check_answer(graph, config, answer, arguments)
            given = Command(resume=answer)
        elif given is None and arguments.input is None:
            await _check_goes_on(graph, config, arguments)
        control = RunControl()
        try:
            with stopping_at_ctrl_c(control):
                async with (
                    _listed(graph if arguments.store else None, thread_id, shown),
                    _recorded(graph, arguments.record) as called,
                ):
                    stream = called.astream(given, config, stream_mode=_MODES, control=control, **options)
                    async with aclosing(stream) as parts:
                        async for namespace, mode, data in parts:
                            shown.take(namespace, mode, data)
        except GraphDrained:
            return shown.stopped(thread_id, arguments)
        except Exception as error:
            shown.close()
            return _failed(error, shown, graph, arguments)
        return shown.end(thread_id, arguments)


def _failed(error: Exception, shown: Shown, graph: Any, arguments: argparse.Namespace) -> int:
    """Show what a run failed with, and return the exit code."""
    from stategraph.errors import ConfigurationError

    if arguments.traceback and not arguments.json:
        return shown.failed(error, "".join(traceback.format_exception(error)).rstrip())
    if not isinstance(error, ConfigurationError) and (told := of_program(error)) is not None:
        return shown.failed(error, told)
    if expected(error) is not None:
        raise error
    return shown.failed(error, f"stategraph: {in_a_sentence(error)}{_advice(error, graph)}")


def _advice(error: Exception, graph: Any) -> str:
    """Return a sentence about what to change in the command."""
    from stategraph.errors import EmptyInputError, GraphRecursionError

    if isinstance(error, EmptyInputError):
        return f"\nGive the graph an input. {fields_of(graph)}"
    if isinstance(error, GraphRecursionError):
        return "\nGive another limit with --config '{\"recursion_limit\": 100}'"
    return ""


async def _check_answer(graph: Any, config: Any, answer: object, arguments: argparse.Namespace) -> None:
    """Check that a thread waits for an answer.

    Raises:
        ConfigurationError: It does not, or for others than the answer names.
    """
    from stategraph.core.opening.answers import is_interrupt_id
    from stategraph.errors import ConfigurationError

    found = await _state(graph, config, arguments)
    name = arguments.thread
    if not found.interrupts:
        how = (
            "it goes on without one: leave --resume out"
            if found.next
            else f"it has ended: begin its next turn with --input. {fields_of(graph)}"
        )
        raise ConfigurationError(f"Thread '{name}' waits for no answer; {how}")
    known = [each.id for each in found.interrupts]
    if isinstance(answer, dict) and answer and set(answer) <= set(known):
        return
    example = f'--resume \'{{"{known[0]}": "yes"}}\''
    if len(known) > 1:
        raise ConfigurationError(
            f"Thread '{name}' waits for {len(known)} answers: give them by the ids of the questions, as in {example}. "
            f"Its questions are {', '.join(known)}; 'stategraph thread show {name}' shows them"
        )
    if isinstance(answer, dict) and all(map(is_interrupt_id, answer)):  # ids, for the engine
        unknown = next((f"question {each}, which does not wait" for each in answer if each not in known), "no question")
        raise ConfigurationError(
            f"--resume answers {unknown}; thread '{name}' waits for an answer to {known[0]}: give that alone, or as in "
            f"{example}; 'stategraph thread show {name}' shows the question"
        )


async def _check_goes_on(graph: Any, config: Any, arguments: argparse.Namespace) -> None:
    """Check that a thread has something to go on with.

    Raises:
        ConfigurationError: It has not.
    """
    from stategraph.errors import ConfigurationError

    found = await _state(graph, config, arguments)
    if not found.next:
        raise ConfigurationError(
            f"Thread '{arguments.thread}' has ended: begin its next turn with --input. {fields_of(graph)}"
        )


async def _state(graph: Any, config: Any, arguments: argparse.Namespace) -> Any:
    """Return the state of a thread.

    Raises:
        ConfigurationError: There is none.
    """
    from stategraph.errors import ConfigurationError

    found = await graph.aget_state(config)
    if found.created_at is None:
        if arguments.store:
            where = " in this database: check its id ('stategraph thread list' names all) and --store,"
        else:
            where = ": name the database that it is in with --store,"
        raise ConfigurationError(f"There is no thread '{arguments.thread}'{where} or begin it with --input")
    return found


@asynccontextmanager
async def _listed(graph: Any, thread_id: str, shown: Shown) -> AsyncIterator[None]:
    """Have a thread of a database listed as running in the block, and after it as what the run came to.

    Args:
        graph: The graph, with the saver of the database; None: there is none.
        thread_id: The thread.
        shown: Knows whether the run waits.
    """
    from stategraph.errors import GraphDrained
    from stategraph.run.threads import keeping
    from stategraph.run.threads.indexes import index_of

    if graph is None:
        yield
        return
    index = index_of(graph.checkpointer)
    await index.open()
    settle: Settle
    async with keeping.executing(index, thread_id, uuid.uuid4().hex, lambda: shown.waits) as settle:
        try:
            yield
        except GraphDrained as error:
            await settle("cancelled", error)
            raise


@asynccontextmanager
async def _with_saver(graph: Any, store: str | None) -> AsyncIterator[Any]:
    """Yield the graph on a saver: that of the database, its own, or one that lasts as long as this process."""
    if store:
        from stategraph.savers.urls import saver_at

        async with saver_at(store) as saver:
            yield graph.copy({"checkpointer": saver})
    elif not graph.checkpointer:
        from stategraph.engine.checkpoints.saver_interfaces import InMemorySaver

        yield graph.copy({"checkpointer": InMemorySaver()})
    else:
        yield graph


@asynccontextmanager
async def _recorded(graph: Any, file: str | None) -> AsyncIterator[Any]:
    """Yield what is called in place of the graph: itself, or what records its calls in a file."""
    if file is None:
        yield graph
        return
    from stategraph.errors import ConfigurationError
    from stategraph.replay import RecordingError, record

    try:
        async with record(file, graph) as recorder:
            yield recorder
    except RecordingError as error:
        raise ConfigurationError(str(error)) from error
