"""The loop: what is reconciled when, and what the status says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from stategraph.resources import (
    Condition,
    Ctx,
    Kind,
    LoopSettings,
    Metadata,
    Reconciler,
    ReconcileResult,
    Resource,
    ResourceKey,
    UnknownResource,
    load_text,
)
from stategraph.resources.errors import ConflictError
from stategraph.resources.runtime import Runtime
from stategraph.resources.store.port import WatchGapError
from stategraph.workers.registry.port import StoreUnavailableError
from tests.resources.kit import PART, Parts, PartSpec, part

pytestmark = pytest.mark.anyio


Made = Callable[..., Awaitable[Runtime]]


@pytest.fixture
async def started() -> AsyncIterator[Made]:
    """Starts runtimes with the controller of parts; they are stopped at the end of the test."""
    running: list[Runtime] = []

    async def start(url: str = "memory:", parts: Reconciler | None = None, **options: Any) -> Runtime:
        runtime = Runtime.from_url(url, environment=options.pop("environment", {}), **options)
        runtime.define_kind(PART, parts or Parts())
        running.append(runtime)
        await runtime.start()
        return runtime

    yield start
    for each in reversed(running):
        await each.stop()


def condition(resource: Resource | None, type: str) -> Condition:
    assert resource is not None
    found = resource.condition(type)
    assert found is not None
    return found


async def test_what_is_declared_becomes_ready_and_can_be_used(url: str, started: Made) -> None:
    runtime = await started(url)
    (applied,) = await runtime.apply([part("a", value=3)])
    assert (str(applied.key), applied.action, applied.problems) == ("part/default/a", "created", ())
    found = await runtime.wait("part/a", timeout=60)
    assert runtime.compiled("pt/a") == [3]
    assert found.status["sum"] == 3
    assert found.status["phase"] == "Ready"
    assert found.status["observedGeneration"] == 1
    assert [(each.type, each.status) for each in found.conditions] == [
        ("Valid", "True"),
        ("ReferencesResolved", "True"),
        ("Ready", "True"),
    ]
    since = condition(found, "Ready").last_transition_time
    await runtime.apply([part("a", value=4)])
    with anyio.fail_after(60):
        while (found := await runtime.wait("part/a", timeout=60)).metadata.generation != 2:
            pass
    assert runtime.compiled("part/a") == [4]
    assert condition(found, "Ready").last_transition_time == since  # it was ready all along


async def test_the_order_of_documents_does_not_matter_and_a_change_reaches_dependents(started: Made) -> None:
    runtime = await started()
    await runtime.apply([part("top", needs=["middle"], value=1), part("middle", needs=["bottom"], value=10)])
    await runtime.settled(60)
    top = await runtime.get("part/top")
    assert condition(top, "ReferencesResolved").status == "True"
    assert "part/default/middle is not ready" in condition(top, "Ready").message
    assert condition(await runtime.get("part/middle"), "ReferencesResolved").message == (
        "spec.needs[0]: there is no part/default/bottom"
    )
    await runtime.apply([part("bottom", value=100)])
    await runtime.settled(60)
    assert runtime.compiled("part/top") == [1, 10, 100]
    await runtime.apply([part("bottom", value=200)])
    await runtime.settled(60)
    assert runtime.compiled("part/top") == [1, 10, 200]
    assert (await runtime.wait("part/top", timeout=60)).status["sum"] == 211


async def test_a_circle_is_told_by_name_and_ends_when_it_is_broken(started: Made) -> None:
    runtime = await started()
    await runtime.apply(
        [part("a", needs=["b"]), part("b", needs=["c"]), part("c", needs=["a"]), part("d", needs=["d"])]
    )
    await runtime.settled(60)
    for name, way in (("a", "a b c a"), ("b", "b c a b"), ("c", "c a b c"), ("d", "d d")):
        told = condition(await runtime.get(f"part/{name}"), "Ready")
        assert told.reason == "DependencyCycle"
        assert told.message.endswith(" -> ".join(f"part/default/{each}" for each in way.split()))
    await runtime.apply([part("c", value=7)])
    await runtime.settled(60)
    assert runtime.compiled("part/a") == [0, 0, 7]


async def test_resources_that_only_look_at_each_other_come_to_rest(started: Made) -> None:
    parts = Parts()
    runtime = await started(parts=parts)
    await runtime.apply([part("a", looks=["b"]), part("b", looks=["a"])])
    await runtime.settled(60)
    assert (await runtime.wait("part/a", timeout=60)).is_ready
    assert (await runtime.wait("part/b", timeout=60)).is_ready
    assert len(parts.calls) <= 8


async def test_a_bad_apply_loses_nothing_that_runs_also_over_a_restart(tmp_path: Path, started: Made) -> None:
    url = f"sqlite:///{tmp_path}/resources.db"
    runtime = await started(url)
    await runtime.apply([part("a", value=1), part("user", needs=["a"])])
    await runtime.settled(60)
    (applied,) = await runtime.apply([part("a", valu=2)])
    assert [str(each) for each in applied.problems] == [
        (
            "part/default/a: spec.valu: unknown field 'valu'; expected one of allowedNamespaces, fail, looks, needs, "
            "token, value; did you mean 'value'?"
        )
    ]
    await runtime.settled(60)
    await _check_degraded(runtime)
    await runtime.stop()
    again = await started(url)
    await again.settled(60)
    await _check_degraded(again)
    await again.apply([part("a", value=3)])
    await again.settled(60)
    assert again.compiled("part/user") == [0, 3]
    assert condition(await again.get("part/a"), "Degraded").status == "False"


async def test_last_good_versions_that_need_each_other_come_back_after_a_restart(tmp_path: Path, started: Made) -> None:
    url = f"sqlite:///{tmp_path}/resources.db"
    runtime = await started(url)
    await runtime.apply([part("a", needs=["b"], value=1), part("b", needs=["c"], value=2), part("c", value=3)])
    await runtime.settled(60)
    await runtime.apply([part("a", valu=1), part("b", valu=1), part("c", valu=1)])
    await runtime.settled(60)
    assert runtime.compiled("part/a") == [1, 2, 3]
    await runtime.stop()
    again = await started(url)
    await again.settled(60)
    assert again.compiled("part/a") == [1, 2, 3]
    assert condition(await again.get("part/a"), "Degraded").status == "True"


async def _check_degraded(runtime: Runtime) -> None:
    found = await runtime.get("part/a")
    assert runtime.compiled("part/a") == [1]
    assert runtime.compiled("part/user") == [0, 1]
    assert (condition(found, "Valid").status, condition(found, "Ready").status) == ("False", "False")
    assert "did you mean 'value'?" in condition(found, "Valid").message
    degraded = condition(found, "Degraded")
    assert (degraded.status, degraded.message) == ("True", "generation 1 goes on serving until generation 2 is ready")
    assert found is not None
    assert found.status["phase"] == "Degraded"
    assert condition(await runtime.get("part/user"), "Ready").status == "True"


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        ({"fail": "invalid"}, "Invalid", "spec.value: the value is bad"),
        ({"fail": "raise"}, "ReconcileFailed", "RuntimeError: boom"),
        ({"fail": "hang"}, "ReconcileTimeout", "the controller took longer than 0.05 s"),
        ({"fail": "wait"}, "Waiting", "not yet"),
        ({"needs": ["nothing"]}, "ReferencesUnresolved", "spec.needs[0]: there is no part/default/nothing"),
        ({"needs": ["goodd"]}, "ReferencesUnresolved", "there is no part/default/goodd; did you mean 'good'?"),
        ({"needs": ["agent/x"]}, "ReferencesUnresolved", "names a agent; expected a part"),
        ({"needs": [3]}, "Invalid", "a reference is a name"),
        ({"value": "${NONE}"}, "Invalid", "the variable NONE is not set"),
        ({"value": "x"}, "Invalid", "found 'x'; expected a whole number"),
    ],
)
async def test_a_bad_resource_says_why_and_holds_up_no_other(
    spec: dict[str, Any], reason: str, message: str, started: Made
) -> None:
    runtime = await started(settings=LoopSettings(timeout_s=0.05))
    await runtime.apply([part("bad", **spec), part("good")])
    assert (await runtime.wait("part/good", timeout=60)).is_ready
    await runtime.settled(60)
    ready = condition(await runtime.get("part/bad"), "Ready")
    assert (ready.status, ready.reason) == ("False", reason)
    assert message in ready.message


async def test_what_failed_is_tried_again_by_itself(started: Made) -> None:
    class Unlucky(Parts):
        async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
            if not self.calls:
                self.calls.append("first")
                raise RuntimeError("once")
            return await super().reconcile(resource, ctx)

    runtime = await started(parts=Unlucky())
    await runtime.apply([part("a")])
    assert (await runtime.wait("part/a", timeout=60)).is_ready


async def test_a_change_of_what_was_looked_at_while_it_is_reconciled_is_not_missed(started: Made) -> None:
    class Slow(Parts):
        def __init__(self) -> None:
            super().__init__()
            self.looked, self.go_on = asyncio.Event(), asyncio.Event()

        async def compile(self, resource: Resource, spec: PartSpec, ctx: Ctx) -> ReconcileResult:
            result = await super().compile(resource, spec, ctx)
            if resource.name == "user" and not self.looked.is_set():
                self.looked.set()
                await self.go_on.wait()
            return result

    slow = Slow()
    runtime = await started(parts=slow)
    await runtime.apply([part("a", value=1)])
    await runtime.settled(60)
    await runtime.apply([part("user", needs=["a"])])
    await slow.looked.wait()
    await runtime.apply([part("a", value=2)])
    with anyio.fail_after(60):
        while (known := runtime._shared.cache.get(runtime.key("part/a"))) is None or known.status.get("sum") != 2:
            await anyio.lowlevel.checkpoint()
    slow.go_on.set()
    await runtime.settled(60)
    assert runtime.compiled("part/user") == [0, 2]


async def test_sixteen_keys_are_reconciled_at_once_and_each_by_one_worker(started: Made) -> None:
    parts = Parts()
    parts.gate = asyncio.Event()
    runtime = await started(parts=parts)
    await runtime.apply([part(f"a{number}") for number in range(40)])
    with anyio.fail_after(60):
        while parts.most < 16:
            await anyio.lowlevel.checkpoint()
    await runtime.apply([part(f"a{number}", value=1) for number in range(40)])  # while they are worked on
    parts.gate.set()
    await runtime.settled(60)
    assert parts.most == 16
    assert [runtime.compiled(f"part/a{number}") for number in range(40)] == [[1]] * 40


async def test_kinds_that_others_depend_on_come_first(started: Made) -> None:
    order: list[str] = []

    class Recording(Reconciler):
        def __init__(self, kind: str, *depends_on: str) -> None:
            self.kind = kind  # type: ignore[misc]
            self.depends_on = depends_on  # type: ignore[misc]

        async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
            order.append(resource.kind)
            return ReconcileResult()

    runtime = await started(settings=LoopSettings(workers=1))
    for name, needs in (("Aa", ("Bb",)), ("Bb", ("Cc",)), ("Cc", ())):
        runtime.define_kind(Kind(name, f"{name.lower()}s", group="test.dev"), Recording(name, *needs))
    await runtime.apply([Resource("test.dev/v1", kind, Metadata("x"), {}) for kind in ("Aa", "Bb", "Cc")])
    await runtime.settled(60)
    assert order == ["Cc", "Bb", "Aa"]


async def test_namespaces_are_apart_unless_the_target_allows_it(started: Made) -> None:
    runtime = await started()
    await runtime.apply([part("a", "kitchen"), part("b", needs=["kitchen/a"])])
    await runtime.settled(60)
    resolved = condition(await runtime.get("part/b"), "ReferencesResolved")
    assert resolved.reason == "NamespaceNotAllowed"
    assert "part/kitchen/a does not allow references from the namespace 'default'" in resolved.message
    for allowed in (["default"], ["*"]):
        await runtime.apply([part("a", "kitchen", allowedNamespaces=allowed)])
        assert (await runtime.wait("part/b", timeout=60)).is_ready
        await runtime.apply([part("a", "kitchen", allowedNamespaces=["garden"])])
        await runtime.settled(60)
        assert condition(await runtime.get("part/b"), "Ready").status == "False"


async def test_variables_are_expanded_at_use_and_stored_as_written(started: Made) -> None:
    runtime = await started(environment={"VALUE": "5"})
    await runtime.apply([part("a", value="${VALUE}"), part("b", value="${OTHER:-6}")])
    await runtime.settled(60)
    assert (runtime.compiled("part/a"), runtime.compiled("part/b")) == ([5], [6])
    stored = await runtime.get("part/a")
    assert stored is not None
    assert stored.spec == {"value": "${VALUE}"}


SECRETS = """apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: token}
spec: {valueFrom: {env: TOKEN}}
---
apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: pair}
spec: {values: {here: {env: TOKEN}, gone: {env: NONE}}}
"""


async def test_the_value_of_a_secret_is_in_no_status_event_log_or_store(
    tmp_path: Path, started: Made, caplog: pytest.LogCaptureFixture
) -> None:
    value = "sesame-open-4711"
    runtime = await started(f"sqlite:///{tmp_path}/resources.db", environment={"TOKEN": value})
    events: list[str] = []

    async def listen() -> None:
        async for event in runtime.bus.subscribe(">"):
            events.append(str(event))

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    await runtime.apply([*load_text(SECRETS), part("a", token="token"), part("b", token="token", fail="raise")])
    await runtime.settled(60)
    assert runtime.compiled("part/a") == [0, len(value)]
    found = {each.name: each for each in await runtime.list()}
    assert found["token"].status["keys"] == ["value"]
    assert found["pair"].status["keys"] == ["gone", "here"]
    assert condition(found["pair"], "Ready").message.endswith("spec.values.gone: the variable NONE is not set")
    assert condition(found["b"], "Ready").message == "RuntimeError: boom [secret]"
    listening.cancel()
    assert any("part.reconciled" in each for each in events)
    stored = b"".join(await asyncio.to_thread(lambda: [each.read_bytes() for each in tmp_path.iterdir()]))
    for text in (str(found), str(events), caplog.text, stored.decode(errors="replace")):
        assert value not in text


async def test_a_finalizer_cleans_up_before_a_resource_goes(started: Made) -> None:
    class Cleaning(Parts):
        cleaned = 0
        phase = ""

        async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
            stored = await runtime.get(resource.key)
            assert stored is not None
            self.phase = stored.status["phase"]
            self.cleaned += 1
            return self.cleaned > 1

    parts = Cleaning()
    runtime = await started(parts=parts)
    await runtime.apply([part("a")])
    await runtime.settled(60)
    assert await runtime.delete("part/a")
    going = await runtime.get("part/a")
    assert going is not None
    assert going.is_deleting
    await runtime.wait("part/a", "Deleted", timeout=60)
    assert (parts.cleaned, parts.phase) == (2, "Deleting"), "whoever looks sees that it is being cleaned up"
    await runtime.settled(60)
    with pytest.raises(UnknownResource, match="part/default/a is not running: there is no such resource"):
        runtime.compiled("part/a")
    assert not await runtime.delete("part/a")


async def test_what_a_resource_became_is_closed_when_it_is_replaced_or_goes(started: Made) -> None:
    closed: list[int] = []

    class Thing:
        def __init__(self, number: int) -> None:
            self.number = number

        async def aclose(self) -> None:
            closed.append(self.number)

    class Things(Parts):
        async def compile(self, resource: Resource, spec: PartSpec, ctx: Ctx) -> ReconcileResult:
            return ReconcileResult(compiled=Thing(spec.value))

    runtime = await started(parts=Things())
    await runtime.apply([part("a", value=1), part("b", value=2)])
    await runtime.settled(60)
    await runtime.apply([part("a", value=3)])
    await runtime.settled(60)
    assert closed == [1]
    await runtime.delete("part/b")
    await runtime.settled(60)
    assert closed == [1, 2]
    await runtime.stop()
    assert closed == [1, 2, 3]


SYSTEM = """apiVersion: mastra.ai/v1
kind: System
metadata: {name: s}
spec:
  resources:
    - {kind: Part, name: a, spec: {value: 1}}
    - kind: Part
      name: b
      labels: {x: "y"}
      spec: {needs: [a]}
"""


async def test_a_system_owns_what_it_is_made_of(started: Made) -> None:
    runtime = await started()
    await runtime.load_from_string(SYSTEM)
    system = await runtime.wait("system/s", timeout=60)
    assert system.status["ready"] == "2/2"
    assert system.status["members"][1] == {"kind": "Part", "name": "b", "ready": True}
    child = await runtime.get("part/b")
    assert child is not None
    assert child.metadata.labels == {"x": "y"}
    assert [(each.kind, each.name, each.uid) for each in child.metadata.owner_references] == [
        ("System", "s", system.metadata.uid)
    ]
    assert child.place(("spec", "needs")) == "<text>:10:14"
    await runtime.store.put(replace(child, spec={**child.spec, "value": 5}))  # of another writer: it stays
    await runtime.load_from_string(SYSTEM.replace("value: 1", "value: 2"))
    assert runtime.compiled("part/b") == [5, 2]
    await runtime.load_from_string(SYSTEM[: SYSTEM.index("    - kind: Part")])
    assert await runtime.get("part/b") is None
    assert (await runtime.wait("system/s", timeout=60)).status["ready"] == "1/1"
    await runtime.delete("system/s")
    await runtime.wait("part/a", "Deleted", timeout=60)
    await runtime.settled(60)
    assert await runtime.list() == []


async def test_a_system_takes_no_name_that_is_taken(started: Made) -> None:
    runtime = await started()
    await runtime.apply([part("a")])
    await runtime.load_from_string(SYSTEM)
    ready = condition(await runtime.get("system/s"), "Ready")
    assert ready.reason == "NameTaken"
    assert "part/default/a is there already and belongs to somebody else" in ready.message


async def test_a_kind_can_come_after_its_resources(started: Made) -> None:
    runtime = await started()
    await runtime.apply([Resource("other.dev/v1", "Widget", Metadata("w"), {"size": 3})])
    await runtime.settled(60)
    valid = condition(await runtime.get(ResourceKey("Widget", "default", "w")), "Valid")
    assert (valid.status, valid.reason) == ("False", "KindNotDefined")
    schema = {"type": "object", "properties": {"size": {"type": "string"}}, "additionalProperties": False}
    runtime.define_kind(Kind("Widget", "widgets", ("wi",), schema=schema, group="other.dev"), None)
    await runtime.settled(60)
    valid = condition(await runtime.get("wi/w"), "Valid")
    assert valid.message == "spec.size: wrong kind of value; found 3; expected string"
    await runtime.apply([Resource("other.dev/v1", "Widget", Metadata("w"), {"size": "3"})])
    await runtime.settled(60)
    assert condition(await runtime.get("wi/w"), "Ready").reason == "NoController"
    runtime._undefine("Widget")
    await runtime.settled(60)
    assert condition(await runtime.get(ResourceKey("Widget", "default", "w")), "Valid").status == "False"


async def test_one_process_leads_and_the_others_compile(tmp_path: Path, started: Made) -> None:
    class Everywhere(Parts):
        everywhere = True

    url = f"sqlite:///{tmp_path}/resources.db"
    quick = LoopSettings(lease_s=0.3)
    first = await started(url, Everywhere(), settings=quick)
    second = await started(url, Everywhere(), settings=quick)
    quiet = Parts()
    third = await started(url, quiet, settings=quick)
    assert (first.leads, second.leads, third.leads) == (True, False, False)
    await third.apply([part("a", value=1)])
    await second.wait("part/a", timeout=60)
    await second.settled(60)
    assert (first.compiled("part/a"), second.compiled("part/a")) == ([1], [1])
    assert quiet.calls == []
    await first.stop()
    await second.apply([part("a", value=2)])
    with anyio.fail_after(60):
        while (found := await second.wait("part/a", timeout=60)).metadata.generation != 2:
            pass
    assert found.is_ready
    assert second.leads or third.leads


async def test_waiting_for_what_does_not_come_says_how_it_stands(started: Made) -> None:
    runtime = await started()
    await runtime.apply([part("a", fail="wait")])
    await runtime.settled(60)
    with pytest.raises(
        TimeoutError, match=r"part/default/a was not Ready after 0.01 s: .*Ready=False \(Waiting: not yet\)"
    ):
        await runtime.wait("part/a", timeout=0.01)
    with pytest.raises(TimeoutError, match=r"part/default/b was not there after 0\.01 s"):
        await runtime.wait("part/b", timeout=0.01)


@pytest.mark.parametrize("error", [KeyError("planted"), StoreUnavailableError("away"), ConflictError("faster")])
async def test_changes_are_followed_after_whatever_error_of_the_store(
    started: Made, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("stategraph.resources.loop.loop._AWAY_S", 0.001)
    runtime = await started()
    store = runtime.store
    get_many, snapshot = store.get_many, store.snapshot
    failures = [error, error, WatchGapError("planted"), error]

    async def fails_at_first(keys: Any) -> Any:
        if failures:
            raise failures.pop(0)
        return await get_many(keys)

    async def lists(*arguments: Any) -> Any:
        if failures:
            raise failures.pop(0)
        return await snapshot(*arguments)

    monkeypatch.setattr(store, "get_many", fails_at_first)
    monkeypatch.setattr(store, "snapshot", lists)
    await runtime.apply([part("a", value=1)])
    with anyio.fail_after(60):
        while failures:  # noqa: ASYNC110 # the loop meets them
            await asyncio.sleep(0.001)
    await runtime.wait("part/a", timeout=60)
    assert runtime.compiled("part/a") == [1]


async def test_a_leader_outlives_whatever_error_of_its_lease(
    started: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = await started(settings=LoopSettings(lease_s=0.03))
    take, renewed = runtime.store.take_lease, asyncio.Event()
    failures: list[Exception] = [TypeError("planted"), StoreUnavailableError("away")]

    async def odd(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop(0)
        renewed.set()
        return await take(*arguments, **named)

    monkeypatch.setattr(runtime.store, "take_lease", odd)
    with anyio.fail_after(60):
        await renewed.wait()
    assert "cannot be renewed" in caplog.text
