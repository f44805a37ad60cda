"""Budgets in a database: reserved, settled, lost and found again, the same in SQLite and PostgreSQL."""

from __future__ import annotations

import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.errors import ConfigurationError
from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.budget.port import NOTHING, ONE_ACTION, Amounts, BudgetUnit, Reservation, Tree
from stategraph.governance.context import Budget
from stategraph.governance.errors import BudgetExceeded
from stategraph.workers.registry.databases import open_database
from tests.properties import examples


def tree(root: str = "root", tenant: str = "acme", **caps: Any) -> Tree:
    return Tree(root, tenant, Budget(**caps))


def state(ledger: SqlBudgetLedger, unit: str = "tokens", root: str = "root", tenant: str = "acme") -> tuple[Any, ...]:
    """Cap, reserved and spent of a unit."""
    found = ledger.usage_sync(tenant, root).units.get(BudgetUnit(unit))
    return (None, 0, 0) if found is None else (found.cap, found.reserved, found.spent)


def age(url: str, table: str, column: str, seconds: float) -> None:
    """Make rows older, as if time had passed."""
    database = open_database(url)
    with database.transaction() as session:
        session.change(f"UPDATE {table} SET {column} = {column} - {seconds}")
    database.close()


def test_what_a_call_took_replaces_what_was_reserved(ledger: SqlBudgetLedger) -> None:
    mine = tree(tokens=1000, usd=1.5, tool_calls=2)
    first = ledger.reserve_sync(mine, Amounts(tokens=600, usd=Decimal("0.25")), key="m1")
    assert state(ledger) == (1000, 600, 0)
    assert state(ledger, "usd") == (Decimal("1.5"), Decimal("0.25"), 0)
    ledger.settle_sync(first, Amounts(tokens=450, usd=Decimal("0.100000001")))
    ledger.settle_sync(first, Amounts(tokens=450))
    assert state(ledger) == (1000, 0, 450)
    assert state(ledger, "usd") == (Decimal("1.5"), 0, Decimal("0.100000001"))
    failed = ledger.reserve_sync(mine, Amounts(tokens=100), key="m2")
    ledger.settle_sync(failed, NOTHING)
    assert state(ledger) == (1000, 0, 450)


def test_a_call_begins_below_the_caps_and_never_at_one(ledger: SqlBudgetLedger) -> None:
    mine = tree(tokens=1000)
    held = [ledger.reserve_sync(mine, Amounts(tokens=400), key=f"m{n}") for n in range(3)]
    with pytest.raises(BudgetExceeded, match=r"tokens=1000: 0 was spent, and 1200 is reserved") as refused:
        ledger.reserve_sync(mine, Amounts(tokens=1), key="m3")
    assert refused.value.may_pass
    for each in held:
        ledger.settle_sync(each, Amounts(tokens=350))
    with pytest.raises(BudgetExceeded, match=r"1050 was spent\. Raise Budget\(tokens=") as refused:
        ledger.reserve_sync(mine, Amounts(tokens=1), key="m3")
    error = refused.value
    assert (error.unit, error.cap, error.spent, error.may_pass, error.reason) == (
        *("tokens", 1000, 1050, False),
        "budget_exceeded",
    )
    assert pickle.loads(pickle.dumps(error)).spent == 1050
    ledger.reserve_sync(mine, ONE_ACTION, key="tool")  # tools do not count towards tokens


def test_actions_are_never_more_than_their_cap(ledger: SqlBudgetLedger) -> None:
    mine = tree(tool_calls=5)
    done, refused = [], []

    def act(number: int) -> None:
        try:
            done.append(ledger.reserve_sync(mine, ONE_ACTION, key=f"c{number}"))
        except BudgetExceeded:
            refused.append(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(act, range(20)))
    assert (len(done), len(refused)) == (5, 15)


def test_a_call_that_begins_again_is_the_same_reservation(ledger: SqlBudgetLedger) -> None:
    mine = tree(tokens=1000)
    before = ledger.reserve_sync(mine, Amounts(tokens=900), key="m1")
    again = ledger.reserve_sync(mine, Amounts(tokens=950), key="m1")
    assert state(ledger) == (1000, 950, 0)
    ledger.settle_sync(before, Amounts(tokens=5))  # of the process that was lost
    assert state(ledger) == (1000, 950, 0)
    ledger.settle_sync(again, Amounts(tokens=10))
    assert state(ledger) == (1000, 0, 10)


def test_what_was_lost_with_its_process_counts_in_full_until_evidence_comes(ledger: SqlBudgetLedger, url: str) -> None:
    mine = tree(tokens=1000)
    lost = ledger.reserve_sync(mine, Amounts(tokens=999), key="m1")
    age(url, "sg_budget_hold", "expires_at", 301)
    other = ledger.reserve_sync(mine, Amounts(tokens=1), key="m2")
    assert state(ledger) == (1000, 1, 999)
    with pytest.raises(BudgetExceeded):
        ledger.reserve_sync(mine, Amounts(tokens=1), key="m3")
    ledger.settle_sync(lost, Amounts(tokens=100))  # it was alive after all
    ledger.settle_sync(lost, Amounts(tokens=100))
    assert state(ledger) == (1000, 1, 100)
    ledger.settle_sync(other, NOTHING)
    assert state(ledger) == (1000, 0, 100)


def test_what_lapses_stays_lapsed_where_the_call_that_finds_it_is_refused(ledger: SqlBudgetLedger, url: str) -> None:
    mine = tree(tokens=1000)
    ledger.reserve_sync(mine, Amounts(tokens=2000), key="m1")
    age(url, "sg_budget_hold", "expires_at", 301)
    with pytest.raises(BudgetExceeded) as refused:
        ledger.reserve_sync(mine, Amounts(tokens=1), key="m2")
    assert not refused.value.may_pass
    assert state(ledger) == (1000, 0, 2000)


def test_a_call_that_lapsed_and_begins_again_is_charged_for_both(ledger: SqlBudgetLedger, url: str) -> None:
    mine = tree(tokens=1000)
    lost = ledger.reserve_sync(mine, Amounts(tokens=300), key="m1")
    age(url, "sg_budget_hold", "expires_at", 301)
    again = ledger.reserve_sync(mine, Amounts(tokens=200), key="m1")
    ledger.settle_sync(again, Amounts(tokens=150))
    ledger.settle_sync(lost, Amounts(tokens=1))
    assert state(ledger) == (1000, 0, 450)


def test_time_runs_while_the_root_executes_and_until_a_lost_process_was_last_seen(
    ledger: SqlBudgetLedger, url: str
) -> None:
    mine = tree(wall_s=100)
    first = ledger.begin_sync(mine, "execution/1")
    age(url, "sg_budget_hold", "since", 40)
    ledger.end_sync(first)
    ledger.end_sync(first)
    assert 40 <= state(ledger, "wall_s")[2] < 70
    lost = ledger.begin_sync(mine, "execution/2")
    age(url, "sg_budget_hold", "since", 200)
    with pytest.raises(BudgetExceeded, match="wall_s=100"):
        ledger.reserve_sync(mine, Amounts(tokens=1), key="m1")
    ledger.beat_sync(lost)
    age(url, "sg_budget_hold", "since", -120)  # it began 80 seconds ago
    age(url, "sg_budget_hold", "expires_at", 65)  # and was last seen 65 seconds ago
    ledger.reserve_sync(mine, Amounts(tokens=1), key="m1")
    assert 50 <= state(ledger, "wall_s")[2] < 80
    ledger.end_sync(lost)  # it was alive after all
    assert 120 <= state(ledger, "wall_s")[2] < 180


def test_time_of_one_run_runs_once_and_goes_on_in_the_process_that_takes_it_over(
    ledger: SqlBudgetLedger, url: str
) -> None:
    mine = tree(wall_s=100)
    host, worker = ledger.begin_sync(mine, "execution/r"), ledger.begin_sync(mine, "execution/r")
    age(url, "sg_budget_hold", "since", 40)
    ledger.end_sync(worker)
    ledger.end_sync(host)
    assert 40 <= state(ledger, "wall_s")[2] < 70
    ledger.begin_sync(mine, "execution/r")
    age(url, "sg_budget_hold", "since", 1000)
    age(url, "sg_budget_hold", "expires_at", 1000)  # it was lost at once
    ledger.end_sync(ledger.begin_sync(mine, "execution/r"))
    assert 40 <= state(ledger, "wall_s")[2] < 100


def test_a_raised_cap_stays_raised_and_is_never_lowered(ledger: SqlBudgetLedger) -> None:
    mine = tree(tokens=10)
    ledger.settle_sync(ledger.reserve_sync(mine, Amounts(tokens=9), key="m1"), Amounts(tokens=20))
    with pytest.raises(BudgetExceeded):
        ledger.reserve_sync(mine, Amounts(tokens=1), key="m2")
    ledger.raise_sync(mine, BudgetUnit.TOKENS, 50)
    ledger.raise_sync(mine, BudgetUnit.TOKENS, 30)
    ledger.reserve_sync(tree(tokens=10), Amounts(tokens=1), key="m2")
    assert state(ledger) == (50, 1, 20)


def test_trees_and_tenants_are_apart(ledger: SqlBudgetLedger) -> None:
    ledger.reserve_sync(tree(tokens=5), Amounts(tokens=5), key="m")
    ledger.reserve_sync(tree("other", tokens=5), Amounts(tokens=5), key="m")
    ledger.reserve_sync(tree(tenant="globex", tokens=5), Amounts(tokens=5), key="m")
    assert state(ledger, tenant="globex") == (5, 5, 0)
    ledger.erase_sync("globex", "root")
    assert state(ledger, tenant="globex") == (None, 0, 0)
    assert state(ledger) == (5, 5, 0)


def test_old_trees_are_pruned(ledger: SqlBudgetLedger, url: str) -> None:
    ledger.reserve_sync(tree("old", tokens=5), Amounts(tokens=5), key="m")
    age(url, "sg_budget", "touched_at", 1000)
    ledger.reserve_sync(tree("new", tokens=5), Amounts(tokens=5), key="m")
    assert ledger.prune_sync("acme", 500) == 1
    assert state(ledger, root="old") == (None, 0, 0)
    assert state(ledger, root="new") == (5, 5, 0)


def test_later_settlements_are_stored_in_order_and_before_it_closes(url: str) -> None:
    ledger = SqlBudgetLedger.from_url(url)
    mine = tree(tokens=100)
    held = [ledger.reserve_sync(mine, Amounts(tokens=10), key=f"m{n}") for n in range(5)]
    for each in held:
        ledger.settle_later(each, Amounts(tokens=7))
    ledger.flush_sync()
    assert state(ledger) == (100, 0, 35)
    ledger.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "fail", "again"]),
        st.integers(0, 5),
        st.integers(1, 400),
        st.integers(0, 500),
    ),
    max_size=40,
)


@given(STEPS)
@examples(40)
def test_the_ledger_agrees_with_sums_by_hand(steps: list[tuple[str, int, int, int]]) -> None:
    ledger = SqlBudgetLedger(open_database("sqlite:///:memory:"))
    mine = tree(tokens=1000)
    held: dict[int, tuple[Reservation, int]] = {}
    spent = last = 0
    for word, key, most, took in steps:
        if word in ("settle", "fail"):
            if key in held:
                reservation, _ = held.pop(key)
                taken = min(took, most) if word == "settle" else 0
                ledger.settle_sync(reservation, Amounts(tokens=taken))
                spent += taken
            continue
        others = sum(amount for name, (_, amount) in held.items() if name != key)
        try:
            held[key] = ledger.reserve_sync(mine, Amounts(tokens=most), key=str(key)), most
        except BudgetExceeded:
            assert spent + others >= 1000
        else:
            assert spent + others < 1000
            last = max(last, most)
        reserved = sum(amount for _, amount in held.values())
        assert state(ledger) == (1000, reserved, spent)
    ledger.close()


def test_threads_beside_each_other_never_pass_the_cap_by_more_than_one_reservation(tmp_path: Path) -> None:
    ledger = SqlBudgetLedger.from_url(f"sqlite:///{tmp_path / 'budgets.db'}")
    mine, most, over = tree(tokens=1000), 90, []
    chance, lock = random.Random(7), threading.Lock()

    def work(name: int) -> None:
        for number in range(6):
            try:
                held = ledger.reserve_sync(mine, Amounts(tokens=most), key=f"{name}/{number}")
            except BudgetExceeded:
                continue
            cap, reserved, spent = state(ledger)
            with lock:
                over.append(reserved + spent - cap)
                took = chance.randint(0, most)
            ledger.settle_sync(held, Amounts(tokens=took))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert over
    assert max(over) < most
    ledger.close()


NO_AMOUNTS: list[Any] = [-1, True, float("nan"), float("inf"), Decimal("NaN"), 10**18 + 1, 10**5000, "9", None]


@pytest.mark.parametrize("cap", NO_AMOUNTS, ids=list("abcdefghi"))
def test_a_cap_that_is_no_amount_is_refused_and_changes_nothing(ledger: SqlBudgetLedger, cap: Any) -> None:
    mine = tree(tokens=10)
    for unit, most in (("tokens", 10**18), ("usd", 10**9), ("wall_s", 10**15)):
        with pytest.raises(ConfigurationError, match=f"The raised cap of {unit} is .*; it must be .* from 0 to {most}"):
            ledger.raise_sync(mine, BudgetUnit(unit), cap)
    with pytest.raises(ConfigurationError, match=r"The raised cap of tokens is 1\.5; it must be a whole number"):
        ledger.raise_sync(mine, BudgetUnit.TOKENS, 1.5)
    ledger.raise_sync(mine, BudgetUnit.TOKENS, 10**18)
    assert state(ledger)[0] == 10**18


@pytest.mark.parametrize("amount", NO_AMOUNTS[:-1], ids=list("abcdefgh"))
def test_amounts_of_calls_are_numbers_that_can_be_stored(amount: Any) -> None:
    for unit in ("tokens", "usd", "tool_calls"):
        with pytest.raises(ConfigurationError, match=f"Amounts: {unit} is "):
            Amounts(**{unit: amount})


def test_what_a_provider_reports_is_stored_as_far_as_it_can_be(ledger: SqlBudgetLedger) -> None:
    mine = tree(tokens=100)
    held = [ledger.reserve_sync(mine, Amounts(tokens=1), key=f"m{number}") for number in range(12)]
    for each in held:
        ledger.settle_sync(each, Amounts.reported(10**40, Decimal(-1)))
    assert state(ledger) == (100, 0, 9 * 10**18)
    with pytest.raises(BudgetExceeded):
        ledger.reserve_sync(mine, Amounts(tokens=1), key="next")


@pytest.mark.parametrize("older_than_s", [*NO_AMOUNTS[:5], 10**16, 10**5000], ids=list("abcdefg"))
def test_an_age_that_is_none_prunes_nothing(ledger: SqlBudgetLedger, older_than_s: Any) -> None:
    ledger.settle_sync(ledger.reserve_sync(tree(tokens=10), Amounts(tokens=1), key="m"), Amounts(tokens=1))
    with pytest.raises(ConfigurationError, match=r"older_than_s is .*; it must be a number from 0 to"):
        ledger.prune_sync("acme", older_than_s)
    assert ledger.prune_sync("acme", 10**15) == 0
    assert state(ledger) == (10, 0, 1)


@pytest.mark.parametrize(("name", "value"), [("wait_s", -1), ("holds_s", float("nan")), ("assumed_tokens", 1.5)])
def test_settings_that_make_no_sense_are_refused(ledger: SqlBudgetLedger, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"RunBudget: {name} is "):
        RunBudget(ledger, **{name: value})
