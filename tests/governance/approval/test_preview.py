"""What people are shown of arguments: enough to decide, nothing that opens anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.governance.approval.preview import HIDDEN, MOST_BYTES, is_credential, preview, restored

CREDENTIALS = """password api_key apiKey API-KEY access_token Authorization clientSecret private_key session_cookie pin
otp db.password sshKey passphrase bearer secrets user_password"""
OTHERS = "to subject author pinned keyboard monkey tokens_used_by keynote passenger body"


@pytest.mark.parametrize("name", CREDENTIALS.split())
def test_names_of_credentials_are_known(name: str) -> None:
    assert is_credential(name)


@pytest.mark.parametrize("name", OTHERS.split())
def test_other_names_are_not(name: str) -> None:
    assert not is_credential(name)


def test_a_preview_shows_who_gets_what_and_hides_the_key() -> None:
    shown = preview(
        {"to": "eve@evil.example", "smtp": {"host": "mail", "password": "hunter2"}, "note": "Bearer abcdefghijklmnop"}
    )
    assert shown == {"to": "eve@evil.example", "smtp": {"host": "mail", "password": HIDDEN}, "note": HIDDEN}


def test_a_preview_is_cut_where_it_is_long_or_deep() -> None:
    shown = preview({"text": "x" * 5000, "list": list(range(30)), "a": {"b": {"c": {"d": {"e": 1}}}}})
    assert shown["text"] == "x" * 1000 + "… [+4000 characters]"
    assert shown["list"] == [*range(20), "… 10 more"]
    assert shown["a"] == {"b": {"c": {"d": "[deeper]"}}}


def repeated(each: Any, times: int) -> Any:
    return each * times


# What is large is a small thing repeated: drawing each character would take most of the time.
TIMES = st.sampled_from([1, 1, 5, 40, 150])
NAMES = st.builds(repeated, st.text(max_size=10), st.sampled_from([1, 1, 5])) | st.sampled_from(CREDENTIALS.split())
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.builds(repeated, st.text(max_size=12), TIMES),
    lambda inner: st.builds(repeated, st.lists(inner, max_size=4), TIMES) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=30,
)


@given(st.dictionaries(NAMES, JSON, max_size=8))
def test_every_preview_is_small_json_and_left_alone_gives_the_arguments_back(arguments: dict[str, Any]) -> None:
    shown = preview(arguments)
    assert len(json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace")) <= MOST_BYTES
    assert restored(json.loads(json.dumps(shown)), shown, arguments) == arguments


def test_an_edit_keeps_what_was_hidden() -> None:
    arguments = {"to": "ann", "api_key": "s3cret", "items": [{"n": 1}, {"n": 2, "token": "abc"}]}
    shown = preview(arguments)
    edited = {**shown, "to": "bob", "items": [{"n": 7}, shown["items"][1]]}
    assert restored(edited, shown, arguments) == {
        "to": "bob",
        "api_key": "s3cret",
        "items": [{"n": 7}, {"n": 2, "token": "abc"}],
    }


def test_an_edit_of_a_long_list_keeps_its_tail() -> None:
    arguments = {"ids": list(range(25)), "all": list(range(3))}
    shown = preview(arguments)
    edited = {"ids": [99, *shown["ids"][1:]], "all": [1]}
    assert restored(edited, shown, arguments) == {"ids": [99, *range(1, 25)], "all": [1]}
