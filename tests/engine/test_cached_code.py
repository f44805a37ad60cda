"""The name under which code is cached: the same for the same code, in every process; another one for other code."""

from __future__ import annotations

import copy
import datetime
import decimal
import functools
import logging
import operator
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda

from stategraph import START, StateGraph
from stategraph.engine.compile.cache_keys import CacheNamespace, cache_name


class State(TypedDict, total=False):
    x: int


def named(state: State) -> State:
    return {}


async def named_async(state: State) -> State:
    return {}


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held
        self._lock = threading.Lock()

    def __call__(self, state: State) -> State:
        return {}

    def method(self, state: State) -> State:
        return {}


class Slotted:
    __slots__ = ("held",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, held: Any) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, state: State) -> State:
        return {}


def closure(held: Any) -> Callable[[State], State]:
    def work(state: State) -> State:
        return {"x": held}

    return work


def graph_of(held: Any) -> Any:
    return StateGraph(State).add_node("n", closure(held)).add_edge(START, "n").compile()


MAKERS: dict[str, Callable[[Any], Any]] = {
    "object": Holder,
    "slotted object": Slotted,
    "method": lambda held: Holder(held).method,
    "partial": lambda held: functools.partial(operator.add, held),
    "closure": closure,
    "default": lambda held: lambda state, held=held: held,
    "runnable": lambda held: RunnableLambda(closure(held)),
    "graph": graph_of,
}
VALUES: dict[str, tuple[Any, Any]] = {
    "numbers": (1, 2),
    "number and text": (1, "1"),
    "texts": ("a", "b"),
    "dicts": ({"a": 1}, {"a": 2}),
    "sets": ({"a", "b"}, {"a", "c"}),
    "objects": (Holder(1), Holder(2)),
    "functions": (len, sum),
    "classes": (int, str),
}


@pytest.mark.parametrize("function", [named, named_async, len], ids=lambda f: f.__name__)
def test_a_function_with_a_name_of_its_own_is_cached_under_it_as_in_langgraph(function: Any) -> None:
    assert cache_name(function) == f"{function.__module__}.{function.__qualname__}"


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_code_that_holds_other_values_has_another_name(make: Callable[[Any], Any], values: tuple[Any, Any]) -> None:
    one, other = values
    assert cache_name(make(one)) == cache_name(make(one))
    assert cache_name(make(one)) != cache_name(make(other))


def test_a_dict_in_another_order_is_the_same() -> None:
    assert cache_name(Holder({"a": 1, "b": 2})) == cache_name(Holder({"b": 2, "a": 1}))


def test_lambdas_of_other_code_have_other_names() -> None:
    names = [cache_name(lambda s: s + 1), cache_name(lambda s: s + 2), cache_name(lambda s: s - 1)]
    assert len(set(names)) == 3


def test_what_a_function_counts_later_does_not_count() -> None:
    def counting() -> Any:
        calls = 0

        def work(state: State) -> State:
            nonlocal calls
            calls += 1
            return {"x": calls}

        return work

    used = counting()
    before = cache_name(used)
    used({})
    assert cache_name(used) == before == cache_name(counting())


class Hiding:
    def __init__(self, held: Any) -> None:
        self._held = held
        self.__lock = threading.Lock()
        self._logger = logging.getLogger(__name__)

    def __call__(self, state: State) -> State:
        return {}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_code_that_holds_other_values_in_private_has_another_name(values: tuple[Any, Any]) -> None:
    for make in (Hiding, lambda held: closure(Hiding(held)), lambda held: closure(Hiding(Hiding(held))).__call__):
        one, other = map(make, values)
        assert cache_name(one) == cache_name(make(values[0]))
        assert cache_name(one) != cache_name(other)


@pytest.mark.parametrize(
    "values",
    [
        (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
        (decimal.Decimal(1), decimal.Decimal(2)),
        (re.compile("a"), re.compile("b")),
        (bytearray(b"a"), bytearray(b"b")),
        (operator.itemgetter("a"), operator.itemgetter("b")),
    ],
    ids=lambda pair: type(pair[0]).__name__,
)
def test_native_objects_are_told_apart_by_what_they_would_be_pickled_as(values: tuple[Any, Any]) -> None:
    one, other = values
    assert cache_name(Hiding(one)) == cache_name(Hiding(copy.copy(one)))
    assert cache_name(Hiding(one)) != cache_name(Hiding(other))


def test_what_cannot_be_looked_into_is_shared_with_nothing_but_itself() -> None:
    generators = [(n for n in ()) for _ in range(2)]
    assert cache_name(Hiding(generators[0])) == cache_name(Hiding(generators[0]))
    assert cache_name(Hiding(generators[0])) != cache_name(Hiding(generators[1]))


def test_what_is_too_large_to_be_looked_at_is_shared_with_nothing_but_itself() -> None:
    def corpus(last: int) -> Any:
        return Hiding([*range(5_000), last])

    code = corpus(1)
    assert cache_name(code) == cache_name(code)
    assert cache_name(corpus(1)) != cache_name(corpus(2))


def test_a_namespace_stays_when_its_code_changes_itself() -> None:
    code = Slotted([1])
    namespace = CacheNamespace(code, "n")
    before = namespace()
    code.held.append(2)
    assert namespace() is before
    assert before[-1] == "n"
    assert cache_name(code) != before[1]


def test_what_refers_to_itself_has_a_name() -> None:
    knot: list[Any] = []
    knot.append(knot)
    assert cache_name(Holder(knot)) == cache_name(Holder(knot))


def test_a_corpus_is_not_read_whole() -> None:
    class Endless(dict[int, int]):
        read = 0

        def items(self) -> Any:
            while True:
                self.read += 1
                yield self.read, self.read

    corpus = Endless()
    cache_name(Holder(corpus))
    assert corpus.read < 2_000


def test_another_process_gives_the_same_names() -> None:
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('names', sys.argv[1])\n"
        "names = importlib.util.module_from_spec(spec); sys.modules['names'] = names\n"
        "spec.loader.exec_module(names)\n"
        "for make in names.MAKERS.values(): print(names.cache_name(make({'a', 'b', 'c'})))\n"
    )
    command = [sys.executable, "-c", code, __file__]
    root = str(Path(__file__).parents[2])
    seen = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
    assert len(set(seen.pop().split())) == len(MAKERS)


def test_code_that_captures_what_is_not_assigned_yet_is_other_code_than_with_a_value() -> None:
    def named_with(*values: int) -> str:
        def work(state: State) -> State:
            return {"x": held}

        for value in values:
            held = value
        return cache_name(work)

    assert named_with() == named_with()
    assert len({named_with(), named_with(1), named_with(2)}) == 3
