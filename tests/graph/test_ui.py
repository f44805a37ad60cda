"""UI messages: merging by id, and sending them from inside a node."""

from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from stategraph.constants import CONF, CONFIG_KEY_RUNTIME, CONFIG_KEY_SEND
from stategraph.engine.config import context
from stategraph.graph import ui


def _card(card_id: str, *, merge: bool = False, **props: Any) -> ui.UIMessage:
    return {"type": "ui", "id": card_id, "name": "card", "props": props, "metadata": {"merge": merge}}


def _removal(card_id: str) -> ui.RemoveUIMessage:
    return {"type": "remove-ui", "id": card_id}


def test_a_new_component_is_added_and_a_known_one_replaced() -> None:
    merged = ui.ui_message_reducer([_card("1", a=1, b=2)], [_card("1", a=3), _card("2")])
    assert merged == [_card("1", a=3), _card("2")]


def test_a_merged_component_keeps_the_properties_that_are_not_named() -> None:
    left = [_card("1", a=1, b=2)]
    change = _card("1", merge=True, a=3)
    assert ui.ui_message_reducer(left, change) == [_card("1", merge=True, a=3, b=2)]
    assert left == [_card("1", a=1, b=2)]
    assert change["props"] == {"a": 3}


def test_removals_are_applied_and_not_kept() -> None:
    left = [_card("1"), _card("2")]
    merged = ui.ui_message_reducer(left, _removal("1"))
    assert merged == [_card("2")]
    assert len(left) == 2


def test_a_removed_component_can_come_back() -> None:
    assert ui.ui_message_reducer(_card("1"), [_removal("1"), _card("1", a=1)]) == [_card("1", a=1)]


def test_removing_an_unknown_component_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"doesn't exist \('ghost'\)"):
        ui.ui_message_reducer([_card("1")], _removal("ghost"))


def _inside_a_node(function: Any, *args: Any, **options: Any) -> tuple[Any, list[Any], list[Any]]:
    streamed: list[Any] = []
    sent: list[Any] = []
    config = {
        "run_id": "run",
        "tags": ["tag"],
        "run_name": "node",
        CONF: {
            CONFIG_KEY_SEND: sent.extend,
            CONFIG_KEY_RUNTIME: SimpleNamespace(stream_writer=streamed.append),
        },
    }
    result = context.run_in_context(config, function, *args, **options)  # type: ignore[arg-type]
    return result, streamed, sent


def test_a_pushed_component_is_streamed_and_written() -> None:
    shown, streamed, sent = _inside_a_node(
        ui.push_ui_message,
        "card",
        {"a": 1},
        id="1",
        metadata={"name": "mine"},
        message=AIMessage(content="", id="m"),
    )
    assert shown == {
        "type": "ui",
        "id": "1",
        "name": "card",
        "props": {"a": 1},
        "metadata": {"merge": False, "run_id": "run", "tags": ["tag"], "name": "mine", "message_id": "m"},
    }
    assert streamed == [shown]
    assert sent == [("ui", shown)]


def test_a_pushed_component_may_belong_to_a_message_dict_and_stay_out_of_the_state() -> None:
    shown, streamed, sent = _inside_a_node(
        ui.push_ui_message, "card", {}, message={"id": "m"}, state_key=None, merge=True
    )
    assert shown["metadata"]["message_id"] == "m"
    assert shown["metadata"]["merge"] is True
    assert len(shown["id"]) == 36
    assert streamed == [shown]
    assert sent == []


def test_a_component_without_a_message_names_none() -> None:
    shown, _, _ = _inside_a_node(ui.push_ui_message, "card", {})
    assert "message_id" not in shown["metadata"]


def test_a_deletion_is_streamed_and_written() -> None:
    removal, streamed, sent = _inside_a_node(ui.delete_ui_message, "1", state_key="cards")
    assert removal == _removal("1")
    assert streamed == [removal]
    assert sent == [("cards", removal)]


def test_pushing_outside_of_a_node_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="running in this context"):
        ui.push_ui_message("card", {})
