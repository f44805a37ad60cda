"""Sentences of an answer that is held back: where they end, and how much work that is."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from stategraph.agent.facts import ModelCall, ModelStarted, ModelStreamed, Place
from stategraph.agent.llm import held_answer
from stategraph.agent.llm.held_answer import LONGEST, HeldListener
from tests.agent.recording_listener import RecordingListener

pytestmark = pytest.mark.anyio

CALL = ModelCall(Place("a", "a", "n", {}), "p", "m", (), 0)


async def sentences(pieces: list[str]) -> list[str]:
    """What is reviewed of an answer that comes in pieces."""
    reviewed: list[str] = []

    async def approve(text: str, before: str) -> str:
        assert before == "".join(reviewed)
        reviewed.append(text)
        return text

    held = HeldListener(RecordingListener(), approve)
    await held.hear(ModelStarted(CALL))
    for piece in pieces:
        await held.hear(ModelStreamed(CALL, AIMessageChunk(piece)))
    await held.finished(AIMessage("".join(pieces)))
    return reviewed


def by_searching_all(pieces: list[str]) -> list[str]:
    """The same by searching all that is held, each time."""
    text, found = "", []
    for piece in pieces:
        text += piece
        while (end := held_answer._END.search(text)) is not None:
            found.append(text[: end.end()])
            text = text[end.end() :]
    return [*found, text] if text else found


async def test_sentences_end_where_they_do_however_the_answer_is_cut_into_pieces() -> None:
    chance = random.Random(7)
    for _ in range(400):
        text = "".join(
            chance.choices(["a", "b c", ".", "?!", ")", '."', "*_", " ", "  ", "\n", "\u3002", "\u2026"], k=40)
        )
        cuts = sorted(chance.sample(range(len(text)), chance.randint(0, len(text) // 2)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert await sentences([each for each in pieces if each]) == by_searching_all(pieces), pieces


async def test_text_without_the_end_of_a_sentence_is_told_in_parts() -> None:
    words = ["word "] * (LONGEST // 2)
    reviewed = await sentences(words)
    assert "".join(reviewed) == "".join(words)
    assert [len(each) for each in reviewed] == [LONGEST, LONGEST, LONGEST // 2]
    part, last, rest = await sentences(["x" * 10 + " " + "y" * LONGEST + ".", " More"])
    assert (part, last[-2:], rest) == ("x" * 10 + " ", ". ", "More")
    assert [len(each) for each in await sentences(["z" * (LONGEST - 1), "zz", "z"])] == [LONGEST + 1, 1]


async def test_the_work_for_a_piece_does_not_grow_with_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = 0

    class Counting:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self._pattern = pattern

        def __getattr__(self, name: str) -> Any:
            def method(text: str) -> Any:
                nonlocal searched
                searched += len(text)
                return getattr(self._pattern, name)(text)

            return method

    for name in ("_END", "_OPEN_END"):
        monkeypatch.setattr(held_answer, name, Counting(getattr(held_answer, name)))
    pieces = ["some words, "] * 2_000
    await sentences(pieces)
    assert searched < 5 * len("".join(pieces))
