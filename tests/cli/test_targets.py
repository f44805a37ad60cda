"""Targets of commands: what is found, and what is said of what is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.cli.programs.targets import load
from stategraph.errors import ConfigurationError
from tests.cli.programs import DESK, forgetting, write


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(
        write(
            tmp_path,
            desk=DESK,
            empty="x = 1\n",
            loud="print('imported')\n" + DESK,
            needy="import not_installed_anywhere\n",
            wrong="def f(:\n",
            raising="raise ValueError('no key')\n",
            made="def settings(): ...\ndef help_with(one): ...\nmine = {'agents': []}\n",
            ending="import sys\nsys.exit(3)\n",
        )
    )
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", deep=DESK)
    (tmp_path / "project" / "project").mkdir(parents=True)
    write(tmp_path / "project" / "project", agent=DESK)
    with forgetting(tmp_path):
        yield


@pytest.mark.parametrize(
    ("path", "found", "kind"),
    [
        ("desk:graph", "desk:graph", "graph"),
        ("desk", "desk:graph", "graph"),
        ("desk.py:chat", "desk.py:chat", "graph"),
        ("inner/deep.py:graph", "inner/deep.py:graph", "graph"),
        ("desk:make", "desk:make", "graph"),
        ("desk:agents", "desk:agents", "agents"),
    ],
)
def test_a_target_is_found(path: str, found: str, kind: str) -> None:
    target = load(path)
    assert (target.path, target.kind) == (found, kind)
    assert (target.graph is None, bool(target.agents)) == (kind == "agents", kind == "agents")


def test_what_a_module_prints_stays_out_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    load("loud:graph")
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", "imported\n")


@pytest.mark.parametrize(
    ("path", "sentences"),
    [
        ("dsk:graph", ["There is no module 'dsk' in", "did you mean 'desk'?", "There: desk, empty"]),
        ("none.py:graph", ["There is no file", "none.py"]),
        (":graph", ["names no module"]),
        (".", ["'.' is a folder: write MODULE:NAME", "There: desk, empty"]),
        ("inner/:graph", ["'inner/' is a folder", "There: deep."]),
        ("desk:grap", ["'desk' has no 'grap', did you mean 'graph'?", "Graphs in", "graph, broken, chat"]),
        ("empty", ["no graph under a usual name: write empty:NAME", "There is no compiled graph in"]),
        ("made", ["write made:NAME", "made.py; there are settings, mine"]),
        ("made:nope", ["'made' has no 'nope'", "made.py; there are settings, mine"]),
        ("project.agent:graph", ["no module 'project.agent'", "be in the folder 'project'? cd project"]),
        ("empty:x", ["'empty:x' is a value of type int; expected a compiled graph"]),
        ("desk:builder", ["is a graph that is not compiled: add a line 'graph = builder.compile()'"]),
        ("desk:Order", ["is the class Order"]),
        ("desk:needs", ["a function that wants one"]),
        ("needy:graph", ["'needy' needs the module 'not_installed_anywhere'", "needy.py, line 1", sys.executable]),
        ("wrong:graph", ["fails when it is imported: SyntaxError", "wrong.py, line 1"]),
        ("raising:graph", ["fails when it is imported: ValueError: no key", "raising.py, line 1"]),
        ("ending:graph", ["ends the process when it is imported", "__main__"]),
    ],
)
def test_what_is_no_target_is_said_in_a_sentence(path: str, sentences: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    for sentence in sentences:
        assert sentence in str(caught.value)
