"""The operator on an API server: what it writes, what it holds up, what it makes, and what it notices."""

from __future__ import annotations

from typing import Any

import kopf
import pytest

from stategraph.resources import Metadata, Resource
from stategraph.resources.crds import definitions
from stategraph.resources.kind_table import GROUP
from stategraph.resources.operator import connecting
from stategraph.resources.runtime import Runtime
from stategraph.testing import Script, ScriptedChatModel
from stategraph.workers.registry.port import StoreUnavailableError
from tests.resources.kubernetes.api_server import ApiServer, failure
from tests.resources.kubernetes.listening import listening
from tests.resources.kubernetes.operating import SAMPLES, created, eventually, operating

pytestmark = [
    pytest.mark.anyio,
    # kopf's own code, on an event loop that it did not make.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore::kopf.OperatorSettingsWarning" if hasattr(kopf, "OperatorSettingsWarning") else "default"
    ),
]


async def test_a_change_is_observed_by_its_generation_and_a_deletion_waits_for_the_controller() -> None:
    async with operating() as running:
        await running.create("Plugin", "greeter", {"module": f"{SAMPLES}:Greeter", "trust": "trusted"})
        await eventually(lambda: running.status("Plugin", "greeter").get("phase") == "Ready")
        key = running.path("Plugin", "greeter")
        await eventually(lambda: "stategraph.dev/operator" in running.server.objects[key]["metadata"]["finalizers"])
        before = running.server.objects[key]
        after = {**before, "metadata": dict(before["metadata"]), "spec": {**before["spec"], "config": {"count": 2}}}
        await running.server.put(key, after, before)
        await eventually(lambda: running.status("Plugin", "greeter").get("observedGeneration") == 2)
        plugin = running.operator.runtime.compiled("plugin/greeter")
        assert await plugin.call("greet", {"name": "Ada"}) == {"text": "hello Ada"}
        await running.server.delete(key)
        await eventually(lambda: key not in running.server.objects)
        assert await running.operator.runtime.get("plugin/greeter") is None


async def test_an_operator_that_comes_back_takes_over_what_is_there() -> None:
    server = ApiServer(definitions())
    async with operating(server) as running:
        await running.create("Secret", "keys", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "keys").get("phase") == "Ready")
        before = running.status("Secret", "keys")
    async with operating(server) as running:
        await running.create("Secret", "more", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "more").get("phase") == "Ready")
        assert running.status("Secret", "keys") == before  # its conditions are as old as they were


class Quick(Runtime):
    """A runtime that has reconciled everything before its caller goes on."""

    async def start(self) -> None:
        await super().start()
        await self.settled(60)


async def test_a_status_is_written_that_was_found_before_anybody_watched() -> None:
    server = ApiServer(definitions())
    await created(server, "Secret", "keys", {"valueFrom": {"env": "TOKEN"}})
    runtime = Quick.from_url("memory:", environment={"TOKEN": "hunter22"})
    async with operating(server, runtime=runtime, kinds=("Secret",)) as running:
        await eventually(lambda: running.status("Secret", "keys").get("phase") == "Ready")


async def test_what_was_deleted_while_nobody_was_there_is_cleaned_up() -> None:
    server = ApiServer(definitions())
    key = ("stategraph.dev", "plugins", "default", "greeter")
    async with operating(server) as running:
        await running.create("Plugin", "greeter", {"module": f"{SAMPLES}:Greeter", "trust": "trusted"})
        await eventually(lambda: running.status("Plugin", "greeter").get("phase") == "Ready")
        await eventually(lambda: server.objects[key]["metadata"].get("finalizers"))
    await server.delete(key)
    assert server.objects[key]["metadata"]["deletionTimestamp"]  # held up by the finalizer
    async with operating(server) as running:
        await eventually(lambda: key not in server.objects)
        assert await running.operator.runtime.get("plugin/greeter") is None


BAR: dict[str, Any] = {
    "agents": [
        {"name": name, "spec": {"instructions": f"You are {name}.", "model": {"provider": "openai", "name": "m"}}}
        for name in ("mixer", "waiter")
    ]
}


def _runtime() -> Runtime:
    return Runtime.from_url("memory:", model_factory=lambda _: ScriptedChatModel(replies=Script(["ok"])))


async def test_members_of_a_system_are_objects_that_it_owns_and_go_with_it() -> None:
    async with operating(runtime=_runtime(), kinds=("System", "Agent")) as running:
        server = running.server
        await running.create("System", "bar", BAR)
        await eventually(lambda: running.status("System", "bar").get("ready") == "2/2")
        await eventually(lambda: running.status("Agent", "mixer").get("phase") == "Ready")
        mixer, system = running.path("Agent", "mixer"), running.path("System", "bar")
        assert server.objects[mixer]["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "stategraph.dev/v1",
                "kind": "System",
                "name": "bar",
                "uid": server.objects[system]["metadata"]["uid"],
                "controller": True,
            }
        ]
        await running.change("Agent", "mixer", instructions="You are somebody else.")  # not theirs to say
        await eventually(lambda: server.objects[mixer]["spec"]["instructions"] == "You are mixer.")
        await server.delete(mixer)
        before = server.objects[mixer]["metadata"]["uid"] if mixer in server.objects else ""
        await eventually(lambda: mixer in server.objects and server.objects[mixer]["metadata"]["uid"] != before)
        await running.change("System", "bar", agents=BAR["agents"][:1])
        await eventually(lambda: running.path("Agent", "waiter") not in server.objects)
        await server.delete(system)
        await eventually(lambda: not [key for key in server.objects if key[0] == "stategraph.dev"])


async def test_statuses_are_written_after_whatever_error_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.resources.operator.mirror._RETRY_S", 0.001)
    async with operating() as running:
        runtime = running.operator.runtime
        get = runtime.get
        failures = [StoreUnavailableError("away"), TypeError("planted")]

        async def fails_at_first(name: Any) -> Any:
            if failures:
                raise failures.pop(0)
            return await get(name)

        monkeypatch.setattr(runtime, "get", fails_at_first)
        await runtime.apply([Resource(f"{GROUP}/v1", "Secret", Metadata("other"), {"valueFrom": {"env": "TOKEN"}})])
        await eventually(lambda: not failures)
        await running.create("Secret", "token", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "token").get("phase") == "Ready")


async def test_a_member_whose_name_is_taken_takes_nothing_over() -> None:
    async with operating(runtime=_runtime(), kinds=("System", "Agent")) as running:
        await running.create("Agent", "mixer", {"instructions": "I was here.", "model": "openai:m"})
        await eventually(lambda: running.status("Agent", "mixer").get("phase") == "Ready")
        await running.create("System", "bar", BAR)
        await eventually(lambda: running.status("System", "bar").get("phase") not in (None, "Ready"))
        ready = next(each for each in running.status("System", "bar")["conditions"] if each["type"] == "Ready")
        assert ready["reason"] == "NameTaken"
        assert running.server.objects[running.path("Agent", "mixer")]["spec"]["instructions"] == "I was here."


SOURCES: dict[str, Any] = {
    "group": "example.dev",
    "names": {"kind": "DataSource", "plural": "datasources"},
    "validation": {"openAPIV3Schema": {"type": "object", "properties": {"url": {"type": "string"}}}},
}


async def test_a_kind_of_ones_own_is_defined_followed_and_outlived_by_its_resources() -> None:
    async with operating(kinds=("CustomResourceDefinition",), defines=True) as running:
        server = running.server
        kind, source = (
            ("stategraph.dev", "customresourcedefinitions", "", "datasources.example.dev"),
            (*("example.dev", "datasources", "default", "orders"),),
        )
        await running.create("CustomResourceDefinition", "datasources.example.dev", SOURCES)
        made = ("apiextensions.k8s.io", "customresourcedefinitions", "", "datasources.example.dev")
        await eventually(lambda: made in server.objects)
        assert server.objects[made]["metadata"]["ownerReferences"][0]["uid"] == server.objects[kind]["metadata"]["uid"]
        meta = {"name": "orders", "namespace": "default"}
        document = {"apiVersion": "example.dev/v1", "kind": "DataSource", "metadata": meta, "spec": {"url": "x"}}
        await server.put(source, document, None)
        await eventually(lambda: server.objects[source].get("status", {}).get("phase") == "Ready")
        await eventually(lambda: server.objects[source]["metadata"].get("finalizers"))
        await server.delete(kind)
        await server.delete(source)
        await eventually(lambda: kind not in server.objects and source not in server.objects)


async def test_a_kind_that_the_api_server_does_not_have_is_told() -> None:
    async with operating(kinds=("CustomResourceDefinition",)) as running:
        await running.create("CustomResourceDefinition", "datasources.example.dev", SOURCES)

        def told() -> list[dict[str, Any]]:
            return [each for key, each in running.server.objects.items() if key[1] == "events"]

        await eventually(lambda: any(each["reason"] == "KindNotServed" for each in told()))
        assert "--define-kinds" in next(each["message"] for each in told() if each["reason"] == "KindNotServed")


@pytest.mark.parametrize("gone", ["event", "status"])
async def test_a_watch_whose_version_is_forgotten_lists_anew(gone: str) -> None:
    server = ApiServer(definitions())
    server.gone = gone
    async with (
        listening(server) as listener,
        operating(server, login=connecting.at(listener.address), kinds=("Secret",)) as running,
    ):
        await running.create("Secret", "one", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "one").get("phase") == "Ready")
        await listener.down()
        await created(server, "Secret", "two", {"valueFrom": {"env": "TOKEN"}})
        server.forget()  # what has happened is not in the log any more
        await created(server, "Secret", "three", {"valueFrom": {"env": "TOKEN"}})
        await listener.up()
        for name in ("two", "three"):
            await running.becomes("Secret", name, "Ready")


async def test_a_server_that_is_away_is_waited_for_and_told_what_happened_meanwhile() -> None:
    server = ApiServer(definitions())
    async with (
        listening(server) as listener,
        operating(server, login=connecting.at(listener.address), kinds=("Secret", "Plugin")) as running,
    ):
        spec = {"module": f"{SAMPLES}:Greeter", "trust": "trusted", "secrets": {"token": {"secret": "keys"}}}
        await running.create("Plugin", "greeter", spec)
        await eventually(lambda: running.status("Plugin", "greeter").get("phase") == "Failed")
        await listener.down()
        await created(server, "Secret", "keys", {"valueFrom": {"env": "TOKEN"}})
        await listener.up()
        await eventually(lambda: running.status("Plugin", "greeter").get("phase") == "Ready")


async def test_a_status_that_is_refused_is_written_later_and_a_busy_server_is_obeyed() -> None:
    server = ApiServer(definitions())
    answers = [failure(429, "slow down", **{"Retry-After": "0.1"}), failure(500, "etcd is away"), failure(409, "again")]

    def refuse(request: Any) -> Any:
        return answers.pop(0) if request.url.path.endswith("/status") and answers else None

    server.refuse = refuse
    async with operating(server, kinds=("Secret",)) as running:
        await running.create("Secret", "keys", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "keys").get("phase") == "Ready")
    assert answers == []


async def test_events_tell_why_and_are_counted_when_they_come_again() -> None:
    async with operating(kinds=("Secret", "Plugin")) as running:
        spec = {"module": f"{SAMPLES}:Greeter", "trust": "trusted", "secrets": {"token": {"secret": "keys"}}}
        await running.create("Plugin", "greeter", spec)

        def told() -> list[tuple[Any, ...]]:
            found = [each for key, each in running.server.objects.items() if key[1] == "events"]
            about = [each for each in found if each["involvedObject"]["name"] == "greeter"]
            return sorted((each["type"], each["reason"], each["count"]) for each in about)

        await eventually(lambda: ("Warning", "ReferencesUnresolved", 1) in told())
        await running.create("Secret", "keys", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: ("Normal", "Running", 1) in told())
        await running.server.delete(running.path("Secret", "keys"))
        await eventually(lambda: ("Warning", "ReferencesUnresolved", 2) in told())
        event = next(each for key, each in running.server.objects.items() if key[1] == "events")
        assert (
            event["involvedObject"]["uid"]
            == running.server.objects[running.path("Plugin", "greeter")]["metadata"]["uid"]
        )
