"""The table of states, the budget of restarts, permissions, and what is declared."""

from __future__ import annotations

import pytest

from stategraph.errors import ConfigurationError
from stategraph.resources.plugins import permissions
from stategraph.resources.plugins.discovery import permits, target_of
from stategraph.resources.plugins.errors import PluginPermissionError
from stategraph.resources.plugins.lifecycle import (
    MOVES,
    Happening,
    IllegalPluginMove,
    PluginState,
    RestartBudget,
    moved,
)
from stategraph.resources.plugins.serving import matches
from stategraph.resources.plugins.spec import PluginLimits, PluginSpec
from stategraph.resources.plugins.statistics import TokenBucket


def test_a_plugin_comes_to_each_state_and_none_is_a_dead_end_but_stopped_ones_can_start() -> None:
    reached = {PluginState.REGISTERED}
    for _ in PluginState:
        reached |= {after for (before, _), after in MOVES.items() if before in reached}
    assert reached == set(PluginState)
    assert moved(PluginState.STOPPED, Happening.START) is PluginState.STARTING


def test_an_impossible_move_is_an_error_that_names_the_possible_ones() -> None:
    with pytest.raises(IllegalPluginMove, match=r"Stopped cannot be told 'well'; possible: start$"):
        moved(PluginState.STOPPED, Happening.WELL)


def test_five_restarts_in_ten_minutes_wait_ever_longer_and_the_sixth_is_refused() -> None:
    budget = RestartBudget()
    assert [budget.take(now) for now in range(5)] == [0.5, 1, 2, 4, 8]
    assert budget.take(599.0) is None
    assert budget.take(600.0) == 8  # the first one is forgotten
    budget.reset()
    assert budget.take(601.0) == 0.5


def test_no_pause_before_a_restart_is_longer_than_the_longest() -> None:
    budget = RestartBudget(most=20, longest_s=3)
    assert [budget.take(0) for _ in range(5)] == [0.5, 1, 2, 3, 3]


@pytest.mark.parametrize("trust", permissions.TRUST_LEVELS)
def test_each_level_permits_what_the_one_below_permits(trust: permissions.Trust) -> None:
    index = permissions.TRUST_LEVELS.index(trust)
    for lower in permissions.TRUST_LEVELS[:index]:
        assert permissions.CEILINGS[lower] <= permissions.CEILINGS[trust]


@pytest.mark.parametrize(
    ("trust", "granted", "told"),
    [
        ("public", "hooks", "does not permit 'hooks'; it takes at least 'trusted'"),
        ("public", "environment:KEY", "it takes at least 'verified'"),
        ("verified", "hooks", "it takes at least 'trusted'"),
    ],
)
def test_a_level_does_not_permit_more_than_it_says(trust: permissions.Trust, granted: str, told: str) -> None:
    with pytest.raises(PluginPermissionError, match=told):
        PluginSpec("p", module="m:P", trust=trust, permissions=frozenset((granted,)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"module": None}, "expected one of 'package' and 'module'"),
        ({"package": "p"}, "expected one of 'package' and 'module'"),
        ({"trust": "root"}, "'root'; expected one of public, verified, trusted, internal"),
        ({"health_s": 0}, "'health_s' is 0; expected more than 0"),
        ({"permissions": frozenset(("fly",))}, "no permission 'fly'"),
        ({"permissions": frozenset(("files:read:here",))}, "must be absolute"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        PluginSpec("p", **{"module": "m:P", **changes})  # type: ignore[arg-type]


def test_isolation_may_be_stricter_than_the_trust_level_and_never_weaker() -> None:
    assert PluginSpec("p", module="m:P", trust="internal", isolation="sandbox").runs_in == "sandbox"
    assert PluginSpec("p", module="m:P").runs_in == "sandbox"
    with pytest.raises(PluginPermissionError, match="asks for the isolation 'process', but the trust level 'public'"):
        PluginSpec("p", module="m:P", isolation="process")


@pytest.mark.parametrize("value", [0, -1, True, "1"])
def test_a_limit_is_a_number_above_0(value: object) -> None:
    with pytest.raises(ConfigurationError, match="'memory_mb'"):
        PluginLimits(memory_mb=value)  # type: ignore[arg-type]


def test_a_configuration_is_not_shown() -> None:
    spec = PluginSpec("p", module="m:P", config={"token": "abc123"}, secrets=("abc123",))
    assert "abc123" not in repr(spec)


@pytest.mark.parametrize(
    ("module", "allowed"), [("app", True), ("app.x.y", True), ("application", False), ("os", False), ("", False)]
)
def test_a_prefix_allows_a_package_and_what_is_in_it(module: str, allowed: bool) -> None:
    assert permits(("app.",), module) is permits(("app",), module) is allowed
    assert not permits(("", "."), module)


def test_code_is_named_by_what_is_allowed_or_installed() -> None:
    spec = PluginSpec("p", module="os.path:join", trust="verified")
    with pytest.raises(PluginPermissionError, match=r"'os\.path' may not be imported here; allowed: app\."):
        target_of(spec, ("app.",))
    with pytest.raises(ConfigurationError, match=r"no installed distribution has the entry point 'nobody'"):
        target_of(PluginSpec("p", package="nobody"), ())


@pytest.mark.parametrize(
    ("pattern", "topic", "found"),
    [
        ("agent.reconciled", "agent.reconciled", True),
        ("agent.*", "agent.reconciled", True),
        ("*", "agent.reconciled", False),
        ("*.reconciled", "agent.reconciled", True),
        ("agent.*", "tool.reconciled", False),
    ],
)
def test_a_star_stands_for_one_part_of_a_topic(pattern: str, topic: str, found: bool) -> None:
    assert matches(pattern, topic) is found


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2, most=3)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1) for _ in range(3)] == [True, True, False]
