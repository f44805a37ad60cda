"""Retry, time-out and cache policies, and typed objects read as updates."""

import dataclasses
from datetime import timedelta
from typing import Any, ClassVar

import httpx
import pytest
import requests
from pydantic import BaseModel

from stategraph import fields
from stategraph.errors import NodeTimeoutError
from stategraph.policies import (
    CachePolicy,
    RetryPolicy,
    TimeoutPolicy,
    default_cache_key,
    default_retry_on,
    omit_payload,
)
from stategraph.types import Command

# What is worth another attempt.


def from_httpx(status: int) -> Exception:
    request = httpx.Request("GET", "http://localhost")
    return httpx.HTTPStatusError("failed", request=request, response=httpx.Response(status, request=request))


def from_requests(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("failed", response=response)


@pytest.mark.parametrize("make", [from_httpx, from_requests])
@pytest.mark.parametrize(("status", "temporary"), [(400, False), (404, False), (499, False), (500, True), (503, True)])
def test_an_answer_of_a_server_is_temporary_if_the_server_failed(make: Any, status: int, temporary: bool) -> None:
    assert default_retry_on(make(status)) is temporary


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        requests.HTTPError("no answer"),
        requests.ConnectionError(),
        requests.ReadTimeout(),
        httpx.ConnectTimeout("late"),
        NodeTimeoutError("slow", 1, kind="run", run_timeout=1),
        type("OfSomeLibrary", (Exception,), {})(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_lost_connections_and_unknown_errors_are_temporary(error: Exception) -> None:
    assert default_retry_on(error)


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError(), TypeError(), KeyError(), ZeroDivisionError(), ModuleNotFoundError(), NameError()),
        *(RecursionError(), FileNotFoundError(), TimeoutError(), ReferenceError(), StopIteration(), SyntaxError()),
        StopAsyncIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_programming_errors_are_not(error: Exception) -> None:
    assert not default_retry_on(error)


def test_the_default_policy_makes_three_attempts() -> None:
    assert RetryPolicy() == (0.5, 2.0, 128.0, 3, True, default_retry_on)


# Time-outs.


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        (None, None),
        (3, TimeoutPolicy(run_timeout=3.0)),
        (timedelta(minutes=1), TimeoutPolicy(run_timeout=60.0)),
        (TimeoutPolicy(idle_timeout=2), TimeoutPolicy(idle_timeout=2.0)),
        (
            TimeoutPolicy(idle_timeout=timedelta(seconds=2), refresh_on="heartbeat"),
            TimeoutPolicy(idle_timeout=2.0, refresh_on="heartbeat"),
        ),
        (TimeoutPolicy(), None),
    ],
)
def test_every_spelling_of_a_timeout_becomes_seconds(given: Any, policy: TimeoutPolicy | None) -> None:
    assert TimeoutPolicy.coerce(given) == policy


def test_a_policy_in_seconds_is_not_made_anew() -> None:
    policy = TimeoutPolicy(run_timeout=1.0, idle_timeout=0.5)

    assert TimeoutPolicy.coerce(policy) is policy
    assert type(TimeoutPolicy.coerce(2).run_timeout) is float  # type: ignore[union-attr]


@pytest.mark.parametrize("limit", [0, -1, 0.0, timedelta(0), float("nan")])
@pytest.mark.parametrize("field", ["run_timeout", "idle_timeout"])
def test_a_limit_must_be_positive(field: str, limit: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be greater than 0"):
        TimeoutPolicy.coerce(TimeoutPolicy(**{field: limit}))


def test_only_two_things_refresh_a_silence() -> None:
    with pytest.raises(ValueError, match="refresh_on must be 'auto' or 'heartbeat'"):
        TimeoutPolicy.coerce(TimeoutPolicy(run_timeout=1, refresh_on="tick"))  # type: ignore[arg-type]


# Cache keys.


def test_a_cache_key_does_not_depend_on_the_order_of_mappings_and_sets() -> None:
    assert default_cache_key({"a": 1, "b": [2]}) == default_cache_key({"b": [2], "a": 1})
    assert default_cache_key([{"a": 1, 2: {"x": 1, "y": 2}}]) == default_cache_key([{2: {"y": 2, "x": 1}, "a": 1}])
    assert default_cache_key({"a": {8, 0}}) == default_cache_key({"a": {0, 8}})
    assert default_cache_key(x=1, y=2) == default_cache_key(y=2, x=1)


def test_different_inputs_have_different_cache_keys() -> None:
    inputs: list[Any] = [
        *({"a": 1}, {"a": 2}, {"b": 1}, {"a": [1]}, {"a": (1,)}, {}),
        *([1, 2], [2, 1], (1, 2), {1, 2}, [], ()),
        *("a", b"a", 1, None),
    ]

    assert len({default_cache_key(value) for value in inputs}) == len(inputs)
    assert default_cache_key(1) != default_cache_key(x=1)


class Array:
    """As in numpy: not hashable, not to be compared, known by its bytes and what they mean."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, dtype: str, *shape: int) -> None:
        self.dtype = dtype
        self.shape = shape

    def tobytes(self) -> bytes:
        return bytes(4)


def test_the_same_bytes_with_another_meaning_have_another_cache_key() -> None:
    arrays = [Array("uint8", 4), Array("int8", 4), Array("uint8", 2, 2)]

    assert default_cache_key(Array("uint8", 4)) == default_cache_key(Array("uint8", 4))
    assert len({default_cache_key({"image": array}) for array in arrays}) == len(arrays)


def test_a_cache_policy_pickles_its_input_and_never_expires_by_default() -> None:
    policy = CachePolicy()

    assert policy.key_func(1) == default_cache_key(1)
    assert policy.ttl is None


def test_an_omitted_payload_is_empty() -> None:
    assert omit_payload("secret") == {}


# Typed objects as updates.


@dataclasses.dataclass
class Base:
    a: int
    b: str | None = None


@dataclasses.dataclass
class Extended(Base):
    c: int = 0
    a: int = 5


class Model(BaseModel):
    kind: ClassVar[str] = "model"
    a: int = 1
    b: str | None = None
    c: str | None = "text"


class Plain:
    a: int
    b: int

    def __init__(self) -> None:
        self.b = 2


@pytest.mark.parametrize(
    ("update", "items"),
    [
        (None, []),
        ({}, []),
        ({"a": 1, "b": None}, [("a", 1), ("b", None)]),
        ([("a", 1), ("a", 2)], [("a", 1), ("a", 2)]),
        ((("a", 1),), [("a", 1)]),
        ([], []),
        (Base(1), [("a", 1), ("b", None)]),
        (Extended(), [("a", 5), ("b", None), ("c", 0)]),
        (Plain(), [("b", 2)]),
        ([1, 2], [("__root__", [1, 2])]),
        ("text", [("__root__", "text")]),
        (0, [("__root__", 0)]),
    ],
    ids=lambda value: value.__class__.__name__ if "object at" in repr(value) else repr(value),
)
def test_any_form_of_an_update_becomes_pairs(update: Any, items: list[tuple[str, Any]]) -> None:
    assert fields.update_items(update) == items
    assert Command(update=update)._update_as_tuples() == items


@pytest.mark.parametrize(
    ("model", "items"),
    [
        (Model(), [("a", 1), ("c", "text")]),
        (Model(b=None), [("a", 1), ("b", None), ("c", "text")]),
        (Model(c=None), [("a", 1), ("c", None)]),
        (Model(a=3, b="x"), [("a", 3), ("b", "x"), ("c", "text")]),
    ],
    ids=repr,
)
def test_a_model_leaves_out_what_is_none_because_nobody_set_it(model: Model, items: list[tuple[str, Any]]) -> None:
    assert fields.update_items(model) == items


def test_annotated_names_come_once_and_bases_first() -> None:
    assert fields.annotated_keys(Extended) == ("a", "b", "c")
    assert fields.annotated_keys(Model) == ("a", "b", "c")
    assert fields.annotated_keys(str) == ()
