"""Small changes to source code that a test should notice.

A `Mutation` replaces one stretch of a file. `find` lists those of a source text, in the order of the syntax tree, so
that the same text always gives the same list. Left out are docstrings, imports, f-strings, `TYPE_CHECKING` blocks,
protocols, typed dictionaries, overloads and the methods that only show a value (`__repr__` and the like): no behaviour
depends on them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
ONLY_SHOWN = {"__repr__", "__str__", "__rich_repr__"}
DECLARING = {"field", "dataclass", "dataclasses.field", "TypeVar", "ContextVar", "NamedTuple"}
LOCKS = ("lock", "condition", "mutex", "semaphore")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change: the bytes from `begin` to `end` (line from 1, column in bytes) become `text`."""

    kind: str
    function: str
    begin: tuple[int, int]
    end: tuple[int, int]
    text: str
    lines: tuple[int, int]
    """First and last line that a test must run to be able to notice the change."""

    def apply(self, source: str) -> str:
        """Return the source with the change made."""
        data = source.encode()
        begin, end = _span(_starts(source), self)
        return (data[:begin] + self.text.encode() + data[end:]).decode()


def find(source: str) -> dict[str, Mutation]:
    """Map the mutations of a source text by names that survive edits elsewhere in the file."""
    finder = _Finder()
    finder.statements(ast.parse(source).body)
    starts = _starts(source)
    data = source.encode()
    named: dict[str, Mutation] = {}
    for mutation in finder.found:
        begin, end = _span(starts, mutation)
        old = " ".join(data[begin:end].decode().split())
        digest = hashlib.sha256(f"{old}\n{mutation.text}".encode()).hexdigest()[:10]
        name = f"{mutation.function or '-'}:{mutation.kind}:{digest}"
        twins = sum(other.partition("#")[0] == name for other in named) if name in named else 0
        named[f"{name}#{twins + 1}" if twins else name] = mutation
    return named


def is_change(source: str, mutation: Mutation) -> bool:
    """Say whether a mutation compiles and changes the syntax tree."""
    changed = mutation.apply(source)
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)) and compile(changed, "-", "exec") is not None
    except SyntaxError:
        return False


def _starts(source: str) -> list[int]:
    starts = [0]
    for line in source.encode().split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def _span(starts: list[int], mutation: Mutation) -> tuple[int, int]:
    return starts[mutation.begin[0] - 1] + mutation.begin[1], starts[mutation.end[0] - 1] + mutation.end[1]


def _copy(node: Any, **changes: Any) -> Any:
    return type(node)(**{name: getattr(node, name, None) for name in node._fields} | changes)


def _without(items: list[Any], index: int) -> list[Any]:
    return [*items[:index], *items[index + 1 :]]


def _negated(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    return ast.UnaryOp(ast.Not(), test)


def _lines(first: ast.AST, last: ast.AST | None = None) -> tuple[int, int]:
    begin: Any = first
    end: Any = last or first
    return begin.lineno, end.end_lineno


class _Finder:
    def __init__(self) -> None:
        self.found: list[Mutation] = []
        self.function = ""
        self.lines = (0, 0)

    def _replace(self, kind: str, node: Any, text: str, lines: tuple[int, int] | None = None) -> None:
        begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        self.found.append(Mutation(kind, self.function, begin, end, text, lines or self.lines))

    def _expression(self, kind: str, node: ast.AST, new: ast.AST) -> None:
        self._replace(kind, node, f"({ast.unparse(ast.fix_missing_locations(new))})")

    def _statement(self, kind: str, node: ast.stmt, new: ast.stmt, lines: tuple[int, int] | None = None) -> None:
        ast.copy_location(new, node)
        first, *rest = ast.unparse(ast.fix_missing_locations(new)).split("\n")
        self._replace(kind, node, "\n".join([first, *(" " * node.col_offset + line for line in rest)]), lines)

    # -- statements

    def statements(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self.lines = self._reached_by(statement)
            visit = getattr(self, f"_visit_{type(statement).__name__.lower()}", self._visit_other)
            visit(statement)

    def _reached_by(self, statement: Any) -> tuple[int, int]:
        """Return the lines of a statement, of a compound one those of its header."""
        if isinstance(statement, ast.Try):
            return _lines(statement, statement.body[0])
        if isinstance(statement, ast.If | ast.While | ast.With | ast.AsyncWith | ast.For | ast.AsyncFor):
            return statement.lineno, max(statement.lineno, statement.body[0].lineno - 1)
        return _lines(statement)

    def _visit_other(self, statement: ast.stmt) -> None:
        self._inside(statement)

    def _visit_nothing(self, statement: ast.stmt) -> None:
        """Skip a statement in which nothing can be changed that a test would see."""

    _visit_import = _visit_importfrom = _visit_pass = _visit_global = _visit_nonlocal = _visit_nothing

    def _visit_functiondef(self, statement: Any) -> None:
        overloaded = any("overload" in ast.unparse(decorator) for decorator in statement.decorator_list)
        if statement.name in ONLY_SHOWN or overloaded:
            return
        with_defaults = [*statement.args.defaults, *(default for default in statement.args.kw_defaults if default)]
        outer, self.function = self.function, f"{self.function}.{statement.name}".lstrip(".")
        self.lines = _lines(statement.body[0], statement.body[-1])
        for default in with_defaults:
            self._inside(default, itself=True)
        self.statements(statement.body)
        self.function = outer

    _visit_asyncfunctiondef = _visit_functiondef

    def _visit_classdef(self, statement: ast.ClassDef) -> None:
        bases = " ".join(ast.unparse(base) for base in statement.bases)
        if "Protocol" in bases or "TypedDict" in bases:
            return
        outer, self.function = self.function, f"{self.function}.{statement.name}".lstrip(".")
        self.statements(statement.body)
        self.function = outer

    def _visit_expr(self, statement: ast.Expr) -> None:
        if isinstance(statement.value, ast.Constant):
            return
        if isinstance(statement.value, ast.Call | ast.Await):
            self._statement("delete", statement, ast.Pass())
        self._inside(statement.value, itself=True)

    def _visit_assign(self, statement: ast.Assign) -> None:
        if self.function and all(isinstance(target, ast.Attribute | ast.Subscript) for target in statement.targets):
            self._statement("delete", statement, ast.Pass())
        if not ast.unparse(statement.targets[0]).startswith("__"):
            self._inside(statement.value, itself=True)

    def _visit_annassign(self, statement: ast.AnnAssign) -> None:
        if statement.value is None:
            return
        if self.function and isinstance(statement.target, ast.Attribute):
            self._statement("delete", statement, ast.Pass())
        self._inside(statement.value, itself=True)

    def _visit_delete(self, statement: ast.stmt) -> None:
        self._statement("delete", statement, ast.Pass())

    _visit_break = _visit_continue = _visit_raise = _visit_delete

    def _visit_augassign(self, statement: ast.AugAssign) -> None:
        self._statement("delete", statement, ast.Pass())
        self._inside(statement.value, itself=True)

    def _visit_return(self, statement: ast.Return) -> None:
        if statement.value is None:
            self._statement("delete", statement, ast.Pass())
        elif not (isinstance(statement.value, ast.Constant) and statement.value.value is None):
            # To who asks whether something is so, None says the same as False.
            if not (isinstance(statement.value, ast.Constant) and statement.value.value is False):
                self._statement("return", statement, ast.Return(ast.Constant(None)))
            self._inside(statement.value, itself=True)

    def _visit_if(self, statement: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(statement.test):
            return
        self._expression("negate", statement.test, _negated(statement.test))
        if statement.orelse and not (len(statement.orelse) == 1 and isinstance(statement.orelse[0], ast.If)):
            self._statement("swap", statement, _copy(statement, body=statement.orelse, orelse=statement.body))
        self._inside(statement.test, itself=True)
        self.statements(statement.body)
        self.statements(statement.orelse)

    def _visit_while(self, statement: ast.While) -> None:
        self._inside(statement.test, itself=True)
        self.statements(statement.body)
        self.statements(statement.orelse)

    def _visit_for(self, statement: Any) -> None:
        self._inside(statement.iter, itself=True)
        self.statements(statement.body)
        self.statements(statement.orelse)

    _visit_asyncfor = _visit_for

    def _visit_with(self, statement: Any) -> None:
        for index, item in enumerate(statement.items):
            name = ast.unparse(item.context_expr).lower()
            if item.optional_vars is None:
                rest = _without(statement.items, index)
                new = _copy(statement, items=rest) if rest else ast.If(ast.Constant(True), statement.body, [])
                self._statement("lock" if any(word in name for word in LOCKS) else "with", statement, new)
            self._inside(item.context_expr, itself=True)
        self.statements(statement.body)

    _visit_asyncwith = _visit_with

    def _visit_try(self, statement: ast.Try) -> None:
        for index, handler in enumerate(statement.handlers):
            raises = any(isinstance(node, ast.Raise) for line in handler.body for node in ast.walk(line))
            body: list[ast.stmt] = [ast.Pass()] if raises else [ast.Raise()]
            handlers = [*statement.handlers[:index], _copy(handler, body=body), *statement.handlers[index + 1 :]]
            self._statement("except", statement, _copy(statement, handlers=handlers), _lines(handler, handler.body[0]))
            self.statements(handler.body)
        if statement.finalbody:
            new = (
                _copy(statement, finalbody=[]) if statement.handlers else ast.If(ast.Constant(True), statement.body, [])
            )
            self._statement("finally", statement, new, _lines(statement.finalbody[0], statement.finalbody[-1]))
        self.statements(statement.body)
        self.statements(statement.orelse)
        self.statements(statement.finalbody)

    def _visit_match(self, statement: ast.Match) -> None:
        for case in statement.cases:
            if case.guard is not None:
                self.lines = _lines(case.guard)
                self._expression("negate", case.guard, _negated(case.guard))
            self.statements(case.body)

    # -- expressions

    def _inside(self, node: ast.AST, *, itself: bool = False) -> None:
        if itself:
            getattr(self, f"_change_{type(node).__name__.lower()}", self._change_nothing)(node)
        if isinstance(node, ast.JoinedStr):
            return
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.stmt):
                self._inside(child, itself=True)

    def _change_nothing(self, node: ast.AST) -> None:
        """Leave an expression of a kind that has no mutation."""

    def _change_compare(self, node: ast.Compare) -> None:
        for index, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                operators = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                self._expression("compare", node, _copy(node, ops=operators))

    def _change_boolop(self, node: ast.BoolOp) -> None:
        self._expression("and-or", node, _copy(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()))
        for index in range(len(node.values)):
            rest = _without(node.values, index)
            self._expression("operand", node, rest[0] if len(rest) == 1 else _copy(node, values=rest))

    def _change_unaryop(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._expression("negate", node, node.operand)

    def _change_binop(self, node: ast.BinOp) -> None:
        texts = any(
            isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
            for side in (node.left, node.right)
        )
        if type(node.op) in ARITHMETIC and not texts:
            self._expression("arithmetic", node, _copy(node, op=ARITHMETIC[type(node.op)]()))

    def _change_constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._expression("boolean", node, ast.Constant(not node.value))
        elif isinstance(node.value, int):
            self._expression("number", node, ast.Constant(node.value + 1))
            if node.value:
                self._expression("number", node, ast.Constant(node.value - 1))

    def _change_ifexp(self, node: ast.IfExp) -> None:
        self._expression("swap", node, _copy(node, body=node.orelse, orelse=node.body))

    def _change_call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        if name.endswith("shield") and node.args:
            self._expression("shield", node, node.args[0])
        if name in DECLARING:
            return
        for index, keyword in enumerate(node.keywords):
            if keyword.arg and "rror" not in name:
                self._expression("keyword", node, _copy(node, keywords=_without(node.keywords, index)))

    def _change_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._expression("negate", test, _negated(test))
