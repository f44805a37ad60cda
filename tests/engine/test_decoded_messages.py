"""Messages that are made without validation: the same as those that go through their constructors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.engine.checkpoints.decoded_messages import of_fields

texts = st.text(max_size=4)
values = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), texts, st.lists(texts, max_size=2))
contents = st.one_of(texts, st.lists(st.one_of(texts, st.dictionaries(texts, values, max_size=2)), max_size=2))
calls = st.builds(
    lambda name, args, id_: {"name": name, "args": args, "id": id_, "type": "tool_call"},
    texts,
    st.dictionaries(texts, values, max_size=2),
    st.one_of(st.none(), texts),
)
usages = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"input_tokens": st.integers(), "output_tokens": st.integers(), "total_tokens": st.integers()}
    ),
    st.just(
        {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_token_details": {"cache_read": 1}},
    ),
)
extras = st.dictionaries(texts, values, max_size=1)
base: dict[str, Any] = {
    "content": contents,
    "additional_kwargs": st.one_of(
        extras, st.just({"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}, "type": "function"}]})
    ),
    "response_metadata": extras,
    "name": st.one_of(st.none(), texts),
    "id": st.one_of(st.none(), texts),
}
made = st.one_of(
    st.builds(HumanMessage, **base),
    st.builds(SystemMessage, **base),
    st.builds(AIMessage, **base, tool_calls=st.lists(calls, max_size=2), usage_metadata=usages),
    st.builds(ToolMessage, **base, tool_call_id=texts, artifact=values, status=st.sampled_from(["success", "error"])),
)


def state(message: BaseMessage) -> Any:
    fields = [(name, type(value), repr(value)) for name, value in message.__dict__.items()]
    inner: Any = message
    return fields, inner.__pydantic_fields_set__, inner.__pydantic_extra__, inner.__pydantic_private__


@given(made)
def test_a_message_is_the_one_that_its_constructor_makes(message: Any) -> None:
    fields = message.model_dump()
    found = of_fields(type(message), message.model_dump())
    if found is not None:
        assert state(found) == state(type(message)(**fields))
        assert found is not message


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage("a", id="1", response_metadata={"a": 1}),
        SystemMessage("a"),
        AIMessage("a", tool_calls=[{"name": "f", "args": {"q": [1]}, "id": "1"}]),
        ToolMessage("a", tool_call_id="1", artifact={"a": 1}),
    ],
)
def test_the_usual_messages_are_made_without_validation(message: Any) -> None:
    assert of_fields(type(message), message.model_dump()) == message


class Derived(HumanMessage):
    """May do anything in its validators."""


@pytest.mark.parametrize(
    ("cls", "changed"),
    [
        (Derived, {}),
        (dict, {}),
        (HumanMessage, {"content": ["a"]}),
        (HumanMessage, {"type": "ai"}),
        (HumanMessage, {"id": 5}),
        (HumanMessage, {"new": 5}),
        (HumanMessage, {"additional_kwargs": {"a": 1}}),
    ],
)
def test_what_validation_may_change_goes_through_it(cls: Any, changed: dict[str, Any]) -> None:
    assert of_fields(cls, {**HumanMessage("a").model_dump(), **changed}) is None
