"""Questions of servers: what may be asked, how answers are read, whose they are, and calls that wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from stategraph.agent.mcp import Elicitation, ElicitationAnswer, McpRefused, StdioServer, calls, elicitation
from stategraph.agent.mcp.calls import Askers, Call, Parked
from stategraph.agent.mcp.clock import Clock
from stategraph.agent.mcp.elicitation import Question
from stategraph.agent.mcp.exchange import Request, current
from stategraph.agent.settings.secrets import Secrets
from stategraph.errors import GraphInterrupt, InvalidAnswerError
from stategraph.testing import FakeClock

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "height": {"type": "number", "default": 1.7},
        "member": {"type": "boolean", "default": False},
        "plan": {"type": "string", "oneOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}, "minItems": 1},
    },
    "required": ["name"],
}
ASKED = Elicitation("one", "form", "Who?", FORM)
PAGE = Elicitation("one", "url", "Sign in", url="https://example.com", elicitation_id="e")


def accept(**content: Any) -> dict[str, Any]:
    return {"action": "accept", "content": content}


def test_an_accepted_form_has_its_values_and_the_defaults_of_the_rest() -> None:
    answer = elicitation.read(ASKED, accept(name="Ada", age=36, plan="b", tags=["x"], height=2))
    assert answer == ElicitationAnswer(
        "accept", {"name": "Ada", "age": 36, "plan": "b", "tags": ["x"], "height": 2, "member": False}
    )
    assert elicitation.read(ASKED, answer) == answer
    assert elicitation.check(ASKED.payload(), accept(name="Ada")).content == {
        "name": "Ada",
        "height": 1.7,
        "member": False,
    }


@pytest.mark.parametrize("answer", ["decline", {"action": "decline"}, accept(name="x") | {"action": "cancel"}])
def test_no_other_answer_has_values(answer: Any) -> None:
    assert elicitation.read(ASKED, answer).content is None
    assert elicitation.read(PAGE, accept(name="Ada")) == ElicitationAnswer("accept")
    assert elicitation.check(PAGE.payload(), "accept") == ElicitationAnswer("accept")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "is NoneType; expected {'action': 'accept'"),
        ("yes", "is 'yes'; expected"),
        ({"action": "accept", "content": ["Ada"]}, "is a mapping of values; found list"),
        (accept(), "'name' is missing"),
        (accept(name=3), "'name' is int; expected string"),
        (accept(name="A"), "'name' has 1 characters; at least 2 expected"),
        (accept(name="Adelaide"), "at most 5 expected"),
        (accept(name="Ada", age=True), "'age' is bool; expected integer"),
        (accept(name="Ada", age=151), "'age' is 151; at most 150 expected"),
        (accept(name="Ada", plan="c"), "'plan' is none of 'a', 'b'"),
        (accept(name="Ada", tags=["z"]), "'tags' has a value that is none of 'x', 'y'"),
        (accept(name="Ada", tags=[]), "'tags' has 0 values; at least 1 expected"),
        (accept(name="Ada", token="x"), "'token' was not asked for; the fields are 'name', 'age'"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_in_words(answer: Any, said: str) -> None:
    with pytest.raises(InvalidAnswerError) as caught:
        elicitation.read(ASKED, answer)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("message", "schema", "said"),
    [
        ("Who?", FORM, None),
        ("Who?", {"type": "object"}, None),
        ("x" * 20_001, FORM, "more than 20000 characters"),
        ("Who?", {"properties": {"a": {"type": "string", "description": "x" * 70_000}}}, "more than 65536 bytes"),
        ("Who?", {"properties": []}, "are no object"),
        ("Who?", {"properties": {"a": {"type": "object"}}}, "'a' is none of string, integer"),
        ("Who?", {"properties": {"a": {"$ref": "https://example.com"}}}, "'a' is none of string"),
        ("Who?", {"properties": {"a": 1}}, "'a' is none of string"),
        ("Who?", {"properties": {"a": {"type": ["string", "null"]}}}, "'a' is none of string"),
        ("Who?", {"properties": {"a": {"type": "array", "items": ["x"]}}}, "'a' has items that are no object"),
        ("Who?", {"required": ["a"]}, "a required field is not described"),
        ("Who?", {"required": [["a"]]}, "a required field is not described"),
        ("Who?", {"properties": {"a": {"type": "string", "default": object()}}}, "no form in JSON"),
    ],
)
def test_only_what_the_protocol_allows_is_put_to_a_person(message: str, schema: Any, said: str | None) -> None:
    found = elicitation.flaw(Elicitation("one", "form", message, schema))
    assert (found is None) if said is None else said in (found or "")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10_000):
            await scenario()

    FakeClock().run(main())


# Whose a question is.


def working(*requests: Request) -> Callable[[], list[Request]]:
    return lambda: list(requests)


def test_a_question_is_of_the_only_call_or_of_one_of_as_many() -> None:
    async def scenario() -> None:
        askers, one, two = Askers(), Request(), Request()
        assert await askers.find(working(one)) is one
        assert await askers.find(working()) is None
        one.asking = True
        assert await askers.find(working(one, two)) is two
        one.asking = False

        async def ask() -> Request | None:
            if (found := await askers.find(working(one, two))) is not None:
                found.asking = True
            return found

        assert set(await asyncio.gather(ask(), ask())) == {one, two}
        assert not askers.unsure

    run(scenario)


def test_a_question_that_may_be_anybodys_is_nobodys() -> None:
    async def scenario() -> None:
        askers = Askers()
        assert await askers.find(working(Request(), Request())) is None
        assert askers.unsure

    run(scenario)


# Time.


def test_a_clock_stands_still_while_a_person_is_asked() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with Clock(10) as clock:
                await asyncio.sleep(4)
                with clock.paused(), clock.paused():
                    await asyncio.sleep(100)
                await asyncio.sleep(100)
        assert loop.time() - began == pytest.approx(110)
        async with Clock(None) as clock:
            with clock.paused():
                await asyncio.sleep(100)

    run(scenario)


@pytest.mark.parametrize("left_first", [False, True])
def test_a_clock_that_was_left_is_not_wound_again(left_first: bool) -> None:
    async def scenario() -> None:
        clock = Clock(10)
        async with clock:
            pause = clock.paused()
            if not left_first:
                pause.__enter__()
        if left_first:
            pause.__enter__()
        pause.__exit__(None, None, None)
        await asyncio.sleep(11)

    run(scenario)


# Calls.


class Asking:
    """A call that asks once, and then returns the answer."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Any] = asyncio.Queue()
        self.given_up = False
        self.call = Call("one", self._work(), self.said)

    async def _work(self) -> ElicitationAnswer:
        question = Question(ASKED, asyncio.get_running_loop().create_future())
        self.said.put_nowait(question)
        try:
            return await question.answer
        except asyncio.CancelledError:
            self.given_up = True
            raise


async def pauses(asked: Elicitation) -> Any:
    raise GraphInterrupt(())


async def answers(asked: Elicitation) -> Any:
    return accept(name="Ada")


def test_a_call_that_waits_gets_its_answer_when_it_is_taken_up() -> None:
    async def scenario() -> None:
        parked: Parked[ElicitationAnswer] = Parked()
        asking = Asking()
        with pytest.raises(GraphInterrupt):
            await asking.call.attend(pauses, None)
        parked.park(("t",), asking.call)
        await asyncio.sleep(800)
        assert parked.take(("other",)) is None
        taken = parked.take(("t",))
        assert taken is asking.call and parked.take(("t",)) is None
        assert (await taken.attend(answers, None)).content == {"name": "Ada", "height": 1.7, "member": False}
        await asyncio.sleep(800)
        assert not asking.given_up

    run(scenario)


def test_a_call_that_nobody_comes_back_to_is_cancelled() -> None:
    async def scenario() -> None:
        parked: Parked[ElicitationAnswer] = Parked()
        first, second, third = Asking(), Asking(), Asking()
        for each in (first, second, third):
            with pytest.raises(GraphInterrupt):
                await each.call.attend(pauses, None)
            parked.park(("t",), each.call)
        await asyncio.sleep(calls.PARKED_S + 1)
        assert first.call.failed and len(parked) == 0

    run(scenario)


@pytest.mark.parametrize("by_thread", [True, False])
def test_the_newest_calls_wait_and_closing_cancels_them(monkeypatch: pytest.MonkeyPatch, by_thread: bool) -> None:
    monkeypatch.setattr(calls, "MOST_PARKED", 1)

    async def scenario() -> None:
        parked: Parked[ElicitationAnswer] = Parked()
        first, second = Asking(), Asking()
        for each in (first, second):
            with pytest.raises(GraphInterrupt):
                await each.call.attend(pauses, None)
            parked.park((str(id(each)),), each.call)
        assert parked.take((str(id(first)),)) is None
        await parked.end_thread(str(id(first)))
        assert not second.call.failed
        await (parked.end_thread(str(id(second))) if by_thread else parked.aclose())
        assert first.call.failed and second.call.failed

    run(scenario)


def test_an_answer_that_cannot_be_used_ends_the_call_with_its_error() -> None:
    async def refuses(asked: Elicitation) -> Any:
        return "maybe"

    async def scenario() -> None:
        asking = Asking()
        with pytest.raises(InvalidAnswerError, match="is 'maybe'"):
            await asking.call.attend(refuses, None)
        assert asking.call.failed

    run(scenario)


def test_a_caller_that_is_cancelled_cancels_the_call() -> None:
    async def scenario() -> None:
        asking = Asking()
        attending = asyncio.create_task(asking.call.attend(lambda asked: asyncio.sleep(1000), None))
        await asyncio.sleep(1)
        attending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attending
        assert asking.call.failed

    run(scenario)


def test_a_call_that_fails_fails_its_caller() -> None:
    async def work() -> None:
        raise McpRefused("no", server="one")

    async def scenario() -> None:
        with pytest.raises(McpRefused, match="no"):
            await Call("one", work(), asyncio.Queue()).attend(None, None)

    run(scenario)


def test_a_question_about_what_nobody_can_answer_is_not_put_to_another_call() -> None:
    async def scenario() -> None:
        lifetime = pytest.importorskip("stategraph.agent.mcp.lifetime")
        wire = pytest.importorskip("mcp_types")
        session = lifetime.Session.__new__(lifetime.Session)
        call, reading = Request(said=asyncio.Queue(), clock=Clock(1)), Request()
        session._name, session._server, session._secrets = "one", StdioServer(command="x"), Secrets()
        session._requests, session._askers = {call: None, reading: None}, Askers()
        current.set(reading)
        asked = wire.ElicitRequestFormParams(message="Which?", requested_schema={"type": "object", "properties": {}})
        assert (await session._elicited(None, asked)).action == "cancel"
        assert call.said is not None and call.said.empty() and call.asked == 0

    run(scenario)
