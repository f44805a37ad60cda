"""The vocabulary of scripts."""

import asyncio
import threading

import pytest

from stategraph.testing import (
    CallPart,
    Failure,
    Gate,
    ModelRequest,
    Reply,
    Script,
    ScriptExhausted,
    Text,
    Think,
    Usage,
    call,
    reply,
)


def ask(number: int = 0) -> ModelRequest[str]:
    return ModelRequest(number, "m", ("hello",))


def test_words_are_chunks_and_nothing_of_the_text_is_lost() -> None:
    text = "  Two  words,\nand a line. "
    made = reply(text)
    assert made.text() == text
    assert len(made.parts) == 5


def test_reasoning_and_calls_are_taken_apart_in_order() -> None:
    made = reply(Think("a b"), "look: ", call("f", {"x": 1}, id="c"), call("g"), usage=(3, 4))
    assert made.reasoning() == "a b"
    assert made.finish == "tool_calls"
    assert made.usage == Usage(3, 4)
    assert [type(p) for p in made.parts] == [Think, Think, Text] + [CallPart] * 6
    whole = made.calls()
    assert [(c.name, c.arguments(), c.id) for c in whole] == [("f", '{"x":1}', "c"), ("g", "{}", None)]


def test_calls_without_an_id_are_numbered_once() -> None:
    made = reply(call("f"), call("g", id="mine"), call("h")).numbered("call_7")
    assert [c.id for c in made.calls()] == ["call_7_0", "mine", "call_7_2"]
    assert sum(1 for p in made.parts if isinstance(p, CallPart) and p.id) == 3


def test_raw_arguments_travel_as_they_are() -> None:
    assert reply(call("f", '{"city":"Par')).calls()[0].arguments() == '{"city":"Par'
    with pytest.raises(TypeError, match="not both"):
        call("f", "{", x=1)


def test_a_script_that_runs_out_says_what_was_asked() -> None:
    script = Script(["one"])
    script.answer(ask())
    with pytest.raises(ScriptExhausted, match=r"'m' has no reply left: 1 reply used.*'hello'.*repeat_last"):
        script.answer(ask(1))


def test_the_last_entry_can_be_repeated() -> None:
    script = Script(["one", "two"], repeat_last=True)
    answers = [script.answer(ask(n)) for n in range(4)]
    assert [a.text() for a in answers if isinstance(a, Reply)] == ["one", "two", "two", "two"]
    assert script.taken == 4


def test_an_entry_may_look_at_the_request() -> None:
    script = Script([lambda request: f"you said {request.messages[-1]}"])
    answer = script.answer(ask())
    assert isinstance(answer, Reply)
    assert answer.text() == "you said hello"


def test_a_script_is_safe_to_share_between_threads() -> None:
    script = Script([str(n) for n in range(400)])
    seen: list[str] = []

    def take() -> None:
        for _ in range(100):
            answer = script.answer(ask())
            assert isinstance(answer, Reply)
            seen.append(answer.text())

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen, key=int) == [str(n) for n in range(400)]


def test_a_failure_is_an_http_error() -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        Failure(200)


def test_a_gate_joins_a_thread_and_an_event_loop() -> None:
    gate = Gate("g")

    async def scenario() -> None:
        waiting = asyncio.create_task(gate.wait_open_async())
        await gate.wait_reached_async()
        assert not waiting.done()
        opener = threading.Thread(target=gate.open)
        opener.start()
        await waiting
        opener.join()

    asyncio.run(scenario())
    gate.wait_open(0)


def test_a_forgotten_gate_says_so() -> None:
    with pytest.raises(TimeoutError, match="'g' was not opened"):
        Gate("g").wait_open(0.001)
    with pytest.raises(TimeoutError, match="did not reach 'g'"):
        Gate("g").wait_reached(0.001)
