"""Two users over all resources: nobody sees, changes or deletes what is another's, by any route.

The table of calls is generated from the routes: each route has to have its calls here, or be named as one that shows
nothing of anybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stategraph.server.langgraph import routes
from stategraph.server.service.values import Caller, NotFoundError, RefusedError
from tests.server.service.assembly import Assembly, assembled
from tests.server.service.conftest import steps

pytestmark = pytest.mark.anyio

SECRET = "ada's secret"
OPEN = {
    "/info",
    "/runs/batch",
    "/runs/stream",
    "/runs/wait",
    "/runs/cancel",
    "/threads/{thread_id}/runs/{run_id}/stream",
}
"""Routes that are not called below: they show nothing of a user, or what a run of the caller itself tells."""

ENDLESS = {"/threads/{thread_id}/stream", "/threads/{thread_id}/stream/events"}
"""Streams without an end, which have a test of their own."""


def owner_of(name: str) -> Caller:
    """A user as `langgraph_sdk.Auth` handlers keep users apart: by an owner in metadata, and a namespace."""

    async def authorize(resource: str, action: str, value: dict[str, Any]) -> Any:
        if resource == "store":
            value["namespace"] = (name, *(value["namespace"] or ()))
            return None
        if action in ("create", "update", "create_run"):
            value["metadata"] = {**(value.get("metadata") or {}), "owner": name}
        return {"owner": name}

    return Caller(name, {"identity": name}, (), authorize)


ADA, BOB = owner_of("ada"), owner_of("bob")


@pytest.fixture
async def world(tmp_path: Any) -> AsyncIterator[tuple[Assembly, dict[str, str]]]:
    """A service with things of ada's, and their ids."""
    async with assembled(f"sqlite:///{tmp_path / 'runs.db'}", {"steps": steps}, works=True) as assembly:
        async with assembly.client(ADA) as ada:

            async def made(path: str, body: Any, name: str, method: str = "POST") -> str:
                answer = await ada.request(method, path, json=body)
                assert answer.status_code < 300, answer.text
                return str(answer.json()[name]) if name else ""

            about = {"metadata": {"note": SECRET}}
            ids = {
                "assistant_id": await made(
                    "/assistants", {"graph_id": "steps", "name": SECRET, **about}, "assistant_id"
                )
            }
            thread = ids["thread_id"] = await made("/threads", about, "thread_id")
            given = {"assistant_id": "steps", "input": {"log": [SECRET]}, **about}
            ids["run_id"] = await made(f"/threads/{thread}/runs", given, "run_id")
            await ada.get(f"/threads/{thread}/runs/{ids['run_id']}/join")
            state = (await ada.get(f"/threads/{thread}/state")).json()
            ids |= {"checkpoint_id": state["checkpoint_id"], "interrupt_id": state["interrupts"][0]["id"]}
            ids["cron_id"] = await made("/runs/crons", {**given, "schedule": "@yearly"}, "cron_id")
            await made("/store/items", {"namespace": ["notes"], "key": "k", "value": {"note": SECRET}}, "", "PUT")
        yield assembly, ids


def calls(ids: dict[str, str]) -> dict[tuple[str, str], list[Any]]:
    """Bodies of requests by method and path; None: none."""
    place = {"checkpoint": {"checkpoint_id": ids["checkpoint_id"], "checkpoint_ns": ""}}
    run = {"assistant_id": "steps", "input": {}}
    cron = {**run, "schedule": "@daily"}
    item = {"namespace": ["notes"], "key": "k"}
    own_assistant = {"assistant_id": ids["assistant_id"]}
    return {
        ("POST", "/assistants"): [{"graph_id": "steps", "if_exists": "do_nothing", **own_assistant}],
        ("POST", "/assistants/search"): [{}, {"metadata": {"note": SECRET}}, {"name": SECRET}, {"graph_id": "steps"}],
        ("POST", "/assistants/count"): [{"metadata": {"note": SECRET}}],
        ("GET", "/assistants/{assistant_id}"): [None],
        ("PATCH", "/assistants/{assistant_id}"): [{"name": "bob's"}],
        ("DELETE", "/assistants/{assistant_id}"): [None],
        ("GET", "/assistants/{assistant_id}/graph"): [None],
        ("GET", "/assistants/{assistant_id}/schemas"): [None],
        ("GET", "/assistants/{assistant_id}/subgraphs"): [None],
        ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}"): [None],
        ("POST", "/assistants/{assistant_id}/versions"): [{}],
        ("POST", "/assistants/{assistant_id}/latest"): [{"version": 1}],
        ("POST", "/threads"): [{"thread_id": ids["thread_id"], "if_exists": "do_nothing"}],
        ("POST", "/threads/search"): [
            *({}, {"ids": [ids["thread_id"]]}, {"metadata": {"note": SECRET}}, {"values": {"log": [SECRET]}}),
            *({"status": "interrupted"}, {"extract": {"x": "values.log[0]"}}),
        ],
        ("POST", "/threads/count"): [{}, {"metadata": {"owner": "ada"}}],
        ("POST", "/threads/prune"): [
            {"thread_ids": [ids["thread_id"]]},
            {"thread_ids": [ids["thread_id"]], "strategy": "keep_latest"},
        ],
        ("GET", "/threads/{thread_id}"): [None],
        ("PATCH", "/threads/{thread_id}"): [{"metadata": {"x": 1}}, {"ttl": {"ttl": 0}}],
        ("DELETE", "/threads/{thread_id}"): [None],
        ("POST", "/threads/{thread_id}/copy"): [None],
        ("GET", "/threads/{thread_id}/storage"): [None],
        ("GET", "/threads/{thread_id}/state"): [None],
        ("GET", "/threads/{thread_id}/state/{checkpoint_id}"): [None],
        ("POST", "/threads/{thread_id}/state"): [{"values": {"log": ["bob"]}, "as_node": "first"}],
        ("POST", "/threads/{thread_id}/state/checkpoint"): [place],
        ("GET", "/threads/{thread_id}/history"): [None],
        ("POST", "/threads/{thread_id}/history"): [{"limit": 10}],
        ("POST", "/threads/{thread_id}/commands"): [
            {"id": 1, "method": method, "params": params}
            for method, params in (
                ("run.start", {**run, "input": "taken"}),
                ("input.respond", {"interrupt_id": ids["interrupt_id"], "response": "taken"}),
                ("input.inject", {"namespace": [], "message": {"role": "user", "content": "taken"}}),
                ("state.get", {"namespace": []}),
                ("state.listCheckpoints", {}),
                ("state.fork", {"checkpoint_id": ids["checkpoint_id"]}),
                ("agent.getTree", {"run_id": ids["run_id"]}),
                ("subscription.reconnect", {"run_id": ids["run_id"]}),
            )
        ],
        ("POST", "/threads/{thread_id}/runs"): [run, {**run, "if_not_exists": "create"}],
        ("GET", "/threads/{thread_id}/runs"): [None],
        ("POST", "/threads/{thread_id}/runs/stream"): [run],
        ("POST", "/threads/{thread_id}/runs/wait"): [run, {**run, **own_assistant}],
        ("GET", "/threads/{thread_id}/runs/{run_id}"): [None],
        ("DELETE", "/threads/{thread_id}/runs/{run_id}"): [None],
        ("GET", "/threads/{thread_id}/runs/{run_id}/join"): [None],
        ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): [None],
        ("POST", "/threads/{thread_id}/runs/crons"): [cron],
        ("POST", "/runs"): [{**run, **own_assistant}],
        ("GET", "/runs/{run_id}"): [None],
        ("GET", "/runs/{run_id}/join"): [None],
        ("GET", "/runs/{run_id}/stream"): [None],
        ("POST", "/runs/crons"): [{**cron, **own_assistant}],
        ("POST", "/runs/crons/search"): [{}, {"metadata": {"note": SECRET}}],
        ("POST", "/runs/crons/count"): [{}],
        ("GET", "/runs/crons/{cron_id}"): [None],
        ("PATCH", "/runs/crons/{cron_id}"): [{"enabled": False}],
        ("DELETE", "/runs/crons/{cron_id}"): [None],
        ("GET", "/store/items"): ["namespace=notes&key=k", "namespace=ada.notes&key=k"],
        ("PUT", "/store/items"): [{**item, "value": {}}],
        ("DELETE", "/store/items"): [item, {**item, "namespace": ["ada", "notes"]}],
        ("POST", "/store/items/search"): [{"namespace_prefix": []}, {"namespace_prefix": ["ada"]}],
        ("POST", "/store/namespaces"): [{}, {"prefix": ["ada"]}],
    }


async def test_another_user_sees_and_changes_nothing(world):
    assembly, ids = world
    table = calls(ids)
    methods = {route.path: getattr(route, "methods", None) or () for route in routes(assembly.service)}
    served = {(method, path) for path, several in methods.items() for method in several if method != "HEAD"}
    untried = {each for each in served - table.keys() if each[1] not in OPEN | ENDLESS}
    assert untried == set()
    before = await told(assembly, ids)
    seen = []
    async with assembly.client(BOB) as bob:
        for (method, path), bodies in table.items():
            for body in bodies:
                where = path.format(**ids, namespace="x")
                if isinstance(body, str):
                    answer = await bob.request(method, f"{where}?{body}")
                else:
                    answer = await bob.request(method, where, json=body)
                assert answer.status_code < 500, (method, path, answer.text)
                done = answer.status_code < 300 and "{" in path
                if path.endswith("/commands"):
                    done = answer.json()["type"] == "success"
                if SECRET in answer.text or done:
                    seen.append((method, path, answer.status_code, answer.text[:80]))
    assert seen == []
    assert await told(assembly, ids) == before


async def test_events_of_another_users_thread_are_not_read(world):
    assembly, ids = world
    for caller, sees in ((ADA, True), (BOB, False)):
        assert bool(await assembly.threads.runs_after(caller, ids["thread_id"], 0)) is sees
    with pytest.raises(NotFoundError):
        await anext(assembly.runs.follow(BOB, ids["thread_id"]))


async def told(assembly: Assembly, ids: dict[str, str]) -> list[Any]:
    """What ada's things look like to her."""
    async with assembly.client(ADA) as ada:
        thread = f"/threads/{ids['thread_id']}"
        looks = [f"/assistants/{ids['assistant_id']}", thread, f"{thread}/state", f"{thread}/runs"]
        looks += [f"/runs/crons/{ids['cron_id']}", "/store/items?namespace=notes&key=k"]
        answers = [(await ada.get(path)).json() for path in looks]
        counts = [
            (await ada.post(f"/{kind}/count", json={})).json() for kind in ("assistants", "threads", "runs/crons")
        ]
    assert SECRET in str(answers)
    return [*answers, *counts]


async def test_the_owner_may_do_everything(world):
    assembly, ids = world
    async with assembly.client(ADA) as ada:
        found = (await ada.post("/threads/search", json={"values": {"log": [SECRET]}})).json()
        assert [each["thread_id"] for each in found] == [ids["thread_id"]]
        assert (await ada.post("/store/items/search", json={"namespace_prefix": []})).json()["items"][0]["key"] == "k"
        for path in (
            f"/runs/crons/{ids['cron_id']}",
            f"/threads/{ids['thread_id']}",
            f"/assistants/{ids['assistant_id']}",
        ):
            assert (await ada.delete(path)).status_code == 204


async def test_a_handler_that_refuses_is_heard_everywhere(world):
    assembly, ids = world
    asked = set()

    async def refuse(resource: str, action: str, value: dict[str, Any]) -> Any:
        asked.add((resource, action))
        raise RefusedError("No.")

    before = await told(assembly, ids)
    async with assembly.client(Caller("eve", {}, (), refuse)) as eve:
        for (method, path), bodies in calls(ids).items():
            for body in bodies:
                where = path.format(**ids, namespace="x")
                plain = isinstance(body, str)
                answer = await eve.request(method, f"{where}?{body}" if plain else where, json=None if plain else body)
                if path.endswith("/commands"):
                    assert answer.json()["error"] in ("permission_denied", "no_such_run"), body
                    continue
                assert answer.status_code == 403, (method, path, answer.status_code, answer.text[:100])
    assert await told(assembly, ids) == before
    kinds = ("create", "read", "update", "delete", "search")
    wanted = {(kind, action) for kind in ("assistants", "threads", "crons") for action in kinds}
    wanted |= {("store", action) for action in ("put", "get", "delete", "search", "list_namespaces")}
    assert wanted | {("threads", "create_run")} <= asked
