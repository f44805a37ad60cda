"""Calibration of token counts by reported usage: one ratio, learned over a run.

- Sums are compared, not single calls: a long call tells more than a short one.
- A report that cannot be true is left out: fewer tokens than the instructions and half of the messages.
- The call on which estimate and report agree best also says what the instructions really cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LOWEST_RATIO = 0.5
HIGHEST_RATIO = 5.0
#: Reports below the instructions and this part of the messages are not believed.
_BELIEVED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration learned so far.

    Attributes:
        ratio: Reported tokens per counted token; a host may hand it on to the next run.
        sent: Counted tokens of all calls that were compared.
        reported: Tokens that the provider reported for them, without instructions.
        instruction_overhead: Tokens of instructions and schemas by the best call; None before the first comparison.
        deviation: How far off that call was.
    """

    ratio: float = 1.0
    sent: int = 0
    reported: int = 0
    instruction_overhead: int | None = None
    deviation: float = math.inf


def learn(known: Calibration, sent: int, input_tokens: int, instruction_tokens: int) -> Calibration:
    """Take one call's report into account.

    Args:
        known: The calibration so far.
        sent: Counted tokens of the messages that the provider saw.
        input_tokens: The provider's report for them and the instructions.
        instruction_tokens: Tokens that were assumed for the instructions.

    Returns:
        The same if the report is not to be believed.
    """
    reported = input_tokens - instruction_tokens
    if sent <= 0 or reported <= 0 or input_tokens < instruction_tokens + _BELIEVED_SHARE * sent:
        return known
    sent_sum, reported_sum = known.sent + sent, known.reported + reported
    ratio = within(reported_sum / sent_sum)
    learned = replace(known, ratio=ratio, sent=sent_sum, reported=reported_sum)
    deviation = abs(sent * ratio / reported - 1)
    if deviation >= known.deviation:
        return learned
    overhead = max(0, input_tokens - math.floor(sent * ratio + 0.5))
    return replace(learned, instruction_overhead=overhead, deviation=deviation)


def within(ratio: float) -> float:
    """Return the nearest ratio that may be true."""
    return min(max(ratio, LOWEST_RATIO), HIGHEST_RATIO)


def forget_sums(known: Calibration) -> Calibration:
    """Restart the comparison, keeping the ratio."""
    return replace(known, sent=0, reported=0)
