"""Effects: they happen once, or somebody is asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypedDict

import anyio
import pytest
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, StateGraph
from stategraph.agent.mcp import McpSessions, call_meta
from stategraph.errors import ConfigurationError, InvalidAnswerError
from stategraph.graph.func import entrypoint, task
from stategraph.workers.leases import LeaseLost
from stategraph.workers.ledger import book, effects, machine
from stategraph.workers.ledger.effects import (
    EffectFailed,
    EffectLedger,
    EffectRecord,
    Found,
    InDoubt,
    NotFound,
    OnDoubt,
    current_effect,
    effect,
)
from stategraph.workers.ledger.machine import Claimant, EffectKeyReused, EffectState
from stategraph.workers.ledger.tools import EffectTool, effect_tool
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Claimed, Submission
from tests.agent.mcp.conftest import program

LEASE_S = 600.0


@dataclass
class Receipt:
    order: str
    cents: int


class Bank:
    """A destination, whose calls end the way they are told to."""

    def __init__(self) -> None:
        self.charged: list[str] = []
        self.fails: list[BaseException] = []
        self.ids: list[str] = []

    def charge(self, order: str, cents: int) -> Receipt:
        call = current_effect()
        assert call is not None
        self.ids.append(call.idempotency_id)
        if self.fails:
            raise self.fails.pop(0)
        self.charged.append(order)
        return Receipt(order, cents)


class World:
    """A registry with a ledger, a bank, and a function that charges once, called as sync or async code does."""

    def __init__(self, url: str, is_async: bool) -> None:
        self.registry = RunRegistry.from_url(url)
        self.registry.operations.set_up()
        self.ledger = EffectLedger(self.registry)
        self.bank = Bank()
        self.is_async = is_async

    def charging(self, on_doubt: OnDoubt = "raise", **options: Any) -> Callable[..., Any]:
        bank, decorate = self.bank, effect(key=lambda a: f"charge:{a.order}", on_doubt=on_doubt, **options)

        @decorate
        def charge(order: str, cents: int = 100) -> Receipt:
            return bank.charge(order, cents)

        @decorate
        async def acharge(order: str, cents: int = 100) -> Receipt:
            await asyncio.sleep(0)
            return bank.charge(order, cents)

        if not self.is_async:
            return charge
        return lambda *args, **kwargs: asyncio.run(acharge(*args, **kwargs))

    def claim(self, thread: str = "t", tenant: str = "") -> Claimed:
        store = self.registry.operations
        store.submit(Submission(thread, "app:graph", tenant=tenant), "enqueue")
        found = store.claim("a", "default", LEASE_S)
        assert found is not None
        return found

    def take_over(self) -> Claimed:
        with self.registry.operations.database.transaction() as session:
            session.change("UPDATE sg_run SET lease_until = 0 WHERE status = 'running'")
        found = self.registry.operations.claim("b", "default", LEASE_S)
        assert found is not None
        return found

    def die_in_call(self, claimed: Claimed, order: str = "o1", *, charged: bool) -> Claimed:
        """Have an attempt claim the effect and die, before or after the bank did it; return the next attempt."""
        with self.ledger.of_run(claimed):
            self.bank.fails = [SystemExit()]
            with pytest.raises(SystemExit):
                self.charging()(order)
        # A process that is gone says nothing about its call.
        row = self.state(order)
        assert row is EffectState.IN_DOUBT
        with self.registry.operations.database.transaction() as session:
            session.change("UPDATE sg_effect SET state = 'claimed', error = NULL")
        if charged:
            self.bank.charged.append(order)
        return self.take_over()

    def state(self, order: str = "o1", scope: str = "") -> EffectState | None:
        row = self.ledger.book.read(scope, f"charge:{order}")
        return None if row is None else row.state


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def world(request: pytest.FixtureRequest, url: str) -> Iterator[World]:
    made = World(url, request.param)
    yield made
    made.registry.operations.database.close()


def test_a_call_is_made_once_and_later_calls_get_its_result(world: World) -> None:
    charge = world.charging()
    first = world.claim()
    with world.ledger.of_run(first):
        assert charge("o1", cents=5) == charge("o1", 5) == Receipt("o1", 5)
    with world.ledger.of_run(world.take_over()):
        assert charge("o1", 5) == Receipt("o1", 5)
        assert charge("o2", 5) == Receipt("o2", 5)
    assert world.bank.charged == ["o1", "o2"]


def test_a_call_whose_attempt_is_gone_is_in_doubt_and_not_repeated(world: World) -> None:
    second = world.die_in_call(world.claim(), charged=True)
    with world.ledger.of_run(second), pytest.raises(InDoubt, match="the attempt that called it is gone"):
        world.charging()("o1")
    assert world.bank.charged == ["o1"]
    assert [row.key for row in world.ledger.book.doubtful()] == ["charge:o1"]


@pytest.mark.parametrize("charged", [True, False])
def test_the_destination_decides_about_a_doubt(world: World, charged: bool) -> None:
    asked: list[EffectRecord] = []

    def ask(record: EffectRecord) -> Found | NotFound:
        asked.append(record)
        return Found(Receipt("o1", 100)) if "o1" in world.bank.charged else NotFound()

    second = world.die_in_call(world.claim(), charged=charged)
    with world.ledger.of_run(second):
        assert world.charging(ask)("o1") == Receipt("o1", 100)
        assert world.charging(ask)("o1") == Receipt("o1", 100)
    assert world.bank.charged == ["o1"]
    assert [record.arguments for record in asked] == [{"order": "o1", "cents": 100}]
    # All attempts gave the destination one id.
    assert len(set(world.bank.ids)) == 1
    assert asked[0].idempotency_id == world.bank.ids[0]


def test_an_error_that_says_nothing_is_a_doubt_that_is_resolved_at_once(world: World) -> None:
    answers: list[Found | NotFound] = [NotFound(), Found("by hand")]
    world.bank.fails = [ConnectionError("reset"), ConnectionError("reset")]
    with world.ledger.of_run(world.claim()):
        assert world.charging(lambda record: answers.pop(0))("o1") == "by hand"
    assert world.bank.charged == []


def test_an_error_without_anybody_to_ask_is_raised_and_stays_a_doubt(world: World) -> None:
    world.bank.fails = [ConnectionError("reset")]
    charge = world.charging()
    with world.ledger.of_run(world.claim()):
        with pytest.raises(ConnectionError):
            charge("o1")
        with pytest.raises(InDoubt, match="ConnectionError: reset"):
            charge("o1")
    assert world.bank.charged == []


def test_a_call_is_not_made_for_ever_however_often_the_destination_has_not_done_it(world: World) -> None:
    world.bank.fails = [ConnectionError(str(number)) for number in range(9)]
    with world.ledger.of_run(world.claim()), pytest.raises(ConnectionError, match="2"):
        world.charging(lambda record: NotFound())("o1")
    assert len(world.bank.ids) == 3


def test_what_was_refused_stays_refused_and_what_was_not_sent_is_tried_again(world: World) -> None:
    charge = world.charging(refused=(PermissionError,), not_sent=(ConnectionRefusedError,))
    world.bank.fails = [ConnectionRefusedError(), EffectFailed("busy", retryable=True), PermissionError("card stolen")]
    with world.ledger.of_run(world.claim()):
        for kind in (ConnectionRefusedError, EffectFailed, PermissionError):
            with pytest.raises(kind):
                charge("o1")
        with pytest.raises(EffectFailed, match="PermissionError: card stolen"):
            charge("o1")
    assert world.bank.charged == []
    assert len(world.bank.ids) == 3


def test_one_key_is_one_effect(world: World) -> None:
    charge = world.charging()
    with world.ledger.of_run(world.claim()):
        charge("o1", 5)
        with pytest.raises(EffectKeyReused, match="'charge:o1' was committed with other arguments"):
            charge("o1", 6)
    assert world.bank.charged == ["o1"]


def test_tenants_do_not_share_keys(world: World) -> None:
    charge = world.charging()
    for tenant in ("acme", "umbrella"):
        with world.ledger.of_run(world.claim(tenant, tenant)):
            charge("o1")
    assert world.bank.charged == ["o1", "o1"]
    assert world.state("o1", "acme") is world.state("o1", "umbrella") is EffectState.COMMITTED


def test_an_attempt_that_lost_its_run_dispatches_nothing(world: World) -> None:
    old = world.claim()
    world.take_over()
    with world.ledger.of_run(old), pytest.raises(LeaseLost):
        world.charging()("o1")
    assert world.bank.charged == []


def test_a_run_is_claimed_by_no_other_while_it_makes_a_call_although_its_lease_had_run_out(world: World) -> None:
    claimed = world.claim()
    taken: list[Claimed | None] = []
    charge = world.bank.charge

    def watched(order: str, cents: int) -> Receipt:
        taken.append(world.registry.operations.claim("b", "default", LEASE_S))
        return charge(order, cents)

    world.bank.charge = watched  # type: ignore[method-assign]
    with world.registry.operations.database.transaction() as session:
        session.change("UPDATE sg_run SET lease_until = 0 WHERE status = 'running'")
    with world.ledger.of_run(claimed):
        world.charging()("o1")
    assert taken == [None]
    assert world.bank.charged == ["o1"]


@pytest.mark.parametrize("taken", [True, False])
def test_an_attempt_that_is_stopped_before_its_call_looks_first_whether_the_run_is_still_its_own(
    world: World, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, claimed = world.ledger.book, world.claim()
    claim = book.claim

    def stopped_after(*args: Any) -> machine.Decision:
        decision = claim(*args)
        with world.registry.operations.database.transaction() as session:
            session.change("UPDATE sg_run SET lease_until = 0 WHERE status = 'running'")
        if taken:
            world.take_over()
        now = time.monotonic()
        monkeypatch.setattr(effects.time, "monotonic", lambda: now + LEASE_S)  # type: ignore[attr-defined]
        return decision

    monkeypatch.setattr(book, "claim", stopped_after)
    with world.ledger.of_run(claimed):
        if taken:
            with pytest.raises(LeaseLost):
                world.charging()("o1")
        else:
            world.charging()("o1")
            assert world.registry.operations.claim("b", "default", LEASE_S) is None
    assert world.bank.charged == ([] if taken else ["o1"])


def test_calls_at_the_same_time_are_one_call(world: World) -> None:
    runs = [world.claim(f"t{number}") for number in range(4)]
    gate = threading.Barrier(4)
    slow = threading.Event()

    @effect(key="once", on_doubt="raise")
    def charge() -> int:
        slow.wait(0.2)
        world.bank.charged.append("once")
        return len(world.bank.charged)

    def call(claimed: Claimed) -> int:
        gate.wait(10)
        with world.ledger.of_run(claimed):
            return charge()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, runs)) == [1, 1, 1, 1]
    assert world.bank.charged == ["once"]


def test_the_destinations_own_name_reaches_whoever_reconciles(world: World) -> None:
    seen: list[EffectRecord] = []

    @effect(key="k", on_doubt=lambda record: seen.append(record) or Found(1))
    def charge() -> int:
        call = current_effect()
        assert call is not None
        call.note("pi_1")
        raise ConnectionError

    with world.ledger.active():
        assert charge() == 1
    assert [record.external_ref for record in seen] == ["pi_1"]
    assert current_effect() is None


def test_results_that_cannot_be_stored_are_an_error_and_not_a_second_call(world: World) -> None:
    @effect(key="k", on_doubt="raise")
    def make() -> Any:
        world.bank.charged.append("k")
        return threading.Lock()

    with world.ledger.active():
        with pytest.raises(TypeError, match="The effect 'k' has happened, and its result, a lock, cannot be stored"):
            make()
        with pytest.raises(InDoubt, match="its result, a lock, cannot be stored"):
            make()
    assert world.bank.charged == ["k"]


def test_old_effects_are_forgotten_and_doubts_are_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_FORGOTTEN_AT_ONCE", 2)
    charge = world.charging()
    with world.ledger.of_run(world.claim()):
        for name in ("o1", "a", "Z", "\u00e9", "o3"):
            charge(name)
        world.bank.fails = [ConnectionError()]
        with pytest.raises(ConnectionError):
            charge("o2")
    assert world.ledger.book.forget(3_600) == 0
    time.sleep(0.01)  # so that the effects are older than now by the clock of each database
    assert world.ledger.book.forget(0) == 5
    assert (world.state("o1"), world.state("o2")) == (None, EffectState.IN_DOUBT)


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_is_in_doubt(url: str) -> None:
    registry = RunRegistry.from_url(url)
    ledger, inside = EffectLedger(registry), anyio.Event()

    @effect(key="k", on_doubt="raise")
    async def charge() -> None:
        inside.set()
        await anyio.sleep_forever()

    with ledger.active():
        async with anyio.create_task_group() as group:
            group.start_soon(charge)
            await inside.wait()
            group.cancel_scope.cancel()
        with pytest.raises(InDoubt):
            await charge()
    await registry.aclose()


# Where effects stand in programs.


class State(TypedDict, total=False):
    order: str
    paid: Any


@pytest.fixture
def ledger(tmp_path: Any) -> Iterator[EffectLedger]:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}")
    registry.operations.set_up()
    yield EffectLedger(registry)
    registry.operations.database.close()


CONFIG: Any = {"configurable": {"thread_id": "t"}}


def test_a_person_is_asked_about_a_doubt_by_an_interrupt(ledger: EffectLedger) -> None:
    calls: list[str] = []

    @effect(key=lambda a: f"charge:{a.state['order']}")
    def pay(state: State) -> State:
        calls.append(state["order"])
        raise TimeoutError("no answer")

    builder = StateGraph(State)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    graph = builder.compile(checkpointer=InMemorySaver())
    with ledger.active():
        graph.invoke({"order": "o1"}, CONFIG)
        (asked,) = graph.get_state(CONFIG).interrupts
        assert asked.value["type"] == "effect_in_doubt"
        assert asked.value["key"] == "charge:o1"
        assert asked.value["args_preview"] == {"state": "{'order': 'o1'}"}
        with pytest.raises(InvalidAnswerError, match=r"expected \{'happened': True, "):
            graph.invoke(Command(resume="maybe"), CONFIG)
        done = graph.invoke(Command(resume={"happened": True, "result": {"paid": "by hand"}}), CONFIG)
    assert done == {"order": "o1", "paid": "by hand"}
    assert calls == ["o1"]


def test_tasks_and_tools_have_effects(ledger: EffectLedger) -> None:
    calls: list[str] = []

    @tool
    @effect(key=lambda a: f"mail:{a.to}")
    def send_mail(to: str) -> str:
        """Send a mail."""
        calls.append(to)
        return f"sent to {to}"

    @task
    @effect(key=lambda a: f"task:{a.to}")
    def remind(to: str) -> str:
        calls.append(f"remind {to}")
        return send_mail.invoke({"to": to})

    @entrypoint()
    def flow(to: str) -> list[str]:
        return [remind(to).result(), remind(to).result()]

    with ledger.active():
        assert flow.invoke("ada") == ["sent to ada", "sent to ada"]
        assert send_mail.invoke({"to": "ada"}) == "sent to ada"
    assert calls == ["remind ada", "ada"]


def test_tools_that_are_there_get_effects(ledger: EffectLedger) -> None:
    calls: list[Any] = []

    def post(text: str) -> str:
        """Post."""
        calls.append((text, call_meta.current.get()))
        return f"posted {text}"

    class Remote(EffectTool):
        def _run(self, /, **arguments: Any) -> Any:
            return post(**arguments), {"kept": True}

    for made in (
        StructuredTool.from_function(post),
        Remote(name="post", description="Post.", args_schema={"type": "object", "properties": {"text": {}}}),
    ):
        once = effect_tool(made, key=lambda a: f"{type(made).__name__}:{a.text}")
        assert (once.name, once.description) == (made.name, made.description)
        with ledger.active():
            assert once.invoke({"text": "x"}) == once.invoke({"text": "x"})
        with pytest.raises(ConfigurationError, match="was called without a ledger"):
            once.invoke({"text": "x"})
    assert [text for text, _ in calls] == ["x", "x"]
    assert [sorted(meta) for _, meta in calls] == [["stategraph/effect-key", "stategraph/idempotency-key"]] * 2
    assert call_meta.current.get() is None


@pytest.mark.anyio
@pytest.mark.parametrize("old", [(), ("2025",)], ids=["new protocol", "old protocol"])
async def test_a_server_of_mcp_is_told_the_key_and_the_id(ledger: EffectLedger, old: tuple[str, ...]) -> None:
    async with McpSessions({"post": program(*old)}) as sessions:
        (along,) = [each for each in await sessions.tools() if each.name == "along"]
        once = effect_tool(along, key="mail:1", on_doubt="raise")
        with ledger.active():
            first = await once.ainvoke({"type": "tool_call", "id": "c1", "name": "along", "args": {}})
            again = await once.ainvoke({"type": "tool_call", "id": "c2", "name": "along", "args": {}})
        alone = await along.ainvoke({})
    said = dict(pair.split("=") for pair in str(first.text).split())
    assert said["stategraph/effect-key"] == "mail:1"
    assert len(said["stategraph/idempotency-key"]) == 32
    assert again.content == first.content
    assert "stategraph/" not in str(alone)


def test_mistakes_are_told_when_an_effect_is_made() -> None:
    with pytest.raises(ConfigurationError, match="expected 'interrupt', 'raise' or a function that reconciles"):
        effect(key="k", on_doubt="retry")  # type: ignore[arg-type]

    async def ask(record: EffectRecord) -> Found:
        return Found()

    with pytest.raises(ConfigurationError, match="is not async, so its on_doubt cannot be"):
        effect(key="k", on_doubt=ask)(lambda: None)
    with pytest.raises(ConfigurationError, match="goes on a function, and got a StructuredTool: write it below @tool"):
        effect(key="k")(StructuredTool.from_function(lambda: None, name="x", description="x"))


def test_a_key_that_is_no_text_is_a_mistake(ledger: EffectLedger) -> None:
    with ledger.active(), pytest.raises(ConfigurationError, match="is 5; expected text that is not empty"):
        effect(key=lambda a: 5)(lambda: None)()  # type: ignore[arg-type, return-value]


def test_an_answer_that_is_neither_is_a_mistake(ledger: EffectLedger) -> None:
    with ledger.active():
        ledger.book.claim("", "k", _hash_of_nothing(ledger), Claimant("gone", 7), None)
        with pytest.raises(TypeError, match=r"returned 'yes'; expected Found\(...\) or NotFound\(\)"):
            effect(key="k", on_doubt=lambda record: "yes")(lambda: None)()  # type: ignore[arg-type, return-value]


def _hash_of_nothing(ledger: EffectLedger) -> str:
    with ledger.active():
        effect(key="other", on_doubt="raise")(lambda: None)()
    row = ledger.book.read("", "other")
    assert row is not None
    assert row.state is EffectState.COMMITTED
    assert machine.Claim("", "k", row.args_hash, row.claimant).args_hash == row.args_hash
    return row.args_hash
