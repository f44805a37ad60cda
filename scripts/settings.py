"""Write the tables of `docs/settings.md` from signatures and docstrings.

    python scripts/settings.py            rewrite the page (`make format`)
    python scripts/settings.py --check    fail when it is out of date

Each row is a parameter or a field: its name and default from the code, its description from the section `Args` or
`Attributes` of the docstring. One without a description is an error.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PAGE = ROOT / "docs" / "settings.md"
KIND = "type"
"""The field by which a mapping says which class it is; it has one value."""

BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"

SETTINGS = {
    "Graphs": (
        "stategraph:StateGraph.add_node",
        "stategraph:StateGraph.compile",
        "stategraph:StateGraphEngine.invoke",
        "stategraph:StateGraphEngine.stream",
        "stategraph:RetryPolicy",
        "stategraph:TimeoutPolicy",
        "stategraph:CachePolicy",
    ),
    "Runs": (
        "stategraph:AgentRuntime",
        "stategraph:RunConfig",
        "stategraph:GraphConfig",
        "stategraph:CompileOptions",
        "stategraph:HumanInTheLoop",
        "stategraph:RunLimits",
        "stategraph:Prices",
        "stategraph:ModelPrice",
    ),
    "Agents": (
        "stategraph:AgentInputs",
        "stategraph:GraphEdge",
        "stategraph:SubagentConfig",
        "stategraph:ToolPolicy",
        "stategraph:ModelOptions",
        "stategraph:ModelRetry",
        "stategraph:ModelTimeouts",
        "stategraph:RateLimit",
        "stategraph:Fallback",
    ),
    "MCP servers": ("stategraph.agent.mcp:StdioServer", "stategraph.agent.mcp:HttpServer"),
    "Workers": (
        "stategraph.workers:MultiProcessRuntime",
        "stategraph.workers:WorkerSettings",
        "stategraph.workers:ClusterSettings",
        "stategraph.workers:RunRegistry.submit",
    ),
    "Savers": (
        "stategraph.savers:SqliteSaver.from_conn_string",
        "stategraph.savers:SqliteSaver.prune",
        "stategraph:StrictSerializer",
    ),
    "Telemetry": ("stategraph.telemetry:Telemetry",),
}
"""What has settings, by heading."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A parameter or a field.

    Attributes:
        name: Its name.
        default: Its default as code; empty if it has to be given.
        text: What it does.
    """

    name: str
    default: str
    text: str


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(f"{PAGE.name} has no place for the settings: {BEGIN.strip()} ... {END.strip()}", file=sys.stderr)
        return 1
    wanted = before + BEGIN + "".join(tables()) + END + after
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        print(f"{PAGE.name} is out of date: run `make format`", file=sys.stderr)
        return 1
    return 0


def tables() -> Iterator[str]:
    """Yield the tables, each under a heading."""
    for heading, paths in SETTINGS.items():
        yield f"## {heading}\n\n"
        for path in paths:
            yield f"### `{path.partition(':')[2]}`\n\n| | default | |\n|---|---|---|\n"
            for setting in settings(found(path)):
                default = f"`{setting.default}`" if setting.default else "required"
                yield f"| `{setting.name}` | {default} | {setting.text} |\n".replace("| None |", "| `None` |")
            yield "\n"


def found(path: str) -> Any:
    module, _, name = path.partition(":")
    value: Any = import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def settings(of: Any) -> Iterator[Setting]:
    """Yield the settings of a class or function, in its own order.

    Raises:
        SystemExit: One is not described.
    """
    texts = descriptions(of)
    for name, default in defaults(of).items():
        if name not in texts:
            raise SystemExit(f"{of.__qualname__}: {name!r} is not described in its docstring")
        yield Setting(name, default, texts[name])


def defaults(of: Any) -> Mapping[str, str]:
    """Return the defaults of all settings, as code."""
    if fields := getattr(of, "model_fields", None):
        shown = {name: "" if field.is_required() else _shown(_default(field)) for name, field in fields.items()}
        return {name: default for name, default in shown.items() if name != KIND}
    if fields := getattr(of, "_fields", None):
        return {name: _shown(of._field_defaults[name]) if name in of._field_defaults else "" for name in fields}
    if dataclasses.is_dataclass(of):
        told = {}
        for each in dataclasses.fields(of):
            if each.init:
                default = each.default_factory() if callable(each.default_factory) else each.default
                told[each.name] = "" if default is dataclasses.MISSING else _shown(default)
        return told
    call: Callable[..., Any] = of.__init__ if inspect.isclass(of) else of
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [each for each in inspect.signature(call).parameters.values() if each.kind in kinds and each.name != "self"]
    return {each.name: "" if each.default is each.empty else _shown(each.default) for each in named}


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory else field.default


def _shown(value: Any) -> str:
    if inspect.isfunction(value) or inspect.isclass(value):
        return str(value.__name__)
    text = str(value) if isinstance(value, str) and not value else repr(value)
    return '""' if value == "" else re.sub(r" at 0x\w+|<([\w.]+)[^>]*>", r"\1", text).replace("|", r"\|")


def descriptions(of: Any) -> Mapping[str, str]:
    """Return what the docstrings of a class, its bases and its constructor, or of a function, say of each name."""
    texts: dict[str, str] = {}
    if inspect.isclass(of):
        texts |= _below_fields(of)
    for each in reversed([*(of.__mro__ if inspect.isclass(of) else ()), of]):
        for source in (each.__doc__, getattr(getattr(each, "__init__", None), "__doc__", None)):
            texts |= _sections(inspect.cleandoc(source or ""))
    return texts


def _below_fields(of: type) -> dict[str, str]:
    """Return what stands below the fields of a class."""
    texts = {}
    for field, text in pairwise(_body(of)):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                texts[name] = " ".join(said.split())
    return texts


def _body(of: type) -> list[ast.stmt]:
    """Return the statements of a class, also of one that is stored under LangGraph's address."""
    ours = of.__module__.startswith("stategraph")
    files = [Path(inspect.getfile(of))] if ours else sorted((ROOT / "stategraph").glob("*.py"))
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name == of.__name__:
                return node.body
    raise SystemExit(f"{of.__qualname__} is nowhere defined")


def _sections(docstring: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for block in re.findall(r"^(?:Args|Attributes):\n((?:(?: {4}.*)?\n?)*)", docstring, re.MULTILINE):
        name = ""
        for line in block.splitlines():
            if started := re.match(r" {4}(\*{0,2}\w+)(?: \([^)]*\))?: (.*)", line):
                name = started[1]
                texts[name] = started[2].strip()
            elif name and line.startswith(" " * 8):
                texts[name] += f" {line.strip()}"
            else:
                name = ""
    return {
        name: re.sub(r"(?::\w+:)?`{1,2}(.+?)`{1,2}", r"`\1`", text).replace("|", r"\|") for name, text in texts.items()
    }


if __name__ == "__main__":
    sys.exit(main())
