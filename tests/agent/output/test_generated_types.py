"""Generated output types: the short form of `make typed-output`."""

from __future__ import annotations

import pytest

from tests.agent.output import generated, typed_answers
from tests.agent.output.typed_answers import BEHAVIOURS, MODES, Behaviour, Mode

SEED = 20
COUNT = 15


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("mode", MODES)
def test_generated_types_come_out_as_what_was_meant(mode: Mode, behaviour: Behaviour) -> None:
    for number in range(COUNT):
        typed_answers.check(generated.case(SEED, number), mode, behaviour, SEED)


def test_the_generator_makes_types_of_each_flavour_and_unions() -> None:
    cases = [generated.case(SEED, number) for number in range(COUNT)]
    assert sum(len(each.members) > 1 for each in cases) >= COUNT // 4
    kinds = [member.annotation for each in cases for member in each.members]
    assert any(hasattr(each, "model_fields") for each in kinds)
    assert any(hasattr(each, "__dataclass_fields__") for each in kinds)
    assert any(hasattr(each, "__required_keys__") for each in kinds)
    assert any(isinstance(each, dict) for each in kinds)
