"""`stategraph run`: a graph executed once, from the terminal or a script.

Rules
-----
* Steps and tokens go to standard error as they come, the result to standard output.
* With `--json` standard output has a line for each event, and at last `{"event": "end", ...}` with the result.
* A graph that asks something ends the command with exit code 1, and is answered with `--resume` on the same thread.
* An error of the program is shown with the lines of the program alone, those of the engine left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, get_origin, get_type_hints

from stategraph.cli.output import FAILED, NOTHING_DONE, STORE_VARIABLE, Output, encodable, run_command, text_of
from stategraph.cli.programs.errors import of_program
from stategraph.cli.programs.targets import FORM, Target, load_graph
from stategraph.cli.style import Style
from stategraph.cli.values import in_a_line, plain

_MODES: Final = ["updates", "messages", "custom", "values"]
_INTERRUPT: Final = "__interrupt__"

#: Values for examples, by type; other types are shown as a text.
_EXAMPLES: Final[Mapping[Any, Any]] = {int: 1, float: 1.5, bool: True, list: [], dict: {}}


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("target", metavar="TARGET", help=f"the graph: {FORM}")
    parser.add_argument(
        "--input",
        "-i",
        metavar="INPUT",
        help="JSON, or the user's words for a graph with messages; @FILE reads a file, - standard input",
    )
    parser.add_argument(
        "--resume",
        metavar="ANSWER",
        help="in place of an input: JSON or a text, the answer to what the thread waits for",
    )
    parser.add_argument("--thread", metavar="ID", help="the thread to go on with; by default a new one")
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get(STORE_VARIABLE),
        help="the database of threads, such as sqlite:///threads.db; by default that in the environment variable "
        f"{STORE_VARIABLE}, else the graph's own saver, or none",
    )
    parser.add_argument("--context", metavar="JSON", help="the context of the graph's nodes")
    parser.add_argument("--config", metavar="JSON", help="a RunnableConfig, such as '{\"recursion_limit\": 50}'")
    parser.add_argument("--quiet", "-q", action="store_true", help="show the result alone")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each event, and the result in the last one"
    )
    parser.epilog = "Exit code: 0 done, 1 the graph waits for an answer, 2 it does not work."
    parser.set_defaults(run=run, nats=None)


def run(arguments: argparse.Namespace) -> int:
    """Run a graph and return the exit code."""
    return run_command(_run, arguments)


async def _run(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError

    target = load_graph(arguments.target)
    if arguments.resume is not None and arguments.input is not None:
        raise ConfigurationError("--input begins and --resume answers: give one of them")
    given = _resumption(arguments) if arguments.resume is not None else _input(arguments, target)
    thread_id = arguments.thread or uuid.uuid4().hex[:12]
    config = {**(_json_object("--config", arguments.config) or {})}
    config["configurable"] = {**config.get("configurable", {}), "thread_id": thread_id}
    shown = Shown(output, quiet=arguments.quiet)
    async with _with_saver(target.graph, arguments.store) as graph:
        try:
            options = {"context": _json_object("--context", arguments.context), "subgraphs": True}
            async with aclosing(graph.astream(given, config, stream_mode=_MODES, **options)) as stream:
                async for namespace, mode, data in stream:
                    shown.take(namespace, mode, data)
        except Exception as error:
            shown.close()
            if isinstance(error, ConfigurationError) or (told := of_program(error)) is None:
                raise
            return shown.failed(error, told)
        return shown.end(thread_id, arguments)


def _resumption(arguments: argparse.Namespace) -> Any:
    from stategraph.types import Command

    return Command(resume=_value(arguments.resume))


def _input(arguments: argparse.Namespace, target: Target) -> Any:
    from stategraph.errors import ConfigurationError

    text = arguments.input
    if text is None and (arguments.thread is not None or not sys.stdin or sys.stdin.isatty()):
        if arguments.thread is not None:
            return None  # the thread goes on from where it stands
        raise ConfigurationError(f"The graph needs an input: give --input. {_fields(target)}")
    if text is None or text == "-":
        text = text_of("-")
    elif text.startswith("@"):
        text = text_of(text[1:])
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if "messages" in _properties(target):
            return {"messages": [{"role": "user", "content": text.strip()}]}
        raise ConfigurationError(f"The input is not JSON ({error}). {_fields(target)}") from None


def _properties(target: Target) -> dict[str, Any]:
    """Return an example for each key of the graph's input."""
    try:
        hints = get_type_hints(target.graph.builder.input_schema)
    except Exception:  # a graph of another kind, or names that are only there for type checkers
        return {}
    return {name: _EXAMPLES.get(get_origin(hint) or hint, "...") for name, hint in hints.items()}


def _fields(target: Target) -> str:
    found = _properties(target)
    if not found:
        return 'It is JSON, such as --input \'{"key": "value"}\''
    example = json.dumps(dict(list(found.items())[:3]))
    return f"It is JSON with {', '.join(found)}, such as --input '{example}'"


def _value(text: str) -> Any:
    """Return JSON, or the text itself if it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _json_object(option: str, text: str | None) -> dict[str, Any] | None:
    from stategraph.errors import ConfigurationError

    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{option} is not JSON ({error}): write it as in {option} '{{\"key\": 1}}'") from None
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{option} is {type(value).__name__}; expected an object, as in {option} '{{\"key\": 1}}'"
        )
    return value


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


class Shown:
    """Shows what a stream brings.

    Args:
        output: Where results go.
        quiet: Whether only the result is shown.
    """

    def __init__(self, output: Output, *, quiet: bool) -> None:
        self._output = output
        self._quiet = quiet
        self._style = Style(sys.stderr)
        self._streamed: set[str] = set()
        self._open: str | None = None
        self._is_begun = False
        self._values: Any = None
        self._interrupts: list[Any] = []

    def take(self, namespace: tuple[str, ...], mode: str, data: Any) -> None:
        """Show a part of the stream."""
        path = [each.partition(":")[0] for each in namespace]
        if mode == "values":
            if not namespace:
                self._values = _without_questions(data)
        elif mode == "messages":
            self._message(path, *data)
        elif mode == "updates":
            for node, update in data.items():
                if node == _INTERRUPT:
                    self._interrupts += update if not namespace else ()
                else:
                    self._update([*path, node], update)
        else:
            self._event("custom", [*path], data, f"{'/'.join(path) or 'graph'}  {in_a_line(data)}")

    def _message(self, path: list[str], message: Any, metadata: Mapping[str, Any]) -> None:
        if self._output.as_json or self._quiet:
            return
        text = message.text if isinstance(message.text, str) else str(message.text)
        if not text or message.type not in ("ai", "AIMessageChunk"):
            return
        if message.id != self._open:
            self.close()
            self._open = message.id
            self._streamed.add(message.id)
            self._write(f"{self._style.bold('/'.join([*path[:-1], str(metadata.get('langgraph_node', ''))]))}  ")
        self._write(text)

    def _update(self, path: list[str], update: object) -> None:
        if path[-1].startswith("__"):
            return
        told = [] if isinstance(update, Mapping) else [in_a_line(update)]
        for key, value in update.items() if isinstance(update, Mapping) else ():
            if key == "messages" and isinstance(value, list):
                told += [line for each in value if (line := _said(each, self._streamed))]
            else:
                told.append(f"{key}: {in_a_line(value)}")
        name = self._style.bold("/".join(path))
        text = "\n".join(f"{name}  {each}" for each in told)
        self._event("update", path, update, text)

    def _event(self, event: str, path: list[str], data: object, text: str) -> None:
        if self._quiet:
            return
        if self._output.as_json:
            self._output.show({"event": event, "node": "/".join(path), "data": plain(data)}, "")
            return
        self.close()
        if text:
            self._write(f"{text}\n")

    def close(self) -> None:
        """End the line of tokens, if one is open."""
        if self._open is not None:
            self._open = None
            self._write("\n")

    def _write(self, text: str) -> None:
        if sys.stderr is not None:
            self._is_begun = True
            sys.stderr.write(encodable(self._output.clean(text), sys.stderr))
            sys.stderr.flush()

    def end(self, thread_id: str, arguments: argparse.Namespace) -> int:
        """Show the result, or what the graph waits for, and return the exit code."""
        self.close()
        if self._is_begun and self._style.is_terminal:
            self._write("\n")
        values = plain(self._values)
        questions = [{"id": each.id, "value": plain(each.value)} for each in self._interrupts]
        facts = {
            "event": "end",
            "status": "interrupted" if questions else "done",
            "thread_id": thread_id,
            "result": values,
            "interrupts": questions,
        }
        if not questions:
            self._output.show(facts, _result(self._values))
            return 0
        lines = ["The graph waits for an answer:", *(f"  {in_a_line(each['value'], 2_000)}" for each in questions)]
        if arguments.store:
            lines.append("Answer it:")
            command = f"stategraph run {arguments.target} --store URL --thread {thread_id} --resume '\"yes\"'"
            lines.append(f"  {command.replace('URL', self._output.store)}")
        else:
            lines.append(
                f"To answer it in another call, keep threads in a database: --store sqlite:///threads.db, or set "
                f"{STORE_VARIABLE}."
            )
        self._output.show(facts, "\n".join(lines))
        return NOTHING_DONE

    def failed(self, error: Exception, told: str) -> int:
        """Show an error of the program, and return the exit code."""
        if self._output.as_json:
            return self._output.fail(error)
        self._output.complain(self._output.clean(told))
        return FAILED


def _without_questions(values: object) -> object:
    if isinstance(values, Mapping) and _INTERRUPT in values:
        return {key: value for key, value in values.items() if key != _INTERRUPT}
    return values


def _said(message: Any, streamed: set[str]) -> str:
    """Return a line for a message; an empty one if it was seen while it was streamed."""
    if not hasattr(message, "type"):
        return in_a_line(message)
    calls = [f"{each['name']}({in_a_line(each['args'])})" for each in getattr(message, "tool_calls", ())]
    text = "" if message.id in streamed else in_a_line(str(message.text))
    if message.type == "tool":
        return f"{message.name or 'tool'} -> {text}"
    return "  ".join(each for each in (text.strip('"'), *calls) if each)


def _result(values: object) -> str:
    """Return a result for people: a line for each key, a conversation by its last message."""
    if not isinstance(values, Mapping):
        return json.dumps(plain(values), ensure_ascii=False) if not isinstance(values, str) else values
    width = max((len(str(key)) for key in values), default=0)
    lines = []
    for key, value in values.items():
        last = value[-1] if key == "messages" and isinstance(value, list) and value else None
        shown = in_a_line(value, 10_000) if last is None or not hasattr(last, "text") else str(last.text)
        lines.append(f"{key!s:<{width}}  {shown}")
    return "\n".join(lines)
