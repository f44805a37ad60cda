"""Several gates around the calls of an answer: each is around the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import tool

from stategraph.agent.facts import Place
from stategraph.agent.graphs import assemble
from stategraph.agent.ports import AgentContext, Allow, Answer, Remarks, Reviewed, Verdict
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.agent.tools.gates import Gates
from stategraph.agent.tools.tool_result import Result
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

AT = Place("a", "a", "tools=a", {})


def call(call_id: str, **arguments: Any) -> ToolCall:
    return ToolCall(name="echo", args=arguments, id=call_id, type="tool_call")


def message(call_id: str, text: str = "") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call_id)


class Gate:
    """Notes what it is shown, marks arguments and results with its name, and answers the calls that it is told to."""

    def __init__(self, name: str, seen: list[Any], *, answers: Sequence[str] = (), halt: str | None = None) -> None:
        self._name, self._seen, self._answers, self._halt = name, seen, answers, halt

    async def before(self, at: Place, calls: Sequence[ToolCall], /) -> Sequence[Verdict]:
        self._seen.append((self._name, "before", [(each["id"], each["args"]) for each in calls]))
        return [self._verdict(each) for each in calls]

    def _verdict(self, given: ToolCall) -> Verdict:
        if given["id"] in self._answers:
            return Answer(given, f"no, says {self._name}", "error")
        return Allow({**given, "args": {**given["args"], self._name: True}})

    async def after(self, at: Place, call: ToolCall, result: ToolMessage, /) -> tuple[ToolMessage, Remarks | None]:
        self._seen.append((self._name, "after", call["id"], result.content))
        return message(call["id"] or "", f"{result.content}+{self._name}"), Remarks(contexts=(self._name,))

    async def finish(
        self,
        at: Place,
        calls: Sequence[ToolCall],
        messages: Sequence[ToolMessage],
        remarks: Sequence[Remarks],
        /,
    ) -> Reviewed:
        self._seen.append((self._name, "finish", [each["id"] for each in calls], [each.contexts for each in remarks]))
        added = HumanMessage(f"from {self._name}")
        return Reviewed([message(each.tool_call_id, f"{each.content}!") for each in messages], [added], self._halt)


async def reviewed(gates: Gates, given: ToolCall, text: str) -> Result:
    result, remarks = await gates.after(given, message(given["id"] or "", text))
    return Result(given, result, remarks=remarks)


@pytest.mark.anyio
async def test_a_gate_sees_the_calls_that_those_before_it_allow_with_the_arguments_that_they_allow() -> None:
    seen: list[Any] = []
    gates = Gates([Gate("one", seen, answers=["c1"]), Gate("two", seen, answers=["c3"])], AT)
    verdicts = await gates.before([call("c1"), call("c2", x=1), call("c3")])
    assert seen == [
        ("one", "before", [("c1", {}), ("c2", {"x": 1}), ("c3", {})]),
        ("two", "before", [("c2", {"x": 1, "one": True}), ("c3", {"one": True})]),
    ]
    assert verdicts == [
        Answer(call("c1"), "no, says one", "error"),
        Allow(call("c2", x=1, one=True, two=True)),
        Answer(call("c3", one=True), "no, says two", "error"),
    ]


@pytest.mark.anyio
async def test_a_gate_is_not_asked_if_the_gates_before_it_have_answered_every_call() -> None:
    seen: list[Any] = []
    await Gates([Gate("one", seen, answers=["c1"]), Gate("two", seen)], AT).before([call("c1")])
    assert [name for name, *_ in seen] == ["one"]


@pytest.mark.anyio
async def test_a_result_passes_the_gates_that_saw_its_call_from_the_innermost_outwards() -> None:
    seen: list[Any] = []
    gates = Gates([Gate("one", seen, answers=["c1"]), Gate("two", seen)], AT)
    await gates.before([call("c1"), call("c2")])
    seen.clear()
    results = [await reviewed(gates, call("c1"), "blocked"), await reviewed(gates, call("c2"), "fine")]
    assert [each.message and each.message.content for each in results] == ["blocked+one", "fine+two+one"]
    finished = await gates.finish(results)
    assert seen == [
        ("one", "after", "c1", "blocked"),
        ("two", "after", "c2", "fine"),
        ("one", "after", "c2", "fine+two"),
        ("two", "finish", ["c2"], [("two",)]),
        ("one", "finish", ["c1", "c2"], [("one",), ("one",)]),
    ]
    assert [each.message and each.message.content for each in finished.results] == ["blocked+one!", "fine+two+one!!"]
    assert [each.content for each in finished.injected] == ["from two", "from one"]


@pytest.mark.anyio
async def test_a_call_that_was_shown_to_no_gate_passes_all_of_them() -> None:
    seen: list[Any] = []
    gates = Gates([Gate("one", seen), Gate("two", seen)], AT)
    result = await reviewed(gates, call("unreadable"), "bad")
    assert result.message is not None
    assert result.message.content == "bad+two+one"


@pytest.mark.anyio
async def test_the_innermost_gate_that_ends_the_turn_says_why() -> None:
    gates = Gates([Gate("one", [], halt="outer"), Gate("two", [], halt="inner")], AT)
    assert (await gates.finish([Result(call("c1"), message("c1"))])).halt == "inner"
    assert (await Gates([Gate("one", [], halt="outer"), Gate("two", [])], AT).finish([])).halt is None


@pytest.mark.anyio
async def test_remarks_of_fewer_gates_are_given_to_those_that_made_them() -> None:
    seen: list[Any] = []
    gates = Gates([Gate("one", seen), Gate("two", seen)], AT)
    assert gates
    assert not Gates([], AT)
    kept = Result(call("c1"), message("c1", "fine"), remarks=(Remarks(contexts=("of one",)),))
    finished = await gates.finish([kept, Result(call("c2"), None)])
    assert seen == [("two", "finish", ["c1", "c2"], []), ("one", "finish", ["c1", "c2"], [("of one",)])]
    assert [each.message and each.message.content for each in finished.results] == ["fine!!", None]
    assert finished.halt is None
    assert await Gates([], AT).finish([]) == await gates.finish([])


@pytest.mark.anyio
@pytest.mark.parametrize("decided", [1, 3])
async def test_a_gate_decides_about_each_call_that_it_is_shown(decided: int) -> None:
    class Careless(Gate):
        async def before(self, at: Place, calls: Sequence[ToolCall], /) -> Sequence[Verdict]:
            return [Allow(calls[0])] * decided

    with pytest.raises(ValueError, match="zip"):
        await Gates([Careless("one", [])], AT).before([call("c1"), call("c2")])


def test_gates_of_an_agent_change_what_its_tool_is_given_and_what_its_model_reads() -> None:
    @tool
    def echo(one: bool = False, two: bool = False) -> str:
        """Says which gates let it through."""
        return f"{one} {two}"

    model = ScriptedChatModel(replies=[script.reply(script.call("echo", id="c1")), "Done."])
    agents, builder = assemble.build([AgentInputs(agent_id="a", model=model, tools=(echo,))])
    context = AgentContext(gates=(Gate("one", []), Gate("two", [])))
    values = asyncio.run(builder.compile().ainvoke({"messages": [HumanMessage("hi")]}, context=context))
    assert [each.content for each in values["messages"][2:]] == ["True True+two+one!!", "from two", "from one", "Done."]
    assert agents[0].id == "a"


def test_remarks_that_were_stored_when_there_was_one_gate_are_read() -> None:
    result = Result(call("c1"), message("c1"), remarks=(Remarks(contexts=("note",), halt="enough"), None))
    assert Result.restored(call("c1"), result.stored()) == result
    before: Any = {**result.stored(), "remarks": Remarks(contexts=("note",)).stored()}
    assert Result.restored(call("c1"), before).remarks == (Remarks(contexts=("note",)),)
    assert Result.restored(call("c1"), {**before, "remarks": None}).remarks == ()
