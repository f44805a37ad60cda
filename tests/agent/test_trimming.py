"""Trimming on recorded cases: every figure, message and log row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.context import calibration, trimming
from stategraph.agent.messages import compaction
from tests.golden.counting import count_tokens

VECTORS = Path(__file__).parents[1] / "golden" / "vectors"
PRUNE: dict[str, Any] = json.loads((VECTORS / "prune.json").read_text(encoding="utf-8"))
SEQUENCE: list[dict[str, Any]] = json.loads((VECTORS / "prune_calibration_sequence.json").read_text(encoding="utf-8"))


def message(row: dict[str, Any]) -> AnyMessage:
    match row["type"]:
        case "human":
            return HumanMessage(row["content"])
        case "ai":
            return AIMessage(content=row["content"], tool_calls=row.get("tool_calls", []))
        case "tool":
            return ToolMessage(content=row["content"], tool_call_id=row["tool_call_id"], name="get")
        case _:
            return SystemMessage(row["content"])


def settings(params: dict[str, Any]) -> trimming.TrimSettings:
    pruning = params.get("contextPruningConfig")
    return trimming.TrimSettings(
        max_context_tokens=params["maxTokens"],
        reserve_ratio=params["reserveRatio"],
        summarise=params["summarizationEnabled"],
        thinking=params["thinkingEnabled"],
        start_type=params.get("startType"),
        context_pruning=pruning
        and compaction.ContextPruning(
            keep_last_assistants=pruning["keepLastAssistants"],
            min_chars=pruning["minPrunableToolChars"],
            soft_max_chars=pruning["softTrim"]["maxChars"],
            head_chars=pruning["softTrim"]["headChars"],
            tail_chars=pruning["softTrim"]["tailChars"],
        ),
    )


def keyed(counts: dict[str, int]) -> dict[int, int]:
    return {int(index): tokens for index, tokens in counts.items()}


@pytest.mark.vector
@pytest.mark.parametrize("name", PRUNE)
def test_a_recorded_history_is_trimmed_as_recorded(name: str) -> None:
    vector = PRUNE[name]
    given = [message(row) for row in vector["input"]]
    ratio = calibration.Calibration(ratio=vector["params"]["calibrationRatio"])
    state = trimming.TrimState(counts=keyed(vector["inputCounts"]), calibration=ratio)
    tokens = vector["params"]["instructionTokens"]
    result = trimming.trim(given, settings(vector["params"]), state, count_tokens, instruction_tokens=tokens)
    assert list(result.context) == [message(row) for row in vector["context"]]
    shown = [result.shrunk.get(index, each) for index, each in enumerate(given)]
    assert [index for index, each in enumerate(shown) if any(each is kept for kept in result.context)] == (
        vector["keptIndices"]
    )
    assert list(result.to_refine) == [given[index] for index in vector["refineIndices"]]
    assert {
        "prePruneContextTokens": result.context_tokens,
        "remainingContextTokens": result.remaining_tokens,
        "contextPressure": result.pressure,
        "contextBudget": result.budget,
        "effectiveInstructionTokens": result.instruction_tokens,
        "calibrationRatio": result.state.calibration.ratio,
        "countsAfter": result.state.counts,
        "messagesMutatedInPlace": bool(result.shrunk),
    } == {
        "prePruneContextTokens": vector["prePruneContextTokens"],
        "remainingContextTokens": vector["remainingContextTokens"],
        "contextPressure": vector.get("contextPressure"),
        "contextBudget": vector["contextBudget"],
        "effectiveInstructionTokens": vector["effectiveInstructionTokens"],
        "calibrationRatio": vector["calibrationRatio"],
        "countsAfter": keyed(vector["countsAfter"]),
        "messagesMutatedInPlace": vector["messagesMutatedInPlace"],
    }
    assert [[row.level, row.message, row.data] for row in result.log] == vector["logs"]


@pytest.mark.vector
def test_the_recorded_calls_of_a_run_calibrate_as_recorded() -> None:
    limits = trimming.TrimSettings(max_context_tokens=4000)
    state = trimming.TrimState(counts={0: 9})
    for call in SEQUENCE:
        result = trimming.trim(
            [message(row) for row in call["messages"]],
            limits,
            state,
            count_tokens,
            instruction_tokens=50,
            usage=call.get("usage"),
            usage_is_fresh=call["totalTokensFresh"],
        )
        state = result.state
        learned = state.calibration
        assert (learned.ratio, learned.instruction_overhead) == (
            call["calibrationRatio"],
            call.get("resolvedInstructionOverhead"),
        ), call["note"]
        assert (result.context_tokens, result.remaining_tokens, len(result.context), result.instruction_tokens) == (
            call["prePruneContextTokens"],
            call["remainingContextTokens"],
            call["kept"],
            call["effectiveInstructionTokens"],
        ), call["note"]
        assert state.counts == keyed(call["counts"]), call["note"]


def asks(call_id: str, content: Any = "") -> AIMessage:
    return AIMessage(content=content, tool_calls=[{"id": call_id, "name": "get", "args": {"q": call_id}}])


def answers(call_id: str, text: str = "r") -> ToolMessage:
    return ToolMessage(content=text, tool_call_id=call_id, name="get")


def trim(given: list[AnyMessage], tokens: int, **more: Any) -> trimming.Trimmed:
    limits = trimming.TrimSettings(max_context_tokens=tokens, reserve_ratio=0.0, **more)
    return trimming.trim(given, limits, trimming.TrimState(), count_tokens)


def test_given_messages_are_not_changed() -> None:
    result_message = answers("c1", "x" * 3000)
    result = trim([HumanMessage("a"), asks("c1"), result_message], 700)
    assert result_message.content == "x" * 3000
    assert list(result.shrunk) == [2]


def test_a_result_without_its_call_is_left_out_and_can_be_summarised() -> None:
    given: list[AnyMessage] = [HumanMessage("h" * 200), asks("c1"), answers("c1", "r" * 40), HumanMessage("q")]
    result = trim(given, 30)
    assert [each.type for each in result.context] == ["human"]
    assert [each.type for each in result.to_refine] == ["human", "ai", "tool"]


def test_a_call_without_its_result_loses_the_call_and_keeps_its_text() -> None:
    given: list[AnyMessage] = [HumanMessage("h" * 400), asks("c1", "thinking aloud"), HumanMessage("q")]
    (kept, _) = trim(given, 60).context
    assert isinstance(kept, AIMessage)
    assert (kept.content, kept.tool_calls) == ("thinking aloud", [])


def test_a_reasoning_block_outlives_the_message_that_had_it() -> None:
    block = {"type": "thinking", "thinking": "so", "signature": "s"}
    given: list[AnyMessage] = [
        HumanMessage("h"),
        asks("c1", [block, {"type": "text", "text": "t" * 400}]),
        answers("c1"),
        asks("c2"),
        answers("c2"),
    ]
    result = trim(given, 80, thinking=True)
    assert [each.type for each in result.context] == ["ai", "tool"]
    assert result.context[0].content == [block]
    assert trim(given, 80).context[0].content == ""


def test_tiers_never_go_back_and_the_same_text_is_sent_again() -> None:
    limits = trimming.TrimSettings(max_context_tokens=1500)
    given: list[AnyMessage] = [HumanMessage("a"), asks("c1"), answers("c1", "x" * 5600)]
    first = trimming.trim(given, limits, trimming.TrimState(), count_tokens)
    second = trimming.trim([*given, asks("c2"), answers("c2")], limits, first.state, count_tokens)
    assert (first.pressure or 0) > 0.9 > 0.5 > (second.pressure or 0)
    assert second.state.tier == first.state.tier
    assert second.context[:3] == first.context


def test_messages_cut_once_stay_cut() -> None:
    limits = trimming.TrimSettings(max_context_tokens=100)
    given: list[AnyMessage] = [HumanMessage("h" * 300), AIMessage("x" * 100), HumanMessage("q")]
    first = trimming.trim(given, limits, trimming.TrimState(), count_tokens)
    assert first.state.cut_at == 1
    second = trimming.trim([*given, AIMessage("a"), HumanMessage("q")], limits, first.state, count_tokens)
    assert second.context[0] is given[1]


def test_old_results_keep_their_ends_before_they_are_cleared() -> None:
    pruning = compaction.ContextPruning(
        keep_last_assistants=1, min_chars=100, soft_max_chars=100, head_chars=3, tail_chars=2
    )
    given = [HumanMessage("a")] * 6 + [asks("c1"), answers("c1", "abc" + "x" * 200 + "yz"), HumanMessage("b")]
    given += [HumanMessage("c"), AIMessage("end")]
    (kept,) = compaction.clear_old(given, pruning).values()
    assert kept.content == "abc\n…\nyz"


def test_wide_batches_get_shorter_results() -> None:
    narrow = compaction.deepen(compaction.FadingTier(), window=1000, room=900, widest_batch=1, pressure=0.0, mask=False)
    wide = compaction.deepen(compaction.FadingTier(), window=1000, room=900, widest_batch=4, pressure=0.0, mask=False)
    assert (narrow.rung, wide.rung) == (0, 1)


def test_long_inputs_are_shortened_where_calls_and_blocks_repeat_them() -> None:
    arguments = {"code": "x" * 500}
    block = {"type": "tool_use", "id": "c1", "name": "run", "input": arguments}
    given = AIMessage(content=[block], tool_calls=[{"id": "c1", "name": "run", "args": arguments}])
    faded = compaction.fade([given], compaction.Caps(result=1000, masked=None, tool_input=200))
    (shorter,) = faded.messages.values()
    assert isinstance(shorter, AIMessage)
    assert shorter.tool_calls[0]["args"]["_originalChars"] == 511
    assert isinstance(shorter.content[0], dict)
    assert shorter.content[0]["input"] == shorter.tool_calls[0]["args"]


def test_the_log_tells_what_is_left_as_it_was_counted() -> None:
    filler = "x" * 100
    given = [HumanMessage(filler), AIMessage(filler), HumanMessage(filler), AIMessage(filler), HumanMessage("q")]
    counts = {0: 28, 1: 28, 2: 28, 3: 28, 4: 4}
    state = trimming.TrimState(counts=counts, calibration=calibration.Calibration(ratio=2))
    result = trimming.trim(given, trimming.TrimSettings(max_context_tokens=200), state, lambda _: 1)
    (row,) = [row for row in result.log if row.message == "Pruning complete"]
    assert (row.data["remainingTokens"], result.remaining_tokens) == (4, 8)


def test_reported_tokens_are_those_of_the_first_new_answer_and_further_ones_are_counted() -> None:
    given = [HumanMessage("q"), AIMessage("a"), HumanMessage("q"), AIMessage("b"), AIMessage("c")]
    state = trimming.TrimState(counts={0: 5, 1: 5, 2: 5})
    usage: Any = {"input_tokens": 15, "output_tokens": 40, "total_tokens": 55}
    limits = trimming.TrimSettings(max_context_tokens=1000)
    result = trimming.trim(given, limits, state, lambda _: 7, usage=usage)
    assert result.state.counts == {0: 5, 1: 5, 2: 5, 3: 40, 4: 7}


@pytest.mark.parametrize(("instructions", "yielded"), [(99, False), (100, True), (101, True)])
def test_all_messages_are_to_be_summarised_where_instructions_leave_no_room(instructions: int, yielded: bool) -> None:
    limits = trimming.TrimSettings(max_context_tokens=100, reserve_ratio=0.0, summarise=True)
    given: list[AnyMessage] = [HumanMessage("a"), AIMessage("b")]
    result = trimming.trim(given, limits, trimming.TrimState(), lambda _: 5, instruction_tokens=instructions)
    assert (result.log[0].level == "warn") is yielded
    assert list(result.to_refine) == given
    assert (result.context, result.context_tokens, result.remaining_tokens) == ((), 10, 0)
    assert (result.state.seen, result.instruction_tokens, result.budget) == (2, instructions, 100)
    assert result.pressure == 0.1


@pytest.mark.parametrize(
    ("tokens", "instructions", "left"), [(100, 0, 97), (100, 40, 57), (100, 97, 0), (100, 200, 0), (2, 0, 0)]
)
def test_without_messages_the_budget_is_left_but_for_the_start_of_the_answer(
    tokens: int, instructions: int, left: int
) -> None:
    limits = trimming.TrimSettings(max_context_tokens=tokens, reserve_ratio=0.0)
    state = trimming.TrimState(seen=4)
    result = trimming.trim([], limits, state, count_tokens, instruction_tokens=instructions)
    assert result == trimming.Trimmed((), (), {}, state, 0, left, None, tokens, instructions, ())


@pytest.mark.parametrize(
    ("size", "reserve", "budget"), [(1000, 0.05, 950), (10, 0.05, 9), (10, 0.04, 10), (10, 0.0, 10), (10, 1.0, 0)]
)
def test_the_budget_is_the_context_without_the_reserve(size: int, reserve: float, budget: int) -> None:
    assert trimming.TrimSettings(size, reserve).budget == budget
    assert trimming.TrimState() == trimming.TrimState({}, calibration.Calibration(), seen=0, cut_at=0, recounted=0)
    assert trimming.TrimSettings(1000) == trimming.TrimSettings(
        1000, reserve_ratio=0.05, summarise=False, thinking=False, start_type=None
    )


@pytest.mark.parametrize(("value", "whole"), [(0.4, 0), (0.5, 1), (1.5, 2), (2.5, 3), (-0.5, 0), (-0.6, -1)])
def test_halves_are_rounded_upwards(value: float, whole: int) -> None:
    assert trimming.nearest(value) == whole


@pytest.mark.parametrize(
    ("size", "instructions", "number", "chars", "cut"),
    [
        (150, 0, 3, 200, 0),
        (153, 0, 3, 204, 0),
        (300, 0, 3, 400, 0),
        (300, 60, 3, 320, 0),
        (10_000, 0, 100, 400, 1),
    ],
)
def test_where_nothing_fits_tool_data_is_cut_to_even_shares_and_not_shorter_than_some_letters(
    size: int, instructions: int, number: int, chars: int, cut: int
) -> None:
    given: list[AnyMessage] = [*[HumanMessage("h")] * (number - 2), asks("c1"), answers("c1", "r" * 50_000)]
    limits = trimming.TrimSettings(max_context_tokens=size, reserve_ratio=0.0)
    result = trimming.trim(given, limits, trimming.TrimState(), lambda _: size, instruction_tokens=instructions)
    assert result.context == ()
    told = {row.message: row.data for row in result.log}
    assert told["Empty context, entering emergency truncation"] == {
        "messageCount": number,
        "effectiveMax": size - instructions,
        "emergencyMaxChars": chars,
        "budgetTokens": size,
    }
    assert told["Emergency truncation complete"] is None
    # The other ones are shorter than that already.
    assert told["Emergency truncation details"] == {"truncatedCount": cut, "budgetTokens": size}
    assert told["Emergency truncation retry result"] == {
        "contextLength": 0,
        "messagesToRefineCount": number,
        "remainingTokens": size - instructions - trimming.PRIMER_TOKENS,
    }


def test_a_result_that_is_cut_in_an_emergency_is_sent_short() -> None:
    given: list[AnyMessage] = [*[HumanMessage("h")] * 98, asks("c1"), answers("c1", "r" * 50_000)]
    limits = trimming.TrimSettings(max_context_tokens=10_000, reserve_ratio=0.0)

    def count(message: AnyMessage) -> int:
        return 10_000 if len(message.text) > 400 else 40

    result = trimming.trim(given, limits, trimming.TrimState(), count)
    assert result.context[:-1] == tuple(given[:-1])
    assert result.context[-1].text.startswith("rr")
    assert len(result.context[-1].text) == 400
    assert result.remaining_tokens == 10_000 - trimming.PRIMER_TOKENS - 100 * 40
    (row,) = [row for row in result.log if row.message == "Emergency truncation retry result"]
    assert row.data == {"contextLength": 100, "messagesToRefineCount": 0, "remainingTokens": 5_997}


def test_sums_are_compared_from_the_start_once_messages_were_shortened() -> None:
    learned = calibration.Calibration(ratio=2.0, sent=100, reported=200, instruction_overhead=5, deviation=0.1)
    limits = trimming.TrimSettings(max_context_tokens=10_000)
    for text, sums in (("x" * 50_000, (0, 0)), ("x", (100, 200))):
        given: list[AnyMessage] = [HumanMessage("a"), asks("c1"), answers("c1", text)]
        after = trimming.trim(given, limits, trimming.TrimState(calibration=learned), count_tokens).state.calibration
        assert (after.sent, after.reported) == sums
        assert (after.ratio, after.instruction_overhead, after.deviation) == (2.0, 5, 0.1)


def test_a_result_is_counted_again_once_and_never_counts_less_for_it() -> None:
    given: list[AnyMessage] = [HumanMessage("a"), asks("c1"), answers("c1"), asks("c2"), answers("c2"), AIMessage("b")]
    state = trimming.TrimState(counts={0: 1, 1: 1, 2: 1, 3: 90, 4: 90}, recounted=2)
    limits = trimming.TrimSettings(max_context_tokens=1000)
    first = trimming.trim(given, limits, state, lambda _: 7).state
    assert dict(first.counts) == {0: 1, 1: 1, 2: 7, 3: 90, 4: 90, 5: 7}
    assert (first.recounted, first.seen) == (6, 6)
    second = trimming.trim(given[:5], limits, first, lambda _: 100).state
    assert dict(second.counts) == {0: 1, 1: 1, 2: 7, 3: 90, 4: 90}


@pytest.mark.parametrize(
    ("seen", "cut_at", "usage", "fresh", "learned"),
    [
        (2, 0, (30, 1), True, (20, 20)),
        (2, 0, (30, 1), False, (0, 0)),
        (2, 1, (30, 1), True, (10, 20)),
        (9, 1, (30, 1), True, (20, 20)),
        (0, 0, (30, 1), True, (0, 0)),
        (2, 0, None, True, (0, 0)),
    ],
)
def test_a_report_is_of_the_messages_that_were_sent_the_last_time(
    seen: int, cut_at: int, usage: tuple[int, int] | None, fresh: bool, learned: tuple[int, int]
) -> None:
    given: list[AnyMessage] = [HumanMessage("a"), HumanMessage("b"), HumanMessage("c")]
    reported: Any = usage and {"input_tokens": usage[0], "output_tokens": usage[1], "total_tokens": sum(usage)}
    state = trimming.TrimState(seen=seen, cut_at=cut_at)
    limits = trimming.TrimSettings(max_context_tokens=1000)
    after = trimming.trim(
        given, limits, state, lambda _: 10, instruction_tokens=10, usage=reported, usage_is_fresh=fresh
    ).state.calibration
    assert (after.sent, after.reported) == learned
