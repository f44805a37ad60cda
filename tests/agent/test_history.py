"""Histories with calls and results that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai.chat_models.base import _convert_message_to_dict

from stategraph.agent.graphs import assemble
from stategraph.agent.messages import history
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.testing import openai_wire
from stategraph.testing.chat_model import ScriptedChatModel

HI = HumanMessage("hi")


def calls(*ids: str | None, text: str = "") -> AIMessage:
    return AIMessage(text, tool_calls=[{"id": each, "name": f"tool_{each}", "args": {}} for each in ids])


def broken(call_id: str | None, arguments: str | None, text: str = "") -> AIMessage:
    call = {"id": call_id, "name": "look", "args": arguments, "error": None, "type": "invalid_tool_call"}
    return AIMessage(text, invalid_tool_calls=[call])


def result(call_id: str, text: str = "done") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call_id)


def outline(messages: Any) -> list[str]:
    """Messages as words: results with a mark if they were made."""
    said = []
    for message in messages:
        if isinstance(message, ToolMessage):
            made = message.additional_kwargs.get(history.SYNTHETIC)
            said.append(f"{message.tool_call_id}{'!' if made else '=' + message.text}")
        elif isinstance(message, AIMessage) and message.tool_calls:
            said.append("calls " + " ".join(call["id"] or "?" for call in message.tool_calls))
        else:
            said.append(message.type)
    return said


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [HI],
        [SystemMessage("s"), HI, AIMessage("hello"), HI],
        [HI, calls("a", "b"), result("b"), result("a"), AIMessage("ok")],
        [HI, calls("a"), result("a"), calls("a"), result("a")],
    ],
)
def test_a_sound_history_is_the_same_object(messages: list[AnyMessage]) -> None:
    assert history.repair(messages) is messages


@pytest.mark.parametrize(
    ("messages", "repaired"),
    [
        ([HI, calls("a")], ["human", "calls a", "a!"]),
        ([HI, calls("a", "b"), result("a")], ["human", "calls a b", "a=done", "b!"]),
        ([calls("a"), HI], ["calls a", "a!", "human"]),
        ([calls("a"), calls("b"), result("b")], ["calls a", "a!", "calls b", "b=done"]),
        ([result("a"), HI], ["human"]),
        ([calls("a"), result("a"), result("a", "again")], ["calls a", "a=done"]),
        ([calls("a"), HI, result("a")], ["calls a", "a=done", "human"]),
        ([calls("a"), HI, result("a"), result("a", "again")], ["calls a", "a=done", "human"]),
        ([calls("a"), calls("b"), result("a"), result("b")], ["calls a", "a=done", "calls b", "b=done"]),
        ([calls("a"), HI, calls("a"), result("a", "new")], ["calls a", "a!", "human", "calls a", "a=new"]),
        ([calls("a", None), result("a")], ["calls a", "a=done"]),
        ([calls("a", "a"), result("a")], ["calls a", "a=done"]),
        ([calls("a", "a"), result("a"), result("a", "again")], ["calls a", "a=done"]),
        ([calls("", text="So:"), result("")], ["ai"]),
        ([HI, calls(None, text="So:")], ["human", "ai"]),
        ([HI, calls(None), HI], ["human", "human"]),
        ([broken("a", "{"), result("a")], ["calls a", "a=done"]),
        ([broken("a", "{")], ["calls a", "a!"]),
        ([broken(None, "{", "So:")], ["ai"]),
    ],
)
def test_what_is_wrong_is_repaired(messages: list[AnyMessage], repaired: list[str]) -> None:
    assert outline(history.repair(messages)) == repaired


def test_a_change_in_place_is_seen() -> None:
    asking = calls("a")
    messages = [asking, result("a"), HI]
    assert history.repair(messages) is messages
    asking.tool_calls[0]["id"] = "b"
    assert outline(history.repair(messages)) == ["calls b", "b!", "human"]
    asking.tool_calls.clear()
    assert outline(history.repair(messages)) == ["ai", "human"]


def test_a_made_result_says_what_happened() -> None:
    made = history.repair([calls("a")])[1]
    assert isinstance(made, ToolMessage)
    assert (made.status, made.name, made.additional_kwargs) == ("error", "tool_a", {"synthetic": True})
    assert "did not finish" in made.text


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"city":"Paris"}', {"city": "Paris"}),
        ('{"city":"Par', {"input": '{"city":"Par'}),
        ("Paris, please", {"input": "Paris, please"}),
        ("[1, 2]", {"input": "[1, 2]"}),
        ('{"n": 1e999}', {"input": '{"n": 1e999}'}),
        ("", {}),
        (None, {}),
    ],
)
def test_arguments_that_cannot_be_read_are_handed_on_as_text(text: str | None, arguments: dict[str, Any]) -> None:
    whole = history.repair([broken("a", text), result("a")])[0]
    assert isinstance(whole, AIMessage)
    assert whole.tool_calls == [{"id": "a", "name": "look", "args": arguments, "type": "tool_call"}]
    assert whole.invalid_tool_calls == []


def test_a_providers_copy_of_a_dropped_call_goes_with_it() -> None:
    raw = {"tool_calls": [{"id": None}], "reasoning_content": "Hm."}
    message = AIMessage("So:", tool_calls=calls(None).tool_calls, additional_kwargs=raw)
    (repaired,) = history.repair([message])
    assert repaired.additional_kwargs == {"reasoning_content": "Hm."}
    assert message.additional_kwargs == raw, "the original is not changed"


def test_the_given_history_is_not_changed() -> None:
    messages: list[AnyMessage] = [HI, calls("a"), HI, result("a"), broken("b", "{")]
    before = [each.model_copy(deep=True) for each in messages]
    history.repair(messages)
    assert messages == before


IDS = st.sampled_from(["a", "b", "c"])
MESSAGES = st.lists(
    st.one_of(
        st.just(HI),
        st.just(AIMessage("text")),
        st.lists(st.one_of(IDS, st.none()), min_size=1, max_size=3).map(lambda ids: calls(*ids)),
        st.builds(broken, st.one_of(IDS, st.none()), st.sampled_from(["{", "", "[]", '{"x":1'])),
        IDS.map(result),
    ),
    max_size=12,
)


@given(MESSAGES)
def test_every_repaired_history_is_one_that_a_provider_accepts(messages: list[AnyMessage]) -> None:
    repaired = history.repair(messages)
    assert history.repair(repaired) is repaired
    body = {"model": "m", "messages": [_convert_message_to_dict(each) for each in [HI, *repaired]]}
    assert openai_wire.request_problem(body) is None
    real = [each for each in messages if not isinstance(each, ToolMessage | AIMessage)]
    assert [each for each in repaired if not isinstance(each, ToolMessage | AIMessage)] == real


def test_calls_of_one_answer_with_the_same_id_are_one() -> None:
    twice = AIMessage(
        [{"type": "text", "text": "So:"}], tool_calls=[*calls("a").tool_calls, *calls("a", "b").tool_calls]
    )
    assert outline(history.repair([twice, result("a"), result("b")])) == ["calls a b", "a=done", "b=done"]
    assert outline(history.repair([twice, result("a"), result("a"), result("b")])) == ["calls a b", "a=done", "b=done"]


def test_of_an_answer_only_the_calls_that_are_kept_stay_in_every_form_that_they_have() -> None:
    said: list[str | dict[str, Any]] = [
        "bare",
        {"type": "text", "text": "So:", "id": "b"},
        {"type": "tool_use", "id": "a"},
        {"type": "tool_use", "id": "b"},
    ]
    answer = AIMessage(
        said,
        tool_calls=calls("a", "b").tool_calls,
        invalid_tool_calls=[*broken("c", "{").invalid_tool_calls, *broken("d", "{").invalid_tool_calls],
        additional_kwargs={"tool_calls": ["as the provider sent them"], "refusal": None},
        id="m",
    )
    some = history.with_calls(answer, {"a", "d"})
    assert [call["id"] for call in some.tool_calls] == ["a"]
    assert [call["id"] for call in some.invalid_tool_calls] == ["d"]
    assert some.content == said[:3]
    assert some.additional_kwargs == {"refusal": None}
    assert some.id == "m"
    none = history.with_calls(answer, set())
    assert (none.tool_calls, none.invalid_tool_calls, none.content) == ([], [], said[:2])
    assert len(answer.tool_calls) == len(answer.invalid_tool_calls) == 2
    assert answer.content == said
    assert history.with_calls(calls("a", text="So:"), set()).content == "So:"


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        ("a", "a"),
        ([], ""),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": "a"}, "b"], None),
        ([{"type": "text", "text": None}], None),
        ([{"type": "reasoning", "text": "a"}], None),
    ],
)
def test_blocks_of_text_alone_are_lines(content: Any, plain: str | None) -> None:
    given = HumanMessage(content, id="m")
    (told,) = history.in_plain_text([given])
    assert told.content == (content if plain is None else plain)
    assert (told is given) is (plain is None or plain == content)
    assert given.content == content


def test_content_that_is_text_alone_is_a_string_where_a_model_wants_that() -> None:
    text: list[str | dict[str, Any]] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    mixed: list[str | dict[str, Any]] = [*text, {"type": "image_url", "image_url": {"url": "data:,"}}]
    model = ScriptedChatModel(replies=["Fine.", "Fine."])
    messages: list[AnyMessage] = [HumanMessage(text, id="1"), AIMessage("c"), HumanMessage(mixed, id="2")]
    for legacy, first in ((True, "a\nb"), (False, text)):
        described = AgentInputs.of({"agent_id": "a", "model": model, "use_legacy_content": legacy})
        ended = assemble.build([described])[1].compile().invoke({"messages": messages})
        assert [each.content for each in model.requests[-1].messages] == [first, "c", mixed]
        assert ended["messages"][0].content == text
