"""A run as a person sees it: steps and tokens on standard error as they come, the result on standard output."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from typing import Any, Final

from stategraph.cli.output import FAILED, NOTHING_DONE, STOPPED, STORE_VARIABLE, Output, write_error
from stategraph.cli.style import Style
from stategraph.cli.values import in_a_line, plain
from stategraph.resources.kind_table import DEFAULT_NAMESPACE

_INTERRUPT: Final = "__interrupt__"


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
        self._is_begun = True
        write_error(self._output.clean(text), end="")

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
        self._output.show(facts, "\n".join(self._questions(thread_id, arguments)))
        return NOTHING_DONE

    def _questions(self, thread_id: str, arguments: argparse.Namespace) -> list[str]:
        """Return what the graph asks, and how it is answered."""
        by_id = len(self._interrupts) > 1
        lines = ["The graph waits for an answer:" if not by_id else "The graph waits for answers:"]
        for each in self._interrupts:
            lines.append(f"  {f'{each.id}  ' if by_id else ''}{in_a_line(each.value, 2_000)}")
        if not arguments.store:
            lines.append(
                f"To answer it in another call, keep threads in a database: --store sqlite:///threads.db, or set "
                f"{STORE_VARIABLE}."
            )
            return lines
        answer = json.dumps(dict.fromkeys([each.id for each in self._interrupts], "yes")) if by_id else '"yes"'
        return [*lines, "Answer it:", f"  {self._command(thread_id, arguments)} --resume {shlex.quote(answer)}"]

    def _command(self, thread_id: str, arguments: argparse.Namespace) -> str:
        """Return the command that goes on with a thread, as a shell reads it."""
        words = ["stategraph", "run", arguments.target]
        words += [word for each in arguments.files or () for word in ("-f", each)]
        words += [] if arguments.namespace == DEFAULT_NAMESPACE else ["-n", arguments.namespace]
        words += [word for each in arguments.allow for word in ("--allow", each)]
        for name in ("services", "context", "config"):
            words += [f"--{name}", given] if (given := getattr(arguments, name)) else []
        return shlex.join([*words, "--store", self._output.store, "--thread", thread_id])

    def stopped(self, thread_id: str, arguments: argparse.Namespace) -> int:
        """Show that the run stopped as it was asked to, and how it goes on, and return the exit code."""
        self.close()
        facts = {"event": "end", "status": "stopped", "thread_id": thread_id, "result": plain(self._values)}
        if arguments.store:
            text = f"Stopped. Go on:\n  {self._command(thread_id, arguments)}"
        else:
            text = "Stopped. To go on from such a place, keep threads in a database: --store sqlite:///threads.db."
        if self._output.as_json:
            self._output.show(facts, "")
        else:
            self._output.complain(text)
        return STOPPED

    @property
    def waits(self) -> bool:
        """True if the graph asked something."""
        return bool(self._interrupts)

    def failed(self, error: Exception, told: str) -> int:
        """Show an error, and return the exit code.

        Args:
            error: The error, for programs.
            told: The same for people.
        """
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
