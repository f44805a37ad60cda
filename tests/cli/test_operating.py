"""`stategraph plugin`, `crds` and `operator`, as processes."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest
import yaml

from stategraph.resources.crds import definitions
from stategraph.resources.kind_table import KINDS
from tests.cli.programs import stategraph
from tests.cli.test_new import run_tests
from tests.resources.kubernetes.api_server import ApiServer, serving


def test_installed_plugins_are_listed(tmp_path: Path) -> None:
    done = stategraph(tmp_path, "plugin", "list")
    assert done.returncode == 0
    assert "stategraph.plugins" in done.stdout


def test_a_new_plugin_passes_its_tests_and_starts(tmp_path: Path) -> None:
    folder = tmp_path / "word_count"
    done = stategraph(tmp_path, "plugin", "new", str(folder))
    assert done.returncode == 0, done.stderr
    assert "has a plug-in with a tool" in done.stdout
    tested = run_tests(folder)
    assert tested.returncode == 0, tested.stdout
    words = ("--call", "count", "--arguments", '{"text": "one two"}')
    checked = stategraph(folder, "plugin", "check", "word_count.plugin:Words", *words)
    assert checked.returncode == 0, checked.stderr
    assert "starts and is well (process), and offers:\n  1 tool: count\n" in checked.stdout
    assert 'count returned {"words": 2}' in checked.stdout
    refused = stategraph(folder, "plugin", "check", "word_count.plugin:Words", "--permission", "network")
    assert refused.returncode == 2
    assert "needs permissions that it was not granted: tools" in refused.stderr


def test_definitions_are_printed(tmp_path: Path) -> None:
    done = stategraph(tmp_path, "crds")
    assert done.returncode == 0, done.stderr
    assert [each["spec"]["names"]["kind"] for each in yaml.safe_load_all(done.stdout)] == [each.name for each in KINDS]
    one = stategraph(tmp_path, "crds", "wf", "--json")
    assert '"workflows.stategraph.dev"' in one.stdout
    wrong = stategraph(tmp_path, "crds", "agnet")
    assert (wrong.returncode, "did you mean 'Agent'" in wrong.stderr) == (2, True)


@pytest.mark.anyio
async def test_an_operator_follows_a_cluster_until_it_is_stopped() -> None:
    server = ApiServer(definitions())
    key = ("stategraph.dev", "secrets", "default", "keys")
    document = {
        "apiVersion": "stategraph.dev/v1",
        "kind": "Secret",
        "metadata": {"name": "keys", "namespace": "default"},
        "spec": {"valueFrom": {"env": "NOBODY_SET_THIS"}},
    }
    await server.put(key, document, None)
    async with serving(server) as address:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stategraph", "operator", "--server", address, "--namespace", "default"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(90):
                while "conditions" not in server.objects[key].get("status", {}):
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
