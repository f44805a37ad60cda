"""The code in a page of the documentation, and running it.

A page is read from top to bottom. Its blocks share one folder, which is the current one. On pages that are followed by
copying (`ALONE`) each block is a whole program; on others blocks share what they define, and ``await`` needs no
function around it:

- ```` ```python ```` is executed. With ``title="app.py"`` it is written to that file instead, from where later blocks
  import or start it.
- ```` ```sh ```` is executed by bash, with this environment's commands; ``python app.py`` alone in this process, as a
  program that has loaded nothing of the folder yet.
- ``json`` and ``toml`` are parsed. ``text`` and others are not looked at.
- Python between ``<!-- setup`` and ``-->`` is executed and not shown.
- ``<!-- prints -->`` before a block of text says what the code since the last such block has printed.
- ``<!-- not run: why -->`` before a block leaves it out, and ``<!-- page not run: why -->`` all of them.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import json
import linecache
import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALONE = ("README.md", "docs/tutorial/", "docs/how-to/")
"""Beginnings of pages whose programs run as they are, each alone."""

LANGUAGES = {"python", "sh", "json", "toml", "text", "js", "mermaid", "yaml", "sql", "html"}

_PROGRAM = re.compile(r"python ([\w/]+\.py)\s*")

_PARTS = re.compile(
    r"<!-- (?P<mark>setup|prints|not run|page not run)\b:?\s*(?P<said>.*?)-->"
    r"|^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of code.

    Attributes:
        language: `python`, `sh` and so on; `setup` for Python that is not shown.
        code: Its text.
        line: The line of the page on which it begins.
        title: The file that it is written to, if any.
        reason: Why it is not run, if it is not.
        expected: Whether it is what was printed before.
    """

    language: str
    code: str
    line: int
    title: str = ""
    reason: str = ""
    expected: bool = False


class PageError(Exception):
    """A page that cannot be read or does not hold."""


def blocks(text: str) -> Iterator[Block]:
    """Read a page.

    Raises:
        PageError: A mark stands before no block or says no reason.
    """
    mark, said, whole = "", "", ""
    for part in _PARTS.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["mark"] is None:
            yield _block(part, line + 1, mark, said, whole)
            mark = said = ""
        elif part["mark"] == "setup":
            yield Block("setup", part["said"], line, reason=whole)
        else:
            if mark:
                raise PageError(f"line {line}: two marks before one block")
            if part["mark"] != "prints" and len(part["said"].split()) < 3:
                raise PageError(f"line {line}: say why it is not run")
            if part["mark"] == "page not run":
                whole = part["said"]
            else:
                mark, said = part["mark"], part["said"]
    if mark:
        raise PageError(f"the mark {mark!r} stands before no block")


def _block(part: re.Match[str], line: int, mark: str, said: str, whole: str) -> Block:
    language, _, options = part["info"].strip().partition(" ")
    if language not in LANGUAGES:
        raise PageError(f"line {line}: the language {language!r} of a block is none of {sorted(LANGUAGES)}")
    title = re.search(r'title="([^"]+)"', options)
    indent = len(part["indent"])
    code = "".join(row[indent:] if row.strip() else "\n" for row in part["code"].splitlines(keepends=True))
    reason = whole or (said.strip() if mark == "not run" else "")
    return Block(language, code, line, title[1] if title else "", reason, mark == "prints")


@dataclass(slots=True)
class Reader:
    """Runs the blocks of one page.

    Attributes:
        page: The page's name, for errors.
        folder: Where it runs.
        alone: Whether each block of Python is a program of its own.
        module: What the blocks define.
        printed: What has been printed since it was last compared.
    """

    page: str
    folder: Path
    alone: bool = False
    module: ModuleType = field(default_factory=lambda: ModuleType("docs_page"))
    printed: str = ""

    def run(self, text: str) -> list[str]:
        """Run a page; return what kinds of block ran.

        Raises:
            PageError: A block fails, or has printed something else than the page says.
        """
        ran: list[str] = []
        path = sys.path[:]
        sys.path.insert(0, str(self.folder))
        try:
            with contextlib.chdir(self.folder), asyncio.Runner() as loop:
                for block in blocks(text):
                    if not block.reason:
                        self._run(block, loop)
                        ran.append(block.language)
        finally:
            sys.modules.pop(self.module.__name__, None)
            self._forget()
            sys.path[:] = path
        return ran

    def _forget(self) -> None:
        """Have nothing loaded of the folder, as in a new process."""
        own = str(self.folder)
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(own):
                del sys.modules[name]

    def _run(self, block: Block, loop: asyncio.Runner) -> None:
        try:
            if block.expected:
                self._compare(block)
            elif block.title:
                (self.folder / block.title).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / block.title).write_text(block.code, encoding="utf-8")
                importlib.invalidate_caches()
            elif block.language == "python" and self.alone:
                self._forget()
                self._python(block, ModuleType(self.module.__name__))
            elif block.language in ("python", "setup"):
                self._python(block, self.module, loop)
            elif program := _PROGRAM.fullmatch(block.code):
                self._program(program[1])
            elif block.language == "sh":
                self._shell(block)
            elif block.language == "json":
                json.loads(block.code)
            elif block.language == "toml":
                tomllib.loads(block.code)
        except PageError:
            raise
        except Exception as error:
            raise PageError(f"{self.page}:{block.line}: {type(error).__name__}: {error}") from error

    def _compare(self, block: Block) -> None:
        printed, self.printed = self.printed, ""
        lines = [[line.rstrip() for line in text.strip().splitlines()] for text in (printed, block.code)]
        if lines[0] != lines[1]:
            raise PageError(f"{self.page}:{block.line}: says\n{block.code}\nand the code prints\n{printed}")

    def _python(self, block: Block, module: ModuleType, loop: asyncio.Runner | None = None) -> None:
        name = f"<{self.page}:{block.line}>"
        linecache.cache[name] = (len(block.code), None, block.code.splitlines(keepends=True), name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if loop else 0
        code = compile(block.code, name, "exec", flags=flags, dont_inherit=True)
        sys.modules[module.__name__] = module
        with self._reading():
            if loop and code.co_flags & inspect.CO_COROUTINE:
                loop.run(_awaited(code, vars(module)))
            else:
                exec(code, vars(module))

    def _program(self, name: str) -> None:
        """Run a file as `python` does, without the time that an interpreter and its imports take."""
        self._forget()
        arguments, sys.argv = sys.argv, [name]
        try:
            with self._reading():
                runpy.run_path(name, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{name} ended with {end.code}") from end
        finally:
            sys.argv = arguments

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                yield
        finally:
            self.printed += out.getvalue()

    def _shell(self, block: Block) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        python = os.pathsep.join(map(str, (self.folder, ROOT)))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": python},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        self.printed += done.stdout
        if done.returncode:
            raise PageError(f"{self.page}:{block.line}: ended with {done.returncode}: {done.stdout}{done.stderr}")


async def _awaited(code: object, names: dict[str, object]) -> None:
    await eval(code, names)  # type: ignore[call-overload]
