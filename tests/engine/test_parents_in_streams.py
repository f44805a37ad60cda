"""The config of the checkpoint before the current one, as streams of checkpoints show it."""

from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph import START, Command, StateGraph, interrupt


def joined(before: list[str], new: list[str]) -> list[str]:
    return before + new


class State(TypedDict, total=False):
    log: Annotated[list[str], joined]


@pytest.mark.parametrize("mode", ["checkpoints", "debug"])
def test_the_parent_of_a_loaded_checkpoint_is_named_as_the_saver_names_it(driver: Any, mode: str) -> None:
    builder = StateGraph(State).add_node("ask", lambda _: {"log": [interrupt("who?")]}).add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1", "tenant": "a"}}
    driver.invoke(graph, {"log": []}, config)
    parts = driver.stream(graph, Command(resume="Ada"), config, stream_mode=mode)
    shown = [
        part if mode == "checkpoints" else part["payload"] for part in parts if part.get("type") in (None, "checkpoint")
    ]
    first, second = shown
    state = driver.get_state(graph, first["config"])
    assert first["parent_config"] == state.parent_config
    assert "tenant" not in first["parent_config"]["configurable"]
    assert second["parent_config"]["configurable"]["checkpoint_id"] == state.config["configurable"]["checkpoint_id"]
    assert second["parent_config"]["configurable"]["tenant"] == "a"
