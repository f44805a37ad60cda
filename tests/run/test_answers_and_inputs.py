"""What people answer and what hosts give, read one by one: every form that is taken, and each that is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from stategraph.constants import RETURN
from stategraph.errors import ConfigurationError, InvalidAnswerError, UnknownInterruptError
from stategraph.run import pauses, questions
from stategraph.run.abort import AbortController
from stategraph.run.pauses import RunInterrupt
from stategraph.run.questions import Approve, Edit, Question, QuestionOption, Reject, Respond
from stategraph.run.turn import turn_inputs

# -- approvals -----------------------------------------------------------


def approval(*allowed: Any) -> dict[str, Any]:
    """A request to approve calls c0, c1 ... of tools t0, t1 ..., with the decisions that each allows."""
    return {
        "type": "tool_approval",
        "action_requests": [{"tool_call_id": f"c{number}", "name": f"t{number}"} for number in range(len(allowed))],
        "review_configs": [
            {"tool_call_id": f"c{number}", "allowed_decisions": each} for number, each in enumerate(allowed)
        ],
    }


ALL = ["approve", "reject", "edit", "respond"]
ONE, TWO = approval(ALL), approval(ALL, ["approve", "reject"])


@pytest.mark.parametrize(
    ("payload", "answer", "read"),
    [
        (ONE, [{"type": "approve"}], {"c0": Approve()}),
        (ONE, {"type": "approve"}, {"c0": Approve()}),
        (ONE, Approve(), {"c0": Approve()}),
        (ONE, {"c0": {"type": "reject", "reason": "no"}}, {"c0": Reject(reason="no")}),
        (ONE, {"type": "edit", "updatedInput": {"x": 1}}, {"c0": Edit(updated_input={"x": 1})}),
        (ONE, {"type": "respond", "response_text": "done"}, {"c0": Respond(response_text="done")}),
        (TWO, [{"type": "approve"}, {"type": "reject"}], {"c0": Approve(), "c1": Reject()}),
        (TWO, ({"type": "approve"}, Approve()), {"c0": Approve(), "c1": Approve()}),
        (TWO, {"c1": {"type": "approve"}, "c0": {"type": "approve"}}, {"c0": Approve(), "c1": Approve()}),
    ],
)
def test_decisions_are_taken_as_a_list_a_mapping_or_one(payload: Any, answer: Any, read: Any) -> None:
    assert questions.read_decisions(payload, answer) == read
    assert list(questions.read_decisions(payload, answer)) == list(read)
    questions.check_answer(payload, answer)


@pytest.mark.parametrize(
    ("payload", "answer", "message"),
    [
        (TWO, [{"type": "approve"}], r"2 tool calls wait for approval \(c0 \(t0\), c1 \(t1\)\), and 1 decisions"),
        (ONE, "approve", "is str; expected a list of decisions"),
        (ONE, None, r"is NoneType; .* Calls: c0 \(t0\)"),
        (TWO, {"c0": {"type": "approve"}}, r"^no decision about c1\. Tool calls that wait for approval: c0"),
        (ONE, {"c0": Approve(), "c9": Approve()}, "^decisions about c9, which do not wait"),
        (TWO, {"c0": Approve(), "c9": Approve()}, "^no decision about c1; decisions about c9, which do not wait"),
        (TWO, {"type": "approve"}, "no decision about c0, c1; decisions about type"),
        (ONE, [{"type": "guess"}], "The decision about the call c0 of 't0' is 'guess'; allowed: approve, reject"),
        (TWO, [Approve(), {"type": "edit", "updated_input": {}}], "c1 of 't1' is 'edit'; allowed: approve, reject$"),
        (ONE, [{}], "is of type dict without a 'type'"),
        (ONE, [7], "is of type int without a 'type'"),
        (ONE, [{"type": 7}], "is 7; allowed"),
        (ONE, [{"type": "respond"}], "The decision about the call c0 of 't0' is incomplete: "),
    ],
)
def test_decisions_that_do_not_fit_are_refused(payload: Any, answer: Any, message: str) -> None:
    with pytest.raises(InvalidAnswerError, match=message):
        questions.read_decisions(payload, answer)
    with pytest.raises(InvalidAnswerError):
        questions.check_answer(payload, answer)


def test_a_call_whose_decisions_were_not_limited_takes_all_of_them() -> None:
    payload = {**ONE, "review_configs": []}
    assert questions.read_decisions(payload, [{"type": "respond", "response_text": "x"}]) == {
        "c0": Respond(response_text="x")
    }


# -- questions -----------------------------------------------------------

SINGLE: Any = {"type": "ask_user_question", "question": {"question": "Which?"}}
SEVERAL: Any = {**SINGLE, "questions": [{"id": "a", "question": "Which?"}, {"id": "b", "question": "Why?"}]}


@pytest.mark.parametrize(
    ("payload", "answer", "read"),
    [
        (SINGLE, "this", {"answer": "this"}),
        (SINGLE, {"answer": ["x"], "more": 1}, {"answer": ["x"], "more": 1}),
        (SEVERAL, {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": 3}),
    ],
)
def test_answers_are_taken_as_text_or_by_name(payload: Any, answer: Any, read: Any) -> None:
    assert questions.read_answers(payload, answer) == read


@pytest.mark.parametrize(
    ("payload", "answer", "message"),
    [
        (SINGLE, 7, r"The answer to 'Which\?' is int; expected \{'answer': \.\.\.\} or a text"),
        (SINGLE, {"reply": 1}, r"is a mapping with \['reply'\]; expected"),
        (SEVERAL, {"a": 1}, r"is a mapping with \['a'\]; expected a mapping with answers to a, b"),
        (SEVERAL, "text", "is str; expected a mapping with answers to a, b"),
    ],
)
def test_answers_that_do_not_fit_are_refused(payload: Any, answer: Any, message: str) -> None:
    with pytest.raises(InvalidAnswerError, match=message):
        questions.check_answer(payload, answer)


@pytest.mark.parametrize("payload", [None, "what?", {}, {"type": "mine"}, {"type": ["tool_approval"]}])
def test_questions_of_other_kinds_take_any_answer(payload: Any) -> None:
    questions.check_answer(payload, object())


def test_an_answer_that_no_checkpoint_holds_is_refused() -> None:
    itself: list[Any] = [2**64 - 1, -(2**63)]
    itself.append(itself)
    questions.check_answer(None, {"to": itself})
    for large in (2**64, -(2**63) - 1, 10**5000):
        with pytest.raises(InvalidAnswerError, match="more than 64 bits"):
            questions.check_answer(None, {"to": [1, {"n": large}]})


def asked(monkeypatch: pytest.MonkeyPatch, question: Any, **options: Any) -> Any:
    """The payload that a question is asked with."""
    shown: list[Any] = []
    monkeypatch.setattr(questions, "ask", lambda payload, read: shown.append((payload, read)))
    questions.ask_user_question(question, **options)
    ((payload, read),) = shown
    assert read is questions.read_answers
    return payload


def test_a_question_is_asked_in_the_spelling_of_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, "Which?") == {"type": "ask_user_question", "question": {"question": "Which?"}}
    whole = Question(
        question="Which?",
        options=(QuestionOption(label="A", value="a"),),
        multi_select=True,
        id="q",
        header="H",
    )
    payload = asked(monkeypatch, whole, tool_call_id="c")
    assert payload["tool_call_id"] == "c"
    assert payload["question"] == {
        "question": "Which?",
        "options": [{"label": "A", "value": "a"}],
        "multiSelect": True,
    }
    assert asked(monkeypatch, {"question": "Which?", "multi_select": True})["question"]["multiSelect"] is True
    several = asked(monkeypatch, [{"id": "a", "question": "Which?"}, Question(question="Why?", id="b", header="H")])
    assert several["questions"] == [
        {"question": "Which?", "id": "a"},
        {"question": "Why?", "id": "b", "header": "H"},
    ]
    assert several["question"] == {"question": "Which?"}


@pytest.mark.parametrize(
    "several",
    [
        [],
        [{"question": "Which?"}],
        [{"question": "Which?", "id": "a"}, {"question": "Why?", "id": "a"}],
        [{"question": "Which?", "id": f"q{number}"} for number in range(5)],
    ],
    ids=["none", "no id", "the same id", "too many"],
)
def test_questions_that_could_not_be_told_apart_are_refused(several: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="questions with the ids"):
        asked(monkeypatch, several)


def test_up_to_four_questions_can_be_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    most = [{"question": "Which?", "id": f"q{number}"} for number in range(4)]
    assert len(asked(monkeypatch, most)["questions"]) == 4
    assert len(asked(monkeypatch, most[:1])["questions"]) == 1


# -- which answer is for what --------------------------------------------


def waiting(*ids: str, payload: Any = None) -> list[RunInterrupt]:
    return [RunInterrupt(each, "t", payload, None, "") for each in ids]


def test_an_answer_goes_to_the_interrupt_that_it_names_or_to_the_only_one() -> None:
    assert pauses.answers(waiting("i"), "yes") == {"i": "yes"}
    assert pauses.answers(waiting("i"), {"x": 1}) == {"i": {"x": 1}}
    assert pauses.answers(waiting("i"), {"i": 1}) == {"i": 1}
    assert pauses.answers(waiting("i"), {}) == {"i": {}}
    assert pauses.answers(waiting("i", "j"), {"j": 1}) == {"j": 1}
    assert pauses.answers(waiting("i", "j"), {"j": 1, "i": 2}) == {"j": 1, "i": 2}


def test_an_answer_to_nothing_or_to_one_of_several_is_refused() -> None:
    with pytest.raises(UnknownInterruptError, match=r"nothing waits for an answer; .* was 'exit'") as refused:
        pauses.answers([], "yes")
    assert refused.value.reason == "not_pending"
    for answer in ("yes", {}, {"i": 1, "k": 2}):
        with pytest.raises(UnknownInterruptError, match=r"The run waits for 2 answers; .*: i, j$") as refused:
            pauses.answers(waiting("i", "j"), answer)
        assert (refused.value.reason, refused.value.pending_ids) == ("ambiguous", ("i", "j"))


def test_an_answer_has_to_fit_what_was_asked() -> None:
    with pytest.raises(InvalidAnswerError):
        pauses.answers(waiting("i", payload=SINGLE), 7)
    assert waiting("i", payload=ONE)[0].needs_approval
    assert not waiting("i", payload=SINGLE)[0].needs_approval
    assert not waiting("i", payload="tool_approval")[0].needs_approval


def test_what_came_after_a_message_is_behind_its_newest_place() -> None:
    messages = [HumanMessage("1", id="a"), AIMessage("2", id="b"), HumanMessage("3", id="a"), AIMessage("4", id="c")]
    assert [message.id for message in pauses.after("a", messages) or ()] == ["c"]
    assert pauses.after("c", messages) == []
    assert [message.id for message in pauses.after("b", messages) or ()] == ["a", "c"]
    assert [message.id for message in pauses.after("a", messages[:2]) or ()] == ["b"]
    assert pauses.after("z", messages) is None
    assert pauses.after("a", []) is None


@pytest.mark.anyio
async def test_results_that_wait_with_a_question_are_found_among_what_tasks_returned() -> None:
    found = ToolMessage("done", tool_call_id="c1")
    saved: dict[str, Any] = {
        "mixed": SimpleNamespace(
            pending_writes=[
                ("task", "other", [{"message": ToolMessage("of another channel", tool_call_id="c9")}]),
                ("task", RETURN, "no list"),
                ("task", RETURN, ["no mapping", {"message": "no message"}, {"other": found}, {"message": found}]),
            ]
        ),
        "nothing": SimpleNamespace(pending_writes=None),
    }

    async def aget_tuple(place: str) -> Any:
        return saved.get(place)

    compiled: Any = SimpleNamespace(checkpointer=SimpleNamespace(aget_tuple=aget_tuple))
    places: Any = ("mixed", "nothing", "unknown")
    assert await pauses.Pause((), True, places=places).results(compiled) == [found]


# -- what hosts give -----------------------------------------------------


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ([HumanMessage("hi", id="m")], ["hi"]),
        ("hi", ["hi"]),
        (("user", "hi"), ["hi"]),
        ([("user", "hi"), {"role": "assistant", "content": "ho"}], ["hi", "ho"]),
        ({"role": "user", "content": "hi"}, ["hi"]),
        ((HumanMessage("a"), HumanMessage("b")), ["a", "b"]),
        ([], []),
    ],
)
def test_messages_are_read_in_every_form_and_have_ids(given: Any, texts: list[str]) -> None:
    read = turn_inputs.messages_of({"messages": given})
    assert [message.content for message in read] == texts
    ids = [message.id for message in read]
    assert all(ids)
    assert len(set(ids)) == len(ids)


def test_a_message_with_an_id_keeps_it_and_half_a_character_is_mended() -> None:
    message = HumanMessage("hi", id="m")
    assert turn_inputs.messages_of({"messages": [message]})[0] is message
    (mended,) = turn_inputs.messages_of({"messages": [HumanMessage("a\ud83d")]})
    str(mended.content).encode()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (7, "found a value of type int"),
        ({}, "found a mapping with nothing"),
        ({"message": []}, "found a mapping with 'message'"),
        ({"messages": None}, "found a mapping with 'messages'"),
        ({"messages": [("user", "hi"), 7]}, "Message 1 of the input cannot be read: "),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "Message 0 of the input cannot be read: "),
    ],
)
def test_what_is_no_input_is_refused_with_what_was_found(inputs: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        turn_inputs.messages_of(inputs)
    assert "For troubleshooting" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (7, "'config' is a value of type int; expected"),
        ({"configurable": 7}, "'configurable' is a value of type int; expected"),
        ({"durability": "never"}, "'durability' is 'never'; expected one of exit, async, sync"),
        ({"thread_id": "t"}, r"The thread is named by config\['thread_id'\], which is not read"),
        ({"threadId": "t"}, r"config\['threadId'\]"),
        ({"configurable": {"threadId": "t"}}, r"config\['configurable'\]\['threadId'\]"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(config: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        turn_inputs.checked_config(config, stores=True)


def test_where_a_thread_is_named_matters_only_if_something_is_kept_there() -> None:
    assert turn_inputs.checked_config({"thread_id": "t"}, stores=False) == {"thread_id": "t"}
    both = {"thread_id": "t", "configurable": {"thread_id": "t"}, "durability": "sync"}
    assert turn_inputs.checked_config(both, stores=True) is both
    assert turn_inputs.checked_config(None, stores=True) == {}


def test_options_are_understood_in_both_spellings_and_unknown_ones_refused() -> None:
    given = {"keepContent": True, "callbacks": {"handleToolEnd": print}}
    assert turn_inputs.checked_options(given, ["keep_content", "callbacks"]) == {
        "keep_content": True,
        "callbacks": {"handle_tool_end": print},
    }
    assert turn_inputs.checked_options(None, ["callbacks"]) == {}
    with pytest.raises(ConfigurationError, match="'callback' is no option of an execution; did you mean 'callbacks'"):
        turn_inputs.checked_options({"callback": 1}, ["callbacks"])
    with pytest.raises(ConfigurationError, match="'zzz' is no option of an execution; known are a, b"):
        turn_inputs.checked_options({"zzz": 1}, ["b", "a"])
    with pytest.raises(ConfigurationError, match="'options' is a value of type int; expected a mapping with a or b"):
        turn_inputs.checked_options(7, ["b", "a"])


def test_a_host_s_config_becomes_the_engine_s() -> None:
    signal = AbortController().signal
    config = {
        "recursionLimit": 7,
        "runName": "n",
        "maxConcurrency": 2,
        "version": "v2",
        "streamMode": "values",
        "signal": signal,
        "durability": "sync",
        "tags": ["t"],
        "configurable": {"thread_id": "t", "run_id": "other", "user": "u"},
    }
    assert turn_inputs.runnable_config(config, "r") == {
        "recursion_limit": 7,
        "run_name": "n",
        "max_concurrency": 2,
        "tags": ["t"],
        "configurable": {"thread_id": "t", "user": "u"},
    }
    assert turn_inputs.runnable_config({}, "r") == {"configurable": {"thread_id": "r"}}
    assert config["configurable"]["run_id"] == "other"  # type: ignore[index]
    assert turn_inputs.thread_of({"configurable": {"thread_id": 0}}, "r") == 0
    assert turn_inputs.thread_of({"configurable": None}, "r") == "r"


def test_a_signal_is_an_abort_signal_or_nothing() -> None:
    signal = AbortController().signal
    assert turn_inputs.signal_of({"signal": signal}) is signal
    assert turn_inputs.signal_of({}) is None
    with pytest.raises(ConfigurationError, match=r"'signal' has to be an AbortSignal, .* found AbortController"):
        turn_inputs.signal_of({"signal": AbortController()})
