"""The nodes of a record: how a value is put together from others.

    None                          None
    bytes                         a value, in msgpack
    number                        a value that is stored under this number
    ["t", kind, bytes]            a value, of another kind than msgpack
    ["l", part, ...]              a list; a part is a first and a last number, or the number of a page of parts
    ["d", [key, ...], [node, ...]]    a dict
    ["s", name, node]             a Send to a node, with its argument
    ["z", node]                   the snapshot of a delta channel

The kinds of stored values, besides those of the serializer: `sg.node`, a node; `sg.list`, some elements of a list in a
row, too small to be stored one by one; `sg.page`, parts of a list that are in many pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

Node: TypeAlias = Any
"""As above. What makes nodes and what reads them are the only ones to look inside."""

Run: TypeAlias = list[int]
"""A first and a last number."""

Part: TypeAlias = Any
"""A run, or the number of a page."""

NODE: Final = "sg.node"
ELEMENTS: Final = "sg.list"
PAGE: Final = "sg.page"
RECORD: Final = "sg.1"
"""The kind of a record's body, in the rows of checkpoints and of writes."""

MOST_PARTS: Final = 48
"""Parts of a list that stand in its node; if there are more, they are put on pages, as far as those are full."""

_PAGE: Final = 16
"""Parts of a page on average."""


def add(runs: list[Run], number: int) -> None:
    """Append a number to runs."""
    if runs and runs[-1][1] == number - 1:
        runs[-1][1] = number
    else:
        runs.append([number, number])


def runs_of(numbers: Iterable[int]) -> list[Run]:
    """Return numbers, in their order, as runs."""
    runs: list[Run] = []
    for number in numbers:
        add(runs, number)
    return runs


def pages_of(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """Divide parts into pages, by their contents: where something is changed, the pages before and after stay the same.

    The last one is not full yet, and may be empty.
    """
    page: list[Part] = []
    for part in parts:
        page.append(part)
        last = part if type(part) is int else part[1]
        if last * 0x9E3779B1 % 0x100000000 < 0x100000000 // _PAGE or len(page) >= 4 * _PAGE:
            yield page
            page = []
    yield page


def needs(node: Node) -> Iterator[Run]:
    """Yield the numbers that a node refers to."""
    if type(node) is int:
        yield [node, node]
    elif type(node) is list:
        match node[0]:
            case "l":
                yield from needs_of_parts(node[1:])
            case "d":
                for each in node[2]:
                    yield from needs(each)
            case "s" | "z":
                yield from needs(node[-1])


def needs_of_parts(parts: Iterable[Part]) -> Iterator[Run]:
    """Yield the numbers that the parts of a list refer to."""
    for part in parts:
        yield [part, part] if type(part) is int else part


def union(runs: Iterable[Run]) -> list[Run]:
    """Return the numbers of runs, each once and in order, as runs."""
    united: list[Run] = []
    for first, last in sorted(runs):
        if united and first <= united[-1][1] + 1:
            if last > united[-1][1]:
                united[-1][1] = last
        else:
            united.append([first, last])
    return united


def refs_of(runs: Iterable[Run]) -> str | None:
    """Return runs as the text that is stored; None if there are none."""
    united = union(runs)
    return f"[{','.join([f'[{first},{last}]' for first, last in united])}]" if united else None


def read_refs(refs: str | None) -> list[Run]:
    """Return the runs of a stored text."""
    found: list[Run] = json.loads(refs) if refs else []
    return found
