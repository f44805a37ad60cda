"""More words for errors: who wrote, what there is, what was meant.

Rule: nothing here runs unless something has gone wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from stategraph.core.task import Task, Write

_MOST_BITS = 256
_SHOWN_NAMES = 12
"""How many names a message lists."""


def shown(value: object) -> str:
    """Return a value as messages show it, also a whole number of more digits than Python writes."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a whole number of {value.bit_length():,} bits"
    return repr(value)


def add_words(error: BaseException, words: str) -> None:
    """Add a sentence to an error's message: before the line that points to a page of help, if there is one.

    The class stays, and what the message said so far; an error without a message of its own gets a note.
    """
    if len(error.args) != 1 or not isinstance(error.args[0], str):
        error.add_note(words)
        return
    message, newline, help_line = error.args[0].partition("\nFor troubleshooting")
    message = message.rstrip()
    stop = "" if message.endswith((".", "!", "?")) else "."
    error.args = (f"{message}{stop} {words}{newline}{help_line}",)


def name_writers(
    error: BaseException, grouped: Mapping[str, Sequence[object]], tasks: Iterable[Task], inputs: Iterable[Write]
) -> None:
    """Name the nodes that wrote a channel which refused their writes.

    Args:
        error: What the channel raised; its message has the channel's name in quotes.
        grouped: The step's writes by channel.
        tasks: The step's tasks.
        inputs: Writes that no task made.
    """
    text = str(error)
    for name, values in grouped.items():
        if len(values) > 1 and f"'{name}'" in text:
            writers = Counter(f"node '{task.name}'" for task in tasks for channel, _ in task.writes if channel == name)
            writers.update("the input" for channel, _ in inputs if channel == name)
            times = [who if count == 1 else f"{who} ({count} times)" for who, count in writers.items()]
            add_words(error, f"The writers: {', '.join(times)}.")
            return


@lru_cache(maxsize=64)
def what_there_is(name: str, known: tuple[str, ...], kind: str = "nodes") -> str:
    """Name what was probably meant, and what there is.

    Args:
        name: The name that nothing has.
        known: The names there are.
        kind: What these are names of.

    Returns:
        One or two sentences.
    """
    from difflib import get_close_matches  # 1.5 ms at start-up otherwise, for errors only

    close = get_close_matches(name, known)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    return f"{meant}{listing(known, kind)}"


def listing(known: Collection[str], kind: str = "nodes") -> str:
    """Say what names there are, in alphabetical order."""
    shown = sorted(name for name in known if not name.startswith("__"))
    rest = len(shown) - _SHOWN_NAMES
    return f"The graph's {kind} are: {', '.join(shown[:_SHOWN_NAMES])}{f' and {rest} more' if rest > 0 else ''}"
