"""The runs that a process knows by their ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.run.recent_runs import RecentRuns

pytestmark = pytest.mark.anyio


@dataclass
class Known:
    """A run that goes on as long as the test says."""

    id: str
    running: bool = False
    reasons: list[str | None] = field(default_factory=list)

    def abort(self, reason: str | None = None) -> None:
        self.reasons.append(reason)


async def added(runs: RecentRuns, *known: Any) -> list[str]:
    for each in known:
        await runs.add(each)
    return [each.id for each in runs]


async def test_as_many_runs_are_kept_as_is_said_the_newest_of_those_that_ended() -> None:
    runs = RecentRuns(2)
    first, second, third = (Known(name) for name in "abc")
    assert await added(runs, first) == ["a"]
    assert await added(runs, second) == ["a", "b"]
    assert await added(runs, third) == ["b", "c"]
    assert runs.get("a") is None
    assert runs.get("b") is runs.known("b") is second
    with pytest.raises(LookupError, match="There is no run 'a' here"):
        runs.known("a")


async def test_a_run_that_is_added_again_is_the_newest() -> None:
    runs, again = RecentRuns(2), Known("a")
    assert await added(runs, Known("a"), Known("b"), again, Known("c")) == ["a", "c"]
    assert runs.get("a") is again


async def test_runs_that_go_on_are_kept_also_if_they_are_too_many() -> None:
    runs = RecentRuns(1)
    first, second = Known("a", running=True), Known("b", running=True)
    assert await added(runs, first, second, Known("c")) == ["a", "b", "c"]
    first.running = False
    assert await added(runs, Known("d")) == ["b", "d"]


async def test_a_run_is_kept_where_none_is_to_be_at_least_until_the_next_one() -> None:
    assert await added(RecentRuns(0), Known("a"), Known("b")) == ["b"]


async def test_an_id_is_free_as_soon_as_its_run_has_ended() -> None:
    runs, known = RecentRuns(3), Known("a", running=True)
    await added(runs, known)
    await runs.check("b")
    with pytest.raises(ConfigurationError, match="Run 'a' is still running"):
        await runs.check("a")
    known.running = False
    await runs.check("a")


async def test_a_run_that_goes_on_is_stopped_with_the_reason_and_one_that_ended_is_not() -> None:
    runs, known = RecentRuns(3), Known("a", running=True)
    await added(runs, known)
    assert await runs.is_running("a")
    assert await runs.cancel("a", "enough")
    assert await runs.cancel("a")
    known.running = False
    assert not await runs.is_running("a")
    assert not await runs.cancel("a", "too late")
    assert known.reasons == ["enough", None]
    for ask in (runs.is_running, runs.cancel):
        with pytest.raises(LookupError, match="no run 'b'"):
            await ask("b")
