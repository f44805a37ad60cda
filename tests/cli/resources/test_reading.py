"""Resources listed, described, compared, waited for and explained, by processes whose screen is read."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from stategraph.cli import main
from stategraph.resources.model import ResourceKey
from stategraph.resources.store.opening import open_store
from tests.cli.programs import ROOT, stategraph
from tests.cli.resources.conftest import STORE

LIMIT_S = 120


def screen(folder: Path, *words: str, code: int = 0) -> str:
    """Run a command and return what it says, with ages and places that are the same in each run."""
    done = stategraph(folder, *words, *STORE)
    assert done.returncode == code, done.stdout + done.stderr
    text = re.sub(r"\b\d+ (s|min)\b", "1 s", done.stdout + done.stderr)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Run a command in this process and return what it prints."""
    assert main([*words, *STORE]) == code
    return capsys.readouterr().out


def test_get_lists_resources_with_their_state(kitchen: Path) -> None:
    assert screen(kitchen, "get", "all", "-n", "kitchen") == (
        "NAME              READY    REASON    AGE\n"
        "agent/chef        Unknown  Pending   1 s\n"
        "model/default     True     Ready     1 s\n"
        "workflow/suggest  False    NotFound  1 s"
    )


def test_get_takes_the_words_of_kubectl(kitchen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "get", "wf", "-A").splitlines()[1].split()[:3] == ["kitchen", "suggest", "False"]
    assert said(capsys, "get", "agents,llm", "-n", "kitchen", "-o", "name") == (
        "agent/kitchen/chef\nmodel/kitchen/default\n"
    )
    assert said(capsys, "get", "all", "-A", "-l", "app=dinner", "-o", "name") == "agent/kitchen/chef\n"
    assert said(capsys, "get", "ag", "chef", "-n", "kitchen", "-o", "name") == "agent/kitchen/chef\n"
    assert said(capsys, "get", "agent/kitchen/chef", "wf/kitchen/suggest", "-o", "name") == (
        "agent/kitchen/chef\nworkflow/kitchen/suggest\n"
    )
    assert "app.yaml:16:1" in said(capsys, "get", "wf", "-n", "kitchen", "-o", "wide")
    found = yaml.safe_load(said(capsys, "get", "agent/kitchen/chef", "-o", "yaml"))
    assert (found["kind"], found["spec"]["instructions"], found["metadata"]["generation"]) == ("Agent", "推荐菜谱", 1)
    listed = json.loads(said(capsys, "get", "agents", "-n", "kitchen", "-o", "json"))
    assert [each["metadata"]["name"] for each in listed["items"]] == ["chef"]
    assert json.loads(said(capsys, "get", "agents", "-o", "json"))["items"] == []


def test_get_follows_changes(kitchen: Path) -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("STATEGRAPH_")}
    words = [sys.executable, "-m", "stategraph", "get", "agents", "-n", "kitchen", "-w", *STORE]
    with subprocess.Popen(words, cwd=kitchen, stdout=subprocess.PIPE, text=True, env=without) as following:
        assert following.stdout is not None
        try:
            assert following.stdout.readline().split() == ["NAME", "READY", "REASON", "AGE"]
            assert following.stdout.readline().split()[:3] == ["chef", "Unknown", "Pending"]
            screen(kitchen, "delete", "agent/kitchen/chef", "--no-wait")
            line = following.stdout.readline()
            while "deleted" not in line:  # it may be held up by its finalizer before
                line = following.stdout.readline()
                assert line
            assert line == "agent/kitchen/chef is deleted\n"
        finally:
            following.terminate()


def test_get_imports_neither_langchain_nor_models(kitchen: Path) -> None:
    program = (
        "import sys; from stategraph.cli import main\n"
        f"main(['get', 'all', '-A', *{STORE!r}])\n"
        "print(sorted({each.partition('.')[0] for each in sys.modules} & "
        "{'langchain_core', 'langgraph', 'pydantic', 'rich', 'yaml', 'cel_expr_python', 'starlette'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S, cwd=kitchen, env=os.environ
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "workflow/suggest" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["get", "wf", "sugest", "-n", "kitchen"], "'sugest' in the namespace 'kitchen', did you mean 'suggest'?"),
        (["get", "wf/suggest"], "in the namespace 'default', but in 'kitchen': name it with -n kitchen"),
        (["get", "workflw"], "There is no kind 'workflw', did you mean 'Workflow'?"),
        (["get", "wf/suggest", "chef"], "'chef' stands beside a resource of the form kind/name"),
        (["get", "wf,ag", "x"], "Names are of one kind: write wf/x for each"),
        (["get", "all", "x"], "'all' means everything: leave 'x' out"),
        (["get", "wf", "-l", "app"], "--selector is 'app'; expected labels with values"),
        (["describe", "ag/nobody"], "There is no agent 'nobody'"),
        (["wait", "wf/kitchen/suggest", "--for", "Ready"], "--for is 'Ready'; expected condition=NAME"),
        (["explain", "workflow.spec.stepz"], "'spec' has no field 'stepz', did you mean 'steps' or 'state'?"),
        (["diff", "-f", "nothing.yaml"], "nothing.yaml:1: the file cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_wrong_words_are_answered_with_a_way_out(
    kitchen: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *STORE]) == 2
    assert sentence in capsys.readouterr().err


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    done = stategraph(tmp_path, "get")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "There is no database '.stategraph/threads.db': apply something first" in done.stderr


def test_describe_says_why_a_resource_is_not_ready(kitchen: Path) -> None:
    assert screen(kitchen, "describe", "wf", "suggest", "-n", "kitchen") == (
        "Name:         suggest\n"
        "Namespace:    kitchen\n"
        "Kind:         Workflow (stategraph.dev/v1)\n"
        "File:         app.yaml:16:1\n"
        "Created:      <time> (1 s ago)\n"
        "Generation:   1\n"
        "Ready:        False (NotFound)\n"
        "\n"
        "Conditions:\n"
        "  TYPE                STATUS  REASON    SINCE  GENERATION\n"
        f"  ReferencesResolved  False   NotFound  {since()}  1\n"
        f"  Ready               False   NotFound  {since()}  1\n"
        "\n"
        "Why it is not ready:\n"
        "  app.yaml:24:18: spec.steps[1].tool: there is no tool 'finder'\n"
        "\n"
        "Uses:\n"
        "  NAME                 READY    REASON\n"
        "  agent/kitchen/chef   Unknown  Pending\n"
        "  tool/kitchen/finder  False    NotFound"
    )


def since() -> str:
    """The age of the conditions, which were made at a fixed time; it is as wide as its column."""
    from stategraph.cli.resources.columns import age

    found = re.sub(r"\b\d+ (s|min)\b", "1 s", age("2026-11-30T12:00:00+00:00"))
    return f"{found:<5}"


def test_describe_names_what_uses_a_resource(kitchen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "describe", "model/kitchen/default", "-o", "json"))
    assert found[0]["usedBy"] == [{"key": "agent/kitchen/chef", "ready": "Unknown", "reason": "Pending"}]
    assert (found[0]["why"], found[0]["file"]) == ([], "app.yaml:1:1")


def test_diff_tells_changes_from_what_something_else_has_set(kitchen: Path) -> None:
    assert screen(kitchen, "diff", "-f", "app.yaml") == "Nothing would change."
    asyncio.run(set_elsewhere())
    text = (kitchen / "app.yaml").read_text(encoding="utf-8")
    text = text.replace("gpt-5-mini", "gpt-5").replace("    - {id: ask, agent: chef, next: find}\n", "")
    text = text.replace("labels: {app: dinner}", "labels: {app: lunch}").replace("  modelRef: default\n", "")
    (kitchen / "app.yaml").write_text(text, encoding="utf-8")
    assert screen(kitchen, "diff", "-f", "app.yaml", code=1) == (
        "model/kitchen/default would change\n"
        '  ~ spec.name: "gpt-5-mini" -> "gpt-5"  (app.yaml:4:26)\n'
        "\n"
        "agent/kitchen/chef would change\n"
        '  ~ metadata.labels.app: "dinner" -> "lunch"  (app.yaml:11:12)\n'
        '  - spec.modelRef: "default"\n'
        "  = spec.maxContextTokens: 9000 stays: something else has set it\n"
        "\n"
        "workflow/kitchen/suggest would change\n"
        '  - spec.steps[ask]: {"id": "ask", "agent": "chef", "next": "find"}'
    )


async def set_elsewhere() -> None:
    """Set a field of the agent as a program does, which applies nothing."""
    store = open_store("sqlite:///app.db")
    try:
        chef = await store.get(ResourceKey("agent", "kitchen", "chef"))
        assert chef is not None
        await store.put(replace(chef, spec={**chef.spec, "maxContextTokens": 9000}))
    finally:
        await store.close()


def test_wait_ends_when_it_is_so_and_says_what_is_not(kitchen: Path) -> None:
    assert screen(kitchen, "wait", "model/kitchen/default", "--for=condition=Ready") == (
        "model/kitchen/default condition met"
    )
    assert screen(kitchen, "wait", "wf/kitchen/suggest", "--timeout", "100ms", code=1) == (
        "stategraph: workflow/kitchen/suggest timed out: Ready is False, NotFound: app.yaml:24:18: spec.steps[1].tool: "
        "there is no tool 'finder'"
    )
    assert screen(kitchen, "wait", "wf/kitchen/nobody", "--for=delete") == "workflow/kitchen/nobody deleted"
    assert "Ready is not said yet" in screen(kitchen, "wait", "ag/kitchen/chef", "--timeout", "0", code=1)


def test_explain_prints_a_field_in_words(kitchen: Path) -> None:
    assert screen(kitchen, "explain", "workflow.spec.rollout") == (
        "KIND: Workflow\n"
        "VERSION: stategraph.dev/v1\n"
        "\n"
        "FIELD: rollout <Rollout>\n"
        "\n"
        'DEFAULT: {"maxAge": 2592000.0}\n'
        "\n"
        "DESCRIPTION:\n"
        "  What happens to threads that wait while it changes.\n"
        "\n"
        "FIELDS:\n"
        "  maxAge <number or string>\n"
        "    How long an old version is kept for threads that wait. Default: 2592000.0."
    )


def test_explain_knows_every_field_of_every_kind(kitchen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stategraph.resources.kind_table import KINDS

    for kind in KINDS:
        try:
            kind.model()
        except ModuleNotFoundError:
            continue
        text = said(capsys, "explain", kind.plural, "--recursive")
        assert "  spec <" in text and "    type <string>" in text, kind.name
    assert "FIELD: memory <MemorySpec>" in said(capsys, "explain", "ag.memory")


def test_fmt_rewrites_files_and_says_which(tmp_path: Path) -> None:
    manifest = tmp_path / "app.yaml"
    text = "kind: Agent\nmetadata: {name: x}\nspec:\n  tools:\n    - kitchen.finder  # mine\n"
    manifest.write_text(text, encoding="utf-8")
    checked = stategraph(tmp_path, "fmt", "--check")
    assert (checked.returncode, checked.stdout, manifest.read_text()) == (1, "app.yaml\n", text)
    shown = stategraph(tmp_path, "fmt", "--diff", "app.yaml")
    assert "-    - kitchen.finder  # mine\n+    - kitchen/finder  # mine" in shown.stdout
    assert stategraph(tmp_path, "fmt").stdout == "app.yaml\n"
    assert manifest.read_text() == text.replace("kitchen.finder", "kitchen/finder")
    assert stategraph(tmp_path, "fmt", "--check").returncode == 0
    piped = stategraph(tmp_path, "fmt", "-", given=text)
    assert piped.stdout == text.replace("kitchen.finder", "kitchen/finder")


def test_the_manifests_of_the_documents_are_as_fmt_writes_them() -> None:
    examples = ROOT / "examples" / "resources"
    if examples.is_dir():
        assert main(["fmt", "--check", str(examples)]) == 0
