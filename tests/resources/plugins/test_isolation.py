"""Plug-ins in threads, processes and sandboxes: the same behaviour, and none that takes its host down."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from stategraph.resources.plugins import sandbox
from stategraph.resources.plugins.errors import (
    IsolationUnavailable,
    PluginCallError,
    PluginError,
    PluginPermissionError,
    PluginStartError,
    PluginTimeout,
    PluginUnavailable,
)
from stategraph.resources.plugins.lifecycle import PluginState, RestartBudget
from stategraph.workers.process import bubblewrap
from tests.resources.plugins.hosts import (
    SAMPLES,
    PluginLimits,
    eventually,
    hosting,
    lives,
    spec,
    told_by_the_system,
    until,
)

pytestmark = pytest.mark.anyio

TRUSTS = {"thread": "trusted", "process": "verified", "sandbox": "public"}

needs_bubblewrap = pytest.mark.skipif(bubblewrap.program() is None, reason="there is no bubblewrap here")
WHERE = ["thread", "process", pytest.param("sandbox", marks=needs_bubblewrap)]


@pytest.mark.parametrize("where", WHERE)
async def test_a_plugin_behaves_alike_wherever_it_runs(where: str) -> None:
    async with hosting() as host:
        status = await host.apply(spec("Greeter", trust=TRUSTS[where], config={"greeting": "hi"}))
        assert status.state is PluginState.RUNNING
        assert await host.call("p", "greet", {"name": "Ada"}) == {"text": "hi Ada"}
        assert await host.call("p", "add", {"a": 1}) == 3
        offer = host.offers("p").tools["greet"]
        assert offer.description == "Greet somebody."
        assert offer.parameters["properties"] == {"name": {"title": "Name", "type": "string"}}
        with pytest.raises(PluginCallError, match="ValueError: no") as caught:
            await host.call("p", "fail", {"text": "no"})
        assert caught.value.kind == "ValueError"
        with pytest.raises(PluginCallError, match="ValidationError"):
            await host.call("p", "greet", {"nme": "Ada"})
        with pytest.raises(PluginCallError, match="has no tool 'fly'"):
            await host.call("p", "fly", {})
        there = await host.call("p", "where", {})
        assert (there["pid"] == os.getpid()) is (where == "thread")
        assert there["thread"] != threading.current_thread().name or where != "thread"
        status = host.status("p")
        assert (status.calls, status.failed, status.running) == (6, 3, 0)
        assert status.p50_ms is not None and status.p50_ms <= (status.p99_ms or 0)
    with pytest.raises(PluginUnavailable):
        await host.call("p", "add", {"a": 1})


async def test_a_process_gets_no_variable_that_it_was_not_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("REGION", "north")
    async with hosting() as host:
        await host.apply(spec("Greeter", permissions=frozenset(("tools", "environment:REGION"))))
        environment = (await host.call("p", "where", {}))["environment"]
    assert "OPENAI_API_KEY" not in environment
    assert environment["REGION"] == "north"


async def test_secrets_are_hidden_in_errors_and_output_and_in_no_argument(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with hosting() as host:
        await host.apply(spec("Greeter", config={"token": "hunter22"}, secrets=("hunter22",)))
        pid = host.status("p").usage.pid
        assert b"hunter22" not in told_by_the_system(pid)
        with pytest.raises(PluginCallError, match=r"bad token \[hidden\]"):
            await host.call("p", "tell_token", {})
    assert "hunter22" not in caplog.text
    assert "p: the token is [hidden]" in caplog.text


@pytest.mark.parametrize("where", ["thread", "process"])
async def test_a_call_that_takes_too_long_is_cancelled_and_others_go_on(where: str) -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", trust=TRUSTS[where]))
        others = asyncio.create_task(host.call("p", "sleep", {"seconds": 0.3}))
        with pytest.raises(PluginTimeout, match=r"The tool 'hang' of plugin 'p' took longer than 0\.1"):
            await host.call("p", "hang", {}, timeout_s=0.1)
        assert await others == "slept"
        assert host.status("p").timed_out == 1
        assert host.status("p").restarts == 0


@pytest.mark.parametrize("where", ["thread", "process"])
async def test_a_plugin_that_blocks_is_replaced_while_the_host_goes_on(where: str) -> None:
    async with hosting(health_s=0.3) as host:
        await host.apply(spec("Rude", trust=TRUSTS[where]))
        with pytest.raises(PluginTimeout):
            await host.call("p", "block", {"seconds": 1.5}, timeout_s=0.1)
        await until(host, lambda found: found.restarts == 1 and found.state is PluginState.RUNNING)
        assert await host.call("p", "soon", {}) == "now"


async def test_a_plugin_that_is_killed_fails_its_calls_and_comes_back() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude"))
        pid = host.status("p").usage.pid
        assert pid is not None
        waiting = asyncio.create_task(host.call("p", "hang", {}))
        await until(host, lambda found: found.running == 1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PluginUnavailable, match=r"killed by signal 9 \(SIGKILL\)"):
            await waiting
        found = await until(host, lambda found: found.restarts == 1 and found.state is PluginState.RUNNING)
        assert found.usage.pid != pid
        assert await host.call("p", "soon", {}) == "now"


async def test_a_plugin_that_leaves_says_its_last_words() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude"))
        await host.call("p", "shout", {"lines": 5000})
        with pytest.raises(PluginUnavailable, match=r"ended with exit status 7; it said last: last words"):
            await host.call("p", "leave", {"code": 7})


async def test_memory_beyond_the_limit_is_an_error_of_the_plugin() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", limits=PluginLimits(memory_mb=300)))
        with pytest.raises(PluginError):
            await host.call("p", "fill", {"mebibytes": 2000})
        await until(host, lambda found: found.state is PluginState.RUNNING)
        assert await host.call("p", "soon", {}) == "now"


async def test_processor_time_beyond_the_limit_ends_the_process() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", limits=PluginLimits(cpu_s=1)))
        with pytest.raises(PluginUnavailable, match=r"signal (24 \(SIGXCPU\)|9 \(SIGKILL\))"):
            await host.call("p", "spin", {})


async def test_a_value_beyond_the_limit_fails_its_call_alone() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", limits=PluginLimits(message_mb=1)))
        with pytest.raises(PluginCallError, match=r"at most 1,048,576 can be sent"):
            await host.call("p", "huge", {"mebibytes": 2})
        with pytest.raises(PluginError, match="cannot be sent to a plug-in; at most 1,048,576"):
            await host.call("p", "read", {"path": "x" * 2_000_000})
        assert await host.call("p", "soon", {}) == "now"


@pytest.mark.parametrize("head", [True, False])
async def test_bytes_that_are_no_message_end_the_plugin_and_nothing_else(head: bool) -> None:
    async with hosting() as host:
        await host.apply(spec("Gibberish"))
        with pytest.raises(PluginUnavailable, match="broke the protocol"):
            await host.call("p", "babble", {"head": head})
        await until(host, lambda found: found.restarts == 1 and found.state is PluginState.RUNNING)


async def test_processes_that_a_plugin_started_end_with_it() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude"))
        child = await host.call("p", "spawn", {})
        await host.remove("p")
        await eventually(lambda: not lives(child))


async def test_a_plugin_ends_with_its_host_however_that_ends(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, signal\n"
        "from tests.resources.plugins.hosts import hosting, spec\n"
        "async def main():\n"
        "    async with hosting() as host:\n"
        "        await host.apply(spec('Rude'))\n"
        f"        open({str(tmp_path / 'pid')!r}, 'w').write(str(host.status('p').usage.pid))\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    await eventually(lambda: not lives(pid))


@pytest.mark.parametrize(
    ("cls", "error", "told"),
    [
        ("DiesAtStart", PluginStartError, "did not start: OSError: no disk"),
        ("SickAtStart", PluginStartError, "is not well: RuntimeError: born with a fever"),
        ("NotAPlugin", PluginStartError, "is no subclass of"),
        ("Nobody", PluginStartError, "has no attribute 'Nobody'"),
        ("Greedy", PluginPermissionError, "needs permissions that it was not granted: network"),
        ("Sneaky", PluginPermissionError, "registered the hook 'PreToolUse' without the permission 'hooks'"),
        ("Liar", PluginPermissionError, "registered the hook 'PreToolUse' without the permission 'hooks'"),
    ],
)
@pytest.mark.parametrize("where", ["thread", "process"])
async def test_a_plugin_that_cannot_start_says_why(where: str, cls: str, error: type[Exception], told: str) -> None:
    async with hosting(budget=lambda: RestartBudget(most=1, first_s=0.01)) as host:
        with pytest.raises(error, match=told):
            await host.apply(spec(cls, trust=TRUSTS[where]))
        permanent = error is PluginPermissionError
        await until(host, lambda found: found.state is PluginState.FAILED)
        assert host.status("p").restarts == (0 if permanent else 1)


@pytest.mark.parametrize("where", ["thread", "process"])
async def test_a_plugin_that_never_starts_is_given_up(where: str) -> None:
    async with hosting() as host:
        with pytest.raises(PluginStartError, match=r"did not start within 0\.5 s"):
            await host.apply(spec("NeverStarts", trust=TRUSTS[where], limits=PluginLimits(start_s=0.5)))


@pytest.mark.parametrize("where", ["thread", "process"])
async def test_a_wrong_configuration_is_told_by_field_and_not_by_value(where: str) -> None:
    async with hosting() as host:
        with pytest.raises(PluginStartError, match=r"config\.count: Input should be a valid integer") as caught:
            await host.apply(spec("Greeter", trust=TRUSTS[where], config={"count": "sk-secret"}))
    assert "sk-secret" not in str(caught.value)


# The sandbox.


@needs_bubblewrap
async def test_a_sandbox_has_no_network_no_files_of_the_host_and_nothing_to_write_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    listening = socket.create_server(("127.0.0.1", 0))
    async with hosting() as host:
        await host.apply(spec("Rude", trust="public"))
        with pytest.raises(PluginCallError, match="FileNotFoundError"):
            await host.call("p", "read", {"path": str(secret)})
        with pytest.raises(PluginCallError, match="FileNotFoundError"):
            await host.call("p", "read", {"path": "/etc/passwd"})
        for place in (f"{Path(__file__).parent}/x", "/usr/x", "/x"):
            with pytest.raises(PluginCallError, match=r"OSError.*Read-only|PermissionError"):
                await host.call("p", "write", {"path": place})
        await host.call("p", "write", {"path": "/work/x"})
        with pytest.raises(PluginCallError, match=r"refused|unreachable"):
            await host.call("p", "connect", {"port": listening.getsockname()[1]})
        rss = host.status("p").usage.rss_bytes
        assert rss is not None and rss > 10_000_000  # that of Python in the sandbox, not of bubblewrap
    listening.close()


@needs_bubblewrap
async def test_a_sandbox_has_what_was_granted(tmp_path: Path) -> None:
    (tmp_path / "readable").write_text("r")
    listening = socket.create_server(("127.0.0.1", 0))
    granted = frozenset(("tools", "network", f"files:read:{tmp_path}"))
    async with hosting() as host:
        await host.apply(spec("Rude", trust="public", permissions=granted))
        assert await host.call("p", "read", {"path": str(tmp_path / "readable")}) == "r"
        assert await host.call("p", "connect", {"port": listening.getsockname()[1]}) == "connected"
        with pytest.raises(PluginCallError, match="OSError"):
            await host.call("p", "write", {"path": str(tmp_path / "readable")})
    listening.close()


@needs_bubblewrap
async def test_a_plugin_that_is_killed_in_its_sandbox_comes_back() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", trust="public"))
        pid = host.status("p").usage.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(host, lambda found: found.restarts == 1 and found.state is PluginState.RUNNING)


async def test_without_bubblewrap_a_public_plugin_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.bubblewrap, "program", lambda name="bwrap": None)
    async with hosting() as host:
        with pytest.raises(IsolationUnavailable, match=r"trust level 'public' and runs in bubblewrap, and there is no"):
            await host.apply(spec("Greeter", trust="public"))
        assert host.status("p").state is PluginState.FAILED


async def test_a_sandbox_that_does_not_work_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.bubblewrap, "program", lambda name="bwrap": "/usr/bin/false")
    async with hosting() as host:
        with pytest.raises(IsolationUnavailable, match="does not work here: 1"):
            await host.apply(spec("Greeter", trust="public"))


async def test_code_that_is_not_allowed_is_not_imported_into_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, SAMPLES, raising=False)
    async with hosting(allow=("app.",)) as host:
        with pytest.raises(PluginPermissionError, match=f"'{SAMPLES}' may not be imported into this process here"):
            await host.apply(spec("Greeter", trust="internal"))
    assert SAMPLES not in sys.modules
