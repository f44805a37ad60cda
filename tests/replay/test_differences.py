"""A replay of a graph that has changed stops at the first difference, and says where and what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, StateGraph
from stategraph.replay import RecordingError, ReplayMismatch, assert_replays, record, recorded, replay, update
from tests.replay import graphs
from tests.replay.graphs import Counter, Notes, thread


def recording(path: Path, graph: Any, **options: Any) -> Path:
    with record(path, graph, **options) as recorder:
        recorder.invoke({"messages": []} if "messages" in graph.channels else {"notes": []}, thread())
    return path


def notes_graph(*calls: Any, name: str = "work", extra: bool = False) -> Any:
    """Return a graph of one node that makes calls, each with an argument."""

    def work(state: Notes) -> Notes:
        return {"notes": [function(given) for function, given in calls] + (["more"] if extra else [])}

    builder = StateGraph(Notes).add_node(name, work).add_edge(START, name)
    return builder.compile(InMemorySaver())


@recorded
def look_up(key: str) -> str:
    return f"value of {key}"


@recorded
def send(key: str) -> str:
    return f"sent {key}"


def test_a_model_that_is_asked_something_else_is_told(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", graphs.agent(Counter()))
    with pytest.raises(ReplayMismatch) as caught:
        assert_replays(path, graphs.agent(Counter(), question="What are tides?"))
    told = str(caught.value)
    assert "In node 'ask' call 1 is now of model 'ScriptedChatModel" in told
    assert 'recorded: "search"' in told and 'now:      "What are tides?"' in told
    assert "--update" in told and caught.value.node == "ask"


def test_a_call_that_is_missing_is_told(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a"), (send, "b")))
    with pytest.raises(ReplayMismatch, match="wrote something else in step 1") as caught:
        replay(path, notes_graph((look_up, "a")))
    assert caught.value.node == "work" and caught.value.step == 1


def test_a_call_without_an_effect_on_the_state_that_is_missing_is_told(tmp_path: Path) -> None:
    def work(state: Notes) -> Notes:
        if calls:
            send("b")
        return {"notes": [1]}

    calls = True
    graph = StateGraph(Notes).add_node("work", work).add_edge(START, "work").compile(InMemorySaver())
    path = recording(tmp_path / "run.jsonl", graph)
    calls = False
    with pytest.raises(ReplayMismatch, match=r"function 'send' was called in the recording, and now it was not"):
        replay(path, graph)


def test_a_call_more_is_told_and_not_made(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    with pytest.raises(ReplayMismatch, match="call 2 is now of function 'send', and the recording has no more calls"):
        replay(path, notes_graph((look_up, "a"), (send, "b")))


def test_a_difference_is_raised_though_a_node_catches_it(tmp_path: Path) -> None:
    def work(state: Notes) -> Notes:
        try:
            return {"notes": [look_up(key)]}
        except AssertionError:
            return {"notes": ["value of a"]}

    key = "a"
    graph = StateGraph(Notes).add_node("work", work).add_edge(START, "work").compile(InMemorySaver())
    path = recording(tmp_path / "run.jsonl", graph)
    key = "b"
    with pytest.raises(ReplayMismatch, match=r'recorded: "a"\n    now:      "b"'):
        replay(path, graph)


def test_a_node_that_writes_something_else_is_told(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    with pytest.raises(ReplayMismatch, match=r"Node 'work' wrote something else in step 1"):
        replay(path, notes_graph((look_up, "a"), extra=True))


def test_another_graph_is_refused(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    with pytest.raises(
        RecordingError, match="with the nodes work; this one, 'LangGraph', has none of them: again, draw"
    ):
        replay(path, graphs.chance())


def test_a_node_that_is_new_is_named(tmp_path: Path) -> None:
    def graph(*names: str) -> Any:
        builder = StateGraph(Notes)
        for name in names:
            builder.add_node(name, lambda state: {"notes": ["x"]})
        return builder.add_sequence if False else _chained(builder, names)

    def _chained(builder: Any, names: tuple[str, ...]) -> Any:
        for before, after in zip((START, *names), names, strict=False):
            builder.add_edge(before, after)
        return builder.compile(InMemorySaver())

    path = recording(tmp_path / "run.jsonl", graph("a", "b"))
    with pytest.raises(ReplayMismatch, match=r"(?s)recorded.*the graph has other nodes.*with the new c"):
        replay(path, graph("a", "c", "b"))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no recording"),
        (b"not json\n", "is no recording"),
        (b'{"kind":"note"}\n', "is no recording"),
        (b'{"kind":"recording","schema":99,"stategraph":"9.0"}\n', "has schema 99, written by stategraph 9.0"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=told):
        replay(path, graphs.chance())


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        replay(tmp_path / "run.jsonl", graphs.chance())


def test_a_torn_last_line_is_left_out_and_the_rest_is_replayed(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a"), (send, "b")))
    lines = path.read_bytes().split(b"\n")
    cut = next(number for number, line in enumerate(lines) if b'"answer"' in line)
    path.write_bytes(b"\n".join(lines[:cut]) + b"\n" + lines[cut][:20])
    with pytest.raises(ReplayMismatch, match="the recording ends in the middle of this call"):
        replay(path, notes_graph((look_up, "a"), (send, "b")))


def test_a_recording_whose_process_died_is_no_test(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    path.write_bytes(path.read_bytes().rstrip(b"\n").rpartition(b"\n")[0] + b"\n")
    assert not replay(path, notes_graph((look_up, "a"))).is_whole
    with pytest.raises(RecordingError, match="has no end"):
        assert_replays(path, notes_graph((look_up, "a")))


def test_damage_in_the_middle_is_told_with_its_line(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2][:5]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(RecordingError, match="is damaged in line 3"):
        replay(path, notes_graph((look_up, "a")))


def test_a_model_that_is_not_wrapped_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    model = graphs.talking("Hello.")

    def ask(state: Notes) -> Notes:
        return {"notes": [model.invoke("Hi.").content]}

    graph = StateGraph(Notes).add_node("ask", ask).add_edge(START, "ask").compile(InMemorySaver())
    with pytest.raises(RecordingError, match=r"Node 'ask' asks a model \(ScriptedChatModel\).*wrap it"):
        recording(tmp_path / "run.jsonl", graph)
    assert not model.requests


def test_what_cannot_come_back_is_refused_when_it_is_recorded(tmp_path: Path) -> None:
    opened = recorded(lambda key: object(), name="open")
    with pytest.raises(
        RecordingError, match="What function 'open' returned cannot be recorded: a value of type builtins:object"
    ):
        recording(tmp_path / "run.jsonl", notes_graph((opened, "a")))


def test_a_thread_that_has_begun_already_is_refused(tmp_path: Path) -> None:
    graph = notes_graph((look_up, "a"))
    graph.invoke({"notes": []}, thread())
    with pytest.raises(RecordingError, match="has 3 checkpoints already"):
        recording(tmp_path / "run.jsonl", graph)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    with pytest.raises(RecordingError, match="There is a file"):
        recording(path, notes_graph((look_up, "a")))
    recording(path, notes_graph((look_up, "b")), overwrite=True)
    assert replay(path, notes_graph((look_up, "b"))).calls == 1


def test_options_that_a_recording_cannot_hold_are_refused(tmp_path: Path) -> None:
    with record(tmp_path / "run.jsonl", graphs.chance()) as recorder:
        with pytest.raises(RecordingError, match=r"invoke\(\) was given debugging"):
            recorder.invoke({"notes": []}, thread(), debugging=True)
        with pytest.raises(RecordingError, match="names no thread"):
            recorder.invoke({"notes": []})


def test_an_updated_recording_has_what_the_graph_does_now(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    changed = notes_graph((look_up, "b"))
    with pytest.raises(ReplayMismatch):
        replay(path, changed)
    assert update(path, changed) == 1
    assert assert_replays(path, changed).calls == 1
    assert [each.name for each in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_replay_stops_before_a_step(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", graphs.agent(Counter()))
    found = replay(path, graphs.agent(Counter()), until=3)
    kinds = [type(each).__name__ for each in found.state["messages"]]
    assert kinds == ["AIMessage", "ToolMessage"]
    assert isinstance(found.state["messages"][0], AIMessage)


def test_a_class_that_is_not_loaded_is_not_imported(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.jsonl", notes_graph((look_up, "a")))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    answer = next(line for line in lines if line["kind"] == "answer")
    answer["value"] = {"$": "object", "class": "antigravity:Flight", "fields": {}}
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(RecordingError, match="the class antigravity:Flight is not loaded"):
        replay(path, notes_graph((look_up, "a")))
