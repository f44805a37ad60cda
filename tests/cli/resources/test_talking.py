"""What is declared is drawn, and talked to, by processes whose screen is read."""

from __future__ import annotations

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
