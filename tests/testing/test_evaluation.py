"""Evaluation of targets against a table of cases."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from stategraph import START, AgentInputs, HookOutput, HookRegistry, MessagesState, ModelPrice, Prices, StateGraph
from stategraph.testing import (
    Case,
    EvaluationFailedError,
    LLMJudge,
    Outcome,
    Score,
    Script,
    ScriptedChatModel,
    aevaluate,
    call,
    evaluate,
    reply,
)
from stategraph.testing.evaluation import __main__ as command

PRICES = Prices(models=(ModelPrice(model="scripted", input=1.0, output=2.0),), known=False)


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


def answering(request: Any) -> Any:
    """A model that looks at the weather of the city that is asked for."""
    if isinstance(request.messages[-1], ToolMessage):
        return reply(f"It is {request.messages[-1].content}.", usage=(20, 4))
    return reply(call("weather", city=request.messages[-1].text), usage=(10, 2))


def a_model() -> ScriptedChatModel:
    return ScriptedChatModel(replies=Script([answering], repeat_last=True))


def a_graph() -> Any:
    """A graph whose model calls a tool once."""
    model = a_model()

    def ask(state: MessagesState) -> Any:
        first = model.invoke(state["messages"])
        result = weather.invoke({**first.tool_calls[0], "type": "tool_call"})
        return {"messages": [first, result, model.invoke([*state["messages"], first, result])]}

    return StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()


def agents() -> dict[str, Any]:
    return {"agents": [AgentInputs(agent_id="ada", model=a_model(), tools=(weather,))], "prices": PRICES}


# Targets.


async def later(given: str) -> str:
    await asyncio.sleep(0)
    return given.upper()


class Shouting:
    async def __call__(self, given: str) -> str:
        return given.upper()


@pytest.mark.parametrize(
    "target",
    [str.upper, later, Shouting(), lambda given: later(given), RunnableLambda(str.upper)],
    ids=["sync", "async", "object", "a function that returns a coroutine", "runnable"],
)
def test_functions_and_runnables_are_called_with_the_input(target: Any) -> None:
    report = evaluate(target, [Case("tea", "TEA"), Case("milk", "water", name="wrong")])
    assert [(each.case.name, each.passes) for each in report.cases] == [("tea", 1), ("wrong", 0)]
    assert report.cases[1].reasons == ["Equals: 'MILK' is not 'water'"]
    assert (report.pass_rate, report.passed) == (0.5, False)


@pytest.mark.parametrize("target", [a_graph, agents], ids=["graph", "agents"])
def test_of_graphs_and_agents_the_answer_the_calls_and_the_usage_are_seen(target: Any) -> None:
    seen: list[Outcome] = []
    checks = [{"contains": "sunny"}, {"tool_called": {"name": "weather", "args": {"city": "Rome"}, "times": 1}}]
    cases = [{"input": "Rome", "checks": checks}, {"input": {"messages": [HumanMessage("Rome")]}, "name": "messages"}]
    report = evaluate(target(), cases, evaluators=[lambda outcome: seen.append(outcome)], prices=PRICES)
    report.check()
    for outcome in seen:
        assert outcome.text == "It is sunny in Rome."
        assert [each.type for each in outcome.messages][-3:] == ["ai", "tool", "ai"]
        usage = outcome.usage
        assert (usage.model_calls, usage.input_tokens, usage.output_tokens) == (2, 30, 6)
        assert usage.cost == pytest.approx(42e-6)
    assert (report.usage.total_tokens, report.usage.cost) == (72, pytest.approx(84e-6))


def test_messages_of_the_input_are_not_the_outcomes() -> None:
    seen: list[Outcome] = []
    said = [HumanMessage("Oslo"), AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "old"}])]
    history = [*said, ToolMessage("cold", tool_call_id="old"), HumanMessage("Rome")]
    evaluate(a_graph(), [{"input": history}], evaluators=[lambda outcome: seen.append(outcome)])
    assert [each["args"] for each in seen[0].tool_calls] == [{"city": "Rome"}]


def test_messages_that_a_function_repeats_are_not_the_outcomes_either() -> None:
    said = [HumanMessage("Oslo"), AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "old"}])]
    report = evaluate(lambda given: [*given, AIMessage("Cold.")], [{"input": said, "checks": {"equals": "Cold."}}])
    (attempt,) = report.cases[0].attempts
    assert attempt.passed and attempt.outcome is not None
    assert (attempt.outcome.text, len(attempt.outcome.messages), attempt.outcome.tool_calls) == ("Cold.", 1, ())


def test_models_that_a_function_calls_are_counted_in_its_own_attempt_alone() -> None:
    model = a_model()

    def ask(city: str) -> str:
        for _ in range(len(city)):
            answer = model.invoke(city)
        return str(answer.tool_calls[0]["args"]["city"])

    report = evaluate(ask, [Case("ab", "ab"), Case("abcd", "abcd")])
    report.check()
    assert [each.usage.model_calls for each in report.cases] == [2, 4]


def test_models_that_an_attempt_called_before_it_failed_are_counted() -> None:
    model = a_model()

    def ask(city: str) -> str:
        model.invoke(city)
        raise ValueError("after the call")

    report = evaluate(ask, [Case("Rome", "sunny")], prices=PRICES)
    assert (report.usage.model_calls, report.usage.total_tokens) == (1, 12)
    assert report.usage.cost == pytest.approx(14e-6)
    attempt = report.as_json()["cases"][0]["attempts"][0]
    assert (attempt["error"], attempt["model_calls"], attempt["input_tokens"]) == ("ValueError: after the call", 1, 10)


def test_models_that_agents_called_before_they_failed_are_counted() -> None:
    def fails(request: Any) -> Any:
        raise ValueError("after the call")

    model = ScriptedChatModel(replies=[answering, fails])
    agent = AgentInputs(agent_id="ada", model=model, tools=(weather,))
    report = evaluate({"agents": [agent], "prices": PRICES}, [Case("Rome", "sunny")])
    assert report.cases[0].reasons[0].startswith("ValueError")
    assert report.usage.total_tokens == 12


def test_a_run_that_waits_for_an_answer_has_failed() -> None:
    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda _: HookOutput(decision="ask", reason="money"), pattern="weather")
    asking = {**agents(), "hooks": hooks, "human_in_the_loop": {"enabled": True}}
    report = evaluate(asking, [{"input": "Rome", "expected": "sunny"}])
    assert report.cases[0].reasons[0].startswith("RuntimeError: The run waits for an answer: ")


def test_a_target_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="The target is of type int; expected a function, a compiled graph"):
        evaluate(7, [Case("tea", "TEA")])


# Attempts.


def test_repetitions_give_a_pass_rate_that_is_compared_with_the_threshold() -> None:
    counted: Counter[str] = Counter()

    def flaky(given: str) -> str:
        counted[given] += 1
        return given if counted[given] % 3 else "no"

    report = evaluate(flaky, [Case("a", "a"), Case("b", "b")], repetitions=3, max_concurrency=1, threshold=2 / 3)
    assert [(each.passes, len(each.attempts)) for each in report.cases] == [(2, 3), (2, 3)]
    assert report.passed
    report.check()
    counted.clear()
    with pytest.raises(EvaluationFailedError) as failed:
        evaluate(flaky, [Case("a", "a")], repetitions=3, max_concurrency=1, threshold=0.7).check()
    assert "FAILED: 2 of 3 attempts at 1 case passed (67%, threshold 70%)" in str(failed.value)
    assert "Equals: 'no' is not 'a'" in str(failed.value)


@pytest.mark.parametrize("is_async", [False, True])
def test_no_more_attempts_than_allowed_are_made_beside_each_other(is_async: bool) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    both = threading.Barrier(2)

    def enter() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])

    def leave() -> None:
        with lock:
            now[0] -= 1

    def work(given: str) -> str:
        enter()
        both.wait(60)  # two are made at once, or this never ends
        leave()
        return given

    async def work_async(given: str) -> str:
        enter()
        for _ in range(5):
            await asyncio.sleep(0)
        leave()
        return given

    cases = [Case(str(number), str(number)) for number in range(6)]
    evaluate(work_async if is_async else work, cases, max_concurrency=2).check()
    assert most == [2]


@pytest.mark.anyio
async def test_an_attempt_that_takes_too_long_has_failed() -> None:
    async def work(given: str) -> str:
        if given == "slow":
            await asyncio.Event().wait()
        if given == "own":
            raise TimeoutError("its own")
        return given

    report = await aevaluate(work, [Case(each, each) for each in ("slow", "own", "fast")], timeout_s=0.05)
    assert [each.reasons for each in report.cases] == [["not done after 0.05 s"], ["TimeoutError: its own"], []]


def test_a_function_that_hangs_holds_up_no_other_case_and_not_the_end_of_the_process() -> None:
    end, began, daemons = threading.Event(), threading.Semaphore(0), []

    def work(given: str) -> str:
        daemons.append(threading.current_thread().daemon)
        began.release()
        if given == "hangs":
            end.wait()
        return given

    try:
        cases = [Case("hangs", "hangs"), Case("next", "next")]
        report = evaluate(work, cases, timeout_s=0.05, max_concurrency=1)
        assert report.cases[0].reasons == ["not done after 0.05 s"]
        assert began.acquire(timeout=60) and began.acquire(timeout=60)
        assert daemons == [True, True]  # the process ends without them
    finally:
        end.set()


def test_a_case_that_could_not_fail_is_refused_before_anything_is_called() -> None:
    with pytest.raises(ValueError, match="Case 'tea' could not fail: it expects nothing, and no evaluator looks at it"):
        evaluate(broken, [Case("milk", "MILK"), Case("tea")])


@pytest.mark.anyio
async def test_results_are_told_as_cases_end_and_reported_in_their_order() -> None:
    first = asyncio.Event()

    async def work(given: str) -> str:
        if given == "a":
            await first.wait()
        first.set()
        return given

    told: list[str] = []
    report = await aevaluate(
        work, [Case("a", "a"), Case("b", "b")], on_result=lambda result: told.append(result.case.name)
    )
    assert told == ["b", "a"]
    assert [each.case.name for each in report.cases] == ["a", "b"]


@pytest.mark.anyio
async def test_evaluate_says_what_to_do_where_an_event_loop_runs() -> None:
    with pytest.raises(RuntimeError, match="await aevaluate"):
        evaluate(str.upper, [Case("a")])


@pytest.mark.parametrize("wrong", [{"repetitions": 0}, {"max_concurrency": 0}, {"threshold": 1.5}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the threshold is between 0 and 1"):
        evaluate(str.upper, [Case("a")], **wrong)


# Evaluators.


@pytest.mark.parametrize(
    ("check", "output", "reason"),
    [
        ({"equals": " tea "}, "tea\n", None),
        ({"equals": {"n": 1}}, {"n": 1}, None),
        ({"equals": {"n": 1}}, {"n": 2}, "Equals: {'n': 2} is not {'n': 1}"),
        ({"contains": "ea"}, "tea", None),
        ({"contains": ["T", "a"]}, "tea", "Contains: 'T' is not in 'tea'"),
        ({"contains": {"value": ["T", "A"], "case_sensitive": False}}, "tea", None),
        ({"contains": ["x", "y"]}, "tea", "Contains: 'x', 'y' are not in 'tea'"),
        ({"regex": "^t.a$"}, "tea", None),
        ({"regex": "^T"}, "tea", "Regex: nothing in 'tea' fits ^T"),
        ({"tool_called": "a"}, {"messages": [AIMessage("x")]}, "ToolCalled: a was not called; called: no tool"),
        ({"at_most": {"seconds": 3600, "tokens": 0}}, "tea", None),
        ({"at_most": {"cost": 1}}, "tea", "AtMost: the cost is not known: give prices"),
    ],
)
def test_evaluators_say_why_they_are_not_content(check: dict[str, Any], output: Any, reason: str | None) -> None:
    (result,) = evaluate(lambda _: output, [{"input": "?", "checks": [check]}]).cases
    assert result.reasons == ([] if reason is None else [reason])


def test_calls_of_tools_are_looked_for_by_their_arguments_and_counted() -> None:
    calls = [{"name": "find", "args": {"q": q, "n": 1}, "id": q} for q in "ab"]
    output = {"messages": [AIMessage("", tool_calls=calls)]}

    def reasons(**check: Any) -> list[str]:
        case = {"input": "?", "checks": {"tool_called": {"name": "find", **check}}}
        return evaluate(lambda _: output, [case]).cases[0].reasons

    assert reasons() == reasons(args={"q": "a"}) == reasons(times=2) == reasons(args={"q": "c"}, times=0) == []
    assert reasons(args={"q": "c"}) == [
        "ToolCalled: find({'q': 'c'}) was not called, but with {'q': 'a', 'n': 1}, {'q': 'b', 'n': 1}"
    ]
    assert reasons(times=0) == ["ToolCalled: find was called 2 times, expected 0"]
    case = {"input": "?", "checks": {"tool_called": "look"}}
    assert evaluate(lambda _: output, [case]).cases[0].reasons == ["ToolCalled: look was not called; called: find"]


def test_usage_over_a_limit_is_told() -> None:
    report = evaluate(agents(), [{"input": "Rome", "checks": {"at_most": {"tokens": 35, "model_calls": 1, "cost": 1}}}])
    assert report.cases[0].reasons == ["AtMost: 36 tokens, at most 35; 2 model calls, at most 1"]


def test_json_schemas_are_checked_of_values_and_of_texts() -> None:
    pytest.importorskip("jsonschema")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    outputs = {
        "value": {"n": 1},
        "text": '{"n": 1}',
        "block": '```json\n{"n": 1}\n```',
        "wrong": '{"n": "1"}',
        "no": "n",
    }
    cases = [{"input": name, "checks": {"json_schema": schema}} for name in outputs]
    found = [each.reasons for each in evaluate(outputs.__getitem__, cases).cases]
    assert found[:3] == [[], [], []]
    assert found[3] == ["JSONSchema: n: '1' is not of type 'integer'"]
    assert found[4][0].startswith("JSONSchema: 'n' is no JSON: ")


async def short(outcome: Outcome) -> Score:
    return Score(len(outcome.text) < 4, f"{len(outcome.text)} characters", score=1 / len(outcome.text))


def polite(outcome: Outcome) -> None:
    assert "please" in outcome.text, "no please"


def wrong(outcome: Outcome) -> Any:
    return 0.5


def broken(outcome: Outcome) -> bool:
    raise KeyError("x")


def test_functions_are_evaluators() -> None:
    report = evaluate(
        str, [Case("tea please")], evaluators=[short, polite, lambda outcome: outcome.case.input == "tea"]
    )
    (attempt,) = report.cases[0].attempts
    assert [(each.name, each.passed, each.number) for each in attempt.scores] == [
        ("short", False, 0.1),
        ("polite", True, 1.0),
        ("<lambda>", False, 0.0),
    ]
    assert attempt.reasons == ["short: 10 characters", "<lambda>: no"]
    assert report.scores() == {"short": 0.1, "polite": 1.0, "<lambda>": 0.0}
    assert evaluate(str, [Case("tea")], evaluators=[polite]).cases[0].reasons == ["polite: no please"]


@pytest.mark.parametrize(
    ("evaluator", "reason"),
    [
        (
            wrong,
            "the evaluator wrong failed: TypeError: it returned float; expected a Score, a bool, or None after its",
        ),
        (broken, "the evaluator broken failed: KeyError: 'x'"),
    ],
)
def test_an_evaluator_that_fails_fails_the_attempt(evaluator: Any, reason: str) -> None:
    report = evaluate(str, [Case("tea")], evaluators=[evaluator])
    assert not report.passed
    assert report.cases[0].reasons[0].startswith(reason)


def test_a_model_judges_by_a_rubric() -> None:
    def judging(request: Any) -> str:
        asked = request.messages[-1].text
        assert "<rubric>\nIt is kind.\n</rubric>" in asked
        assert "<expected>\nA greeting\n</expected>" in asked
        score = 0.9 if "<output>\nHELLO" in asked else 0.2
        return f'```json\n{{"reason": "so it is", "score": {score}}}\n```'

    judge = ScriptedChatModel(replies=Script([judging], repeat_last=True))
    checks = {"judge": "It is kind."}
    cases = [{"input": each, "expected": "A greeting", "checks": checks} for each in ("hello", "go away")]
    report = evaluate(str.upper, cases, judge=judge)
    assert [each.reasons for each in report.cases] == [[], ["LLMJudge: so it is"]]
    assert report.scores() == {"LLMJudge": pytest.approx(0.55)}
    assert report.usage.model_calls == 0  # the judge's own calls are not the target's


@pytest.mark.parametrize("answer", ["Fine.", '{"score": 7}', "[1]", '{"score": "high"}'])
def test_a_judge_that_does_not_answer_as_asked_fails_the_attempt(answer: str) -> None:
    judge = LLMJudge("It is kind.", ScriptedChatModel(replies=[answer]))
    (result,) = evaluate(str, [Case("tea")], evaluators=[judge]).cases
    assert result.reasons[0].startswith("the evaluator LLMJudge failed: ValueError: The judge ")


def test_a_judge_without_a_model_is_refused_before_anything_is_called() -> None:
    with pytest.raises(ValueError, match="Case 'tea' has an LLMJudge without a model"):
        evaluate(broken, [Case("tea", evaluators=[LLMJudge("kind")])])


# Reports.


def test_a_report_is_a_table_and_json() -> None:
    cases = [{"input": "Rome", "expected": "It is sunny in Rome."}, {"input": "Oslo", "name": "a name " * 9}]
    report = evaluate(agents(), cases, evaluators=[lambda outcome: "Rome" in outcome.text], repetitions=2)
    head, rome, oslo, _, last = str(report).splitlines()
    assert head.split() == ["case", "passed", "tokens", "cost", "time"]
    assert rome.split()[:6] == ["Rome", "2", "of", "2", "72", "$0.00008"]
    assert oslo.startswith("a name a name a name a name a name a ...  0 of 2")
    assert last.startswith("FAILED: 2 of 4 attempts at 2 cases passed (50%, threshold 100%); 144 tokens, $0.00017, ")
    told = json.loads(json.dumps(report.as_json()))
    assert (told["passed"], told["pass_rate"], told["total_tokens"]) == (False, 0.5, 144)
    attempt = told["cases"][0]["attempts"][0]
    assert attempt["tool_calls"] == [{"name": "weather", "args": {"city": "Rome"}}]
    assert attempt["scores"] == [{"name": "<lambda>", "passed": True, "score": 1.0, "reason": ""}]


def test_what_a_target_raises_is_told() -> None:
    report = evaluate(int, [Case("7", 7), Case("x", 7)])
    assert [each.passes for each in report.cases] == [1, 0]
    assert report.failures().strip().splitlines() == [
        "x",
        "  ValueError: invalid literal for int() with base 10: 'x'",
    ]
    assert report.as_json()["cases"][1]["attempts"][0]["error"].startswith("ValueError: ")


# The command.


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = command.main(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_command_prints_a_table_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evaluated_program.py").write_text("def shout(given):\n    return given.upper()\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "cases.jsonl"
    file.write_text('{"input": "tea", "expected": "TEA", "tags": ["hot"]}\n{"input": "milk", "expected": "?"}\n')
    target = "evaluated_program:shout"
    code, out, err = evaluated(capsys, target, str(file), "--threshold", "0.5", "--repetitions", "2")
    assert (code, sorted(err.splitlines())) == (0, ["0 of 2  milk", "2 of 2  tea"])
    assert "passed: 2 of 4 attempts at 2 cases" in out
    assert "  Equals: 'MILK' is not '?'" in out
    code, out, err = evaluated(capsys, target, str(file), "--json")
    assert (code, json.loads(out)["pass_rate"], err) == (1, 0.5, "")
    assert evaluated(capsys, target, str(file), "--tag", "hot", "--json")[0] == 0
    for wrong_arguments, said in (
        (("evaluated_program", str(file)), "expected 'package.module:attribute'"),
        (("evaluated_program:none", str(file)), "has no attribute 'none'"),
        (("no_such_module_here:x", str(file)), "No module named"),
        ((target, str(tmp_path / "none.jsonl")), "No such file"),
        ((target, str(file), "--tag", "cold"), "No case has a tag of cold; tags of the cases: hot"),
        ((target, str(file), "--repetitions", "0"), "repetitions=0"),
    ):
        code, out, err = evaluated(capsys, *wrong_arguments)
        assert (code, out) == (2, "")
        assert said in err
