"""Plug-ins kept running: health, restarts, replacement, events, audit, tools and hooks."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from stategraph.governance.audit.event import AuditEvent
from stategraph.resources.plugins import discovery
from stategraph.resources.plugins.discovery import Installed
from stategraph.resources.plugins.errors import (
    PluginError,
    PluginPermissionError,
    PluginStartError,
    PluginTimeout,
    PluginUnavailable,
)
from stategraph.resources.plugins.instance import Usage
from stategraph.resources.plugins.lifecycle import PluginState, RestartBudget
from stategraph.resources.plugins.tools import register_hooks, tools_of
from stategraph.run.hooks.hook_registry import HookEvents, HookRegistry
from tests.resources.plugins.hosts import SAMPLES, Heard, PluginLimits, eventually, hosting, lives, spec, until

pytestmark = pytest.mark.anyio

ALL = frozenset(("tools", "controllers", "hooks", "events:publish", "events:subscribe"))


async def test_a_plugin_that_is_not_well_is_unhealthy_and_well_again() -> None:
    heard = Heard()
    async with hosting(publish=heard) as host:
        await host.apply(spec("Rude", trust="trusted", health_s=0.05))
        await host.call("p", "become_sick", {})
        sick = await until(host, lambda found: found.state is PluginState.UNHEALTHY)
        assert sick.detail == "it is not well: RuntimeError: fever"
        await host.call("p", "become_sick", {"sick": False})  # it can be called
        await until(host, lambda found: found.state is not PluginState.UNHEALTHY)
    assert heard.topics[:3] == ["plugin.starting", "plugin.running", "plugin.unhealthy"]
    assert heard.topics[-2:] == ["plugin.stopping", "plugin.stopped"]


async def test_a_plugin_that_stays_unwell_is_started_anew() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", trust="trusted", health_s=0.02))
        await host.call("p", "become_sick", {})
        found = await until(host, lambda found: found.restarts == 1 and found.state is PluginState.RUNNING)
        assert found.generation == 2


async def test_a_plugin_that_dies_too_often_has_failed_until_somebody_starts_it() -> None:
    async with hosting(budget=lambda: RestartBudget(most=1, first_s=0.01)) as host:
        await host.apply(spec("Rude"))
        for number in range(2):
            await until(host, lambda found, number=number: found.restarts == number and found.usage.pid is not None)
            await until(host, lambda found: found.state is PluginState.RUNNING)
            pid = host.status("p").usage.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(host, lambda found: found.state is not PluginState.RUNNING)
        found = await until(host, lambda found: found.state is PluginState.FAILED)
        assert "it was restarted too often; at last: its process was killed by signal 9" in found.detail
        with pytest.raises(PluginUnavailable, match="is Failed: it was restarted too often"):
            await host.call("p", "soon", {})
        assert (await host.restart("p")).state is PluginState.RUNNING


async def test_calls_that_all_take_too_long_make_a_plugin_start_anew() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", trust="trusted"))
        for _ in range(3):
            with pytest.raises(PluginTimeout):
                await host.call("p", "hang", {}, timeout_s=0.02)
        await until(host, lambda found: found.restarts == 1 and found.state is PluginState.RUNNING)


async def test_a_new_declaration_takes_the_place_of_the_old_one_without_losing_a_call() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude"))
        old = host.status("p").usage.pid
        slow = asyncio.create_task(host.call("p", "sleep", {"seconds": 0.8}))
        await until(host, lambda found: found.running == 1)
        replaced = asyncio.create_task(host.apply(spec("Rude", config={"a": 1})))
        answers = 0
        while not replaced.done():  # there is always one that answers
            assert await host.call("p", "soon", {}) == "now"
            answers += 1
        assert (await replaced).replaced == 1
        assert host.status("p").usage.pid != old
        assert await slow == "slept"
        assert answers > 1
        assert old is not None
        await eventually(lambda: not lives(old))
        same = await host.apply(spec("Rude", config={"a": 1}))
        assert same.replaced == 1  # nothing has changed


@pytest.mark.parametrize("cls", ["DiesAtStart", "SickAtStart", "Greedy"])
async def test_a_new_declaration_that_does_not_work_leaves_the_old_one_alone(cls: str) -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", trust="trusted"))
        with pytest.raises((PluginStartError, PluginPermissionError)):
            await host.apply(spec(cls, trust="trusted"))
        assert host.status("p").state is PluginState.RUNNING
        assert await host.call("p", "soon", {}) == "now"


async def test_a_process_that_has_nearly_used_its_time_is_replaced_before_it_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", limits=PluginLimits(cpu_s=600), health_s=0.1))
        instance = host._plugins["p"]._instance
        assert instance is not None
        first = instance.usage()
        assert first.cpu_s is not None and first.cpu_s < 60
        monkeypatch.setattr(instance, "usage", lambda: Usage(first.pid, first.rss_bytes, 481.0))
        found = await until(host, lambda found: found.replaced == 1)
        assert found.restarts == 0
        assert host.status("p").usage.pid != first.pid


async def test_more_calls_than_the_limit_wait_and_are_told_if_that_takes_too_long() -> None:
    async with hosting() as host:
        await host.apply(spec("Rude", trust="trusted", limits=PluginLimits(calls=1)))
        slow = asyncio.create_task(host.call("p", "hang", {}, timeout_s=5))
        await until(host, lambda found: found.running == 1)
        with pytest.raises(PluginTimeout, match=r"has 1 calls already, and none ended in 0\.05 s"):
            await host.call("p", "soon", {}, timeout_s=0.05)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await host.call("p", "soon", {}) == "now"


@pytest.mark.parametrize("trust", ["verified", "trusted"])
async def test_a_plugin_publishes_under_its_own_name_and_hears_what_it_asked_for(trust: str) -> None:
    heard = Heard()
    granted = ALL - {"hooks"} if trust == "verified" else ALL
    cls = "Hearing" if trust == "verified" else "Everything"
    async with hosting(publish=heard) as host:
        await host.apply(spec(cls, trust=trust, permissions=granted))
        await host.call("p", "say", {"topic": "done", "text": "x"})
        await eventually(lambda: ("plugin.p.done", {"text": "x"}) in heard.events)
        host.tell("tool.reconciled", {"name": "no"})
        host.tell("agent.reconciled", {"name": "yes"})
        async with asyncio.timeout(60):
            while not (told := await host.call("p", "heard_so_far", {})):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert told == [["agent.reconciled", {"name": "yes"}]]
        assert host.status("p").events == 1


async def test_events_beyond_the_rate_are_dropped_and_counted() -> None:
    heard = Heard()
    async with hosting(publish=heard) as host:
        await host.apply(spec("Everything", trust="trusted", permissions=ALL))
        for _ in range(1500):
            host._plugins["p"].published("x", {})
        found = host.status("p")
        assert found.events == 1500
        assert 0 < found.dropped <= 500


async def test_moves_and_refusals_are_rows_of_the_audit_log() -> None:
    rows: list[AuditEvent] = []

    class Log:
        async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
            rows.append(event)

        def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
            rows.append(event)

    async with hosting(audit=Log(), tenant="acme") as host:
        await host.apply(spec("Greeter", trust="trusted", config={"token": "hunter22"}, secrets=("hunter22",)))
        with pytest.raises(PluginPermissionError):
            await host.apply(spec("Greedy", "q", trust="trusted"))
    told = [(row.type, row.capability_id, row.data.get("to")) for row in rows]
    assert told[:2] == [("plugin.moved", "plugin:p", "Starting"), ("plugin.moved", "plugin:p", "Running")]
    refused = next(row for row in rows if row.type == "plugin.refused")
    assert refused.tenant == "acme"
    assert "needs permissions that it was not granted: network" in refused.data["reason"]
    assert "hunter22" not in repr(rows)


async def test_a_bus_that_fails_does_not_stop_reports() -> None:
    heard = Heard()

    def publish(topic: str, event: Mapping[str, Any]) -> None:
        if topic == "plugin.starting":
            raise ConnectionError("bus")
        heard(topic, event)

    async with hosting(publish=publish) as host:
        await host.apply(spec("Greeter", trust="trusted"))
    assert "plugin.running" in heard.topics


async def test_a_controller_of_a_plugin_is_asked_with_a_resource() -> None:
    async with hosting() as host:
        await host.apply(spec("Everything", trust="trusted", permissions=ALL))
        assert host.controlling("DataSource") == "p"
        assert host.controlling("Other") is None
        resource = {"metadata": {"name": "a"}, "spec": {"url": "x"}}
        answer = await host.ask("p", "reconcile", "DataSource", resource)
        assert answer == {"status": {"seen": "a", "rows": 1}, "requeueAfter": 60}
        assert await host.ask("p", "finalize", "DataSource", resource) is True


async def test_tools_are_tools_of_langchain_and_outlive_a_restart() -> None:
    async with hosting() as host:
        await host.apply(spec("Greeter"))
        greet = next(each for each in tools_of(host, "p") if each.name == "greet")
        assert greet.description == "Greet somebody."
        assert await greet.ainvoke({"name": "Ada"}) == {"text": "hello Ada"}
        await host.restart("p")
        assert await greet.ainvoke({"name": "Ada"}) == {"text": "hello Ada"}
        assert await asyncio.to_thread(greet.invoke, {"name": "Bo"}) == {"text": "hello Bo"}
        with pytest.raises(PluginError, match="which would wait for itself"):
            greet.invoke({"name": "Cy"})
        other: list[Any] = []

        def elsewhere() -> None:
            other.append(asyncio.run(greet.ainvoke({"name": "Di"})))  # in an event loop of its own

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert other == [{"text": "hello Di"}]


async def test_a_hook_of_a_plugin_denies_and_fails_closed_when_it_is_gone() -> None:
    registry = HookRegistry()
    async with hosting() as host:
        await host.apply(spec("Everything", trust="trusted", permissions=ALL))
        (take_back,) = register_hooks(host, "p", registry)
        happened = {"tool_name": "danger_zone", "tool_input": {}}
        outcome = await registry.call(HookEvents.PRE_TOOL_USE, happened, "danger_zone")
        assert (outcome.decision, outcome.reason) == ("deny", "danger_zone is dangerous")
        harmless = await registry.call(HookEvents.PRE_TOOL_USE, {"tool_name": "safe"}, "safe")
        assert harmless.decision is None
        await host.remove("p")
        gone = await registry.call(HookEvents.PRE_TOOL_USE, happened, "danger_zone")
        assert (gone.decision, gone.reason) == ("deny", "it could not be checked")
        take_back()
        assert not registry.has(HookEvents.PRE_TOOL_USE)


async def test_an_entry_point_names_a_plugin_of_a_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [Installed("greeter", f"{SAMPLES}:Greeter", "greeting", "1.0")]
    monkeypatch.setattr(discovery, "installed", lambda: here)
    installed = spec("Greeter").changed(module=None, package="greeter")
    async with hosting(allow=()) as host:
        await host.apply(installed)  # a process of its own may import what is installed
        assert await host.call("p", "add", {"a": 1}) == 3
        with pytest.raises(PluginPermissionError, match="may not be imported into this process here; allowed: none"):
            await host.apply(installed.changed(name="q", trust="trusted"))
        here.append(Installed("greeter", "other:Greeter", "another", "2.0"))
        with pytest.raises(ValueError, match=r"several distributions .*greeting 1\.0, another 2\.0"):
            await host.apply(installed.changed(name="r"))


async def test_a_call_of_what_is_not_there_says_what_is() -> None:
    async with hosting() as host:
        await host.apply(spec("Greeter", trust="trusted"))
        with pytest.raises(PluginUnavailable, match="There is no plug-in 'q'; there are: p"):
            await host.call("q", "x", {})
        with pytest.raises(TypeError, match=r"no JSON|is not"):
            await host.call("p", "greet", {"name": object()})
