"""Every block of code in the documents runs, or says why it does not."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ALONE, PAGES, ROOT, Block, PageError, Reader, blocks

WITH_CODE = [page for page in PAGES if "```" in page.read_text(encoding="utf-8")]

FOR_A_PROCESS = ("docs/opentelemetry.md",)
"""Pages whose code sets something for the whole process, which can be set only once."""


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    if name in FOR_A_PROCESS:
        run = f"Reader({name!r}, Path({str(tmp_path)!r})).run(Path({name!r}).read_text(encoding='utf-8'))"
        code = f"from pathlib import Path; from tests.docs.blocks import Reader; {run}"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    else:
        Reader(name, tmp_path, alone=name.startswith(ALONE)).run(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_whose_code_awaits_outside_of_functions_says_where_that_works(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = [block for block in blocks(text) if block.language == "python" and not block.title]
    if page.relative_to(ROOT).as_posix().startswith(ALONE):
        assert [block.line for block in code if awaits(block) and not block.reason] == []
    elif any(map(awaits, code)):
        assert re.search(r"`async def`|async code", text)


def awaits(block: Block) -> bool:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(block.code, "block", "exec", flags=flags, dont_inherit=True)
    return bool(code.co_flags & inspect.CO_COROUTINE)


def reader(folder: Path) -> Reader:
    return Reader("page.md", folder)


def test_blocks_share_what_they_define_and_may_await(tmp_path: Path) -> None:
    text = """
<!-- setup
import asyncio
-->
```python
x = await asyncio.sleep(0, 2)
```
```python
print(x + 1)
```
<!-- prints -->
```text
3
```
"""
    assert reader(tmp_path).run(text) == ["setup", "python", "python", "text"]


def test_a_page_that_prints_something_else_is_found(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"page.md:6: says\n2\n\nand the code prints\n1\n"):
        reader(tmp_path).run("```python\nprint(1)\n```\n<!-- prints -->\n```text\n2\n```\n")


def test_a_block_that_fails_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"page\.md:3: ZeroDivisionError"):
        reader(tmp_path).run("\n```python\n1 / 0\n```\n")
    with pytest.raises(PageError, match=r"page\.md:2: ended with 3"):
        reader(tmp_path).run("```sh\nexit 3\n```\n")


def test_blocks_of_pages_to_copy_from_are_programs_of_their_own(tmp_path: Path) -> None:
    alone = Reader("page.md", tmp_path, alone=True)
    with pytest.raises(PageError, match=r"page\.md:5: NameError: name 'x' is not defined"):
        alone.run("```python\nx = 1\n```\n```python\nprint(x)\n```\n")
    with pytest.raises(PageError, match=r"page\.md:2: SyntaxError: 'await' outside function"):
        alone.run("```python\nawait print(1)\n```\n")


def test_a_program_that_is_started_begins_anew_and_fails_as_one(tmp_path: Path) -> None:
    text = """
```python title="state.py"
seen = []
```
```python title="app.py"
import sys

from state import seen

seen.append(sys.argv)
print(__name__, seen)
if len(sys.argv) == 2:
    sys.exit("two arguments")
```
```sh
python app.py
```
```sh
python app.py
```
<!-- prints -->
```text
__main__ [['app.py']]
__main__ [['app.py']]
```
"""
    assert reader(tmp_path).run(text)[-1] == "text"
    for command in ("python app.py x", "python other.py"):
        with pytest.raises(PageError, match=r"page\.md:2: "):
            reader(tmp_path).run(f"```sh\n{command}\n```\n")


def test_a_block_with_a_title_is_a_file_that_commands_see(tmp_path: Path) -> None:
    text = (
        '```python title="app.py"\nprint("here")\n```\n```sh\npython app.py\n```\n<!-- prints -->\n```text\nhere\n```\n'
    )
    assert reader(tmp_path).run(text) == ["python", "sh", "text"]
    assert (tmp_path / "app.py").read_text() == 'print("here")\n'


def test_a_block_that_is_not_run_says_why(tmp_path: Path) -> None:
    assert reader(tmp_path).run("<!-- not run: needs a real key -->\n```python\n1 / 0\n```\n") == []
    for text in ("<!-- not run: -->\n```python\n```\n", "<!-- prints -->\n", "```\nno language\n```\n"):
        with pytest.raises(PageError):
            list(blocks(text))
