"""Which tests a change is tried with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.mutation.reach import Reach

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCT = """
def open_door():
    return [3]

def knock(door):
    return sum(door)
"""
TESTS = """
import pytest
from stategraph import product

@pytest.fixture(scope="module")
def door():
    return product.open_door()

@pytest.fixture
def own():
    return product.open_door()

def test_first(door):
    assert door

def test_second(door):
    assert product.knock(door) == 3

def test_apart(own):
    assert product.knock(own) == 3
"""


def test_a_change_of_what_tests_share_is_tried_with_all_of_them(tmp_path: Path) -> None:
    tree, batch = tmp_path / "tree", tmp_path / "batch-1"
    for folder in (tree / "stategraph", tree / "tests", batch):
        folder.mkdir(parents=True)
    (tree / "stategraph" / "__init__.py").touch()
    (tree / "stategraph" / "product.py").write_text(PRODUCT, encoding="utf-8")
    (tree / "tests" / "test_doors.py").write_text(TESTS, encoding="utf-8")
    code = (
        "import pytest, sys; from pathlib import Path; from tests.mutation.reach import Recorder\n"
        f"sys.path[0] = {str(tree)!r}\n"
        f"recorder = Recorder(Path({str(tree)!r}), Path({str(batch)!r}))\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--rootdir=.', 'tests'], plugins=[recorder]))"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    reach = Reach(tmp_path)
    opening, knocking = (3, 3), (6, 6)
    first, second, apart = (f"tests/test_doors.py::test_{name}" for name in ("first", "second", "apart"))
    assert reach.tests("stategraph/product.py", opening, 60) == [first, apart, second]
    assert set(reach.tests("stategraph/product.py", knocking, 60)) == {second, apart}
