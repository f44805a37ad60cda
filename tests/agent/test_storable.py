"""Messages of which a saver cannot store all."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from stategraph.agent.messages.storable import storable
from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINTER


class Serde:
    """Stores JSON, and messages of it."""

    def __init__(self) -> None:
        self.asked = 0

    def dumps_typed(self, value: Any) -> tuple[str, bytes]:
        self.asked += 1
        plain = value.model_dump() if hasattr(value, "model_dump") else value
        return "json", json.dumps(plain).encode()


class Loose(Serde):
    """Stores everything."""

    def dumps_typed(self, value: Any) -> tuple[str, bytes]:
        self.asked += 1
        return "any", b""


def saving(serde: Serde | None) -> Any:
    return {CONF: {CONFIG_KEY_CHECKPOINTER: None if serde is None else SimpleNamespace(serde=serde)}}


ODD = ToolMessage("r", tool_call_id="c", id="m", artifact={1, 2}, additional_kwargs={"a": 1, "b": object()})


def test_what_is_json_is_stored_as_it_is_without_a_try() -> None:
    serde = Serde()
    for message in (HumanMessage("hi"), ToolMessage("r", tool_call_id="c", artifact={"a": [1]}), AIMessage([{"a": 1}])):
        assert storable(message, saving(serde)) is message
    assert serde.asked == 0


@pytest.mark.parametrize("config", [{}, {CONF: {}}, {CONF: None}, saving(None), saving(Loose())])
def test_a_message_stays_as_it_is_where_nothing_or_everything_is_stored(config: Any) -> None:
    assert storable(ODD, config) is ODD


def test_what_cannot_be_stored_is_left_out_part_by_part() -> None:
    kept = storable(ODD, saving(Serde()))
    assert (kept.content, kept.id, kept.tool_call_id) == ("r", "m", "c")
    assert (kept.artifact, kept.additional_kwargs) == (None, {"a": 1})
    assert ODD.artifact == {1, 2}
    assert ODD.additional_kwargs.keys() == {"a", "b"}


def test_of_what_a_provider_says_the_rest_is_kept_and_of_content_the_text() -> None:
    blocks: Any = [{"type": "text", "text": "So"}, {"type": "odd", "x": object()}, {"type": "text", "text": "."}]
    message = AIMessage(blocks, response_metadata={"model": "m", "raw": object()}, additional_kwargs={"a": 1})
    kept = storable(message, saving(Serde()))
    assert kept.content == "So."
    assert (kept.response_metadata, kept.additional_kwargs) == ({"model": "m"}, {"a": 1})
