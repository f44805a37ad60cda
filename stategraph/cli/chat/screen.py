"""Events of a run as a person reads them: text as it comes, tools and reasoning beside it, the end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.chat.markdown import MarkdownStream, is_available
from stategraph.cli.output import write
from stategraph.cli.style import Style, harmless
from stategraph.cli.values import in_a_line

if TYPE_CHECKING:
    from stategraph.run.ports import RunEvent

#: Characters of a tool's result that are shown.
_RESULT: Final = 300


class Screen:
    """Writes events to standard output.

    Attributes:
        style: Dresses texts.

    Args:
        plain: Write Markdown as it is, also to a terminal.
        names: The agents' names by their ids; with several, each says who speaks.
    """

    def __init__(self, *, plain: bool, names: Mapping[str, str]) -> None:
        self.style = Style(sys.stdout)
        self._names = names
        self._markdown = MarkdownStream() if self.style.is_terminal and not plain and is_available() else None
        self._writing: str | None = None
        self._speaker: str | None = None
        self._calls: dict[str, str] = {}

    def take(self, event: RunEvent) -> None:
        """Show an event."""
        data = event.data
        match event.event:
            case "on_message_delta":
                self._speaks(event)
                self._pieces("text", data)
            case "on_reasoning_delta":
                self._pieces("think", data)
            case "on_run_step_completed":
                self._result(data["result"].get("tool_call") or {})
            case "on_tool_progress":
                self.line(f"  {data['name']}: {data.get('message') or data['progress']}", dim=True)
            case "on_run_step_closed" | "on_run_end":
                self.close()

    def _speaks(self, event: RunEvent) -> None:
        agent = str((event.metadata or {}).get("agentId") or "")
        if len(self._names) > 1 and agent and agent != self._speaker:
            self._speaker = agent
            self.line(self.style.bold(self._names.get(agent, agent)))

    def _pieces(self, kind: str, data: Mapping[str, Any]) -> None:
        for part in data["delta"]["content"]:
            text = str(part.get(kind) or part.get("text") or "")
            if text:
                self._write(kind, text)

    def _write(self, kind: str, text: str) -> None:
        if self._writing != kind:
            self.close()
            self._writing = kind
            if kind == "think":
                write(self.style.dim("  (thinks) "), end="")
        if self.style.is_terminal:
            text = harmless(text)
        if kind == "think":
            write(self.style.dim(text), end="")
        elif self._markdown is not None:
            self._markdown.feed(text)
        else:
            write(text, end="")

    def close(self) -> None:
        """End what is being written."""
        if self._writing == "text" and self._markdown is not None:
            self._markdown.end()
        elif self._writing is not None:
            write("")
        self._writing = None

    def line(self, text: str, *, dim: bool = False) -> None:
        """Write a line of its own."""
        self.close()
        write(self.style.dim(text) if dim else text)

    def _result(self, call: Mapping[str, Any]) -> None:
        if not call.get("name"):
            return
        width = shutil.get_terminal_size().columns if self.style.is_terminal else _RESULT
        self.line(
            in_a_line(f"* {told(call['name'], call.get('args'))}", max(width, 40)).replace("*", "  *", 1), dim=True
        )
        if call.get("output"):
            self.line(f"    {in_a_line(str(call['output']), max(width - 4, 36))}", dim=True)


def told(name: str, arguments: object) -> str:
    """Return a call as code: `name(key=value)`."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError:
            return f"{name}({arguments})"
    if not isinstance(arguments, Mapping):
        return f"{name}()"
    given = (f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in arguments.items())
    return f"{name}({', '.join(given)})"
