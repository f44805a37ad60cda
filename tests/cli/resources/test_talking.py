"""What is declared is drawn, and talked to, by processes whose screen is read."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.cli.programs import stategraph, write
from tests.cli.resources.test_described import SERVICES

MANIFEST = """\
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: chef, namespace: kitchen}
spec: {instructions: Cook., model: {provider: openai, name: gpt-5}}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: dinner, namespace: kitchen}
spec:
  steps:
    - {id: cook, agent: chef, next: ask}
    - {id: ask, interrupt: {prompt: "Good?"}}
"""

OPTIONS = ("-n", "kitchen", "--services", "program:services")


def test_a_workflow_is_drawn_and_an_agent_talked_to(tmp_path: Path) -> None:
    write(tmp_path, program=SERVICES)
    (tmp_path / "app.yaml").write_text(MANIFEST, encoding="utf-8")
    drawn = stategraph(tmp_path, "graph", "show", "workflow/dinner", "-f", "app.yaml", *OPTIONS, "--format", "mermaid")
    assert drawn.returncode == 0, drawn.stderr
    assert "cook --> ask;" in drawn.stdout
    applied = stategraph(tmp_path, "apply", "-f", "app.yaml", *OPTIONS, "--store", "sqlite:///app.db")
    assert applied.returncode == 0, applied.stdout
    named = ("--thread", "one", "--store", "sqlite:///app.db")
    talked = stategraph(tmp_path, "chat", "agent/chef", *OPTIONS, *named, given="What is for dinner?\n")
    assert talked.returncode == 0, talked.stderr
    assert "Soup." in talked.stdout
    threads = stategraph(tmp_path, "thread", "list", "--store", "sqlite:///app.db")
    assert "one" in threads.stdout


def test_what_cannot_be_drawn_or_talked_to_says_why(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(MANIFEST.replace("agent: chef", "agent: chief"), encoding="utf-8")
    write(tmp_path, program=SERVICES)
    drawn = stategraph(tmp_path, "graph", "show", "workflow/dinner", "-f", "app.yaml", *OPTIONS)
    assert drawn.returncode == 2
    assert "app.yaml:11:18: spec.steps[0].agent: there is no agent/kitchen/chief; did you mean 'chef'?" in drawn.stderr
    none = stategraph(tmp_path, "chat", "agent/chefs", "-f", "app.yaml", *OPTIONS, given="Hi\n")
    assert none.returncode == 2
    assert "chefs" in none.stderr and "Traceback" not in none.stderr
    web = stategraph(tmp_path, "chat", "agent/chef", "--web")
    assert (web.returncode, web.stderr) == (
        2,
        "stategraph: --web is for code: 'stategraph dev --resources' has what is declared in the browser\n",
    )


TOOLS = """
def nap() -> str:
    'Sleep.'
    return "slept"
"""

NAPPING = """\
apiVersion: stategraph.dev/v1
kind: Tool
metadata: {name: nap}
spec: {function: "mytools:nap", risk: read}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: post}
spec:
  state: {slept: {type: string}, good: {type: string}}
  steps:
    - {id: nap, tool: nap, output: {slept: "${{ result }}"}, next: ask}
    - {id: ask, interrupt: {prompt: "Good?"}, output: {good: "${{ result }}"}}
"""

STORED = ("--store", "sqlite:///app.db")


def test_a_run_with_fewer_options_leaves_the_stored_statuses_alone(tmp_path: Path) -> None:
    write(tmp_path, mytools=TOOLS)
    (tmp_path / "app.yaml").write_text(NAPPING, encoding="utf-8")
    applied = stategraph(tmp_path, "apply", "-f", "app.yaml", "--allow", "mytools", *STORED)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    before = stategraph(tmp_path, "get", "all", "-o", "json", *STORED).stdout
    poor = stategraph(tmp_path, "run", "workflow/post", *STORED)
    assert poor.returncode == 2
    assert "workflow/default/post cannot be run" in poor.stderr and "mytools" in poor.stderr, poor.stderr
    assert stategraph(tmp_path, "get", "all", "-o", "json", *STORED).stdout == before
    missing = stategraph(tmp_path, "run", "workflow/pots", *STORED)
    assert missing.returncode == 2
    assert "did you mean 'post'?" in missing.stderr, missing.stderr


def test_the_command_that_answers_has_all_that_it_needs(tmp_path: Path) -> None:
    write(tmp_path, mytools=TOOLS)
    (tmp_path / "app.yaml").write_text(NAPPING, encoding="utf-8")
    stategraph(tmp_path, "apply", "-f", "app.yaml", "-n", "night", "--allow", "mytools", *STORED)
    asked = stategraph(tmp_path, "run", "workflow/post", "-n", "night", "--allow", "mytools", "-i", "{}", *STORED)
    assert asked.returncode == 1, asked.stderr
    command = asked.stdout.splitlines()[-1].strip()
    words = shlex.split(command)
    assert words[:3] == ["stategraph", "run", "workflow/post"]
    answered = stategraph(tmp_path, *words[1:])
    assert answered.returncode == 0, command + answered.stderr
