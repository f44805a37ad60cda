"""The test kit's signal fuzzer, on graphs that survive it and on ones that do not."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.testing import DivergedError, FuzzError, SignalReport, count_effect, fuzz_signals
from stategraph.testing.signals import __main__ as command
from stategraph.testing.signals.fuzzing import _Fuzz, drawn
from stategraph.testing.signals.lives import Lives
from stategraph.testing.signals.points import Points
from stategraph.testing.signals.spec import Spec
from tests.sqlite import connection

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")

GRAPHS = "tests.testing.fuzzed_graphs"
LIFE_S = 300.0  # no test waits for it
STATE = {"done": ["first", "each a", "each b", "third"], "answer": "yes"}


def fuzzed(name: str, **options: Any) -> Any:
    return fuzz_signals(f"{GRAPHS}:{name}", {"done": []}, **{"life_s": LIFE_S, "seconds": LIFE_S, **options})


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    with Lives(f"{GRAPHS}:builder", spawns=False, deadline_s=LIFE_S) as started:
        yield started


def spec_of(name: str, folder: Path, **more: Any) -> Spec:
    store = f"sqlite:///{folder}/{name}.db"
    return Spec(**{"target": f"{GRAPHS}:{name}", "store": store, "thread": "t", "inputs": {"done": []}, **more})


@pytest.mark.parametrize(("name", "is_async"), [("with_saver", False), ("asynchronous", True)])
def test_a_graph_comes_to_the_same_state_whatever_kills_its_processes(name: str, is_async: bool) -> None:
    told: list[str] = []
    report = fuzzed(name, answers=["yes"], trials=3, seed=3, is_async=is_async, on_progress=told.append)
    assert (report.state, report.trials) == (STATE, 3)
    assert sum(report.kills.values()) >= 3
    assert [each.partition(":")[0] for each in told] == [f"trial {number} of 3" for number in (1, 2, 3)]
    assert all(each.endswith(": the same state") for each in told)
    assert report.effects["third"][0] == 1


def test_a_node_that_does_something_twice_is_found_and_the_difference_is_explained() -> None:
    with pytest.raises(DivergedError) as found:
        fuzzed("counting", trials=100, seed=1, signals=["SIGKILL", "SIGTERM"], most_kills=1, once=["pay", "else"])
    first, effect, head, *lines, last = str(found.value).splitlines()
    assert "of seed 1 came to something else than an undisturbed run, after SIG" in first
    assert effect == "The effect 'pay' happened 2 times, expected 1"
    assert head == "1 channels, expected 1; they differ from channel 1 on"
    assert lines == [
        "- done: ['first', 'each a', 'each b', 'time 1']",
        "+ done: ['first', 'each a', 'each b', 'time 2']",
    ]
    assert last.startswith("fuzz_signals(..., seed=1, trial=")


def test_an_effect_that_may_happen_twice_is_counted(lives: Lives, tmp_path: Path) -> None:
    fuzz = _Fuzz(lives, spec_of("paying", tmp_path), 1, {"SIGKILL": int(signal.SIGKILL)}, 1, ())
    expected = fuzz.undisturbed()
    for number in range(1, 101):
        fuzz.attempt(number, expected)
        if fuzz.seen["pay"] == (1, 2):
            break
    assert fuzz.report(expected, 0.0).effects == {"pay": (1, 2)}


def test_another_state_is_found_also_without_effects(lives: Lives, tmp_path: Path) -> None:
    spec = replace(spec_of("counting", tmp_path), store="")
    fuzz = _Fuzz(lives, spec, 2, {"SIGKILL": int(signal.SIGKILL)}, 1, ())
    expected = fuzz.undisturbed()
    with pytest.raises(DivergedError, match="time 2"):
        for number in range(1, 101):
            fuzz.attempt(number, expected)


def test_each_question_gets_its_own_answer_in_every_process(lives: Lives, tmp_path: Path) -> None:
    spec = replace(spec_of("asking_twice", tmp_path, answers=("yes", "more")), store="")
    fuzz = _Fuzz(lives, spec, 1, {"SIGKILL": int(signal.SIGKILL)}, 1, ())
    expected = fuzz.undisturbed()
    assert expected.life.state == {"done": ["first", "each a", "each b", "more"], "answer": "yes"}
    for number in range(1, 11):
        fuzz.attempt(number, expected)
    assert fuzz.kills == {"SIGKILL": 10}


def test_a_graph_that_fails_after_a_kill_is_told_with_the_trial(lives: Lives, tmp_path: Path) -> None:
    spec = replace(spec_of("locking", tmp_path), store="")
    fuzz = _Fuzz(lives, spec, 4, {"SIGKILL": int(signal.SIGKILL)}, 1, ())
    expected = fuzz.undisturbed()
    with pytest.raises(DivergedError) as found:
        for number in range(1, 101):
            fuzz.attempt(number, expected)
    first, last = str(found.value).splitlines()
    assert first.endswith("The graph failed, and no signal was sent: FileExistsError: it is locked")
    assert re.match(r"Trial \d+ of seed 4, after SIGKILL at point [\d,]+: ", first)
    assert re.match(r"fuzz_signals\(\.\.\., seed=4, trial=\d+\) repeats it", last)


def test_a_graph_that_does_not_do_the_same_each_time_is_told(lives: Lives, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="Two runs that nobody disturbed came to different ends"):
        _Fuzz(lives, spec_of("by_clock", tmp_path), 1, {}, 1, ()).undisturbed()


def test_a_compiled_graph_is_given_the_saver(lives: Lives, tmp_path: Path) -> None:
    assert lives.live(spec_of("compiled", tmp_path, answers=("yes",))).state == STATE
    kept = connection(tmp_path / "compiled.db")
    assert kept.execute("SELECT count(*) FROM checkpoints").fetchone() > (3,)


def test_a_program_that_takes_no_notice_of_ctrl_c_goes_on(lives: Lives, tmp_path: Path) -> None:
    undisturbed = lives.live(spec_of("stubborn", tmp_path))
    at = undisturbed.points - 10_000  # among the 40,000 of its loop
    life = lives.live(spec_of("stubborn", tmp_path, thread="2", at=at, signal=int(signal.SIGINT)))
    assert (life.has_ended, life.fired, life.state) == (True, True, undisturbed.state)


def test_threads_are_deleted_from_a_store_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    report = fuzzed("builder", answers=["yes"], trials=2, store=f"sqlite:///{path}")
    assert report.state == STATE
    kept = connection(path)
    assert kept.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)
    assert kept.execute("SELECT count(*) FROM writes").fetchone() == (0,)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("failing", "The graph failed, and no signal was sent: KeyError: 'no such order'"),
        ("dying", "A process ended with code 7, and no signal was sent."),
        ("number", "TypeError: 'int' object is not callable"),
        ("makes_number", f"'{GRAPHS}:makes_number' gives a value of type int; expected a compiled graph, a StateGraph"),
        ("builder", "DivergedError: The graph asks 'go?', and there are 0 answers: give one more"),
        ("none", "the module 'tests.testing.fuzzed_graphs' has no attribute 'none'"),
    ],
)
def test_a_process_that_fails_and_was_not_killed_is_told(lives: Lives, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(FuzzError) as found:
        lives.live(spec_of(name, tmp_path))
    assert said in str(found.value)


def test_a_process_that_does_not_end_is_killed(lives: Lives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "_deadline_s", 0.1)
    with pytest.raises(FuzzError, match=r"A process did not end in 0\.1 s, and was killed"):
        lives.live(spec_of("hanging", tmp_path))


@pytest.mark.parametrize("name", ["failing", "dying"])
def test_a_process_that_ends_by_itself_before_its_kill_was_not_killed(lives: Lives, tmp_path: Path, name: str) -> None:
    with pytest.raises(FuzzError, match="no signal was sent"):
        lives.live(spec_of(name, tmp_path, at=10**9, signal=int(signal.SIGKILL)))


def test_a_process_that_lives_ends_with_those_that_asked_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Lives(f"{GRAPHS}:builder", spawns=False, deadline_s=LIFE_S) as lives:  # as Ctrl-C leaves it
            assert lives._server.stdin is not None
            spec = spec_of("hanging_in_sight", tmp_path, effects=str(tmp_path / "alive")).to_json()
            lives._server.stdin.write(json.dumps({"spec": spec, "spawns": False, "deadline_s": LIFE_S}) + "\n")
            lives._server.stdin.flush()
            assert select.select([reader], [], [], 60)[0]
            assert os.read(reader, 99) == b"begun"
        assert select.select([reader], [], [], 60)[0]
        assert os.read(reader, 99) == b""  # nobody has it open
    finally:
        os.close(reader)


def test_a_process_may_be_an_interpreter_of_its_own(
    lives: Lives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lives, "_spawns", True)
    killed = lives.live(spec_of("builder", tmp_path, answers=("yes",), at=9_000, signal=int(signal.SIGKILL)))
    assert (killed.code, killed.has_ended, killed.fired) == (-signal.SIGKILL, False, True)


def test_a_graph_that_cannot_be_imported_is_told_before_anything_is_tried() -> None:
    with pytest.raises(
        FuzzError, match="The graph 'no_such_module_here:graph' cannot be imported: ModuleNotFoundError"
    ):
        fuzz_signals("no_such_module_here:graph", {})
    with pytest.raises(FuzzError, match="The graph 'tests' is no import path"):
        fuzz_signals("tests", {})


def test_what_makes_no_sense_is_refused_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.testing.signals.fuzzing.Lives", None)
    for wrong in ({"trials": 0}, {"most_kills": 0}, {"signals": []}):
        with pytest.raises(ValueError, match="at least one of each"):
            fuzzed("builder", **wrong)
    with pytest.raises(
        ValueError, match="There is no signal 'SIGNONE'; expected names such as SIGKILL, SIGTERM, SIGINT"
    ):
        fuzzed("builder", signals=["SIGNONE"])
    with pytest.raises(TypeError, match="not JSON serializable"):
        fuzz_signals(f"{GRAPHS}:builder", {"done": {1, 2}})


def test_a_seed_draws_the_same_kills_also_if_some_points_are_more_or_less() -> None:
    names = ["SIGKILL", "SIGINT"]
    plans = [drawn(7, trial, 10_000, names, 3) for trial in range(100)]
    assert plans == [drawn(7, trial, 10_000, names, 3) for trial in range(100)]
    assert sum(plan == drawn(7, trial, 10_003, names, 3) for trial, plan in enumerate(plans)) >= 95
    assert plans != [drawn(8, trial, 10_000, names, 3) for trial in range(100)]
    assert {len(plan) for plan in plans} == {1, 2, 3}
    assert {name for plan in plans for _, name in plan} == {*names}
    assert all(1 <= at <= 10_000 // (life + 1) for plan in plans for life, (at, _) in enumerate(plan))


def test_a_point_is_a_call_or_a_return() -> None:
    def three() -> None:
        len("a")

    caught: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    try:
        counting = Points(0, signal.SIGUSR1)
        counting.arm()
        three()
        number = counting.disarm()
        assert number >= 4  # two calls, two returns
        assert (caught, counting.fired) == ([], False)
        firing = Points(number - 1, signal.SIGUSR1)
        firing.arm()
        three()
        firing.disarm()
        assert (caught, firing.fired) == ([1], True)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_points_of_threads_count() -> None:
    points = Points(0, signal.SIGUSR1)
    points.arm()
    thread = threading.Thread(target=lambda: [len("a") for _ in range(5_000)])
    thread.start()
    thread.join(60)
    assert points.disarm() >= 10_000


def test_effects_are_counted_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATEGRAPH_EFFECTS_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    count_effect("pay")
    assert list(tmp_path.iterdir()) == []


def test_the_command_tells_what_it_tried(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [f"{GRAPHS}:builder", '{"done": []}', "--trials", "2", "--answer", '"yes"', "--seed", "5"]
    assert command.main([*asked, "--seconds", "0"]) == 2  # no trial begins after the time
    out, err = capsys.readouterr()
    assert (out, err.startswith("No trial was made: the runs without a kill took ")) == ("", True)

    def fuzz(graph: str, inputs: object, **options: Any) -> SignalReport:
        assert (graph, inputs, options["answers"], options["trials"]) == (f"{GRAPHS}:builder", {"done": []}, ["yes"], 2)
        options["on_progress"]("trial 1 of 2: the same state")
        if raised:
            raise raised[0]
        return SignalReport(2, {"SIGINT": 3, "SIGKILL": 1}, 9, STATE, {"pay": (1, 2)}, 1.5)

    raised: list[Exception] = []
    monkeypatch.setattr(command, "fuzz_signals", fuzz)
    assert command.main(asked) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "2 trials with 3 SIGINT, 1 SIGKILL: the same state each time (1.5 s)",
        "pay: 1 to 2 times in a trial",
    ]
    assert err == "trial 1 of 2: the same state\n"
    assert command.main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["trials"], told["kills"], told["state"]) == (2, {"SIGINT": 3, "SIGKILL": 1}, STATE)
    for error, code in ((DivergedError("another"), 1), (FuzzError("cannot"), 2), (ConfigurationError("no store"), 2)):
        raised[:] = [error]
        assert command.main(asked) == code
        assert capsys.readouterr().err.splitlines()[-1] == str(error)
    assert command.main([f"{GRAPHS}:builder", "{"]) == 2
