"""How results and inputs of tools are shortened: old ones cleared, long ones cut, by tiers that only grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from stategraph.agent.messages import compaction, truncation
from stategraph.agent.messages.compaction import Caps, ContextPruning
from stategraph.agent.messages.fading_tier import FadingTier


def call(number: int, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"id": f"c{number}", "name": "n", "args": args}])


def result(number: int, content: Any) -> ToolMessage:
    return ToolMessage(content, tool_call_id=f"c{number}")


def rounds(*texts: str) -> list[AnyMessage]:
    """A question, then a call and its result for each text."""
    messages: list[AnyMessage] = [HumanMessage("hi")]
    for number, text in enumerate(texts):
        messages += [call(number), result(number, text)]
    return messages


PRUNING = ContextPruning(
    keep_last_assistants=1,
    min_chars=10,
    soft_age=0.3,
    hard_age=0.6,
    soft_max_chars=12,
    head_chars=4,
    tail_chars=3,
    placeholder="[gone]",
)


# -- old results ---------------------------------------------------------


def test_old_results_are_cleared_by_age_and_those_of_the_newest_answer_stay() -> None:
    messages = rounds(*("a" * 10 + "b" * 10 for _ in range(4)))
    changed = compaction.clear_old(messages, PRUNING)
    ages = {index: (len(messages) - index) / len(messages) for index in (2, 4, 6, 8)}
    assert ages[4] > 0.5 > ages[6]
    assert {index: message.content for index, message in changed.items()} == {
        2: "[gone]",
        4: "aaaa\n…\nbbb",
        6: "aaaa\n…\nbbb",
    }
    assert [type(message) for message in changed.values()] == [ToolMessage] * 3
    assert messages[2].content == "a" * 10 + "b" * 10


def test_short_results_and_short_histories_stay() -> None:
    assert compaction.clear_old(rounds("short", "short"), PRUNING) == {}
    assert compaction.clear_old(rounds("x" * 9, "y" * 50), PRUNING) == {}
    assert compaction.clear_old(rounds("x" * 50), replace(PRUNING, keep_last_assistants=3)) == {}
    assert compaction.clear_old(rounds("x" * 50), replace(PRUNING, keep_last_assistants=1)) == {}
    assert compaction.clear_old([], replace(PRUNING, keep_last_assistants=0)) == {}


def test_results_of_the_newest_answer_stay_whatever_was_said_after_it() -> None:
    messages = [*rounds("x" * 10, "y" * 10), HumanMessage("and?"), HumanMessage("well?")]
    hard = replace(PRUNING, hard_age=0.1)
    assert list(compaction.clear_old(messages, hard)) == [2]
    assert list(compaction.clear_old(messages, replace(hard, keep_last_assistants=2))) == []


def test_results_of_all_answers_may_be_cleared() -> None:
    every = replace(PRUNING, keep_last_assistants=0, hard_age=0.1)
    assert list(compaction.clear_old(rounds("x" * 10, "y" * 10), every)) == [2, 4]
    assert list(compaction.clear_old(rounds("x" * 10, "y" * 9), every)) == [2]


def test_a_result_is_trimmed_only_if_that_makes_it_shorter() -> None:
    soft = replace(PRUNING, hard_age=1.0, keep_last_assistants=0, soft_age=0.0)
    ends = replace(soft, soft_max_chars=5, head_chars=6, tail_chars=6)
    assert compaction.clear_old(rounds("x" * 12), ends) == {}
    assert list(compaction.clear_old(rounds("x" * 13), ends)) == [2]
    assert compaction.clear_old(rounds("x" * 12), soft) == {}
    assert list(compaction.clear_old(rounds("x" * 13), soft)) == [2]


# -- tiers ---------------------------------------------------------------


def test_results_that_the_model_has_answered_in_words_are_masked() -> None:
    long = "x" * 500
    messages = [*rounds(long, long), AIMessage("so far"), call(7), result(7, long)]
    caps = Caps(result=400, masked=150, tool_input=1_000)
    faded = compaction.fade(messages, caps)
    assert (faded.masked, faded.results, faded.inputs) == (2, 1, 0)
    assert {index: len(str(message.content)) <= 400 for index, message in faded.messages.items()} == {
        2: True,
        4: True,
        7: True,
    }
    assert max(len(str(faded.messages[index].content)) for index in (2, 4)) <= 150 < len(str(faded.messages[7].content))
    plain = compaction.fade(messages, replace(caps, masked=None))
    assert (plain.masked, plain.results) == (0, 3)


def test_an_answer_without_words_masks_nothing() -> None:
    faded = compaction.fade([*rounds("x" * 500), AIMessage(" ")], Caps(1_000, 100, 1_000))
    assert faded.messages == {}
    assert (faded.masked, faded.results) == (0, 0)


def test_long_inputs_are_cut_once_also_where_the_content_repeats_them() -> None:
    long = {"text": "x" * 300}
    blocks: Any = [
        {"type": "text", "text": "looking"},
        {"type": "tool_use", "id": "c0", "name": "n", "input": long},
        {"type": "tool_use", "id": "c1", "name": "n", "input": {"a": 1}},
    ]
    calls: Any = [{"id": "c0", "name": "n", "args": long}, {"id": "c1", "name": "n", "args": {"a": 1}}]
    message = AIMessage(blocks, tool_calls=calls)
    faded = compaction.fade([message], Caps(1_000, None, 200))
    assert faded.inputs == 1
    cut: Any = faded.messages[0]
    assert cut.tool_calls[0]["args"].keys() == {"_truncated", "_originalChars"}
    assert cut.tool_calls[1]["args"] == {"a": 1}
    assert [block.get("input") for block in cut.content] == [None, cut.tool_calls[0]["args"], {"a": 1}]
    assert message.tool_calls[0]["args"] == long
    assert compaction.fade([cut], Caps(1_000, None, 50)).messages == {}
    exactly = len(truncation.compact_json(long))
    assert compaction.fade([message], Caps(1_000, None, exactly)).messages == {}
    assert list(compaction.fade([message], Caps(1_000, None, exactly - 1)).messages) == [0]


def test_limits_of_a_tier_halve_with_every_rung_and_keep_to_the_hosts() -> None:
    window = 100_000
    widest = [compaction.caps(FadingTier(rung, False), window, None) for rung in range(3)]
    assert widest[0].result > widest[1].result > widest[2].result
    assert widest[0].tool_input > widest[1].tool_input > widest[2].tool_input
    assert {caps.masked for caps in widest} == {None}
    own = compaction.caps(FadingTier(0, True), window, 1_000)
    assert own.result == 1_000
    assert own.masked is not None
    assert own.masked < own.result
    assert compaction.caps(FadingTier(0, True), window, 10).masked == 10
    assert compaction.caps(FadingTier(40, False), window, None) == compaction.caps(FadingTier(41, False), window, None)


@pytest.mark.parametrize(
    ("room", "widest", "pressure", "mask", "tier"),
    [
        (1_000_000, 1, 0.0, False, FadingTier(1, False)),
        (1_000_000, 1, 0.0, True, FadingTier(1, True)),
        (1_000_000, 1, 2.0, False, FadingTier(4, False)),
    ],
)
def test_a_tier_never_goes_back(room: int, widest: int, pressure: float, mask: bool, tier: FadingTier) -> None:
    about: Any = {"window": 100_000, "room": room, "widest_batch": widest, "pressure": pressure, "mask": mask}
    deeper = compaction.deepen(FadingTier(1, False), **about)
    assert deeper.rung >= 1
    assert deeper.masking is mask
    assert compaction.deepen(FadingTier(9, True), **about) == FadingTier(9, True)
    if pressure == 0:
        assert deeper == tier


def test_the_less_room_and_the_wider_a_batch_the_deeper_the_tier() -> None:
    def rung(room: int, widest: int) -> int:
        about: Any = {"window": 100_000, "pressure": 0.0, "mask": False}
        return compaction.deepen(FadingTier(), room=room, widest_batch=widest, **about).rung

    rungs = [rung(room, 1) for room in (1_000_000, 20_000, 5_000, 1_000)]
    assert rungs[0] == 0
    assert rungs == sorted(rungs)
    assert rungs[-1] > 0
    assert rung(20_000, 8) > rung(20_000, 1)


def test_the_widest_batch_is_the_largest_number_of_calls_of_one_answer() -> None:
    calls: Any = [{"id": f"c{number}", "name": "n", "args": {}} for number in range(3)]
    assert compaction.widest_batch([AIMessage("", tool_calls=calls), call(9)]) == 3
    assert compaction.widest_batch([AIMessage("hi")]) == 1
    assert compaction.widest_batch([]) == 1


# -- cutting -------------------------------------------------------------


def test_blocks_share_the_room_and_other_kinds_stay() -> None:
    image = {"type": "image_url", "image_url": "u"}
    content = ["a" * 300, {"type": "text", "text": "b" * 300}, image, {"type": "text", "text": ""}]
    bare, marked, kept, empty = truncation.shorten_content(content, 400)
    assert len(bare) <= 200
    assert bare.startswith("a")
    assert len(marked["text"]) <= 200
    assert marked["text"].startswith("b")
    assert (kept, empty) == (image, {"type": "text", "text": ""})
    assert truncation.shorten_content(content, 600) is content
    assert truncation.shorten_content([image], 0) == [image]


@pytest.mark.parametrize(
    ("content", "text"),
    [("x", "x"), (["a", {"type": "text", "text": "b"}, {"type": "text"}, {"type": "image_url"}, 7], "ab"), ([], "")],
)
def test_the_text_of_a_content_is_that_of_its_texts(content: Any, text: str) -> None:
    assert truncation.text_of(content) == text


# -- figures -------------------------------------------------------------


@pytest.mark.parametrize(
    ("rung", "window", "masking", "own", "caps"),
    [
        (0, 100_000, False, None, Caps(120_000, None, 60_000)),
        (0, 100_000, True, None, Caps(120_000, 12_000, 60_000)),
        (1, 100_000, True, None, Caps(60_000, 6_000, 30_000)),
        (0, 100_000, True, 5_000, Caps(5_000, 500, 60_000)),
        (0, 100_000, True, 200, Caps(200, 200, 60_000)),
        (0, 100_000, True, 200_000, Caps(120_000, 12_000, 60_000)),
        (0, 2_000, True, None, Caps(2_400, 300, 1_200)),
        (9, 10_000, True, None, Caps(204, 204, 100)),
        (9, 100, False, None, Caps(120, None, 60)),
        (0, 2_000_000, False, None, Caps(400_000, None, 1_200_000)),
    ],
)
def test_limits_are_parts_of_the_window_that_a_rung_sees(
    rung: int, window: int, masking: bool, own: int | None, caps: Caps
) -> None:
    assert compaction.caps(FadingTier(rung, masking), window, own) == caps


@pytest.mark.parametrize(
    ("window", "room", "widest", "pressure", "rung"),
    [
        (340, 0, 1, 0.0, 1),
        (342, 0, 1, 0.0, 2),
        (100, 0, 1, 0.0, 0),
        (10_000, 4_500, 1, 0.0, 0),
        (10_000, 4_499, 1, 0.0, 1),
        (10_000, 4_500, 2, 0.0, 1),
        (10_000, 4_499, 2, 0.0, 2),
        (10_000, 9_000, 1, 0.849, 0),
        (10_000, 9_000, 1, 0.85, 1),
        (10_000, 9_000, 1, 0.899, 1),
        (10_000, 9_000, 1, 0.9, 2),
        (10_000, 9_000, 1, 0.989, 2),
        (10_000, 9_000, 1, 0.99, 4),
        (10_000, 4_499, 1, 0.9, 3),
    ],
)
def test_a_rung_is_the_first_at_which_the_widest_batch_fits_and_deeper_under_pressure(
    window: int, room: int, widest: int, pressure: float, rung: int
) -> None:
    deepened = compaction.deepen(
        FadingTier(), window=window, room=room, widest_batch=widest, pressure=pressure, mask=False
    )
    assert deepened == FadingTier(rung, False)


def test_old_results_are_cleared_as_the_documentation_says_unless_a_host_says_otherwise() -> None:
    assert ContextPruning() == ContextPruning(
        keep_last_assistants=3,
        min_chars=50_000,
        soft_age=0.3,
        hard_age=0.5,
        soft_max_chars=3_000,
        head_chars=1_500,
        tail_chars=1_500,
        placeholder="[Old tool result content cleared]",
    )


@pytest.mark.parametrize(("age_of", "changed"), [("soft", "aaaa\n…\nbbb"), ("hard", "[gone]")])
def test_a_result_is_as_old_as_its_distance_from_the_end(age_of: str, changed: str) -> None:
    messages = rounds("a" * 10 + "b" * 10, "c")
    ages = {"soft_age": 9.0, "hard_age": 9.0, f"{age_of}_age": 3 / 5}
    assert compaction.clear_old(messages, replace(PRUNING, **ages))[2].content == changed  # type: ignore[arg-type]
    ages[f"{age_of}_age"] = 0.61
    assert compaction.clear_old(messages, replace(PRUNING, **ages)) == {}  # type: ignore[arg-type]
