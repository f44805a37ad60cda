"""Manifests applied and deleted by processes whose screen is read."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.programs import stategraph

KEYS = """\
apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: keys}
spec:
  values:
    token: {env: KITCHEN_TOKEN}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "app.yaml").write_text(text, encoding="utf-8")
    return folder


def test_apply_brings_about_what_is_declared_and_says_what_changed(tmp_path: Path) -> None:
    write(tmp_path, KEYS)
    done = stategraph(tmp_path, "apply", "-f", ".", KITCHEN_TOKEN="pssst")
    assert (done.returncode, done.stdout) == (0, "secret/default/keys created\n1 of 1 resource is ready.\n"), (
        done.stderr
    )
    again = stategraph(tmp_path, "apply", "-f", "app.yaml", KITCHEN_TOKEN="pssst")
    assert again.stdout == "secret/default/keys unchanged\n1 of 1 resource is ready.\n"
    assert (tmp_path / ".stategraph" / ".gitignore").read_text() == "*\n"
    shown = stategraph(tmp_path, "get", "secrets", "-o", "yaml").stdout
    assert "KITCHEN_TOKEN" in shown and "pssst" not in shown
    assert b"pssst" not in (tmp_path / ".stategraph" / "threads.db").read_bytes()


def test_apply_says_why_something_is_not_ready(tmp_path: Path) -> None:
    done = stategraph(write(tmp_path, KEYS), "apply", "-f", "app.yaml")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "secret/default/keys created"
    assert lines[1].startswith("secret/default/keys is not ready: ")
    assert "the variable KITCHEN_TOKEN is not set" in lines[2]
    assert lines[-1] == "0 of 1 resource are ready."


def test_what_is_right_is_applied_beside_what_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, f"{KEYS}---\napiVersion: stategraph.dev/v1\nkind: Sekret\nmetadata: {{name: x}}\n")
    done = stategraph(tmp_path, "apply", "-f", "app.yaml", "-o", "json", KITCHEN_TOKEN="pssst")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert [(each["resource"], each["action"], each["ready"]) for each in told["applied"]] == [
        ("secret/default/keys", "created", "True")
    ]
    assert "app.yaml:9:1: kind: there is no kind 'Sekret'" in told["problems"][0]
    assert "did you mean 'Secret'?" in done.stderr


def test_a_dry_run_and_a_namespace(tmp_path: Path) -> None:
    write(tmp_path, KEYS)
    done = stategraph(tmp_path, "apply", "-f", "-", "--dry-run", "-n", "kitchen", given=KEYS)
    assert (done.returncode, done.stdout) == (0, "secret/kitchen/keys created (dry run)\n")
    assert not (tmp_path / ".stategraph").exists()
    done = stategraph(tmp_path, "apply", "-f", "app.yaml", "-n", "kitchen", "--no-wait", "-o", "name")
    assert (done.returncode, done.stdout) == (0, "secret/kitchen/keys\n"), done.stderr


def test_delete_takes_names_and_files(tmp_path: Path) -> None:
    write(tmp_path, f"{KEYS}---\n{KEYS.replace('name: keys', 'name: more')}")
    stategraph(tmp_path, "apply", "-f", "app.yaml", "--no-wait")
    dry = stategraph(tmp_path, "delete", "secret/keys", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "secret/default/keys deleted (dry run)\n")
    done = stategraph(tmp_path, "delete", "secret", "keys")
    assert (done.returncode, done.stdout) == (0, "secret/default/keys deleted\n"), done.stderr
    missing = stategraph(tmp_path, "delete", "secret/keys")
    assert (missing.returncode, missing.stderr) == (
        2,
        "stategraph: There is no secret 'keys' in the namespace 'default'.\n",
    )
    ignored = stategraph(tmp_path, "delete", "secret/keys", "--ignore-not-found")
    assert (ignored.returncode, ignored.stderr) == (1, "stategraph: there was nothing to delete\n")
    rest = stategraph(tmp_path, "delete", "-f", "app.yaml")
    assert (rest.returncode, rest.stdout) == (0, "secret/default/more deleted\n")
    both = stategraph(tmp_path, "delete", "secret/x", "-f", "app.yaml")
    assert (both.returncode, both.stderr) == (
        2,
        "stategraph: Name what is to be deleted, by kind and name or with -f: one of the two\n",
    )


def test_a_worker_that_waits_for_a_server_is_no_failure(tmp_path: Path) -> None:
    worker = "apiVersion: stategraph.dev/v1\nkind: Worker\nmetadata: {name: main}\nspec: {queue: default}\n"
    write(tmp_path, f"{KEYS}---\n{worker}")
    done = stategraph(tmp_path, "apply", "-f", "app.yaml", KITCHEN_TOKEN="pssst")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2].startswith("worker/default/main waits for a server: 'stategraph serve --resources'")
    assert lines[-1] == "1 of 2 resources is ready, 1 waits for a server."
    failed = stategraph(tmp_path, "apply", "-f", "app.yaml")
    assert failed.returncode == 1, "what waits for something else still counts"


CIRCLE = """\
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: one}
spec: {steps: [{id: s, workflow: two}]}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: two}
spec: {steps: [{id: s, workflow: one}]}
"""

UNCLOSED = """\
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: writer}
spec: {instructions: "a ${BAD", description: "${}", model: {provider: openai, name: gpt-5}}
"""

NEVER = """\
apiVersion: stategraph.dev/v1
kind: Schedule
metadata: {name: often}
spec: {cron: "99 * * * *", ref: workflow/one}
"""

PLAIN = """\
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: one}
spec: {state: {n: {type: string}}, steps: [{id: s, set: {n: "x"}}]}
"""


def test_validate_refuses_what_apply_would(tmp_path: Path) -> None:
    circle = stategraph(write(tmp_path, CIRCLE), "validate", "app.yaml")
    assert circle.returncode == 2
    assert (
        "app.yaml:4:24: spec.steps[0].workflow: these wait for each other: workflow/default/one -> "
        "workflow/default/two -> workflow/default/one" in circle.stdout
    )
    broken = stategraph(write(tmp_path, UNCLOSED), "validate", "app.yaml")
    assert broken.returncode == 2
    assert "spec.instructions: ${BAD is not closed; expected ${VAR} or ${VAR:-value}" in broken.stdout
    assert "spec.description: ${} names no variable" in broken.stdout
    text = UNCLOSED.replace("${BAD", "$${BAD").replace("${}", "$${}")
    assert stategraph(write(tmp_path, text), "validate", "app.yaml").returncode == 0
    never = stategraph(write(tmp_path, f"{PLAIN}---\n{NEVER}"), "validate", "app.yaml")
    assert never.returncode == 2
    assert "app.yaml:9:8: spec.cron: Invalid cron schedule: '99 * * * *'" in never.stdout, never.stdout
    right = stategraph(write(tmp_path, f"{PLAIN}---\n{NEVER.replace('99', '9')}"), "validate", "app.yaml")
    assert right.returncode == 0, right.stdout


def test_agents_may_hand_over_to_each_other(tmp_path: Path) -> None:
    agents = [UNCLOSED.replace("${BAD", "b").replace("${}", "d").replace("writer", name) for name in ("one", "two")]
    texts = [
        agent.replace("spec: {", f"spec: {{handoffs: [{{to: {other}}}], ")
        for agent, other in zip(agents, ("two", "one"), strict=True)
    ]
    done = stategraph(write(tmp_path, "---\n".join(texts)), "validate", "app.yaml")
    assert done.returncode == 0, done.stdout


def test_explain_alone_lists_the_kinds(tmp_path: Path) -> None:
    done = stategraph(tmp_path, "explain")
    assert done.returncode == 0, done.stderr
    first = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert {"Agent", "Workflow", "Worker", "Schedule", "System"} <= set(first)
    assert json.loads(stategraph(tmp_path, "explain", "-o", "json").stdout)[0].keys() == {
        "kind",
        "words",
        "description",
    }
