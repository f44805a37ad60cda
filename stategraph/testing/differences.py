"""Two recordings of events side by side, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

from stategraph.testing.recorder import Recorded, stable

#: Events before and after a difference that are shown.
AROUND: Final = 2

#: Characters of an event in a line.
WIDTH: Final = 160


def explain(found: object, expected: object, what: str = "events") -> list[str]:
    """Return how two recordings differ, a line for each event: `-` is missing, `+` was not expected.

    Ids and times that are generated do not count.

    Args:
        found: Events that were recorded.
        expected: Those that they are compared with.
        what: The word for them in the first line.

    Returns:
        Lines. The first one says how many events there are and where they begin to differ; events far from a
        difference are left out.
    """
    have, want = [_line(each) for each in stable(found)], [_line(each) for each in stable(expected)]
    if have == want:
        return [f"{len(have)} {what} that differ in nothing but generated ids and times: compare stable(...) of both"]
    first = next((at for at, (a, b) in enumerate(zip(have, want, strict=False)) if a != b), min(len(have), len(want)))
    one = what.removesuffix("s")
    lines = [f"{len(have)} {what}, expected {len(want)}; they differ from {one} {first + 1} on"]
    for kind, a, b, c, d in SequenceMatcher(None, want, have, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += _context(want[a:b], is_first=a == 0, is_last=b == len(want))
        else:
            lines += [f"- {each}" for each in want[a:b]] + [f"+ {each}" for each in have[c:d]]
    return lines


def _context(events: Sequence[str], *, is_first: bool, is_last: bool) -> list[str]:
    before, after = 0 if is_first else AROUND, 0 if is_last else AROUND
    if len(events) <= before + after:
        return [f"  {each}" for each in events]
    left_out = [f"  ... {len(events) - before - after} equal events"]
    return [
        *(f"  {each}" for each in events[:before]),
        *left_out,
        *(f"  {each}" for each in (events[-after:] if after else ())),
    ]


def _line(event: object) -> str:
    form = event if isinstance(event, Mapping) else {}
    if form.get("!") == Recorded.__name__ or form.keys() == {"mode", "ns", "payload"}:  # the second is a recorder's own
        where = "".join(f" {each}" for each in form.get("ns", form.get("namespace", ())))
        text = f"{form['mode']}{where}: {form['payload']!r}"
    else:
        text = repr(event)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
