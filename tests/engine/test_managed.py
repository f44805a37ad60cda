"""Values that the engine knows when a task starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, get_args

import pytest

from stategraph.engine.compile.managed import IsLastStep, ManagedValue, RemainingSteps, is_managed_value
from stategraph.engine.config.scratchpad import PregelScratchpad, new_counter


def scratchpad(step: int, stop: int) -> PregelScratchpad:
    return PregelScratchpad(
        step=step,
        stop=stop,
        call_counter=new_counter(),
        interrupt_counter=new_counter(),
        get_null_resume=lambda consume: None,
        resume=[],
        subgraph_counter=new_counter(),
    )


@pytest.mark.parametrize(("step", "remaining", "is_last"), [(1, 3, False), (2, 2, False), (3, 1, True), (4, 0, False)])
def test_a_node_can_see_how_many_steps_are_left(step: int, remaining: int, is_last: bool) -> None:
    (_, count), (_, last) = get_args(RemainingSteps), get_args(IsLastStep)
    assert count.get(scratchpad(step, 4)) == remaining
    assert last.get(scratchpad(step, 4)) is is_last


def test_only_subclasses_count_as_managed_values() -> None:
    class Step(ManagedValue[int]):
        @staticmethod
        def get(scratchpad: PregelScratchpad) -> int:
            return scratchpad.step

    assert is_managed_value(Step)
    for other in (int, Step(), Annotated[int, Step], None):
        assert not is_managed_value(other)


def test_a_counter_gives_each_number_once_whichever_thread_asks() -> None:
    tick = new_counter()
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda _: tick(), range(2000)))
    assert sorted(numbers) == list(range(2000))
    assert new_counter()() == 0
