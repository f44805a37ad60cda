"""Message lists: merging by id, the index behind it, delta channels, pushing from inside a node."""

import operator
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from stategraph.constants import CONF, CONFIG_KEY_SEND, START
from stategraph.core.channels.delta import DeltaChannel
from stategraph.engine.checkpoints import message_delta, message_index
from stategraph.engine.config import context
from stategraph.graph.message import MessagesState, add_messages, push_message
from stategraph.graph.reducers import REMOVE_ALL_MESSAGES, new_message_id
from stategraph.graph.state import StateGraph
from stategraph.types import Overwrite

VERSION_4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(autouse=True)
def _forget_indexes() -> Iterator[None]:
    message_index.forget_all()
    yield
    message_index.forget_all()


def _human(message_id: str, content: str = "text") -> HumanMessage:
    return HumanMessage(content=content, id=message_id)


def _long_list(length: int = 40) -> list[Any]:
    """A list as the reducer returns it, long enough to be indexed."""
    return add_messages([], [_human(str(at)) for at in range(length)])


def _ids(messages: Any) -> list[str]:
    return [message.id for message in messages]


def _searching_reducer(left: list[Any], right: list[Any]) -> list[Any]:
    """The same rules with no index: search the list for every message."""
    merged: list[Any] = list(left)
    doomed = set()
    for message in right:
        places = [at for at, known in enumerate(merged) if known.id == message.id]
        if isinstance(message, RemoveMessage):
            if not places:
                raise ValueError(message.id)
            doomed.add(message.id)
        elif places:
            merged[places[-1]] = message
            doomed.discard(message.id)
        else:
            merged.append(message)
    return [message for message in merged if message.id not in doomed]


# --- the rules ---


def test_a_new_id_is_appended_and_a_known_one_replaced() -> None:
    merged = add_messages([_human("1"), _human("2")], [_human("1", "new"), AIMessage(content="hi", id="3")])
    assert [(m.id, m.content) for m in merged] == [("1", "new"), ("2", "text"), ("3", "hi")]


def test_the_result_is_a_new_list_even_if_nothing_was_added() -> None:
    left = [_human("1")]
    merged = add_messages(left, [])
    assert merged == left
    assert merged is not left


def test_messages_without_an_id_get_one_on_both_sides() -> None:
    left, right = HumanMessage(content="a"), AIMessage(content="b")
    merged = add_messages(left, right)
    assert all(VERSION_4.fullmatch(message.id) for message in merged)
    assert left.id is not None
    assert right.id is not None
    assert left.id != right.id


def test_one_object_twice_on_one_side_is_one_message() -> None:
    message = HumanMessage(content="a")
    assert len(add_messages([], [message, message])) == 1


def test_message_likes_and_chunks_become_whole_messages() -> None:
    merged = add_messages(
        [{"role": "assistant", "content": "a", "id": "1"}],
        [AIMessageChunk(content="b", id="2"), ("user", "c"), "d"],
    )
    assert [type(message) for message in merged] == [AIMessage, AIMessage, HumanMessage, HumanMessage]


def test_a_removed_message_comes_back_in_its_old_place() -> None:
    merged = add_messages([_human("1"), _human("2")], [RemoveMessage(id="1"), _human("1", "back")])
    assert [(m.id, m.content) for m in merged] == [("1", "back"), ("2", "text")]


def test_a_message_that_arrives_and_is_removed_in_one_update_is_not_there() -> None:
    assert _ids(add_messages([_human("1")], [_human("2"), RemoveMessage(id="2")])) == ["1"]


@pytest.mark.parametrize("length", [1, 40])
def test_removing_an_unknown_id_is_an_error_that_names_it(length: int) -> None:
    left = _long_list(length)
    with pytest.raises(ValueError, match=r"Attempting to delete a message with an ID that doesn't exist \('ghost'\)"):
        add_messages(left, RemoveMessage(id="ghost"))


def test_remove_all_keeps_what_follows_the_last_one() -> None:
    right = [
        _human("2"),
        RemoveMessage(id=REMOVE_ALL_MESSAGES),
        _human("3"),
        RemoveMessage(id=REMOVE_ALL_MESSAGES),
        SystemMessage(content="kept", id="4"),
    ]
    assert _ids(add_messages([_human("1")], right)) == ["4"]


def test_what_follows_a_removal_of_all_is_merged_like_any_other_update() -> None:
    clear = RemoveMessage(id=REMOVE_ALL_MESSAGES)
    twice = [clear, _human("1", "first"), _human("1", "second")]
    assert [message.content for message in add_messages([_human("0")], twice)] == ["second"]  # type: ignore[union-attr]
    removed = [clear, _human("1"), _human("2"), RemoveMessage(id="1")]
    assert _ids(add_messages([_human("0")], removed)) == ["2"]
    with pytest.raises(ValueError, match="doesn't exist \\('0'\\)"):
        add_messages([_human("0")], [clear, RemoveMessage(id="0")])
    nameless: Any = add_messages(_long_list(), [clear, *[HumanMessage("x") for _ in range(30)]])
    assert len({message.id for message in nameless}) == 30
    assert _ids(add_messages(nameless, [_human("last")]))[-1] == "last"


def test_what_follows_a_removal_of_all_is_formatted() -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    merge: Any = add_messages(format="langchain-openai")
    (message,) = merge([_human("0")], [RemoveMessage(id=REMOVE_ALL_MESSAGES), HumanMessage([image], id="1")])
    assert message.content[0]["type"] == "image_url"


def test_the_schema_of_a_message_state_describes_nothing_that_its_author_did_not_write() -> None:
    builder = StateGraph(MessagesState).add_node("n", lambda _: None).add_edge(START, "n")
    assert "description" not in builder.compile().get_input_jsonschema()


def test_none_in_the_place_of_messages_is_an_error_that_says_what_to_write() -> None:
    graph = StateGraph(MessagesState).add_node("n", lambda _: None).add_edge(START, "n").compile()
    with pytest.raises(ValueError, match=r"Only received: 'left'\. A message key takes"):
        graph.invoke({"messages": None})


def test_a_message_whose_id_merely_looks_like_remove_all_is_a_message() -> None:
    assert _ids(add_messages([_human("1")], [_human(REMOVE_ALL_MESSAGES)])) == ["1", REMOVE_ALL_MESSAGES]


@pytest.mark.parametrize("sides", [{"left": []}, {"right": []}])
def test_one_side_alone_is_an_error(sides: dict[str, Any]) -> None:
    (given_side,) = sides
    with pytest.raises(ValueError, match=f"Only received: '{given_side}'"):
        add_messages(**sides)


def test_no_sides_bind_options() -> None:
    reducer = add_messages(format="langchain-openai")
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "1234"}}
    (message,) = reducer([], [HumanMessage(content=[image])])
    assert message.content == [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,1234"}}]


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(ValueError, match="Unrecognized format='yaml'"):
        add_messages([], [], format="yaml")


def test_ids_are_random_version_4_uuids() -> None:
    ids = {new_message_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(VERSION_4.fullmatch(message_id) for message_id in ids)


def test_a_program_may_replace_uuid4_to_get_ids_that_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: "fixed")
    assert _ids(add_messages([], HumanMessage(content="a"))) == ["fixed"]


def test_the_state_class_uses_the_reducer() -> None:
    hint = get_type_hints(MessagesState, include_extras=True)["messages"]
    assert hint.__metadata__ == (add_messages,)


# --- the index ---


_UPDATES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["put", "put", "put", "remove"]), st.integers(0, 25)),
        max_size=4,
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(_UPDATES, st.booleans())
def test_a_chain_of_updates_gives_what_searching_gives(updates: list[list[tuple[str, int]]], long: bool) -> None:
    fast: list[Any] = _long_list() if long else []
    slow = list(fast)
    for update in updates:
        right: list[BaseMessage] = [
            RemoveMessage(id=str(key)) if what == "remove" else _human(str(key), f"{what}{at}")
            for at, (what, key) in enumerate(update)
        ]
        try:
            slow = _searching_reducer(slow, right)
        except ValueError:
            with pytest.raises(ValueError, match="doesn't exist"):
                add_messages(fast, right)
            continue
        fast = add_messages(fast, right)
        assert fast == slow


def test_a_long_list_is_remembered_for_the_next_call() -> None:
    messages = _long_list()
    index = message_index.recall(messages, reducer="add_messages")
    assert index is not None
    assert index.positions == {str(at): at for at in range(40)}


def test_only_one_caller_gets_an_index() -> None:
    messages = _long_list()
    assert message_index.recall(messages, reducer="add_messages") is not None
    assert message_index.recall(messages, reducer="add_messages") is None


def test_two_updates_of_one_list_do_not_see_each_other() -> None:
    messages = _long_list()
    one = add_messages(messages, _human("one"))
    other = add_messages(messages, _human("other"))
    assert _ids(one)[-1] == "one"
    assert _ids(other)[-1] == "other"
    assert len(add_messages(one, _human("other"))) == 42
    assert len(add_messages(other, _human("other", "again"))) == 41


def test_a_short_list_is_not_remembered() -> None:
    add_messages([], [_human(str(at)) for at in range(message_index.SMALLEST_REMEMBERED - 1)])
    assert message_index.remembered_count() == 0


@pytest.mark.parametrize("reduce_at_once", [True, False], ids=["at once", "one by one"])
def test_the_positions_of_a_list_are_remembered_from_a_length_on(reduce_at_once: bool) -> None:
    message_index.forget_all()
    for length, remembered in ((message_index.SMALLEST_REMEMBERED - 1, 0), (message_index.SMALLEST_REMEMBERED, 1)):
        new: list[Any] = [_human(str(at)) for at in range(length)]
        merged = message_delta.messages_delta_reducer([], [new]) if reduce_at_once else add_messages([], new)
        assert len(merged) == length
        assert message_index.remembered_count() == remembered


def test_an_equal_copy_of_a_list_is_indexed_anew() -> None:
    messages = _long_list()
    assert _ids(add_messages(messages.copy(), _human("3", "new"))) == [str(at) for at in range(40)]


def _swap(messages: list[Any]) -> None:
    messages[3] = _human("swapped")


def _append(messages: list[Any]) -> None:
    messages.append(_human("swapped"))


def _delete(messages: list[Any]) -> None:
    del messages[3]


def _rename_last(messages: list[Any]) -> None:
    messages[-1].id = "swapped"


def _reverse(messages: list[Any]) -> None:
    messages.reverse()


class _Incomparable(HumanMessage):
    def __eq__(self, other: object) -> bool:
        raise ValueError("no truth value")


def _swap_incomparable(messages: list[Any]) -> None:
    messages[3] = _Incomparable(content="text", id="swapped")


@pytest.mark.parametrize("change", [_swap, _append, _delete, _rename_last, _reverse, _swap_incomparable])
def test_a_list_changed_in_place_is_seen_as_it_is_now(change: Any) -> None:
    messages = _long_list()
    change(messages)
    known = _ids(messages)
    right = [_human("swapped", "last word"), _human("7", "last word")]
    merged = add_messages(messages, right)
    assert _ids(merged) == (known if "swapped" in known else [*known, "swapped"])
    assert {m.id for m in merged if m.content == "last word"} == {"swapped", "7"}


def test_a_message_renamed_in_place_is_not_taken_for_the_old_one() -> None:
    messages = _long_list()
    messages[5].id = "renamed"
    merged = add_messages(messages, _human("5", "a new message"))
    assert merged[5].id == "renamed"
    assert merged[-1].content == "a new message"


def test_a_message_renamed_in_place_can_be_removed() -> None:
    messages = _long_list()
    messages[5].id = "renamed"
    assert "renamed" not in _ids(add_messages(messages, RemoveMessage(id="renamed")))


def test_memory_is_bounded_and_keeps_what_is_in_use() -> None:
    in_use = [_long_list(message_index.SMALLEST_REMEMBERED) for _ in range(message_index.MOST_REMEMBERED + 20)]
    assert len(in_use) > message_index.remembered_count() >= message_index.MOST_REMEMBERED - 1


def test_lists_nobody_holds_are_dropped_as_others_come() -> None:
    for _ in range(100):
        _long_list()
    kept = _long_list()
    for _ in range(100):
        kept = add_messages(kept, AIMessage(content="step"))
    assert message_index.remembered_count() <= 3


def test_threads_that_extend_one_list_do_not_disturb_each_other() -> None:
    shared = _long_list()

    def extend(name: int) -> list[str]:
        messages = shared
        for step in range(50):
            messages = add_messages(messages, _human(f"{name}-{step}"))
            messages = add_messages(messages, _human(f"{step % 40}", f"by {name}"))
        return [f"{message.id} {message.content}" for message in messages]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(extend, range(16)))
    for name, result in enumerate(results):
        assert result[:40] == [f"{at} by {name}" for at in range(40)]
        assert result[40:] == [f"{name}-{step} text" for step in range(50)]


# --- delta channels ---


_WRITES = st.lists(
    st.lists(st.tuples(st.sampled_from(["put", "put", "remove", "anonymous", "clear"]), st.integers(0, 8)), max_size=3),
    max_size=12,
)


def _write(update: list[tuple[str, int]], stamp: int) -> list[Any]:
    kinds = {
        "put": lambda key: _human(str(key), f"{stamp}"),
        "remove": lambda key: RemoveMessage(id=str(key)),
        "anonymous": lambda key: HumanMessage(content=f"{stamp} {key}"),
        "clear": lambda key: RemoveMessage(id=REMOVE_ALL_MESSAGES),
    }
    return [kinds[what](key) for what, key in update]


@settings(max_examples=150, deadline=None)
@given(_WRITES, st.integers(0, 12), st.booleans())
def test_it_does_not_matter_how_writes_to_a_delta_channel_are_grouped(
    updates: list[list[tuple[str, int]]], cut: int, long: bool
) -> None:
    writes = [_write(update, stamp) for stamp, update in enumerate(updates)]
    start: list[Any] = [_human(f"s{at}") for at in range(30)] if long else []
    at_once = message_delta.messages_delta_reducer(start, writes)
    one_by_one = reduce(lambda state, write: message_delta.messages_delta_reducer(state, [write]), writes, start)
    in_two = message_delta.messages_delta_reducer(
        message_delta.messages_delta_reducer(start, writes[:cut]), writes[cut:]
    )
    assert at_once == one_by_one == in_two


def test_the_delta_reducer_drops_everything_before_the_last_message_that_removes_all() -> None:
    clear = RemoveMessage(id=REMOVE_ALL_MESSAGES)
    writes: list[Any] = [[_human("dropped")], [clear, _human("dropped too")], clear, [_human("kept")]]
    state: list[Any] = [_human(f"old {at}") for at in range(30)]
    one_by_one = reduce(lambda messages, write: message_delta.messages_delta_reducer(messages, [write]), writes, state)
    assert message_delta.messages_delta_reducer(state, writes) == one_by_one == [_human("kept")]
    assert len(state) == 30


@pytest.mark.parametrize(
    ("writes", "merged"),
    [
        ([], ["1 old", "2 old", "3 old"]),
        ([[_human("2", "new")]], ["1 old", "2 new", "3 old"]),
        ([_human("2", "new"), [_human("2", "newer"), _human("4", "new")]], ["1 old", "2 newer", "3 old", "4 new"]),
        ([[RemoveMessage(id="1")], [RemoveMessage(id="3")]], ["2 old"]),
        ([[RemoveMessage(id="2"), _human("2", "new")]], ["1 old", "3 old", "2 new"]),
        ([[_human("4", "new")], [RemoveMessage(id="4")]], ["1 old", "2 old", "3 old"]),
        ([[_human("4", "new"), _human("4", "newer")]], ["1 old", "2 old", "3 old", "4 newer"]),
    ],
)
@pytest.mark.parametrize("before", [0, 40], ids=["short", "long"])
def test_the_delta_reducer_replaces_removes_and_appends(writes: list[Any], merged: list[str], before: int) -> None:
    others: list[Any] = [_human(f"other {at}", "old") for at in range(before)]
    state = [*others, *(_human(name, "old") for name in "123")]
    result = message_delta.messages_delta_reducer(state, writes)
    assert result[:before] == others
    assert [f"{message.id} {message.content}" for message in result[before:]] == merged
    assert [message.content for message in state] == ["old"] * (before + 3)


def test_the_delta_reducer_converts_but_gives_no_ids() -> None:
    merged = message_delta.messages_delta_reducer(
        [{"role": "user", "content": "a", "id": "1"}],  # type: ignore[list-item]
        [[("assistant", "b")], "c", RemoveMessage(id="unknown")],  # type: ignore[list-item]
    )
    assert [(type(m), m.id) for m in merged] == [(HumanMessage, "1"), (AIMessage, None), (HumanMessage, None)]


def test_a_list_of_the_delta_reducer_is_no_list_of_add_messages() -> None:
    messages = message_delta.messages_delta_reducer([], [[AIMessageChunk(content=str(at)) for at in range(30)]])
    merged = add_messages(messages, [])
    assert {type(message) for message in merged} == {AIMessage}
    assert all(message.id for message in merged)


def _written(reducer: Any, value: Any) -> Any:
    writes = [("other", value), ("messages", value)]
    message_delta.ensure_message_ids({"messages": DeltaChannel(reducer)}, writes)
    assert writes[0] == ("other", value)
    return writes[1][1]


@pytest.mark.parametrize("value", ["text", ("user", "text"), {"role": "user", "content": "text"}])
def test_whatever_becomes_a_message_has_an_id_before_it_is_stored(value: Any) -> None:
    reducer = message_delta.messages_delta_reducer
    assert _written(reducer, value).id
    assert _written(reducer, [value])[0].id
    replaced = _written(reducer, Overwrite([value]))
    assert isinstance(replaced, Overwrite)
    assert replaced.value[0].id


def test_what_has_its_ids_is_stored_as_it_was_written() -> None:
    value = [_human("1")]
    assert _written(message_delta.messages_delta_reducer, value) is value


def test_what_is_no_message_is_left_for_the_reducer_to_complain_about() -> None:
    value = [3.14]
    assert _written(message_delta.messages_delta_reducer, value) is value
    with pytest.raises(Exception, match=r"must contain .role. and .content. keys"):
        _written(message_delta.messages_delta_reducer, [{"role": "user", "type": "nonsense"}])


def test_other_delta_channels_keep_their_data() -> None:
    message = HumanMessage(content="text")
    data = [{"kind": "row"}, "text", message]
    assert _written(operator.add, data) is data
    assert message.id
    dict_message = _written(operator.add, {"role": "user", "content": "text"})
    assert dict_message["id"]
    assert _written(operator.add, [{"role": "user", "content": "text"}])[0].id


# --- pushing ---


class _Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.heard: list[tuple[Any, Any]] = []

    def push_message(self, message: BaseMessage, metadata: dict[str, Any]) -> None:
        self.heard.append((message, metadata))


def _push(message: Any, *, as_manager: bool = False, **options: Any) -> tuple[list[Any], list[Any], Any]:
    listener, sent = _Listener(), []
    handlers: list[BaseCallbackHandler] = [BaseCallbackHandler(), listener]
    config = {
        "callbacks": CallbackManager(handlers) if as_manager else handlers,
        "metadata": {"langgraph_node": "chat"},
        CONF: {CONFIG_KEY_SEND: sent.extend},
    }
    pushed = context.run_in_context(config, push_message, message, **options)  # type: ignore[arg-type]
    return listener.heard, sent, pushed


@pytest.mark.parametrize("as_manager", [True, False])
def test_a_pushed_message_is_streamed_and_written(as_manager: bool) -> None:
    message = AIMessage(content="hi", id="1")
    heard, sent, pushed = _push(message, as_manager=as_manager)
    assert pushed is message
    assert heard == [(message, {"langgraph_node": "chat"})]
    assert sent == [("messages", message)]


def test_a_pushed_message_can_be_kept_out_of_the_state() -> None:
    heard, sent, pushed = _push({"role": "user", "content": "hi", "id": "1"}, state_key=None)
    assert isinstance(pushed, HumanMessage)
    assert len(heard) == 1
    assert sent == []


def test_a_pushed_message_needs_an_id() -> None:
    with pytest.raises(ValueError, match="Message ID is required"):
        _push(ToolMessage(content="hi", tool_call_id="1"))
