"""Workflows whose threads wait are deleted, and their versions removed, only by force; by processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.programs import stategraph

STORE = ("--store", "sqlite:///app.db")

ASKS = """\
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: dinner}
spec:
  state: {cuisine: {type: string}}
  steps:
    - {id: ask, interrupt: {prompt: "Which cuisine?"}, output: {cuisine: "${{ result.text }}"}}
"""


def test_threads_that_wait_keep_a_version_and_a_workflow_unless_it_is_forced(tmp_path: Path) -> None:
    app = tmp_path / "app.yaml"
    app.write_text(ASKS, encoding="utf-8")
    assert stategraph(tmp_path, "apply", "-f", "app.yaml", *STORE).returncode == 0
    begun = stategraph(tmp_path, "run", "workflow/dinner", "--thread", "one", "--input", "{}", "-q", *STORE)
    assert begun.returncode == 1, begun.stderr
    app.write_text(ASKS.replace("id: ask", "id: ask-them"), encoding="utf-8")
    assert stategraph(tmp_path, "apply", "-f", "app.yaml", *STORE).returncode == 0
    refused = stategraph(tmp_path, "delete", "workflow/dinner", "--version", "v1", *STORE)
    assert refused.returncode == 2
    assert refused.stderr.startswith("stategraph: 1 thread waits on v1 of the workflow default/dinner: ")
    whole = stategraph(tmp_path, "delete", "workflow/dinner", *STORE)
    assert whole.returncode == 2
    assert whole.stderr.startswith("stategraph: Threads of workflow/default/dinner wait for an answer: 1 on v1. Answer")
    assert "--force" in whole.stderr
    forced = stategraph(tmp_path, "delete", "workflow/dinner", "--version", "v1", "--force", *STORE)
    assert (forced.returncode, forced.stdout) == (
        0,
        "v1 of workflow/default/dinner is removed; 1 thread that waited end as 'error: version_removed'\n",
    ), forced.stderr
    ended = stategraph(tmp_path, "run", "workflow/dinner", "--thread", "one", "--resume", "thai", *STORE)
    assert ended.returncode == 1
    assert "error: version_removed: thread 'one' began on a version of the workflow default/dinner" in ended.stderr
    begun = stategraph(tmp_path, "run", "workflow/dinner", "--thread", "two", "--input", "{}", "-q", *STORE)
    assert begun.returncode == 1, begun.stderr
    newest = stategraph(tmp_path, "delete", "workflow/dinner", *STORE)
    assert newest.returncode == 2 and "wait for an answer: 1 on v2." in newest.stderr
    gone = stategraph(tmp_path, "delete", "workflow/dinner", "--force", *STORE)
    assert (gone.returncode, gone.stdout) == (0, "workflow/default/dinner deleted\n"), gone.stderr


def test_a_dry_run_of_a_version_is_refused_and_removes_nothing(tmp_path: Path) -> None:
    done = stategraph(tmp_path, "delete", "workflow/x", "--version", "v1", "--dry-run", *STORE)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--dry-run does not tell of versions: 'stategraph describe' of the resource lists them" in done.stderr


@pytest.mark.parametrize("words", [("delete", "tool/x", "--version", "v1"), ("delete", "all", "--version", "v1")])
def test_a_version_is_of_one_workflow(tmp_path: Path, words: tuple[str, ...]) -> None:
    text = "apiVersion: stategraph.dev/v1\nkind: Tool\nmetadata: {name: x}\nspec: {id: x}\n"
    stategraph(tmp_path, "apply", "-f", "-", "--no-wait", *STORE, given=text)
    done = stategraph(tmp_path, *words, *STORE)
    assert (done.returncode, done.stderr) == (
        2,
        "stategraph: --version is of one workflow or agent: name it, as in 'delete workflow/dinner --version v1'\n",
    )
