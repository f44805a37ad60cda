"""`stategraph thread`, over databases that real graphs wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import DESK, forgetting, stategraph, write


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The address of a database with two threads: a chat, and an order that waits for an answer."""
    monkeypatch.chdir(write(tmp_path, desk=DESK))
    monkeypatch.setenv("STATEGRAPH_STORE", "sqlite:///threads.db")
    with forgetting(tmp_path):
        assert main(["run", "desk:chat", "--thread", "chat", "--input", "Where is it?", "-q"]) == 0
        assert main(["run", "desk:graph", "--thread", "order", "--input", '{"number": 12}', "-q"]) == 1
    capsys.readouterr()
    return "sqlite:///threads.db"


def test_threads_are_listed_and_read_by_a_process(store: str, tmp_path: Path) -> None:
    listed = stategraph(tmp_path, "thread", "list", "--store", store)
    assert listed.returncode == 0, listed.stderr
    title, *rows = listed.stdout.splitlines()
    assert title.split() == ["THREAD", "STATUS", "USED", "OWNER", "TITLE"]
    assert sorted(row.split()[:2] for row in rows) == [["chat", "idle"], ["order", "interrupted"]]
    shown = stategraph(tmp_path, "thread", "show", "chat", "--store", store)
    assert shown.stdout.splitlines()[2:] == ["user", "  Where is it?", "assistant", "  Your lamp is on its way."]


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["thread", *words]) == code
    return capsys.readouterr().out


def test_a_thread_is_read_and_compared(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "show", "order")
    assert '"number": 12' in shown
    assert 'waits for: {"question": "Refund order 12?"}' in shown
    assert json.loads(said(capsys, "show", "chat", "--json"))["content"][0]["role"] == "user"
    assert '"content": "Where is it?"' in said(capsys, "show", "chat", "--state")
    history = json.loads(said(capsys, "history", "order", "--json"))
    assert [each["step"] for each in history] == [1, 0, -1]
    assert [each["waits"] for each in history] == [True, False, False]
    assert history[0]["changed"] == ["kind", "notes"]
    assert "kind, notes  (waits)" in said(capsys, "history", "order")
    old, middle, new = (each["checkpoint_id"] for each in reversed(history))
    compared = said(capsys, "diff", "order")
    assert compared.splitlines()[:2] == [f"from order {middle}", f"to   order {new}"]
    assert sorted(compared.splitlines()[3:]) == ['+ kind: "refund"', '+ notes: ["classified"]']
    facts = json.loads(said(capsys, "diff", "order", "--from", middle, "--to", old, "--json"))
    assert facts["differences"] == [{"path": "number", "old": 12}]
    assert "No difference." in said(capsys, "diff", "order", "--from", new, code=1)
    assert "+ messages[1]: ai: Your lamp is on its way." in said(capsys, "diff", "chat")


def test_a_thread_is_copied_exported_imported_and_deleted(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "'copy' is a copy, which waits for an answer" in said(capsys, "fork", "order", "--new-id", "copy")
    assert said(capsys, "diff", "order", "--with", "copy", code=1).endswith("No difference.\n")
    assert said(capsys, "export", "chat", "-o", "chat.json") == "2 messages written to chat.json.\n"
    assert said(capsys, "import", "chat.json", "--new-id", "chat2", "--owner", "ada") == "Thread 'chat2' is there.\n"
    assert [each["id"] for each in json.loads(said(capsys, "list", "--owner", "ada", "--json"))] == ["chat2"]
    assert said(capsys, "delete", "chat2", "none") == "1 thread deleted. There was no thread 'none'.\n"
    assert said(capsys, "delete", "chat2", code=1) == "0 threads deleted. There was no thread 'chat2'.\n"
    interrupted = json.loads(said(capsys, "list", "--status", "interrupted", "--json"))
    assert sorted(each["id"] for each in interrupted) == ["copy", "order"]
    assert "There are more" in said(capsys, "list", "--limit", "1")
    assert said(capsys, "list", "--search", "nothing like it") == "No threads.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "none"], "There is no thread 'none'"),
        (["history", "none"], "There is no thread 'none'"),
        (["show", "chat", "--checkpoint", "x"], "Thread 'chat' has no checkpoint 'x'"),
        (["import", "desk.py"], "'desk.py' is not JSON"),
        (["import", "none.json"], "'none.json' cannot be read"),
        (["list", "--store", "sqlite:///none.db"], "There is no database 'none.db'"),
        (["list", "--store", "mysql://x"], "mysql"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    store: str, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["thread", *words]) == 2
    assert sentence in capsys.readouterr().err
