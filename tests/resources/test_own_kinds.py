"""Kinds of plug-ins, schedules, workers and custom resources, in a runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import pytest

from stategraph import StateGraph
from stategraph.resources import Condition, Ctx, Metadata, Reconciler, ReconcileResult, Resource, load_text
from stategraph.resources.controllers.schedule import ScheduleController, target_of
from stategraph.resources.controllers.worker import scaling_of
from stategraph.resources.kinds.worker import WorkerSpec
from stategraph.resources.model import ResourceKey
from stategraph.resources.runtime import Runtime
from stategraph.savers.urls import saver_at
from stategraph.workers import RunRegistry, ScalingSettings

pytestmark = pytest.mark.anyio

SAMPLES = "tests.resources.plugins.samples"
SEEDS = Path(__file__).parent / "manifests"


class State(TypedDict, total=False):
    text: str


class Graph:
    """Something that became a graph."""

    def __init__(self) -> None:
        builder = StateGraph(State)
        builder.add_node("say", lambda state: {"text": f"{state.get('text', '')}!"})
        builder.set_entry_point("say")
        self.graph = builder.compile()


class Workflows(Reconciler):
    """Stands for the controller of workflows."""

    kind: ClassVar[str] = "Workflow"

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        del resource, ctx
        return ReconcileResult(compiled=Graph())


class DataSources(Reconciler):
    """A controller of a custom kind, by its import path."""

    kind: ClassVar[str] = "DataSource"

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        return ReconcileResult([Condition("Ready", "True", "Connected")], {"url": ctx.spec(resource).get("url")})


class NoController:
    kind = "DataSource"


def workflow(name: str = "flow", namespace: str = "default") -> Resource:
    """Return a workflow, without asking its schema."""
    return Resource(
        "stategraph.dev/v1", "Workflow", Metadata(name, namespace), {"steps": [{"id": "say", "agent": "a"}]}
    )


@asynccontextmanager
async def runtime(**settings: Any) -> AsyncIterator[Runtime]:
    """Run a runtime in memory."""
    async with Runtime.from_url("memory:", **{"allow": (SAMPLES, __name__), **settings}) as found:
        yield found


async def eventually(met: Callable[[], Any]) -> None:
    """Wait until something awaitable is true."""
    async with asyncio.timeout(60):
        while not await met():  # noqa: ASYNC110 - other tasks bring it about
            await asyncio.sleep(0.01)


def plugin(cls: str, name: str = "weather", **spec: Any) -> Resource:
    """Return the declaration of a sample plug-in, in the host's process."""
    fields = {"module": f"{SAMPLES}:{cls}", "trust": "trusted", **spec}
    return Resource("stategraph.dev/v1", "Plugin", Metadata(name), fields)


# Plugin.


async def test_a_plugin_is_ready_and_can_be_called_and_follows_its_declaration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "greeting.toml").write_text('greeting = "good day"\n')
    events: list[tuple[str, Mapping[str, Any]]] = []
    async with runtime(environment={"TOKEN": "hunter22"}) as found:
        with found.bus.listening("plugin.*") as heard:
            secret = Resource("stategraph.dev/v1", "Secret", Metadata("keys"), {"valueFrom": {"env": "TOKEN"}})
            declared = plugin("Greeter", configFile="greeting.toml", secrets={"token": {"secret": "keys"}})
            await found.apply([declared, secret])
            ready = await found.wait("plugin/weather", "Ready", 60)
            assert ready.status["state"] == "Running"
            assert ready.status["tools"] == ["add", "fail", "greet", "heard_so_far", "tell_token", "where"]
            running = found.compiled("plugin/weather")
            assert await running.call("greet", {"name": "Ada"}) == {"text": "good day Ada"}
            await found.apply([plugin("Greeter", config={"greeting": "hi"})])
            await found.settled()
            assert found.compiled("plugin/weather") is running
            assert await running.call("greet", {"name": "Ada"}) == {"text": "hi Ada"}
            stored = await found.get("plugin/weather")
            assert "hunter22" not in repr(stored)
            await found.delete("plugin/weather")
            await found.wait("plugin/weather", "Deleted", 60)
            async for each in heard:
                events.append((each.topic, each.data))
                if each.topic == "plugin.stopped":
                    break
    assert [topic for topic, _ in events][:2] == ["plugin.starting", "plugin.running"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("greeting.json", '{"greeting": "good day"}'),
        ("greeting.yaml", "# for all\ngreeting: good day\n"),
        ("greeting.yml", "greeting: 'good day'\n"),
        ("greeting.toml", 'greeting = "good day"\n'),
    ],
)
async def test_a_plugin_is_configured_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(text, encoding="utf-8")
    async with runtime() as found:
        await found.apply([plugin("Greeter", configFile=file, secrets={})])
        await found.wait("plugin/weather", "Ready", 60)
        assert await found.compiled("plugin/weather").call("greet", {"name": "Ada"}) == {"text": "good day Ada"}


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("greeting.json", "{greeting", "'greeting.json' is no JSON: Expecting property name"),
        ("greeting.yaml", "greeting: [", "greeting.yaml:2:1: no YAML"),
        ("greeting.yaml", "a: &x 1\nb: *x\n", "has aliases (*name)"),
        ("greeting.json", "[1]", "is a list; expected a mapping"),
        ("greeting.ini", "greeting = hi", "expected .json, .yaml, .yml or .toml"),
        ("greeting.json", '{"greeting": 5}', "config.greeting"),
    ],
)
async def test_a_file_that_is_no_configuration_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(text, encoding="utf-8")
    async with runtime() as found:
        await found.apply([plugin("Greeter", configFile=file)])
        await found.settled()
        stored = await found.get("plugin/weather")
        assert stored is not None
        condition = stored.condition("Ready")
        assert condition is not None and condition.status == "False"
        assert told in condition.message.replace(f"{tmp_path}/", ""), condition.message


@pytest.mark.parametrize(
    ("spec", "condition", "reason", "told"),
    [
        ({"trust": "public", "permissions": ["hooks"]}, "Valid", "NotPermitted", "does not permit 'hooks'"),
        ({"module": "os.path:join"}, "Valid", "NotPermitted", "'os.path' may not be imported into this process"),
        ({"module": f"{SAMPLES}:DiesAtStart"}, "Ready", "NotStarted", "OSError: no disk"),
        ({"configFile": "../secrets.json"}, "Valid", "Invalid", "outside of the current folder"),
        ({"module": None}, "Valid", "Invalid", "named by one of package and module; found neither"),
        ({"trust": "root"}, "Valid", "Invalid", "expected one of public, verified, trusted or internal"),
        ({"limits": {"memoryMB": 1}}, "Valid", "Invalid", "did you mean 'memoryMiB'"),
    ],
)
async def test_a_plugin_that_cannot_run_says_why(spec: dict[str, Any], condition: str, reason: str, told: str) -> None:
    async with runtime() as found:
        declared = plugin("Greeter", **spec)
        fields = {key: value for key, value in declared.spec.items() if value is not None}
        await found.apply([Resource(declared.api_version, declared.kind, declared.metadata, fields)])
        await found.settled()
        stored = await found.get("plugin/weather")
        assert stored is not None
        said = stored.condition(condition)
        assert said is not None and (said.status, said.reason) == ("False", reason)
        assert told in said.message


# CustomResourceDefinition.

CRD: dict[str, Any] = {
    "group": "mastra.ai",
    "names": {"kind": "DataSource", "plural": "datasources", "shortNames": ["ds"]},
    "scope": "Namespaced",
    "validation": {
        "openAPIV3Schema": {
            "type": "object",
            "required": ["url"],
            "properties": {"url": {"type": "string"}, "rows": {"type": "integer"}},
        }
    },
}


def definition(**changes: Any) -> Resource:
    """Return the definition of data sources."""
    return Resource(
        "stategraph.dev/v1", "CustomResourceDefinition", Metadata("datasources.mastra.ai", ""), {**CRD, **changes}
    )


def source(**spec: Any) -> Resource:
    """Return a data source."""
    return Resource("mastra.ai/v1", "DataSource", Metadata("orders"), spec)


@pytest.mark.parametrize("first", ["definition", "instance"])
async def test_a_kind_is_defined_and_its_resources_are_checked_and_reconciled(first: str) -> None:
    async with runtime() as found:
        both = [definition(handler=f"{__name__}:DataSources"), source(url="db://x")]
        for each in both if first == "definition" else reversed(both):
            await found.apply([each])
        await found.wait("crd/datasources.mastra.ai", "Established", 60)
        ready = await found.wait(ResourceKey("datasource", "default", "orders"), "Ready", 60)
        assert ready.status["url"] == "db://x"
        assert (await found.list("ds"))[0].name == "orders"
        await found.apply([source(ulr="x")])
        await found.settled()
        wrong = await found.get("ds/orders")
        assert wrong is not None
        valid = wrong.condition("Valid")
        assert valid is not None and valid.status == "False"
        assert "unknown field 'ulr'" in valid.message and "did you mean 'url'" in valid.message
        assert "the field 'url' is required" in valid.message


async def test_without_a_handler_resources_are_checked_and_kept() -> None:
    async with runtime() as found:
        await found.apply([definition(), source(url="x")])
        ready = await found.wait(ResourceKey("datasource", "default", "orders"), "Ready", 60)
        condition = ready.condition("Ready")
        assert condition is not None and condition.reason == "Accepted"


@pytest.mark.parametrize("handler", [None, "plugin/weather"])
async def test_a_plugin_reconciles_a_kind(handler: str | None) -> None:
    permissions = ["tools", "controllers", "events:publish", "events:subscribe"]
    async with runtime() as found:
        more = {} if handler is None else {"handler": handler}
        await found.apply([plugin("Hearing", permissions=permissions), definition(**more), source(url="x")])
        await found.wait(ResourceKey("datasource", "default", "orders"), "Ready", 60)
        await eventually(lambda: _status(found, "ds/orders", "seen", "orders"))
        await found.apply([source(url="broken")])
        await found.settled()
        broken = await found.get("ds/orders")
        assert broken is not None
        condition = broken.condition("Ready")
        assert condition is not None and "ValueError: no such source" in condition.message
        await found.delete("ds/orders")
        await found.wait("ds/orders", "Deleted", 60)


async def _status(found: Runtime, name: str, field: str, value: Any) -> bool:
    stored = await found.get(name)
    return stored is not None and stored.status.get(field) == value


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"group": "other.dev"}, "expected 'datasources.other.dev'"),
        ({"names": {"kind": "Agent", "plural": "datasources"}}, "'Agent' is a word for a built-in kind"),
        ({"handler": "os.path:join"}, "the module 'os.path' may not be imported"),
        ({"handler": f"{__name__}:NoController"}, "is no controller"),
        ({"handler": f"{__name__}:Workflows"}, "is a controller of Workflow; expected DataSource"),
        ({"validation": {"openAPIV3Schema": {"type": "thing"}}}, "it is no schema"),
        ({"scope": "Everywhere"}, "expected one of Namespaced or Cluster"),
    ],
)
async def test_a_definition_that_makes_no_sense_is_told(change: dict[str, Any], told: str) -> None:
    async with runtime() as found:
        await found.apply([definition(**change)])
        await found.settled()
        stored = await found.get("crd/datasources.mastra.ai")
        assert stored is not None
        condition = stored.condition("Valid")
        assert condition is not None and condition.status == "False"
        assert told in condition.message


async def test_a_definition_goes_when_there_are_no_resources_of_it() -> None:
    async with runtime() as found:
        await found.apply([definition(), source(url="x")])
        await found.wait(ResourceKey("datasource", "default", "orders"), "Ready", 60)
        await found.delete("crd/datasources.mastra.ai")
        assert (await found.get("ds/orders")) is not None
        await found.delete("ds/orders")
        await found.wait("crd/datasources.mastra.ai", "Deleted", 60)
        assert found.kinds.get("DataSource") is None


async def test_the_manifest_of_the_documents_is_accepted() -> None:
    text = (SEEDS / "customresourcedefinition-datasources.mastra.ai.yaml").read_text()
    async with runtime() as found:
        await found.apply(load_text(text))
        await found.wait("crd/datasources.mastra.ai", "Established", 60)
        await found.apply([Resource("mastra.ai/v1alpha1", "DataSource", Metadata("any"), {"anything": 1})])
        await found.wait("ds/any" if found.kinds.get("ds") else "datasource/any", "Ready", 60)


# Schedule and Worker.


def test_the_limits_and_targets_of_workers_are_those_of_the_resource() -> None:
    spec = WorkerSpec.model_validate(
        {"capacity": 3, "replicas": {"min": 0, "max": 7, "targetQueueSeconds": 4, "targetLatencySeconds": 9}}
    )
    assert scaling_of(spec) == ScalingSettings(
        least=0, most=7, capacity=3, target_queue_s=4, target_latency_s=9, up_after_s=5, down_after_s=60
    )


def schedule(**spec: Any) -> Resource:
    """Return a schedule of a workflow."""
    fields = {"cron": "0 9 * * *", "timezone": "Europe/Berlin", "ref": "workflow/flow", "input": {"text": "hi"}}
    return Resource("stategraph.dev/v1", "Schedule", Metadata("daily"), {**fields, **spec})


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


async def test_a_schedule_begins_one_run_when_it_is_due_and_workers_execute_it(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 3, 28, 7, 59, tzinfo=UTC))  # in Berlin 8:59; summer begins the next night
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path}/runs.db")
    url = f"sqlite:///{tmp_path}/runs.db"
    async with saver_at(url) as saver, runtime(registry=registry, saver=saver) as found:
        found.register(ScheduleController(clock))
        found.register(Workflows())
        worker = Resource("stategraph.dev/v1", "Worker", Metadata("pool"), {"replicas": {"max": 2}})
        await found.apply([workflow(), schedule(), worker])
        await found.wait("schedule/daily", "Ready", 60)
        assert await _status(found, "schedule/daily", "nextRun", "2026-03-28T08:00:00+00:00")
        assert await registry.list() == []
        clock.now += timedelta(minutes=2)
        for _ in range(3):  # reconciling again submits nothing twice
            await found.apply([schedule()])
            await found.settled()
            found._loop._queue.add(ResourceKey("schedule", "default", "daily"))
        await eventually(lambda: _status(found, "schedule/daily", "nextRun", "2026-03-29T07:00:00+00:00"))
        (run,) = await registry.list()
        assert run.target == target_of(ResourceKey("workflow", "default", "flow"))
        await eventually(lambda: _is(registry, run.run_id, "success"))
        assert await _status(found, "schedule/daily", "lastRunId", run.run_id)
        assert await _status(found, "worker/pool", "replicas", 1)
    await registry.aclose()


@pytest.mark.parametrize("on_conflict", ["reject", "enqueue", "interrupt", "rollback"])
async def test_what_a_schedule_does_when_its_thread_is_busy(tmp_path: Path, on_conflict: str) -> None:
    clock = Clock(datetime(2026, 3, 28, 7, 59, tzinfo=UTC))
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path}/runs.db")
    busy = await registry.submit("desk", None, target="elsewhere:graph")
    async with runtime(registry=registry) as found:
        found.register(ScheduleController(clock))
        found.register(Workflows())
        await found.apply([workflow(), schedule(threadId="desk", onConflict=on_conflict)])
        await found.wait("schedule/daily", "Ready", 60)
        clock.now += timedelta(minutes=2)
        await found.apply([schedule(threadId="desk", onConflict=on_conflict, input={})])
        due = "2026-03-28T08:00:00+00:00"
        told = "lastSkipped" if on_conflict == "reject" else "lastRun"
        await eventually(lambda: _status(found, "schedule/daily", told, due))
        runs = {each.run_id: each for each in await registry.list()}
    stopped = runs[busy].status == "cancelled" or runs[busy].cancel_requested is not None
    assert (len(runs), stopped) == (1 if on_conflict == "reject" else 2, on_conflict in ("interrupt", "rollback"))
    await registry.aclose()


async def test_stores_of_their_own_that_read_the_same_schedule_begin_one_run(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 3, 28, 7, 59, tzinfo=UTC))
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path}/runs.db")
    async with runtime(registry=registry) as first, runtime(registry=registry) as second:
        for each in (first, second):
            each.register(ScheduleController(clock))
            each.register(Workflows())
            await each.apply([workflow(), schedule()])
            await each.wait("schedule/daily", "Ready", 60)
        clock.now += timedelta(minutes=2)
        for each in (first, second):
            await each.apply([schedule(input={})])
            await eventually(lambda each=each: _status(each, "schedule/daily", "lastRun", "2026-03-28T08:00:00+00:00"))
        assert len(await registry.list()) == 1
    await registry.aclose()


@pytest.mark.parametrize("seen", ["never", "elsewhere", "gone", "of before", "there"])
async def test_workers_elsewhere_are_counted_by_their_queues(tmp_path: Path, seen: str) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path}/runs.db")
    queues = {"elsewhere": ("default",), "of before": (), "gone": ("slow",), "there": ("default", "slow")}
    if seen in queues:
        registry.roster.see("w", 3, queues[seen])
    if seen == "gone":
        with registry.operations.database.transaction() as session:
            session.change("UPDATE sg_worker SET seen_at = seen_at - 3600")
    external = {"queue": "slow", "executor": "external"}
    async with runtime(registry=registry) as found:
        await found.apply([Resource("stategraph.dev/v1", "Worker", Metadata("pool"), external)])
        await found.settled()
        stored = await found.get("worker/pool")
        assert stored is not None
        condition = stored.condition("Ready")
        assert condition is not None
        assert (condition.status, stored.status["replicas"]) == (("True", 1) if seen == "there" else ("False", 0))
        if seen != "there":
            assert condition.reason == "WorkersMissing"
            assert "'stategraph worker --resources --queue slow'" in condition.message
        assert ("1 of an older version do not say" in condition.message) == (seen == "of before")
    await registry.aclose()


async def _is(registry: RunRegistry, run_id: str, status: str) -> bool:
    return (await registry.get(run_id)).status == status


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"cron": "every day"}, "Invalid cron schedule"),
        ({"cron": "0 0 30 2 *"}, "never due"),
        ({"timezone": "Mars/Olympus"}, "Invalid timezone"),
        ({"ref": "flow"}, "write the kind, 'workflow/flow'"),
        ({"ref": "workflow/flaw"}, "did you mean 'flow'"),
        ({"onConflict": "wait"}, "expected one of reject, enqueue, interrupt or rollback"),
    ],
)
async def test_a_schedule_that_makes_no_sense_is_told(spec: dict[str, Any], told: str) -> None:
    async with runtime() as found:
        found.register(Workflows())
        await found.apply([workflow(), schedule(**spec)])
        await found.settled()
        stored = await found.get("schedule/daily")
        assert stored is not None
        assert any(each.status == "False" and told in each.message for each in stored.conditions), stored.conditions


async def test_a_suspended_schedule_begins_nothing_and_one_without_a_registry_says_so() -> None:
    clock = Clock(datetime(2026, 3, 28, 7, 59, tzinfo=UTC))
    async with runtime() as found:
        found.register(ScheduleController(clock))
        found.register(Workflows())
        await found.apply([workflow(), schedule(suspend=True)])
        ready = await found.wait("schedule/daily", "Ready", 60)
        assert "nextRun" not in ready.status
        await found.apply([schedule()])
        await found.settled()
        clock.now += timedelta(days=1)
        await found.apply([schedule(input={})])
        await found.settled()
        stored = await found.get("schedule/daily")
        assert stored is not None
        condition = stored.condition("Ready")
        assert condition is not None and condition.reason == "RegistryMissing"
