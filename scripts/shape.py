"""Hold the shape of the code: what `make check` asks for that no linter covers.

| guard | limit |
|---|---|
| lines of a file | 600 |
| lines of a function, without its docstring; nested functions count for both | 80 |
| cyclomatic complexity of a function: branches, conditions, comprehensions | 15 |
| parameters of a function, `self` left out | 8 |
| modules in a folder | 20 |
| circles of imports, also lazy ones and those for type checkers | none |
| docstrings that begin with a question word, docstrings not in the imperative (ruff's D401) | `COUNTS` |
| lines that sync and async twins have in common, uses of `Any` per 1,000 lines of code | `COUNTS` |

What was over a limit when the guard came is in `KNOWN` with the figure it had, which may only fall, as `COUNTS` may.
`PUBLIC` holds signatures that programs know, most of them LangGraph's.
"""

from __future__ import annotations

import ast
import gc
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import twins

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "stategraph"

LIMITS = {"lines of a file": 600, "lines": 80, "complexity": 15, "parameters": 8, "modules in a folder": 20}

KNOWN: dict[str, dict[str, int]] = {}

PUBLIC = frozenset(
    (
        "compat.langgraph.pregel._draw:draw_graph",
        "stategraph.dev.serving:serve",
        "stategraph.engine.compile.node:PregelNode.__init__",
        "stategraph.engine.definition:GraphDefinition.__init__",
        "stategraph.engine.engine:StateGraphEngine.ainvoke",
        "stategraph.engine.engine:StateGraphEngine.astream",
        "stategraph.engine.engine:StateGraphEngine.invoke",
        "stategraph.engine.engine:StateGraphEngine.stream",
        "stategraph.engine.remote.graph:RemoteGraph.__init__",
        "stategraph.engine.remote.graph:RemoteGraph.ainvoke",
        "stategraph.engine.remote.graph:RemoteGraph.astream",
        "stategraph.engine.remote.graph:RemoteGraph.astream_events",
        "stategraph.engine.remote.graph:RemoteGraph.invoke",
        "stategraph.engine.remote.graph:RemoteGraph.stream",
        "stategraph.engine.remote.graph:RemoteGraph.stream_events",
        "stategraph.governance.capabilities.functions:capability",
        "stategraph.governance.executor:ActionExecutor.__init__",
        "stategraph.graph.func:entrypoint.__init__",
        "stategraph.prebuilt.react_agent:create_react_agent",
        "stategraph.graph.state:StateGraph.add_node",
        "stategraph.graph.state:StateGraph.compile",
        "stategraph.run.run:Run.generate_title",
        "stategraph.run.runtime:AgentRuntime.__init__",
        "stategraph.run.runtime:create_run",
        "stategraph.run.threads.threads:Threads.list",
        "stategraph.server.serving:serve",
        "stategraph.testing.evaluation.running:aevaluate",
        "stategraph.testing.signals.fuzzing:fuzz_signals",
        "stategraph.workers.agents.runtime:MultiProcessRuntime.__init__",
        "stategraph.workers.registry.runs:RunRegistry.submit",
    )
)

COUNTS = {
    "docstrings that begin with a question word": 0,
    "docstrings not in the imperative": 0,
    "lines that sync and async twins have in common": 221,
    "uses of Any per 1,000 lines of code": 45,
}

QUESTION = re.compile(r"(What|Whatever|Whether|Who|Whoever|Whose|Whom|Which|How|When|Where|Why)\b")
Function = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.IfExp, ast.ExceptHandler, ast.Assert, ast.match_case)


@dataclass(frozen=True, slots=True)
class Module:
    """A file of the package.

    Attributes:
        name: Its dotted name.
        file: Where it is, from the root.
        source: Its text and syntax.
    """

    name: str
    file: Path
    source: twins.Source

    @property
    def is_package(self) -> bool:
        return self.file.name == "__init__.py"


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        problems: Over a limit.
        slack: Entries of the tables that can be lowered or removed.
    """

    problems: list[str] = field(default_factory=list)
    slack: list[str] = field(default_factory=list)

    def hold(self, guard: str, found: Iterable[tuple[str, int]]) -> None:
        """Compare figures with a limit and with those that were over it before."""
        limit, known = LIMITS[guard], dict(KNOWN.get(guard, {}))
        for where, figure in found:
            allowed = max(limit, known.pop(where, 0))
            if figure > allowed:
                self.problems.append(f"{where}: {guard}: {figure}, at most {allowed}")
            elif limit < allowed and figure < allowed:
                self.slack.append(f"{guard}: {where} has {figure}, KNOWN says {allowed}")
        self.slack += [f"{guard}: {where} is in KNOWN and is not there" for where in known]

    def count(self, what: str, figure: int) -> None:
        """Compare a count with the one it may not exceed."""
        if figure > COUNTS[what]:
            self.problems.append(f"{what}: {figure}, at most {COUNTS[what]}")
        elif figure < COUNTS[what]:
            self.slack.append(f"{what}: {figure}, COUNTS says {COUNTS[what]}")


def main() -> int:
    gc.disable()  # the trees stay until the end, and looking through their nodes takes half of the time
    modules = list(modules_of(ROOT / PACKAGE)) + list(modules_of(ROOT / "compat"))
    own = [module for module in modules if module.name.partition(".")[0] == PACKAGE]
    functions = [
        (f"{module.name}:{name}", node) for module in modules for name, node in functions_of(module.source.tree)
    ]
    report = Report()
    report.hold("lines of a file", ((module.name, module.source.text.count("\n")) for module in modules))
    report.hold("lines", ((name, length(node)) for name, node in functions))
    report.hold("complexity", ((name, complexity(node)) for name, node in functions))
    report.hold("parameters", ((name, parameters(node)) for name, node in functions if name not in PUBLIC))
    report.hold("modules in a folder", Counter(str(m.file.parent) for m in own if not m.is_package).items())
    report.problems += circles(own)
    report.count("docstrings that begin with a question word", sum(map(questions, own)))
    report.count("docstrings not in the imperative", not_imperative())
    report.count("lines that sync and async twins have in common", twins.common_lines({m.name: m.source for m in own}))
    report.count("uses of Any per 1,000 lines of code", uses_of_any(own))
    print("".join(f"may be lowered in scripts/shape.py: {line}\n" for line in report.slack), end="")
    print("\n".join(report.problems) or f"the shape of {len(modules)} files holds: {figures()}")
    return 1 if report.problems else 0


def figures() -> str:
    over = sum(map(len, KNOWN.values()))
    return f"{over} known places over a limit; " + "; ".join(f"{what}: {figure}" for what, figure in COUNTS.items())


def modules_of(folder: Path) -> Iterator[Module]:
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        text = file.read_text(encoding="utf-8")
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(name, file.relative_to(ROOT), twins.parse(text))


def functions_of(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the functions in a module by qualified name, nested ones too."""
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, Function | ast.ClassDef):
            inner = f"{prefix}{child.name}."
        if isinstance(child, Function) and not _is_overload(child):
            yield f"{prefix}{child.name}", child
        yield from functions_of(child, inner)


def _is_overload(node: Function) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list)


def length(node: Function) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())) as docstring, *_]:
            lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def complexity(node: Function) -> int:
    """Count the ways through a function, one that is nested in it left out."""
    ways, pending = 1, list(ast.iter_child_nodes(node))
    while pending:
        match pending.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
                continue
            case ast.BoolOp(values=values) as part:
                ways += len(values) - 1
            case ast.comprehension(ifs=ifs) as part:
                ways += 1 + len(ifs)
            case part:
                ways += isinstance(part, _BRANCHES)
        pending += ast.iter_child_nodes(part)
    return ways


def parameters(node: Function) -> int:
    all_of = node.args
    names = [each.arg for each in (*all_of.posonlyargs, *all_of.args, *all_of.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + bool(all_of.vararg) + bool(all_of.kwarg)


def circles(modules: list[Module]) -> Iterator[str]:
    """Yield a circle of imports, if there is one; a package counts as importing what its `__init__` imports."""
    names = {module.name for module in modules}
    graph = {module.name: set(imported(module, names)) - {module.name} for module in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "imports in a circle: " + " <- ".join(error.args[1])


def imported(module: Module, names: set[str]) -> Iterator[str]:
    for node in module.source.nodes:
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases if alias.name in names)
            case ast.ImportFrom(module=str(source), names=aliases):
                for alias in aliases:
                    full = f"{source}.{alias.name}"
                    if full in names or source in names:
                        yield full if full in names else source


def questions(module: Module) -> int:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = (ast.get_docstring(node) for node in module.source.nodes if isinstance(node, kinds))
    return sum(1 for text in documented if text and QUESTION.match(text))


def not_imperative() -> int:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "D401", "--exit-zero"]
    command += ["--output-format", "concise", PACKAGE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sum(": D401 " in line for line in done.stdout.splitlines())


def uses_of_any(modules: list[Module]) -> int:
    uses = sum(isinstance(node, ast.Name) and node.id == "Any" for m in modules for node in m.source.nodes)
    return round(1000 * uses / sum(len(twins.code_lines(module.source)) for module in modules))


if __name__ == "__main__":
    sys.exit(main())
