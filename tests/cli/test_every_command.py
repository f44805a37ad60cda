"""Every command, and every action of one, is run as a process by some test that reads what a person sees.

The list of them is the parser's. `ELSEWHERE` names the tests of those that have one; all others are run here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.cli import _COMMANDS, _parser, main
from stategraph.cli.parser import Parser
from stategraph.workers.registry.runs import RunRegistry
from tests.cli.programs import DESK, ROOT, forgetting, started, write

PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")

#: Commands whose transcripts on the page are run, by `tests/docs/test_command_line.py`.
ON_PAGE = {
    "new",
    "run",
    "chat",
    "graph show",
    "thread list",
    "thread diff",
    "thread export",
    "thread import",
    "thread delete",
}

#: Tests of others, which run them as processes.
ELSEWHERE = {
    "dev": "tests/dev/test_serving.py::test_the_demo_is_served_until_it_is_stopped_and_keeps_its_sessions",
    "serve": "tests/cli/test_serve.py::test_a_run_comes_to_its_end_before_the_server_does",
    "replay": "tests/cli/test_replaying.py::test_a_run_is_recorded_and_replayed_and_a_change_is_found",
    "fuzz": "tests/cli/test_fuzzing.py::test_a_graph_is_killed_at_each_save_and_comes_to_the_same",
    "thread show": "tests/cli/test_threads.py::test_threads_are_listed_and_read_by_a_process",
    "worker": "tests/workers/test_command_line.py::test_the_first_signal_waits_for_runs_and_the_second_gives_them_back",
    "capabilities": "tests/cli/test_capabilities.py::test_what_a_registry_and_an_agent_can_do_is_listed",
    "skills list": "tests/cli/test_capabilities.py::test_skills_are_listed",
    "skills validate": "tests/cli/test_capabilities.py::test_skills_are_held_against_the_specification",
    "approvals list": "tests/cli/test_approvals.py::test_requests_are_listed_and_decided",
    "approvals show": "tests/cli/test_approvals.py::test_a_request_is_shown_without_invisible_characters",
    "approvals approve": "tests/cli/test_approvals.py::test_requests_are_listed_and_decided",
    "approvals deny": "tests/cli/test_approvals.py::test_requests_are_listed_and_decided",
    **{
        f"agents {action}": "tests/cli/test_agents.py::test_agents_are_registered_listed_asked_and_removed"
        for action in ("list", "card", "ping", "send", "register", "remove")
    },
    "agents serve": "tests/fleet/adapters/test_processes.py::test_a_graph_is_served_found_killed_replaced_and_drained",
    **{
        f"keys {action}": "tests/cli/test_keys.py::test_a_key_is_made_listed_used_and_revoked"
        for action in ("create", "list", "revoke")
    },
    **{
        f"plugin {action}": f"tests/cli/test_operating.py::test_{test}"
        for action, test in (
            ("list", "installed_plugins_are_listed"),
            ("new", "a_new_plugin_passes_its_tests_and_starts"),
            ("check", "a_new_plugin_passes_its_tests_and_starts"),
        )
    },
    "diagnose": "tests/cli/test_diagnose.py::test_no_secret_is_in_the_output_or_the_report",
    "crds": "tests/cli/test_operating.py::test_definitions_are_printed",
    "operator": "tests/cli/test_operating.py::test_an_operator_follows_a_cluster_until_it_is_stopped",
    "policy check": "tests/cli/test_policy.py::test_files_are_checked",
    "policy test": "tests/cli/test_policy.py::test_a_policy_is_held_against_a_table",
    "policy explain": "tests/cli/test_policy.py::test_a_verdict_is_explained",
    **{
        f"audit {action}": "tests/cli/test_audit.py::test_every_action_is_run_on_one_log"
        for action in ("query", "verify", "export", "erase", "archive", "rekey", "keygen")
    },
    "apply": "tests/cli/resources/test_applying.py::test_apply_brings_about_what_is_declared_and_says_what_changed",
    "delete": "tests/cli/resources/test_applying.py::test_delete_takes_names_and_files",
    "get": "tests/cli/resources/test_reading.py::test_get_lists_resources_with_their_state",
    "describe": "tests/cli/resources/test_reading.py::test_describe_says_why_a_resource_is_not_ready",
    "diff": "tests/cli/resources/test_reading.py::test_diff_tells_changes_from_what_something_else_has_set",
    "explain": "tests/cli/resources/test_reading.py::test_explain_prints_a_field_in_words",
    "fmt": "tests/cli/resources/test_reading.py::test_fmt_rewrites_files_and_says_which",
    "wait": "tests/cli/resources/test_reading.py::test_wait_ends_when_it_is_so_and_says_what_is_not",
    "validate": "tests/cli/resources/test_faults.py::test_a_folder_is_checked_by_a_process",
    "console": "tests/cli/resources/test_console.py::test_without_a_terminal_it_says_what_follows_resources_elsewhere",
    "logs": "tests/cli/resources/test_looking.py::test_the_logs_of_a_workflow_are_what_its_runs_told",
    "top": "tests/cli/resources/test_looking.py::test_top_shows_what_a_database_does",
    "convert": "tests/cli/resources/test_convert.py::test_resources_on_standard_output_can_be_applied_from_there",
    "migrate": "tests/cli/resources/test_migrate.py::test_a_dry_run_shows_the_difference_and_changes_nothing",
    "completion install": "tests/cli/test_commands.py::test_completion_is_installed_once_and_completes",
}

THREADS, RUNS = ("--store", "sqlite:///threads.db"), ("--store", "sqlite:///runs.db")

#: The others: their arguments, exit codes, and something that they say.
HERE = {
    "thread history": (["order", *THREADS], 0, "kind, notes  (waits)"),
    "thread fork": (["order", "--new-id", "copy", *THREADS], 0, "Thread 'copy' is a copy, which waits for an answer"),
    "thread explain": (["order", "--graph", "desk:graph", *THREADS], 0, "waits: it asked"),
    "thread check": (["--graph", "desk:graph", *THREADS], 0, "as they are"),
    "runs list": (RUNS, 0, "r1   one     pending"),
    "runs show": (["r1", *RUNS], 0, "status       pending"),
    "runs cancel": (["r2", *RUNS], 0, "Run 'r2' is cancelled."),
    "runs resume": (["r1", "--answer", "1", *RUNS], 2, "stategraph: Run 'r1' "),
    "runs prune": (["--older-than", "1d", *RUNS], 0, "0 runs with 0 events deleted."),
    "runs effects": (RUNS, 0, "No effects are in doubt."),
    "runs effects forget": (["--older-than", "90d", *RUNS], 0, "0 effects deleted."),
    "runs workers": (RUNS, 0, "No workers."),
    "runs dead": (RUNS, 0, "No dead runs."),
    "runs dead requeue": (["--all", *RUNS], 1, "No dead runs."),
    "store size": (THREADS, 0, "order"),
    "store prune": (["--keep-last", "1", *THREADS], 0, "checkpoints"),
    "store vacuum": (THREADS, 0, " kB before, "),
    "store erase": (["nobody", *THREADS], 1, "nobody"),
    "store convert": (["compact", *THREADS], 1, "in the compact form."),
    "doctor": ([], 0, "engine"),
    "completion bash": ([], 0, "complete -o default -F _stategraph stategraph"),
    "completion zsh": ([], 0, "compdef _stategraph stategraph"),
    "completion fish": ([], 0, "complete -c stategraph"),
    "completion words": (["--", "thread", "exp"], 0, "export\tWrite a thread as JSON"),
}


def commands(parser: Parser, words: str) -> Iterator[str]:
    """Yield what can be run: a command, or each of its actions."""
    actions = [each for each in parser.actions() if isinstance(each, argparse._SubParsersAction)]
    if not any(each.required for each in actions):
        yield words
    for each in actions:
        for name, inner in each.choices.items():
            yield from commands(inner, f"{words} {name}")


def all_commands() -> list[str]:
    found = []
    for name, _, _ in _COMMANDS:
        action = next(each for each in _parser([name]).actions() if isinstance(each, argparse._SubParsersAction))
        found += commands(action.choices[name], name)
    return found


def test_every_command_is_run_as_a_process_by_a_test() -> None:
    assert sorted(all_commands()) == sorted([*ON_PAGE, *ELSEWHERE, *HERE])


def test_the_tests_of_other_files_are_there() -> None:
    assert [each for each in ON_PAGE if f"$ stategraph {each}" not in PAGE and f"| stategraph {each}" not in PAGE] == []
    for command, place in ELSEWHERE.items():
        file, _, name = place.partition("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE), place
        assert all(f'"{word}"' in source for word in command.split()), place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of a thread that waits, and one of two runs that nobody has begun."""
    folder = write(tmp_path_factory.mktemp("commands"), desk=DESK)

    async def submit() -> None:
        registry = RunRegistry.from_url("sqlite:///runs.db")
        try:
            for run_id, thread_id in (("r1", "one"), ("r2", "two")):
                await registry.submit(thread_id, {}, target="desk:graph", run_id=run_id)
        finally:
            await registry.aclose()

    with contextlib.chdir(folder), forgetting(folder):
        assert main(["run", "desk:graph", "-q", "--thread", "order", "--input", '{"number": 12}', *THREADS]) == 1
        asyncio.run(submit())
    return folder


@pytest.mark.parametrize("command", HERE)
def test_a_command_says_what_it_did(folder: Path, command: str) -> None:
    words, code, said = HERE[command]
    done = started(folder, *command.split(), *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
