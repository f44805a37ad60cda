"""Limits between packages that import-linter cannot see, as it takes all of `langgraph` for one, and what each says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "stategraph"
#: All packages but the command line, which may know everything.
PACKAGES = sorted(
    file.parent.relative_to(PACKAGE).as_posix()
    for top in ("core", "engine", "savers", "graph", "agent", "run", "workers", "testing", "dev")
    for file in (PACKAGE / top).rglob("__init__.py")
)
#: The modules of the langgraph-checkpoint distributions, which are data formats and storage, not an engine.
STORING = (PACKAGE / "engine", PACKAGE / "savers")
STORAGE = ("langgraph.checkpoint", "langgraph.store", "langgraph.cache")


def imports(file: Path) -> Iterator[str]:
    """What a file imports when it runs; what it names for type checkers alone does not count."""
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        match pending.pop():
            case ast.If(test=test, orelse=orelse) if "TYPE_CHECKING" in ast.unparse(test):
                pending += orelse
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case node:
                pending += ast.iter_child_nodes(node)


def test_only_the_engine_and_its_savers_import_from_langgraphs_tree_and_only_storage() -> None:
    found = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in PACKAGE.rglob("*.py")
        for module in imports(file)
        if module.partition(".")[0] == "langgraph"
        and not (any(map(file.is_relative_to, STORING)) and module.startswith(STORAGE))
    ]
    assert found == []


def test_the_drop_in_tree_leaves_the_namespace_open() -> None:
    compat = ROOT / "compat" / "langgraph"
    closed = [compat / "__init__.py", *(compat / name / "__init__.py" for name in ("checkpoint", "store", "cache"))]
    assert [str(file) for file in closed if file.exists()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_says_what_it_must_never_know(package: str) -> None:
    module = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    docstring = ast.get_docstring(module) or ""
    assert "must never" in " ".join(docstring.split()), f"stategraph/{package}/ does not say what it must never know"


def test_the_map_in_the_docs_names_every_package_and_nothing_that_is_not_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = text.split("```")[1].split("compat/langgraph/")[0]
    lines = [line for line in drawn.splitlines()[2:] if line[2:3] != " " or line[4:5] != " "]
    named, folder = set[Path](), PACKAGE
    for line in lines:
        folder = PACKAGE if line[2:3] != " " else folder
        names = [each.strip() for each in line.strip().split("  ")[0].split(",")]
        found = [path for name in names for path in [*folder.glob(name.rstrip("/")), *folder.glob(f"{name}.py")]]
        assert len(found) >= len(names), f"the map names {names}, which are not all in {folder.name}/"
        named |= set(found)
        if line[2:3] != " " and names[0].endswith("/"):
            folder = PACKAGE / names[0]
    packages = {PACKAGE / each for each in PACKAGES if each.count("/") < 2}
    unmapped = packages - named - {each for each in packages if each.parent.name in ("core", "workers")}
    assert sorted(each.name for each in unmapped) == []
