"""The demo as a user runs it, and that it fails when a promise is not kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples import demo

pytest.importorskip("langchain_openai")
pytest.importorskip("langgraph.checkpoint.sqlite")

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.demo", *arguments],
        cwd=ROOT,
        env=SCRIPTED,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_demo_keeps_every_promise() -> None:
    done = run_demo("--no-overhead")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "NO " not in done.stdout
    assert done.stdout.count("graph class from stategraph.") == 2
    in_order = ["Let me look", 'lookup_order {"order_id":"1042"}', "lost in transit", "full refund", "Pay the refund?"]
    positions = [done.stdout.index(text) for text in in_order]
    assert positions == sorted(positions)
    assert "tokens were shown while the model was still writing" in done.stdout
    assert "make chat" in done.stdout.partition("\nNext\n")[2]


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """Put another program in the place of the agent."""
    fake = tmp_path / "agent.py"
    fake.write_text(program)
    monkeypatch.setattr(demo, "AGENT", fake)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["demo", "--no-overhead"])
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_an_agent_that_dies_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, tmp_path, "raise SystemExit(3)")
    assert demo.main() == 1
    assert "exit code 3" in capsys.readouterr().out


def test_an_agent_on_the_wrong_engine_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = """
import os, sys
open(sys.argv[2], "a").close()
print(os.getpid(), "graph class from elsewhere")
"""
    pretend(monkeypatch, tmp_path, program)
    assert demo.main() == 1
    assert "NO  both processes ran on stategraph" in capsys.readouterr().out


def test_an_agent_that_never_asks_the_model_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = f"""
import os, sys
open(sys.argv[2], "a").close()
print("process", os.getpid(), ", graph class from stategraph.graph.state")
print("found next: approval" if sys.argv[5] == "decide" else "waiting")
print("next: approval finished lookup_order lost in transit", {demo.FIRST_HALF + demo.SECOND_HALF!r}, {demo.FAREWELL!r})
"""
    pretend(monkeypatch, tmp_path, program)
    assert demo.main() == 1
    assert "NO  three requests" in capsys.readouterr().out


def test_without_langgraph_the_demo_measures_this_engine_and_says_how_to_get_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "langgraph_python", lambda given: None)
    monkeypatch.setattr(demo, "ROUNDS", 1)
    demo.show_overhead(None)
    shown = capsys.readouterr().out
    assert "sync   stategraph" in shown
    assert "`make demo` sets that up" in shown


def test_a_model_that_cannot_be_reached_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    from openai import APIConnectionError

    from examples import langgraph_agent

    def unreachable(*_: object) -> None:
        raise APIConnectionError(request=httpx.Request("POST", "http://127.0.0.1/"))

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(langgraph_agent, "run", unreachable)
    monkeypatch.setattr(sys, "argv", ["agent", "--db", str(tmp_path / "desk.sqlite"), "ask", "?"])
    with pytest.raises(SystemExit, match=r"^The model could not be reached: Connection error\.$"):
        langgraph_agent.main()
