"""Answers are mended before anybody is told, and calls that are not whole do not run."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call

from stategraph.agent.messages import arguments, encodable, mending, problems
from stategraph.agent.tools.tool_calls import OpenCalls, cut_off

HIGH, LOW = "\ud83d", "\ude00"
EMOJI = "\N{GRINNING FACE}"


def fragment(name: str | None, args: str | None, id: str | None, index: Any = 0) -> AIMessageChunk:
    piece = {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}
    return AIMessageChunk(content="", tool_call_chunks=[piece])


def streamed(*chunks: AIMessage, history: Any = ()) -> tuple[list[AIMessage], AIMessage]:
    mender = mending.Mender(history)
    told = [mender.piece(chunk) for chunk in chunks]
    return told, mender.whole()


# Arguments.


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        (f'{{"a": "{HIGH}{LOW}"}}', {"a": EMOJI}),
        (" ", {}),
        ("", {}),
        (None, {}),
        ('{"n": 18446744073709551615}', {"n": 2**64 - 1}),
        ('{"n": -9223372036854775808}', {"n": -(2**63)}),
        ({"n": [True, 0.5, {"m": None}]}, {"n": [True, 0.5, {"m": None}]}),
    ],
)
def test_whole_arguments_are_read(given: Any, read: dict[str, Any]) -> None:
    assert arguments.read(given) == read


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ('{"path": "/home/ada', 'not a JSON object: \'{"path"'),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"n": NaN}', "NaN is no number of JSON"),
        ('{"n": -1e999}', "-inf is no number of JSON"),
        ('{"n": ' + "9" * 5000 + "}", "more than 64 bits"),
        ('{"n": 18446744073709551616}', "more than 64 bits"),
        ('{"n": ' + "[" * 20000 + "]" * 20000 + "}", "more than 100 levels"),
        ('{"n": ' + "[" * 100 + "]" * 100 + "}", "more than 100 levels"),
        ('{"n": "\\ud83d"}', "half of a surrogate pair"),
        ('{"\\ud83d": 1}', "half of a surrogate pair"),
        ('{"n": -9223372036854775809}', "more than 64 bits"),
        ({"n": [{"m": float("nan")}]}, "nan is no number of JSON"),
        ({1: "n", "m": (2,)}, "a value of type tuple is no JSON"),
        ("x" * 201, f"not a JSON object: '{'x' * 200}'$"),
        ({"n": {1, 2}}, "a value of type set is no JSON"),
        ([1], "not a JSON object: \\[1\\]"),
    ],
)
def test_arguments_that_no_tool_can_be_given_are_refused_with_the_reason(given: Any, why: str) -> None:
    with pytest.raises(arguments.UnreadableArgumentsError, match=why):
        arguments.read(given)


def test_arguments_may_be_nested_a_hundred_levels() -> None:
    for levels, plain in ((99, True), (100, False)):
        value: Any = {"n": []}
        for _ in range(levels - 1):
            value = {"n": value}
        assert arguments.is_plain(value) is plain
        if plain:
            assert arguments.read(value) is value
    given: dict[str, Any] = {"n": [1]}
    assert arguments.read(given) is given


# Texts.


def test_pairs_are_joined_and_single_halves_replaced() -> None:
    assert encodable.encodable(f"a{HIGH}{LOW}b{LOW}") == f"a{EMOJI}b\ufffd"
    assert encodable.encodable_value({HIGH: [f"{HIGH}{LOW}", 1]}) == {"\ufffd": [EMOJI, 1]}
    sound = {"a": ["b", {"c": EMOJI}]}
    assert encodable.encodable_value(sound) is sound


def test_an_emoji_in_two_pieces_is_told_once_and_whole() -> None:
    told, whole = streamed(AIMessageChunk("Hi "), AIMessageChunk(HIGH), AIMessageChunk(LOW + "!"))
    assert [chunk.content for chunk in told] == ["Hi ", "", f"{EMOJI}!"]
    assert whole.content == f"Hi {EMOJI}!"


def test_an_error_that_cannot_be_put_into_words_is_named() -> None:
    class Mute(KeyError):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert (problems.text(Mute()), problems.named(Mute()), problems.said(Mute())) == ("", "Mute: ", "Mute")
    assert problems.said(ValueError(HIGH)) == "\ufffd"


# Ids.


def test_what_is_whole_stays_the_same_object() -> None:
    chunk = fragment("look", "{}", "c1")
    (told,), _ = streamed(chunk)
    assert told is chunk
    message = AIMessage("Hi", id="m", tool_calls=[{"name": "look", "args": {}, "id": "c1"}])
    assert mending.mended(message, [HumanMessage("hi", id="h")]) is message


def test_calls_are_told_with_the_ids_that_they_keep() -> None:
    chunks = [fragment("look", '{"a"', None), fragment(None, ": 1}", None), fragment("look", "{}", "c1", 1)]
    told, whole = streamed(*chunks, fragment("look", "{}", "c1", 2))
    ids = [chunk.tool_call_chunks[0]["id"] for chunk in told if isinstance(chunk, AIMessageChunk)]
    assert ids[1] is None
    assert [call["id"] for call in whole.tool_calls] == [ids[0], ids[2], ids[3]]
    assert ids[2] == "c1"
    assert len({*ids}) == 4
    assert [call["args"] for call in whole.tool_calls] == [{"a": 1}, {}, {}]


def test_calls_that_share_an_index_are_told_apart() -> None:
    chunks = [fragment("look", "", "c1"), fragment(None, '{"a": 1}', None)]
    chunks += [fragment("find", "", "c2"), fragment(None, '{"b": 2}', None)]
    _, whole = streamed(*chunks)
    assert [(call["name"], call["args"], call["id"]) for call in whole.tool_calls] == [
        ("look", {"a": 1}, "c1"),
        ("find", {"b": 2}, "c2"),
    ]


def test_a_name_that_comes_with_every_piece_is_one_name() -> None:
    _, whole = streamed(fragment("look", "{", "c1"), fragment("look", "}", "c1"))
    assert [(call["name"], call["id"]) for call in whole.tool_calls] == [("look", "c1")]


def test_an_answer_does_not_take_the_place_of_an_earlier_one_with_its_id() -> None:
    before = [HumanMessage("hi", id="h"), AIMessage("First.", id="chatcmpl-1")]
    told, whole = streamed(
        AIMessageChunk("Sec", id="chatcmpl-1"), AIMessageChunk("ond.", id="chatcmpl-1"), history=before
    )
    assert whole.id not in ("chatcmpl-1", None)
    assert {chunk.id for chunk in told} == {whole.id}
    assert mending.mended(AIMessage("Second.", id="chatcmpl-1"), before).id != "chatcmpl-1"


def test_a_call_that_breaks_off_is_not_completed() -> None:
    _, whole = streamed(fragment("delete", '{"path": "/home/ada', "c1"), fragment("look", "{}", "c2", 1))
    assert [call["name"] for call in whole.tool_calls] == ["look"]
    (broken,) = whole.invalid_tool_calls
    assert (broken["name"], broken["args"], broken["id"]) == ("delete", '{"path": "/home/ada', "c1")
    assert "not a JSON object" in (broken["error"] or "")


def test_a_half_stays_back_alone() -> None:
    told, whole = streamed(AIMessageChunk(f"Hi {HIGH}"), AIMessageChunk(f"{LOW} there"), AIMessageChunk(LOW))
    assert [chunk.content for chunk in told] == ["Hi ", f"{EMOJI} there", "\ufffd"]
    assert whole.content == f"Hi {EMOJI} there\ufffd"


def test_halves_of_blocks_and_thoughts_are_joined_each_with_its_own() -> None:
    def piece(text: str, thought: str, block: int) -> AIMessageChunk:
        blocks: list[Any] = [
            {"type": "text", "text": text, "index": block},
            {"type": "thinking", "thinking": text, "index": 9},
        ]
        return AIMessageChunk(blocks, additional_kwargs={"reasoning_content": thought, "other": 1})

    first, second = piece(f"a{HIGH}", f"b{HIGH}", 0), piece(f"{LOW}c", f"{LOW}d", 0)
    told, _ = streamed(first, second, piece("x", "y", 0))
    assert [[block.get("text", block.get("thinking")) for block in chunk.content] for chunk in told] == [  # type: ignore[union-attr]
        ["a", "a"],
        [f"{EMOJI}c", f"{EMOJI}c"],
        ["x", "x"],
    ]
    assert [chunk.additional_kwargs for chunk in told] == [
        {"reasoning_content": "b", "other": 1},
        {"reasoning_content": f"{EMOJI}d", "other": 1},
        {"reasoning_content": "y", "other": 1},
    ]
    # Pieces of different blocks do not complete each other, and what is given is not changed.
    told, _ = streamed(piece(f"a{HIGH}", "", 0), piece(f"{LOW}c", "", 1))
    assert told[1].content[0]["text"] == "\ufffdc"  # type: ignore[index]
    assert first.content[0]["text"] == f"a{HIGH}"  # type: ignore[index]


def test_halves_of_texts_in_a_list_are_joined_by_their_places() -> None:
    told, _ = streamed(AIMessageChunk(["x", f"a{HIGH}"]), AIMessageChunk(["y", f"{LOW}b"]))
    assert [chunk.content for chunk in told] == [["x", "a"], ["y", f"{EMOJI}b"]]


def calls_of(*chunks: AIMessageChunk) -> list[tuple[str, Any, str | None]]:
    told, whole = streamed(*chunks)
    joined = told[0]
    for chunk in told[1:]:
        joined = joined + chunk  # type: ignore[assignment]
    calls = [(call["name"], call["args"], call["id"]) for call in whole.tool_calls]
    assert [(call["name"], call["args"], call["id"]) for call in joined.tool_calls] == calls
    return calls


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        ([fragment("lo", "", "c1"), fragment("ok", "{}", None)], [("look", {}, "c1")]),
        ([fragment(None, "", "c1"), fragment("look", "{}", None)], [("look", {}, "c1")]),
        ([fragment(None, "", "c1"), fragment("look", "{}", "c1")], [("look", {}, "c1")]),
        ([fragment("look", "{", "c1"), fragment(None, "}", "c2")], [("look", {}, "c1")]),
        ([fragment("look", "{", "c1"), fragment("", "}", "c1")], [("look", {}, "c1")]),
        ([fragment("look", "{", "c1"), fragment("look", "}", "")], [("look", {}, "c1")]),
        ([fragment("look", "{}", "c1"), fragment("look", "{}", "c2")], [("look", {}, "c1"), ("look", {}, "c2")]),
        (
            [
                fragment("look", "", "c1", 4),
                fragment("find", "", "c2", 4),
                fragment(None, '{"a"', None, 4),
                fragment(None, ": 1}", None, 4),
                fragment("skip", "{}", "c3", 7),
                fragment("read", "{}", "c4", 7),
            ],
            [("look", {}, "c1"), ("find", {"a": 1}, "c2"), ("skip", {}, "c3"), ("read", {}, "c4")],
        ),
    ],
)
def test_fragments_become_the_calls_that_the_model_meant(chunks: Any, calls: Any) -> None:
    assert calls_of(*chunks) == calls


@pytest.mark.parametrize(
    "chunks",
    [
        [fragment("look", "", "c1"), fragment(None, "{", None), fragment(None, "}", "c1"), fragment("", "", "")],
        [fragment("lo", "", "c1"), fragment("ok", "{}", None)],
        [fragment(None, "", "c1"), fragment(None, "{", None), fragment("", "}", "c1")],
    ],
)
def test_fragments_with_which_nothing_is_wrong_are_told_as_they_came(chunks: list[AIMessageChunk]) -> None:
    told, _ = streamed(*chunks)
    assert [each is chunk for each, chunk in zip(told, chunks, strict=True)] == [True] * len(chunks)


def test_a_call_may_follow_one_that_has_no_name_or_had_no_id() -> None:
    _, whole = streamed(fragment(None, "{}", "c1"), fragment("find", "{}", "c2"))
    assert [(call["name"], call["id"]) for call in whole.tool_calls] == [("nameless_tool", "c1"), ("find", "c2")]
    _, whole = streamed(fragment("look", "{}", None), fragment("find", "{}", "c2"))
    assert [call["name"] for call in whole.tool_calls] == ["look", "find"]
    assert whole.tool_calls[1]["id"] == "c2"


def test_a_plain_answer_is_told_as_it_came() -> None:
    answer = AIMessage("Hi")
    (told,), whole = streamed(answer)
    assert told is whole is answer


def test_a_half_is_not_held_back_for_ever() -> None:
    told, _ = streamed(AIMessageChunk(HIGH), AIMessageChunk("a"), AIMessageChunk("b"))
    assert [chunk.content for chunk in told] == ["", "\ufffda", "b"]
    thought = AIMessageChunk("a", additional_kwargs={"reasoning_content": LOW})
    assert streamed(thought)[0][0].additional_kwargs == {"reasoning_content": "\ufffd"}


def test_a_call_whose_id_comes_late_keeps_the_one_that_it_was_told_with() -> None:
    told, whole = streamed(fragment(None, "", None), fragment("look", "{}", "c9"))
    (call,) = whole.tool_calls
    assert (call["name"], call["id"]) == ("look", told[0].tool_call_chunks[0]["id"])  # type: ignore[attr-defined]
    assert call["id"] != "c9"


def test_calls_without_places_are_calls_of_their_own() -> None:
    _, whole = streamed(fragment("look", "{}", "c1", None), fragment("find", "{}", None, None))
    assert [call["name"] for call in whole.tool_calls] == ["look", "find"]
    assert whole.tool_calls[0]["id"] == "c1"
    assert whole.tool_calls[1]["id"]


def test_a_call_without_a_name_is_called_nameless() -> None:
    _, whole = streamed(fragment(None, "{}", "c1"))
    assert [call["name"] for call in whole.tool_calls] == ["nameless_tool"]


def test_a_model_that_does_not_stream_has_its_answer_mended() -> None:
    before = [HumanMessage("hi", id="m")]
    given = AIMessage(HIGH, id="m", additional_kwargs={"tool_calls": [1], "kept": HIGH, "other": 1})
    call = {"name": "", "args": {}, "id": "", "type": "tool_call"}
    told, whole = streamed(given.model_copy(update={"tool_calls": [call, call]}), history=before)
    assert told == [whole]
    assert whole.content == "\ufffd"
    assert whole.id not in ("m", None)
    assert whole.additional_kwargs == {"kept": "\ufffd", "other": 1}
    assert [each["name"] for each in whole.tool_calls] == ["nameless_tool"] * 2
    assert len({each["id"] for each in whole.tool_calls}) == 2
    assert mending.mended(AIMessage("Hi", id="lc_run-1"), [AIMessage("Ho", id="lc_run-1")]).id == "lc_run-1"
    sound = mending.mended(AIMessage("", additional_kwargs={"tool_calls": [HIGH]}))
    assert sound.additional_kwargs == {"tool_calls": ["\ufffd"]}


@pytest.mark.parametrize("wrong", ["", None, 7, "c1"])
def test_a_call_of_a_whole_answer_with_a_wrong_id_is_given_one(wrong: Any) -> None:
    calls = [{"name": "look", "args": {}, "id": each, "type": "tool_call"} for each in ("c1", wrong, "c2")]
    first, second, third = mending.mended(AIMessage("").model_copy(update={"tool_calls": calls})).tool_calls
    assert (first["id"], third["id"]) == ("c1", "c2")
    assert (second["id"] or "").startswith("call_")


def test_arguments_that_are_no_object_go_to_the_calls_that_cannot_run() -> None:
    def of(args: Any) -> AIMessage:
        call = {"name": "look", "args": args, "id": "c1", "type": "tool_call"}
        return mending.mended(AIMessage("").model_copy(update={"tool_calls": [call]}))

    assert (of("{}").tool_calls[0]["args"], of("{}").invalid_tool_calls) == ({}, [])
    for args, shown in (({"n": float("nan")}, "{'n': nan}"), (f"{HIGH}", "\ufffd"), ({"n": HIGH}, "{'n': '\\ud83d'}")):
        made = of(args)
        assert made.tool_calls == []
        (broken,) = made.invalid_tool_calls
        assert (broken["name"], broken["args"], broken["id"]) == ("look", shown, "c1")
        assert broken["error"]
    invalid = {"name": "look", "args": "{", "id": "c1", "error": "old", "type": "invalid_tool_call"}
    (again,) = mending.mended(AIMessage("", invalid_tool_calls=[invalid])).invalid_tool_calls
    assert "not a JSON object" in (again["error"] or "")


@pytest.mark.parametrize(
    ("calls", "sound"),
    [
        ([], True),
        ([{"name": "a", "id": "1"}, {"name": "a", "id": "2"}], True),
        ([{"name": "a", "id": "1"}, {"name": "a", "id": "1"}], False),
        ([{"name": "a", "id": ""}], False),
        ([{"name": "a", "id": None}], False),
        ([{"name": "", "id": "1"}], False),
        ([{"name": None, "id": "1"}], False),
        ([{"name": "a", "id": 1}], False),
    ],
)
def test_calls_are_whole_with_names_and_different_ids(calls: Any, sound: bool) -> None:
    assert mending.is_mended(calls) is sound


def test_a_mender_is_empty_until_a_piece_comes() -> None:
    mender = mending.Mender()
    assert mender.is_empty
    mender.piece(AIMessageChunk("a"))
    assert not mender.is_empty


def test_every_piece_of_an_answer_is_told_under_one_id() -> None:
    before = [AIMessage("First.", id="m1")]
    told, whole = streamed(
        AIMessageChunk("a", id="m2"),
        AIMessageChunk("b", id="m2"),
        AIMessageChunk("c", id="m1"),
        AIMessageChunk("d", id="m1"),
        history=before,
    )
    assert [chunk.id for chunk in told[:2]] == ["m2", "m2"]
    assert told[2].id == told[3].id not in ("m1", "m2", None)
    assert whole.id == "m2"


# Answers that were cut off.


@pytest.mark.parametrize(
    "about",
    [
        {"finish_reason": "length"},
        {"finish_reason": "lengthlength"},
        {"finish_reason": "MAX_TOKENS"},
        {"finish_reason": "FinishReason.MAX_TOKENS"},
        {"finish_reason": "model_length"},
        {"finish_reason": "content_filter"},
        {"stop_reason": "max_tokens"},
        {"stop_reason": "model_context_window_exceeded"},
        {"stopReason": "max_tokens"},
        {"messageStop": {"stopReason": "max_tokens"}},
        {"done_reason": "length"},
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"status": "incomplete"},
    ],
)
def test_an_answer_that_was_cut_off_runs_none_of_its_calls(about: dict[str, Any]) -> None:
    calls = [{"name": "copy", "args": {"to": "/b"}, "id": "c1"}, {"name": "delete", "args": {"path": "/a"}, "id": "c2"}]
    found = OpenCalls.of([AIMessage("", id="m", tool_calls=calls, response_metadata=about)])
    assert set(found.unreadable) == {"c1", "c2"}
    assert all("was not run: the answer was cut off" in why for why in found.unreadable.values())


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"finish_reason": "tool_calls"},
        {"stop_reason": "tool_use", "status": "completed"},
        {"finish_reason": None},
        {"finish_reason": "stop", "incomplete_details": None},
    ],
)
def test_an_answer_that_ended_by_itself_is_not_cut_off(about: dict[str, Any]) -> None:
    assert cut_off(AIMessage("", response_metadata=about)) is None


# Calls that are left to answer.

CALLING = AIMessage("", id="m", tool_calls=[{"name": "look", "args": {}, "id": each} for each in ("a", "b")])


def of_tool(call_id: str) -> ToolMessage:
    return ToolMessage("done", tool_call_id=call_id)


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ([], []),
        ([HumanMessage("hi")], []),
        ([CALLING], ["a", "b"]),
        ([CALLING, of_tool("a")], ["b"]),
        ([CALLING, of_tool("b"), of_tool("a")], []),
        ([CALLING, of_tool("a"), HumanMessage("more")], ["b"]),
        ([CALLING, of_tool("a"), of_tool("b"), CALLING], ["a", "b"]),
        ([CALLING, of_tool("a"), AIMessage("enough")], []),
    ],
)
def test_the_calls_of_the_last_answer_that_have_no_results_are_left_to_answer(messages: Any, left: list[str]) -> None:
    found = OpenCalls.of(messages)
    assert [call["id"] for call in found.calls] == left
    assert (found.unreadable, found.mended) == ({}, None)


def test_a_call_that_cannot_be_read_is_answered_with_the_reason_and_loses_its_text_in_the_history() -> None:
    broken = invalid_tool_call(name="look", args="{", id="a", error="not JSON")
    answer = AIMessage("", id="m", tool_calls=CALLING.tool_calls[1:], invalid_tool_calls=[broken])
    found = OpenCalls.of([answer])
    assert found.unreadable.keys() == {"a"}
    assert found.mended is not None
    assert found.mended.invalid_tool_calls == []
    assert [(call["id"], call["name"], call["args"]) for call in found.mended.tool_calls] == [
        ("b", "look", {}),
        ("a", "look", {}),
    ]
    assert [call["id"] for call in found.calls] == ["b", "a"]
    assert [call["id"] for call in OpenCalls.of([answer, of_tool("a")]).calls] == ["b"]


# Texts that can be encoded.


@pytest.mark.parametrize(
    ("text", "whole", "joined"),
    [
        ("", "", ""),
        ("plain", "plain", "plain"),
        (EMOJI, EMOJI, EMOJI),
        (f"{HIGH}{LOW}", EMOJI, EMOJI),
        (f"ä{HIGH}", "ä\ufffd", f"ä{HIGH}"),
        (f"{LOW}{HIGH}", "\ufffd\ufffd", f"{LOW}{HIGH}"),
        (f"{HIGH}{HIGH}{LOW}", f"\ufffd{EMOJI}", f"{HIGH}{EMOJI}"),
    ],
)
def test_halves_that_stand_side_by_side_are_joined_and_others_replaced(text: str, whole: str, joined: str) -> None:
    assert encodable.encodable(text) == whole
    assert encodable.joined(text) == joined
    assert encodable.is_encodable(text) is (text == whole)
    assert (encodable.encodable(text) is text) is (text == whole)


@pytest.mark.parametrize(
    ("piece", "text", "half"),
    [
        ("", "", ""),
        ("ab", "ab", ""),
        (f"ab{HIGH}", "ab", HIGH),
        (HIGH, "", HIGH),
        ("a\ud800", "a", "\ud800"),
        ("a\udbff", "a", "\udbff"),
        ("a\udc00", "a\ufffd", ""),
        ("a\ud7ff", "a\ud7ff", ""),
        (f"{HIGH}{LOW}", EMOJI, ""),
        (f"{HIGH}a{HIGH}", "\ufffda", HIGH),
    ],
)
def test_a_first_half_at_the_end_of_a_piece_waits_for_the_other_one(piece: str, text: str, half: str) -> None:
    assert encodable.without_open_half(piece) == (text, half)


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (HIGH, "\ufffd"),
        ([["a", HIGH]], [["a", "\ufffd"]]),
        ({"a": {"b": HIGH}}, {"a": {"b": "\ufffd"}}),
        ({HIGH: 1}, {"\ufffd": 1}),
    ],
)
def test_texts_are_made_encodable_wherever_they_are(value: Any, made: Any) -> None:
    assert encodable.encodable_value(value) == made


@pytest.mark.parametrize("value", [None, 7, (HIGH,), "a", {}, [], {"a": ["b", {"c": None}]}])
def test_a_value_with_which_nothing_is_wrong_is_the_same_object(value: Any) -> None:
    assert encodable.encodable_value(value) is value
