"""The small parts of the core: what writes show, how a run begins, old checkpoints, listeners, the order of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.constants import ERROR, INTERRUPT, NULL_TASK_ID, RESUME, RETURN, TASKS
from stategraph.core import checkpoint as checkpoints
from stategraph.core import explain, output, status
from stategraph.core.opening import answers, course
from stategraph.core.settings import UNHEARD, Start, Thread, Watch, takes_short_way
from stategraph.core.task import Task
from stategraph.errors import InvalidUpdateError, UnknownInterruptError
from stategraph.types import Command, Interrupt, Send, interrupt_id

ID, OTHER_ID = interrupt_id("a:1", 0), interrupt_id("b:1", 0)


def task(name: str = "n") -> Task:
    return Task(f"id of {name}", name, None, ("p", name), (), "", 0, 1)


# -- listeners -----------------------------------------------------------


@pytest.mark.parametrize("heard", Watch._fields)
def test_only_listeners_for_values_and_ends_leave_steps_of_one_task_on_the_short_way(heard: str) -> None:
    assert takes_short_way(UNHEARD._replace(**{heard: True})) is (heard in ("values", "ended"))
    assert takes_short_way(UNHEARD)


# -- writes --------------------------------------------------------------


def test_a_command_writes_where_to_go_then_its_answer_then_its_update() -> None:
    command: Any = Command(goto=["a", Send("b", 1)], resume="yes", update={"x": 1})
    assert list(output.command_writes(command)) == [
        ("branch:to:a", "__start__"),
        (TASKS, Send("b", 1)),
        (RESUME, "yes"),
        ("x", 1),
    ]
    assert list(output.command_writes(Command())) == []


def test_a_command_for_the_parent_of_a_root_graph_is_refused() -> None:
    with pytest.raises(InvalidUpdateError, match="There is no parent graph"):
        list(output.command_writes(Command(graph=Command.PARENT, update={"x": 1})))


def test_input_goes_to_the_channels_that_take_it_and_other_keys_are_collected() -> None:
    unknown: list[str] = []
    assert output.input_writes(["x", "y"], {"x": 1, "z": 2}, unknown) == [("x", 1)]
    assert unknown == ["z"]
    assert output.input_writes("x", {"z": 2}, unknown) == [("x", {"z": 2})]
    assert output.input_writes(["x"], None, unknown) == []
    assert unknown == ["z"]
    with pytest.raises(TypeError, match="Expected chunk to be a dict, got int"):
        output.input_writes(["x"], 1, unknown)


@pytest.mark.parametrize(
    ("writes", "shown"),
    [
        ([("x", 1), ("hidden", 2)], {"x": 1}),
        ([("x", 1), ("y", 2)], {"x": 1, "y": 2}),
        ([("x", 1), ("y", 2), ("x", 3)], [{"x": 1}, {"y": 2}, {"x": 3}]),
        ([("x", 1), ("x", 2), ("y", 3)], [{"x": 1}, {"x": 2}, {"y": 3}]),
        ([("x", 1), ("hidden", 2), ("x", 3)], [{"x": 1}, {"x": 3}]),
        ([("hidden", 1)], None),
        ([("x", 1), (RETURN, "made")], "made"),
    ],
)
def test_an_update_shows_what_a_task_wrote_to_the_output_channels(writes: Any, shown: Any) -> None:
    assert output.update_of(writes, frozenset(("x", "y"))) == shown


@pytest.mark.parametrize(
    ("writes", "shown"),
    [
        ([("x", 1), ("y", 2)], 1),
        ([("x", 1), ("x", 2)], [1, 2]),
        ([("y", 2)], None),
        ([("x", 1), (RETURN, None)], None),
        ([(RETURN, 3)], 3),
    ],
)
def test_an_update_of_one_output_channel_is_bare(writes: Any, shown: Any) -> None:
    assert output.update_of(writes, "x") == shown


def test_an_update_that_was_cached_says_so() -> None:
    assert output.updates(task(), [("x", 1)], "x", False) == {"n": 1}
    assert output.updates(task(), [("x", 1)], "x", True) == {"n": 1, "__metadata__": {"cached": True}}


def test_several_writes_to_a_channel_are_folded_into_a_list_of_them() -> None:
    assert output.fold([("x", 1), ("y", 2)]) == {"x": 1, "y": 2}
    assert output.fold([("x", 1), ("x", 2), ("x", 3)]) == {"x": {"$writes": [1, 2, 3]}}
    assert output.fold([("x", {"a": 1}), ("x", 2)]) == {"x": {"$writes": [{"a": 1}, 2]}}
    assert output.fold([("x", {"$writes": 1}), ("x", 2)]) == {"x": {"$writes": [{"$writes": 1}, 2]}}
    assert output.fold([("x", None), ("x", 2)]) == {"x": 2}


def test_the_questions_among_writes_are_listed_one_by_one() -> None:
    one, two, three = (Interrupt(value, id=value * 32) for value in "abc")
    writes: Any = [(INTERRUPT, one), ("x", 1), (INTERRUPT, [two]), (INTERRUPT, (three,))]
    assert output.interrupts_in(writes) == (one, two, three)
    assert output.interrupts_in([("x", 1)]) == ()


def test_a_described_task_shows_its_result_its_error_and_the_questions_that_were_asked() -> None:
    question = Interrupt("sure?", id=ID)
    tasks = [task(name) for name in ("done", "called", "failed", "asked", "answered", "fresh")]
    error = ValueError("no")
    pending: Any = {
        "id of done": [("x", 1), ("hidden", 2)],
        "id of called": [(RETURN, "made")],
        "id of failed": [(ERROR, error)],
        "id of asked": [(INTERRUPT, [question])],
        "id of answered": [(INTERRUPT, [question]), ("x", 3)],
    }
    known: Any = output.described_tasks(tasks, pending, {"id of fresh": "below"}, ["x"])
    assert [t.result for t in known] == [{"x": 1}, "made", None, None, {"x": 3}, None]
    assert [t.error for t in known] == [None, None, error, None, None, None]
    assert [t.interrupts for t in known] == [(), (), (), (question,), (question,), ()]
    assert [t.state for t in known] == [None] * 5 + ["below"]
    assert [(t.id, t.name, t.path) for t in known] == [(t.id, t.name, t.path) for t in tasks]
    live = output.described_tasks(tasks, pending, {}, "x", live=True)
    assert [t.interrupts for t in live] == [(), (), (), (question,), (), ()]
    assert [t.result for t in live] == [1, "made", None, None, 3, None]


# -- what is recorded ----------------------------------------------------


def test_a_task_is_finished_when_it_has_output_and_waits_while_it_has_only_asked() -> None:
    question = Interrupt("sure?", id=ID)
    asked = status.of([(INTERRUPT, question), (RESUME, ["yes"])])
    assert (asked.output, asked.interrupts, asked.waiting) == ((), (question,), (question,))
    done = status.of([(INTERRUPT, (question,)), ("x", 1)])
    assert (done.output, done.interrupts, done.waiting) == ((("x", 1),), (question,), ())
    first, second = ValueError("1"), ValueError("2")
    assert status.of([(ERROR, first), (ERROR, second)]).error is first


def test_questions_of_no_task_do_not_wait() -> None:
    pending = {NULL_TASK_ID: [(INTERRUPT, [Interrupt("?", id=ID)])], "t": [(INTERRUPT, [Interrupt("?", id=OTHER_ID)])]}
    assert status.waiting_ids(pending) == {OTHER_ID}
    assert status.group([("t", "x", 1), ("u", "y", 2), ("t", "z", 3)]) == {
        "t": [("x", 1), ("z", 3)],
        "u": [("y", 2)],
    }
    assert status.group(None) == {}


# -- how a run begins ----------------------------------------------------


@pytest.mark.parametrize(
    ("start", "nested", "resuming"),
    [
        (Start(None), False, True),
        (Start({}), False, False),
        (Start(Command(resume=1)), False, True),
        (Start({}, same_run=True), False, True),
        (Start({}, same_run=True), True, False),
        (Start(None, resuming=False), True, False),
        (Start({}, resuming=True), True, True),
    ],
)
def test_a_run_continues_if_it_has_no_input_of_its_own(start: Start, nested: bool, resuming: bool) -> None:
    assert course.is_resuming(start, nested=nested) is resuming


@pytest.mark.parametrize(
    ("start", "addressed", "nested", "replay"),
    [
        (Start(None), False, False, False),
        (Start(None), True, False, True),
        (Start(Command(resume=1)), True, False, False),
        (Start(Command(update={"x": 1})), True, False, True),
        (Start(None, resuming=True), True, True, False),
        (Start(None, resuming=True, own_checkpoint_named=True), True, True, True),
        (Start(None, resuming=True, own_checkpoint_named=True), True, False, False),
    ],
)
def test_a_run_that_names_its_checkpoint_replays_unless_it_answers(
    start: Start, addressed: bool, nested: bool, replay: bool
) -> None:
    assert course.is_replay(start, addressed=addressed, nested=nested) is replay


def waiting(*ids: str) -> status.Pending:
    return {f"task {id}": [(INTERRUPT, [Interrupt("?", id=id)])] for id in ids}


def test_answers_name_questions_by_their_ids_or_there_is_one_question() -> None:
    assert answers.names_interrupts({ID: "yes"}, waiting(ID, OTHER_ID), strict=True)
    assert not answers.names_interrupts("yes", waiting(ID), strict=True)
    assert not answers.names_interrupts({"approved": True}, waiting(ID), strict=True)
    assert not answers.names_interrupts("yes", {}, strict=False)
    assert answers.names_interrupts({ID: "yes"}, {}, strict=False)


def test_an_answer_that_names_none_of_several_questions_is_refused() -> None:
    with pytest.raises(RuntimeError, match="you must specify the interrupt id"):
        answers.names_interrupts("yes", waiting(ID, OTHER_ID), strict=False)


@pytest.mark.parametrize(
    ("answer", "asked", "reason", "named"),
    [
        ("yes", (ID, OTHER_ID), "ambiguous", []),
        ({}, (ID,), "empty_map", []),
        ({OTHER_ID: "yes"}, (ID,), "not_pending", [OTHER_ID]),
    ],
)
def test_strict_answers_must_match_a_question(answer: Any, asked: Any, reason: str, named: list[str]) -> None:
    with pytest.raises(UnknownInterruptError) as refused:
        answers.names_interrupts(answer, waiting(*asked), strict=True)
    assert refused.value.reason == reason
    assert list(refused.value.pending_ids) == sorted(asked)
    assert list(refused.value.interrupt_ids) == named


def test_an_answer_without_an_id_is_meant_for_the_only_question() -> None:
    assert answers.questions_meant(waiting(ID)) == frozenset((ID,))
    assert answers.questions_meant(waiting(ID, OTHER_ID)) == frozenset()
    assert answers.questions_meant({}) is None
    assert answers.questions_meant(waiting("by another name")) is None


@pytest.mark.parametrize(
    ("key", "is_id"),
    [
        (ID, True),
        (ID[:-1], False),
        (ID + "0", False),
        (ID[:-1] + "g", False),
        (ID.upper() + "", ID.isdigit()),
        (7, False),
    ],
)
def test_ids_of_questions_are_32_hexadecimal_digits(key: Any, is_id: bool) -> None:
    assert answers.is_interrupt_id(key) is is_id


# -- answers -------------------------------------------------------------


def asking(ns: str = "a:1", **about: Any) -> Task:
    made = Task("t", "a", None, (), (), ns, 0, 1)
    for name, value in about.items():
        setattr(made, name, value)
    return made


def test_an_answer_without_an_id_is_seen_until_it_is_taken_and_then_gone() -> None:
    pending: status.Pending = {NULL_TASK_ID: [(RESUME, "yes")]}
    outer, inner = asking(), asking("a:1|b:2")
    inner.parent = outer
    outer.load_answers(pending, None)

    assert inner.get_null_resume() == "yes"
    assert inner.get_null_resume(True) == "yes"
    assert outer.took_null_resume
    assert not inner.took_null_resume
    assert pending == {NULL_TASK_ID: []}
    assert inner.get_null_resume(True) is None
    assert asking().get_null_resume() is None


def test_an_answer_without_an_id_goes_to_the_question_that_it_was_given_to() -> None:
    meant = asking()
    meant.load_answers({NULL_TASK_ID: [(RESUME, "yes")]}, None, frozenset((ID,)))
    assert meant.get_null_resume() == "yes"
    meant.resume.append("answered already")
    assert meant.get_null_resume(True) is None

    stranger = asking("other:1")
    stranger.load_answers({NULL_TASK_ID: [(RESUME, "yes")]}, None, frozenset((ID,)))
    assert stranger.get_null_resume() is None


def test_a_task_begins_with_its_own_answers_and_the_one_that_names_its_next_question() -> None:
    second = interrupt_id("a:1", 1)
    made = asking()
    made.load_answers({"t": [("x", 1), (RESUME, ["first"])]}, {second: "second", OTHER_ID: "of another"})
    assert made.resume == ["first", "second"]
    assert made.own_answers == 2

    bare = asking()
    bare.load_answers({"t": [(RESUME, "only")]}, None)
    assert (bare.resume, bare.own_answers) == (["only"], 1)


def test_of_answers_by_id_a_task_takes_the_one_for_its_next_question_or_else_for_its_first() -> None:
    first, second = interrupt_id("a:1", 0), interrupt_id("a:1", 1)
    for answers_by_id, expected in (
        ({second: "next", first: "old"}, ["given", "next"]),
        # Checkpoints of older versions gave all questions of a task the first id.
        ({first: "old"}, ["given", "old"]),
        ({OTHER_ID: "of another"}, ["given"]),
        ({}, ["given"]),
    ):
        made = asking()
        made.load_answers({"t": [(RESUME, ["given"])]}, answers_by_id)
        assert made.resume == expected


def test_an_answer_that_is_used_up_is_none() -> None:
    for writes, expected in (([(RESUME, None)], None), ([("x", 1), (RESUME, "yes")], "yes"), ([], None)):
        made = asking()
        made.load_answers({NULL_TASK_ID: writes}, None)
        assert made.get_null_resume() == expected


def holding(*asked: Interrupt, meant: str = ID) -> Task:
    """A task that asked something, and holds an answer that names no question."""
    made = asking("before:1")
    made.load_answers({"t": [(INTERRUPT, list(asked))], NULL_TASK_ID: [(RESUME, "yes")]}, None, frozenset((meant,)))
    return made


@pytest.mark.parametrize(
    ("renamed", "expected"),
    [
        ((), None),
        (("inner",), "yes"),
        (("middle",), "yes"),
        (("holder",), "yes"),
        # What is outside of the task that holds the answer changes no id of its question.
        (("outer",), None),
    ],
)
def test_an_answer_reaches_its_question_though_that_has_another_id_now(
    renamed: tuple[str, ...], expected: str | None
) -> None:
    question = Interrupt("?", id=ID)
    for asked, reached in ((question, expected), (Interrupt("?", id=OTHER_ID), None)):
        tasks = {"outer": asking("o:1"), "holder": holding(asked), "middle": asking("m:1"), "inner": asking("i:1")}
        for outer, inner in (("outer", "holder"), ("holder", "middle"), ("middle", "inner")):
            tasks[inner].parent = tasks[outer]
        for name in renamed:
            tasks[name].renamed = True
        assert tasks["inner"].get_null_resume() == reached


@pytest.mark.parametrize("asked", [True, False])
def test_a_question_that_was_stored_under_the_id_of_the_first_gets_the_answer(asked: bool) -> None:
    first = Interrupt("?", id=interrupt_id("before:1", 0))
    made = holding(*[first] * asked, meant=first.id)
    made.resume = ["to the first"]
    assert made.get_null_resume() == ("yes" if asked else None)


def test_only_packets_were_sent() -> None:
    paths: list[tuple[Any, ...]] = [("__pregel_push", 0, False), ("__pregel_pull", "n"), ("__pregel_push", (), 0, True)]
    assert [Task("t", "n", None, path, (), "", 0, 1).was_sent for path in paths] == [True, False, False]


# -- checkpoints ---------------------------------------------------------


def test_packets_of_an_old_checkpoint_become_a_channel_with_the_highest_version() -> None:
    old = checkpoints.empty("id", "now") | {
        "v": 3,
        "channel_versions": {"a": 1, "b": 4},
        "pending_sends": [Send("n", 1)],
    }
    checkpoints.migrate(old)
    assert old["channel_values"] == {TASKS: [Send("n", 1)]}
    assert old["channel_versions"] == {"a": 1, "b": 4, TASKS: 4}
    assert "pending_sends" not in old

    new = checkpoints.empty("id", "now") | {"pending_sends": [Send("n", 1)]}
    checkpoints.migrate(new)
    assert new["channel_values"] == {}


def test_a_detached_checkpoint_is_left_alone_by_later_steps() -> None:
    live = checkpoints.empty("id", "now") | {"channel_values": {"x": 1}, "versions_seen": {"n": {"x": 1}}}
    kept = checkpoints.detached(live | {"updated_channels": ["x"]})
    live["channel_values"]["x"] = live["versions_seen"]["n"]["x"] = live["channel_versions"]["x"] = 2
    assert kept["channel_values"] == {"x": 1}
    assert kept["versions_seen"] == {"n": {"x": 1}}
    assert kept["channel_versions"] == {}
    assert (kept["v"], kept["id"], kept["ts"], kept["updated_channels"]) == (4, "id", "now", ["x"])


def test_only_versions_that_have_risen_are_newer() -> None:
    assert checkpoints.newer_versions({"a": "2", "b": "2"}, {"a": "2", "b": "3", "c": "1"}) == {"b": "3", "c": "1"}
    assert checkpoints.newer_versions({}, {"a": 1}) == {"a": 1}
    assert checkpoints.newer_versions({"a": 1}, {}) == {}


# -- words ---------------------------------------------------------------


def test_a_sentence_is_added_to_a_message_before_the_line_that_leads_to_help() -> None:
    plain, ended, helped = (
        ValueError("It broke"),
        ValueError("It broke."),
        ValueError("It broke\nFor troubleshooting: x"),
    )
    for error in (plain, ended, helped):
        explain.add_words(error, "The writers: a.")
    assert str(plain) == str(ended) == "It broke. The writers: a."
    assert str(helped) == "It broke. The writers: a.\nFor troubleshooting: x"
    for other in (ValueError(), ValueError("a", "b"), ValueError(3)):
        explain.add_words(other, "The writers: a.")
        assert other.__notes__ == ["The writers: a."]


def test_a_wrong_name_is_answered_with_what_was_meant_and_what_there_is() -> None:
    assert explain.what_there_is("serch", ("write", "search", "__start__")) == (
        "Did you mean 'search'? The graph's nodes are: search, write"
    )
    assert explain.what_there_is("zzz", ("b", "a"), "channels") == "The graph's channels are: a, b"
    many = tuple(f"n{number:02}" for number in range(14))
    assert explain.listing(many).endswith("n11 and 2 more")
    assert explain.listing(many[:12]).endswith("n10, n11")


def written(name: str, *channels: str) -> Task:
    made = task(name)
    made.writes = [(channel, 1) for channel in channels]
    return made


def test_the_writers_of_a_channel_that_refused_them_are_counted() -> None:
    tasks = [written("a", "x", "y", "x"), written("b", "x"), written("c", "y")]
    error = ValueError("'x' takes one value, unlike 'y'")
    explain.name_writers(
        error, {"z": [1, 1], "w": [1], "x": [1] * 4, "y": [1, 1]}, tasks, [("x", 0), ("y", 1), ("y", 2)]
    )
    assert str(error) == ("'x' takes one value, unlike 'y'. The writers: node 'a' (2 times), node 'b', the input.")


@pytest.mark.parametrize(
    ("message", "grouped"), [("'x' takes one value", {"x": [1]}), ("x takes one value", {"x": [1, 1]})]
)
def test_the_only_writer_of_a_channel_and_those_of_others_are_not_named(message: str, grouped: Any) -> None:
    error = ValueError(message)
    explain.name_writers(error, grouped, [written("a", "x")], ())
    assert str(error) == message


@pytest.mark.parametrize(
    ("start", "about", "written", "source", "expected"),
    [
        # Each: whether it continues, replays, leaves what others recorded, and forks.
        (Start(None), {}, True, "loop", (True, False, False, False)),
        (Start(None), {"addressed": True}, True, "loop", (True, True, True, True)),
        (Start(None), {"addressed": True}, True, "update", (True, True, True, False)),
        (Start(None), {"addressed": True}, True, "fork", (True, True, True, False)),
        (Start(None), {"addressed": True, "superseded": True}, True, "update", (True, True, True, True)),
        (Start(None), {"superseded": True}, True, "loop", (True, False, True, False)),
        (Start({}), {"addressed": True}, True, "loop", (False, True, True, False)),
        (Start({}), {}, True, "loop", (False, False, False, False)),
        (Start(None), {"addressed": True}, False, None, (False, True, True, False)),
        (Start(Command(resume=1)), {"addressed": True, "superseded": True}, True, "loop", (True, False, True, False)),
        (Start(Command(resume=1)), {"addressed": True}, True, "loop", (True, False, False, False)),
    ],
)
def test_the_course_of_a_run_follows_from_its_input_and_its_checkpoint(
    start: Start, about: dict[str, bool], written: bool, source: str | None, expected: tuple[bool, ...]
) -> None:
    thread = Thread(checkpoints.empty("id", "now"), {"step": 0}, **about)  # type: ignore[arg-type]
    assert course.course_of(start, thread, nested=False, written=written, source=source) == expected
