"""What `kubectl get` shows, asked of an API server that has what the operator wrote."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from stategraph.resources.crds import definitions
from tests.resources.kubernetes import every_kind, tables
from tests.resources.kubernetes.api_server import ApiServer
from tests.resources.kubernetes.listening import listening
from tests.resources.kubernetes.operating import created

pytestmark = pytest.mark.anyio


async def _get(address: str, home: Path, *words: str) -> list[list[str]]:
    """Return the words of the lines that kubectl prints."""
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "--server", address, "get", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(home), "KUBECONFIG": ""},
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return [line.split() for line in out.decode().splitlines()]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
async def test_kubectl_shows_whether_it_is_ready_why_and_what_a_kind_has_besides(tmp_path: Path) -> None:
    server = ApiServer(definitions())
    status = {"conditions": [{"type": "Ready", "status": "False", "reason": "MembersNotReady", "message": "1/2"}]}
    await created(server, "System", "bar", {})
    server.objects["stategraph.dev", "systems", "default", "bar"]["status"] = {**status, "ready": "1/2"}
    async with listening(server) as listener:
        head, row = await _get(listener.address, tmp_path, "systems")
        assert head == ["NAME", "READY", "REASON", "MEMBERS", "AGE"]
        assert row[:4] == ["bar", "False", "MembersNotReady", "1/2"]
        wide, _ = await _get(listener.address, tmp_path, "systems", "-o", "wide")
        assert "MESSAGE" in wide


async def test_every_column_is_of_what_a_status_has(tmp_path: Path) -> None:
    async with every_kind.runtime_at(f"sqlite:///{tmp_path}/app.db") as made, made as runtime:
        await runtime.apply(every_kind.folder())
        await runtime.settled(60)
        statuses = {each.kind: [] for each in await runtime.list()}  # type: ignore[var-annotated]
        for each in await runtime.list():
            statuses[each.kind].append({"status": each.status, "metadata": {"creationTimestamp": "now"}})
    later = {(".status.lastRun", "Schedule")}  # only once it has run
    for each in definitions():
        kind = each["spec"]["names"]["kind"]
        for column in each["spec"]["versions"][0]["additionalPrinterColumns"]:
            if (column["jsonPath"], kind) not in later:
                values = [tables.found(one, column["jsonPath"]) for one in statuses[kind]]
                assert any(value is not None for value in values), (kind, column)
