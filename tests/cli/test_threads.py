"""`stategraph thread`, over databases that real graphs wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import DESK, forgetting, stategraph, write


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """The address of a database with two threads: a chat, and an order that waits for an answer."""
    monkeypatch.chdir(write(tmp_path, desk=DESK))
    monkeypatch.setenv("STATEGRAPH_STORE", "sqlite:///threads.db")
    with forgetting(tmp_path):
        assert main(["run", "desk:chat", "--thread", "chat", "--input", "Where is it?", "-q"]) == 0
        assert main(["run", "desk:graph", "--thread", "order", "--input", '{"number": 12}', "-q"]) == 1
        capsys.readouterr()
        yield "sqlite:///threads.db"


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


def test_a_thread_is_explained(store: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    alone = said(capsys, "explain", "order")
    assert "waits: it asked" in alone
    assert "The graph is not given" in alone
    told = json.loads(said(capsys, "explain", "order", "--graph", "desk:graph", "--json", "--svg", "way.svg"))
    assert told["steps"][-1]["changes"][0]["writers"][0]["node"] == told["steps"][-1]["tasks"][0]["node"]
    assert "data-node" in (tmp_path / "way.svg").read_text(encoding="utf-8")
    waiting = told["upcoming"][0]["node"]
    assert said(capsys, "explain", "order", "--graph", "desk:graph", "--node", waiting).startswith(f"{waiting} waits")
    for words, code in (
        (["explain", "nobody"], 2),
        (["explain", "order", "--node", "nothing"], 2),
        (["explain", "order", "--checkpoint", "none"], 2),
        (["explain", "order", "--svg", "way.svg"], 2),
    ):
        said(capsys, *words, code=code)
    steps = said(capsys, "diff", "order", "--steps", "--graph", "desk:graph")
    assert "They part at step 1" in steps
    facts = json.loads(said(capsys, "diff", "order", "--steps", "--json"))
    assert facts["parting"]["kind"] == "ends"


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
    exported = "Thread 'chat' is in chat.json: the values messages, 2 messages.\n"
    assert said(capsys, "export", "chat", "-o", "chat.json") == exported
    assert said(capsys, "import", "chat.json", "--new-id", "chat2", "--owner", "ada") == "Thread 'chat2' is there.\n"
    assert [each["id"] for each in json.loads(said(capsys, "list", "--owner", "ada", "--json"))] == ["chat2"]
    assert said(capsys, "delete", "chat2", "none") == "1 thread deleted. There was no thread 'none'.\n"
    assert said(capsys, "delete", "chat2", code=1) == "0 threads deleted. There was no thread 'chat2'.\n"
    interrupted = json.loads(said(capsys, "list", "--status", "interrupted", "--json"))
    assert sorted(each["id"] for each in interrupted) == ["copy", "order"]
    assert "There are more" in said(capsys, "list", "--limit", "1")
    assert said(capsys, "list", "--search", "nothing like it") == "No threads.\n"


def test_an_import_of_a_thread_that_is_there_names_the_option(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "export", "chat", "-o", "whole.json")
    exported = json.loads((tmp_path / "whole.json").read_text())
    (tmp_path / "messages.json").write_text(json.dumps({**exported, "state": []}))
    for words, name in (
        (["whole.json"], "chat"),
        (["messages.json"], "chat"),
        (["whole.json", "--new-id", "order"], "order"),
    ):
        assert main(["thread", "import", *words]) == 2
        told = capsys.readouterr().err
        assert f"There is a thread '{name}' already: name another one with --new-id" in told


DELTAS = """
from typing import Annotated, TypedDict

from stategraph.core.channels.delta import DeltaChannel
from stategraph.graph.state import START, StateGraph


def added(value, updates):
    return [*(value or []), *(each for update in updates for each in update)]


class State(TypedDict, total=False):
    log: Annotated[list, DeltaChannel(added, snapshot_frequency=50)]
    never: Annotated[list, DeltaChannel(added, snapshot_frequency=50)]
    full: Annotated[list, DeltaChannel(added, snapshot_frequency=1)]
    number: int


builder = StateGraph(State)
builder.add_node("a", lambda state: {"log": ["a"], "full": ["a"], "number": 1})
builder.add_edge(START, "a")
graph = builder.compile()
"""


def test_values_that_only_the_graph_can_make_are_named(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, delta_desk=DELTAS)
    assert main(["run", "delta_desk:graph", "--thread", "d", "--input", '{"log": ["in"]}', "-q"]) == 0
    capsys.readouterr()
    sentence = "Not shown: log (delta channels, whose values only the graph can make)."
    for words in (["show", "d"], ["show", "d", "--state"], ["diff", "d"]):
        assert said(capsys, *words).splitlines()[-1] == sentence
    shown = json.loads(said(capsys, "show", "d", "--json"))
    assert (shown["values"], shown["not_shown"]) == ({"full": ["a"], "number": 1}, ["log"])
    assert json.loads(said(capsys, "diff", "d", "--json"))["not_shown"] == ["log"]
    told = said(capsys, "export", "d", "-o", "d.json")
    assert "the values full, number. Of log it has what was written: " in told
    assert json.loads((tmp_path / "d.json").read_text())["not_shown"] == ["log"]
    assert json.loads(said(capsys, "show", "chat", "--json"))["not_shown"] == []
    assert said(capsys, "import", "d.json", "--new-id", "d2") == "Thread 'd2' is there.\n"
    assert said(capsys, "show", "d2").splitlines()[-1] == sentence


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


TYPED = """
from dataclasses import dataclass
from typing import TypedDict

from stategraph import interrupt
from stategraph.graph.state import START, StateGraph


@dataclass
class Order:
    number: int
    parts: tuple


class State(TypedDict):
    order: Order
    by_number: dict
    told: str


def ask(state):
    answer = interrupt("Which?")
    kinds = [type(state["order"]).__name__, type(state["order"].parts).__name__, *state["by_number"][1]]
    return {"told": " ".join([*kinds, answer])}


builder = StateGraph(State)
builder.add_node("order", lambda state: {"order": Order(7, (1, 2)), "by_number": {1: [b"x".decode()], "$y": b"z"}})
builder.add_node("ask", ask)
builder.add_edge(START, "order")
builder.add_edge("order", "ask")
graph = builder.compile()
"""


def test_an_export_has_the_whole_state_and_an_import_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write(tmp_path, typed=TYPED))
    store = {"STATEGRAPH_STORE": "sqlite:///threads.db"}
    monkeypatch.setenv("STATEGRAPH_STORE", store["STATEGRAPH_STORE"])
    run = ("run", "typed:graph", "-q", "--thread", "t")
    with forgetting(tmp_path):
        assert main([*run, "--input", '{"told": ""}']) == 1
    capsys.readouterr()
    exported = stategraph(tmp_path, "thread", "export", "t", "-o", "t.json", **store)
    assert (exported.returncode, exported.stdout) == (
        0,
        "Thread 't' is in t.json: the values by_number, order, told.\n",
    )
    assert said(capsys, "delete", "t") == "1 thread deleted.\n"
    whole = json.loads((tmp_path / "t.json").read_text())
    assert whole["values"]["order"] == {"number": 7, "parts": [1, 2]}
    values = whole["state"][-1]["checkpoint"]["channel_values"]
    assert values["order"]["value"][:2] == ["typed", "Order"]
    assert values["by_number"] == {"$map": [[1, ["x"]], ["$y", {"$bytes": "eg=="}]]}
    imported = stategraph(tmp_path, "thread", "import", "t.json", **store)
    assert imported.stdout == "Thread 't' is there, and waits for an answer.\n", imported.stderr
    answered = stategraph(tmp_path, *run, "--resume", "done", **store)
    assert answered.stdout.splitlines()[-1] == "told       Order tuple x done", answered.stderr


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("none", "The 'state' of the export is no list of checkpoints"),
        ([{"namespace": ""}], "has no 'parent' that can be read"),
        (
            [{"namespace": "", "parent": None, "checkpoint": {}, "metadata": {}, "writes": [["task"]]}],
            "is no task, channel and value",
        ),
        (
            [{"namespace": "", "parent": None, "checkpoint": {"x": {"$bytes": "?"}}, "metadata": {}, "writes": []}],
            "A value in the 'state' of the export cannot be read",
        ),
        (
            [{"namespace": "", "parent": None, "checkpoint": {"id": 1}, "metadata": {}, "writes": []}],
            "has a checkpoint without an id",
        ),
    ],
)
def test_a_state_that_is_none_is_refused_and_leaves_no_thread(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: object, sentence: str
) -> None:
    said(capsys, "export", "order", "-o", "order.json")
    whole = json.loads((tmp_path / "order.json").read_text())
    (tmp_path / "order.json").write_text(json.dumps({**whole, "state": part}))
    assert main(["thread", "import", "order.json", "--new-id", "other"]) == 2
    assert sentence in capsys.readouterr().err
    assert main(["thread", "show", "other"]) == 2


def test_a_thread_whose_last_run_failed_is_listed_so(store: str, tmp_path: Path) -> None:
    by_itself = (
        "from stategraph.savers import SqliteSaver\n"
        "import desk\n"
        "with SqliteSaver.from_conn_string('threads.db') as saver:\n"
        "    broken = desk.broken.copy({'checkpointer': saver})\n"
        "    broken.invoke({'number': 1}, {'configurable': {'thread_id': 'program'}})\n"
    )
    invoked = subprocess.run(
        [sys.executable, "-c", by_itself], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "ZeroDivisionError" in invoked.stderr
    assert main(["run", "desk:broken", "--thread", "command", "--input", '{"number": 1}', "-q"]) == 2
    listed = stategraph(tmp_path, "thread", "list", "--store", store, "--status", "failed")
    assert sorted(row.split()[:2] for row in listed.stdout.splitlines()[1:]) == [
        ["command", "failed"],
        ["program", "failed"],
    ]
    assert main(["thread", "list", "--status", "idle", "--json"]) == 0
    shown = stategraph(tmp_path, "thread", "show", "program", "--store", store)
    assert shown.stdout.splitlines()[-1] == "failed with: ZeroDivisionError('division by zero')"


def test_an_answer_that_nothing_waits_for_is_refused(store: str, tmp_path: Path) -> None:
    run = ("run", "desk:graph", "-q", "--store", store, "--thread")
    ended = stategraph(tmp_path, *run, "chat", "--resume", "yes")
    assert ended.returncode == 2
    assert "Thread 'chat' waits for no answer; it has ended: begin its next turn with --input" in ended.stderr
    assert main([*run, "order", "--resume", "yes"]) == 0
    again = stategraph(tmp_path, *run, "order")
    assert again.returncode == 2
    assert "Thread 'order' has ended" in again.stderr
