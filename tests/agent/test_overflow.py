"""Refusals of prompts that are too long: which are known, what they tell, and how far to shorten."""

from __future__ import annotations

import pytest
from langchain_core.exceptions import ContextOverflowError

from stategraph.agent.context import overflow
from stategraph.agent.context.overflow import Overflow


class Refusal(Exception):
    """An error as HTTP clients raise it."""

    def __init__(self, text: str, status_code: int | None = 400, code: str | None = None) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.code = code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prompt is too long: 208310 tokens > 200000 maximum", Overflow(200_000, 208_310)),
        ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", Overflow(178_667, 188_240)),
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 10013 tokens.",
            Overflow(8192, 10_013),
        ),
        (
            "maximum context length is 4096 tokens. However, you requested 4608 tokens (4096 in the messages, 512 in",
            Overflow(3584, 4096),
        ),
        (
            "maximum context length is 32768 tokens. However, you requested about 56827 tokens (56811 of text input, ",
            Overflow(32_752, 56_811),
        ),
        (
            "Input tokens exceed the configured limit of 272,000 tokens. Your messages resulted in 300,001 tokens.",
            Overflow(272_000, 300_001),
        ),
        ("Your input exceeds the context window of this model.", Overflow()),
        ("This model's maximum prompt length is 131072 but the request contains 139000 tokens.", Overflow(131_072)),
        (
            "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            Overflow(32_768, 40_000),
        ),
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            Overflow(1_048_576, 1_200_000),
        ),
        ("ValidationException: Input is too long for requested model.", Overflow()),
        (
            "too many tokens: total number of tokens in the prompt exceeds the limit of 4081",
            Overflow(4081),
        ),
        ("the request exceeds the available context size, try increasing it", Overflow()),
    ],
)
def test_a_refusal_is_known_by_its_words_and_its_figures_are_read(text: str, expected: Overflow) -> None:
    assert overflow.recognise(Refusal(text)) == expected
    assert overflow.recognise(Refusal(f"Error code: 400 - {{'error': {{'message': {text!r}}}}}")) == expected


def test_a_refusal_is_known_by_its_class_code_or_status_alone() -> None:
    assert overflow.recognise(ContextOverflowError("too much")) == Overflow()
    assert overflow.recognise(Refusal("no", code="context_length_exceeded")) == Overflow()
    assert overflow.recognise(Refusal("Payload Too Large", status_code=413)) == Overflow()


def test_a_refusal_is_known_by_its_cause() -> None:
    outer = RuntimeError("the model failed")
    outer.__cause__ = Refusal("prompt is too long: 11 tokens > 10 maximum")
    assert overflow.recognise(outer) == Overflow(10, 11)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.", 429),
        ("Your credit balance is too low to access the API.", 400),
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", 400),
        ("The requested model's maximum context length is 10 tokens", 503),
        ("Unknown parameter: 'foo'.", 400),
        ("Connection error.", None),
    ],
)
def test_other_failures_are_none(text: str, status: int | None) -> None:
    assert overflow.recognise(Refusal(text, status)) is None


def test_a_limit_a_minute_counts_only_if_the_request_alone_exceeds_it() -> None:
    text = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested {}. Visit the page on limits."
    assert overflow.recognise(Refusal(text.format(47_000), 429)) == Overflow(30_000)
    assert overflow.recognise(Refusal(text.format(20_000), 429)) is None


def test_the_next_try_takes_the_limit_that_was_told() -> None:
    assert overflow.smaller(Overflow(8_000, 9_000), 16_000, sent=7_000, instruction_tokens=500) == 8_000


def test_the_next_try_keeps_the_size_where_only_the_counts_were_wrong() -> None:
    assert overflow.smaller(Overflow(200_000, 208_000), 100_000, sent=90_000, instruction_tokens=500) == 100_000


def test_the_next_try_is_shorter_by_a_part_where_no_figures_were_told() -> None:
    assert overflow.smaller(Overflow(), 16_000, sent=10_000, instruction_tokens=500) == 7_000
    assert overflow.smaller(Overflow(9_000), 16_000, sent=8_000, instruction_tokens=500) == 5_600


def test_there_is_no_next_try_where_instructions_would_fill_the_context() -> None:
    assert overflow.smaller(Overflow(1_000, 5_000), 16_000, sent=5_000, instruction_tokens=1_000) is None


def test_a_request_is_refused_by_some_statuses_or_none() -> None:
    for status in (400, 413, 422, 429, None):
        assert overflow.recognise(Refusal("input is too long for requested model", status)) == Overflow()
    for status in (401, 404, 500, 503):
        assert overflow.recognise(Refusal("input is too long for requested model", status)) is None


def test_a_request_that_fits_a_limit_a_minute_exactly_may_wait() -> None:
    text = "Request too large for m on tokens per min (TPM): Limit 30000, Requested {}."
    assert overflow.recognise(Refusal(text.format(30_000), 429)) is None
    assert overflow.recognise(Refusal(text.format(30_001), 429)) == Overflow(30_000)


def test_an_answer_takes_no_less_than_nothing_of_the_limit() -> None:
    text = "maximum context length is 100 tokens. However, you requested 90 tokens (95 in the messages, 0 in"
    assert overflow.recognise(Refusal(text)) == Overflow(100, 95)


def test_the_next_try_needs_room_for_more_than_the_instructions() -> None:
    assert overflow.smaller(Overflow(1_001, 5_000), 16_000, sent=5_000, instruction_tokens=1_000) == 1_001
    assert overflow.smaller(Overflow(1_000, 5_000), 16_000, sent=5_000, instruction_tokens=999) == 1_000
    assert overflow.smaller(Overflow(), 1_000, sent=9_000, instruction_tokens=0) == 1_000
    assert overflow.smaller(Overflow(), 1_000, sent=9, instruction_tokens=0) == 6
    assert overflow.smaller(Overflow(), 1_000, sent=1, instruction_tokens=0) is None
