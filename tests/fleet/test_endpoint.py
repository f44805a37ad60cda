"""Endpoints: what is one, and what is said of what is none."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.fleet import AgentEndpoint


def test_an_endpoint_is_written_and_read() -> None:
    one = AgentEndpoint(agent="research", url="https://a.example/a2a/", weight=3, capabilities=frozenset({"search"}))
    assert one.url == "https://a.example/a2a"
    assert one.card_url == "https://a.example/a2a/.well-known/agent-card.json"
    assert one.key == "research@https://a.example/a2a"
    assert AgentEndpoint.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"url": "http://a.example"}, "has no 'agent'"),
        ({"agent": "a"}, "has no 'url'"),
        ({"agent": "", "url": "http://a.example"}, "the agent ''; expected a name"),
        ({"agent": "a", "url": "ftp://a.example"}, "is 'ftp://a.example'; expected an address"),
        ({"agent": "a", "url": "http://a.example:port"}, "expected an address"),
        ({"agent": "a", "url": 7}, "is 7; expected an address"),
        ({"agent": "a", "url": "http://me:secret@a.example"}, "has a login in its address"),
        ({"agent": "a", "url": "http://a.example", "card_url": "x"}, "The card of 'a' is 'x'"),
        (
            {"agent": "a", "url": "http://a.example", "weight": -1},
            "the weight -1; expected a whole number from 0 to 1,000",
        ),
        ({"agent": "a", "url": "http://a.example", "weight": True}, "the weight True"),
        ({"agent": "a", "url": "http://a.example", "weight": 1001}, "the weight 1001"),
        ({"agent": "a", "url": "http://a.example", "capabilities": "search"}, "the capabilities 'search'"),
        ({"agent": "a", "url": "http://a.example", "capabilities": [1]}, r"the capabilities \[1\]"),
        ({"agent": "a", "url": "http://a.example", "wait": 1}, "has the field 'wait'"),
        (["a"], "expected an object"),
    ],
)
def test_what_is_no_endpoint_is_told(data: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        AgentEndpoint.from_json(data)
    assert "secret" not in str(caught.value)
