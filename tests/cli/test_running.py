"""`stategraph run`, as a person and a script use it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.cli import main
from tests.cli.programs import DESK, forgetting, stategraph, write


def test_steps_are_shown_beside_the_result(tmp_path: Path) -> None:
    done = stategraph(write(tmp_path, desk=DESK), "run", "desk:graph", "--input", '{"number": 7}')
    assert (done.returncode, done.stdout) == (0, 'number  7\nkind    order\nnotes   ["classified"]\n'), done.stderr
    assert done.stderr == 'classify  kind: order\nclassify  notes: ["classified"]\n'


def test_a_question_ends_the_command_and_is_answered_in_another_process(tmp_path: Path) -> None:
    write(tmp_path, desk=DESK)
    store = {"STATEGRAPH_STORE": "sqlite:///threads.db"}
    asked = stategraph(tmp_path, "run", "desk.py:graph", "--input", '{"number": 12}', "--thread", "t", **store)
    assert asked.returncode == 1
    assert '{"question": "Refund order 12?"}' in asked.stdout
    assert "stategraph run desk.py:graph --store sqlite:///threads.db --thread t --resume" in asked.stdout
    words = ("run", "desk.py:graph", "--thread", "t", "--resume", "yes", "--json")
    answered = stategraph(tmp_path, *words, **store)
    assert answered.returncode == 0, answered.stderr
    update, end = map(json.loads, answered.stdout.splitlines())
    assert update == {"event": "update", "node": "approve", "data": {"notes": ["yes"]}}
    assert end["result"] == {"number": 12, "kind": "refund", "notes": ["classified", "yes"]}
    assert (end["event"], end["status"], end["thread_id"], end["interrupts"]) == ("end", "done", "t", [])


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The present folder, with the program; its modules are forgotten after the test."""
    monkeypatch.chdir(write(tmp_path, desk=DESK))
    monkeypatch.delenv("STATEGRAPH_STORE", raising=False)
    with forgetting(tmp_path):
        yield tmp_path


def run(*words: str) -> int:
    return main(["run", *words])


def test_the_command_that_is_printed_can_be_pasted(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, thread = "sqlite:///my threads.db", "Ada's & mine"
    assert run("desk:graph", "--store", store, "--thread", thread, "--input", '{"number": 12}', "-q") == 1
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[:2] == ["stategraph", "run"]
    assert main(command[1:]) == 0
    assert 'notes   ["classified", "yes"]' in capsys.readouterr().out


def test_words_are_an_input_for_a_graph_with_messages(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("desk:chat", "--input", "Where is it?") == 0
    seen = capsys.readouterr()
    assert seen.out == "messages  Your lamp is on its way.\n"
    assert seen.err == "talk  Your lamp is on its way.\n"


def test_a_question_without_a_database_says_what_to_do(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("desk", "--quiet", "--input", '{"number": 12}') == 1
    assert "keep threads in a database: --store sqlite:///threads.db" in capsys.readouterr().out


def test_an_error_of_the_program_is_shown_with_its_own_lines(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("desk:broken", "--input", '{"number": 1}') == 2
    shown = capsys.readouterr().err
    assert shown.startswith("ZeroDivisionError: division by zero\n")
    assert "in fail\n     return {" in shown
    assert "stategraph/engine" not in shown
    assert run("desk:broken", "--json", "--input", '{"number": 1}') == 2
    assert json.loads(capsys.readouterr().out)["error"] == {"type": "ZeroDivisionError", "message": "division by zero"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["desk", "--input", "seven"], 'It is JSON with number, kind, notes, such as --input \'{"number": 1,'),
        (["desk", "--input", "1", "--resume", "1"], "--input begins and --resume answers: give one of them"),
        (["desk", "--input", "@none.json"], "'none.json' cannot be read"),
        (["desk", "--input", "{}", "--config", "[1]"], "--config is list; expected an object"),
        (["desk", "--input", "{}", "--config", "{"], "--config is not JSON"),
        (["desk", "--input", "{}", "--config", '{"tags": "a"}'], '--config: tags is "a"; expected a list of texts'),
        (["desk", "--input", "{}", "--config", '{"tags": [1]}'], "--config: tags is [1]; expected a list of texts"),
        (["desk", "--input", "{}", "--config", '{"metadata": [1]}'], "--config: metadata is [1]; expected an object"),
        (
            ["desk", "--input", "{}", "--config", '{"recursion_limit": true}'],
            "--config: recursion_limit is true; expected a whole",
        ),
        (
            ["desk", "--input", "{}", "--config", '{"recursion_limit": "9"}'],
            '--config: recursion_limit is "9"; expected a whole',
        ),
        (
            ["desk", "--input", "{}", "--config", '{"max_concurrency": 0}'],
            "--config: max_concurrency is 0; expected a whole number",
        ),
        (["desk", "--input", "{}", "--config", '{"run_name": 3}'], "--config: run_name is 3; expected a text"),
        (["desk", "--input", "{}", "--config", '{"callbacks": ["x"]}'], "--config: callbacks are objects"),
        (["desk:agents", "--input", "hi"], "'desk:agents' is agents, and this command takes a compiled graph"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    in_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert run(*words) == 2
    assert sentence in capsys.readouterr().err


def test_a_key_of_a_config_may_be_null(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = '{"configurable": null, "tags": null, "recursion_limit": null, "max_concurrency": 2, "run_name": "trial"}'
    assert run("desk", "-q", "--input", '{"number": 7}', "--config", config) == 0
    assert capsys.readouterr().out.startswith("number  7\n")


def test_an_answer_names_questions_that_wait_or_is_refused(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("desk", "-q", "--json", "--thread", "t", "--store", "sqlite:///threads.db")
    assert run(*words, "--input", '{"number": 12}') == 1
    waits = json.loads(capsys.readouterr().out)["interrupts"][0]["id"]
    other = "0" * 32
    done = stategraph(in_folder, "run", *words, "--resume", json.dumps({other: False}))
    refusal = f"--resume answers question {other}, which does not wait; thread 't' waits for an answer to {waits}: "
    assert (done.returncode, refusal in done.stderr) == (2, True), done.stderr
    assert run(*words, "--resume", "{}") == 2
    assert f"--resume answers no question; thread 't' waits for an answer to {waits}: " in capsys.readouterr().err
    assert run(*words, "--resume", json.dumps({waits: {other: False}})) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["notes"] == ["classified", {other: False}]
