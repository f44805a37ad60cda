"""What tools write beside their results, by a `Command`: policies see all of it, and may change it or keep it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command as LangGraphCommand
from langgraph.types import Send

from stategraph import Command
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.pipeline import writes
from stategraph.governance.policy.files import parse_policy
from stategraph.governance.redaction import Redactor
from stategraph.governance.registry import Registry
from tests.governance.executing.kit import World, session
from tests.governance.executing.test_agents import THREAD, Place, calls, place

__all__ = ["place"]

SECRET = "AKIAIOSFODNN7EXAMPLE"
POLICY = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: writes}
spec:
  defaults: {read: allow, write: allow, destructive: deny, external: allow}
  rules:
    - {name: RULE, at: [post_tool_call], when: 'has(result.writes)', then: THEN}
"""
DENY = POLICY.replace("THEN", "{decision: deny, reason: writes_are_off}")
REDACT = POLICY.replace("THEN", "{decision: transform, path: $policy_target, with: redact}")
ONLY_MARKED = DENY.replace("has(result.writes)", 'has(result.writes) && result.writes[0].update.note == "a note"')


class State(MessagesState):
    note: str


@tool
def remember(note: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
    """Remember something."""
    messages = [
        ToolMessage(f"noted, key {SECRET}", tool_call_id=tool_call_id),
        HumanMessage(f"remember: {note}, {SECRET}"),
    ]
    return Command(update={"messages": messages, "note": note})


def graph_of(office: World, text: str, redactor: Any = None) -> Any:
    policy = parse_policy(text, redact=Redactor().clean)
    registry = Registry(offer(remember, Traits(source="office", risk="write"), in_place=True))
    executor = ActionExecutor(registry, policy, ledger=office.ledger, audit=office.log, redactor=redactor)
    gate = ToolCallGate(executor, context=session())
    node = ToolNode([remember], wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap)
    return StateGraph(State).add_node("tools", node).add_edge(START, "tools").compile(checkpointer=InMemorySaver())


def asking(note: str) -> Any:
    call = {"name": "remember", "args": {"note": note}, "id": "1", "type": "tool_call"}
    return {"messages": [AIMessage("", tool_calls=[call])], "note": "before"}


def test_a_policy_sees_every_message_and_key_and_nothing_is_written_if_it_denies(office: World) -> None:
    state = graph_of(office, ONLY_MARKED).invoke(asking("a note"), THREAD)
    assert state["note"] == "before"
    (_, result) = state["messages"]
    assert isinstance(result, ToolMessage) and "writes_are_off" in str(result.content)
    assert SECRET not in str(state)
    other = graph_of(office, ONLY_MARKED).invoke(asking("another"), {"configurable": {"thread_id": "u"}})
    assert (other["note"], len(other["messages"])) == ("another", 3)


def test_redaction_is_of_all_that_is_written(office: World) -> None:
    state = graph_of(office, REDACT).invoke(asking(f"key {SECRET}"), THREAD)
    assert SECRET not in str(state["messages"][1:]) + state["note"]
    _, result, human = state["messages"]
    assert isinstance(result, ToolMessage) and str(result.content).startswith("noted, key ")
    assert isinstance(human, HumanMessage) and human.content.startswith("remember: key ")
    assert state["note"].startswith("key ")


def test_a_redactor_cleans_all_that_is_written(office: World) -> None:
    state = graph_of(office, DENY.replace("has(result.writes)", "false"), Redactor()).invoke(asking("x"), THREAD)
    assert SECRET not in str(state)
    assert state["note"] == "x"


@pytest.mark.anyio
async def test_an_agents_command_is_shown_too_and_kept_back(place: Place) -> None:
    run, _ = await place.run(calls(("remember", {"note": "a note"})), "Done.", text=DENY, tools=[remember])
    await run.process_stream({"messages": [("user", "go")]}, THREAD)
    said = [str(each.content) for each in run.get_run_messages()]
    assert any("writes_are_off" in each for each in said)
    assert not any(SECRET in each for each in said)


def test_changes_are_put_back_where_they_belong_and_refused_where_they_have_no_place() -> None:
    human = HumanMessage("a", name="ann")
    odd = {"big": 2**60, "nan": float("nan")}
    command = Command(
        graph="parent",
        goto=[Send("next", {"deep": [1, "a"]})],
        update={
            "messages": [ToolMessage("own", tool_call_id="1"), human],
            "count": 2,
            **odd,
        },
    )
    kept = {"message": None, "commands": [command]}
    before = writes.facts(writes.commands_of(kept), "1")
    assert before[0]["update"]["messages"][0] == {"type": "tool", "content": "the result"}
    assert before[0]["update"]["messages"][1]["content"] == "a"
    assert (before[0]["update"]["big"], before[0]["update"]["nan"]) == (str(2**60), "nan")
    assert before[0]["goto"] == [{"node": "next", "arg": {"deep": [1, "a"]}}]

    def after(*path: Any, to: Any) -> Any:
        import copy

        made = copy.deepcopy(before)
        at: Any = made[0]
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to
        return writes.changed(kept, before, made, "1")["commands"][0]

    changed = after("update", "messages", 1, "content", to="b")
    assert dict(changed.update)["messages"][1].content == "b" and human.content == "a"
    assert dict(changed.update)["big"] == 2**60
    assert after("goto", 0, "arg", "deep", 1, to="b").goto[0].arg == {"deep": [1, "b"]}
    assert dict(after("update", "count", to=3).update)["count"] == 3
    for path, to in [
        (("graph",), "other"),
        (("update", "more"), 1),
        (("update", "messages", 1, "made_up"), 1),
        (("update", "messages", 0, "content"), "changed"),
        (("update", "messages"), []),
    ]:
        with pytest.raises(writes.Unplaced):
            after(*path, to=to)
    with pytest.raises(writes.Unplaced):
        writes.changed(kept, before, [], "1")


def test_commands_of_langgraph_and_lists_of_outputs_are_seen() -> None:
    command: Any = LangGraphCommand(update=[("note", "a")], goto="next")
    own, other = ToolMessage("own", tool_call_id="1"), HumanMessage("b")
    kept = {"output": [own, command, other]}
    found = writes.facts(writes.commands_of(kept), "1")
    assert found[0] == {"goto": "next", "update": {"note": "a"}}
    assert found[1]["content"] == "b"
    made = writes.changed(kept, found, [{"goto": "next", "update": {"note": "c"}}, found[1]], "1")
    assert made["output"][0] is own and made["output"][2] is other
    assert dict(made["output"][1].update) == {"note": "c"}
    assert writes.changed({"output": command}, found[:1], [{**found[0], "goto": "x"}], "1")["output"].goto == "x"
    assert replace(command).goto == "next"


def test_a_number_that_nothing_can_write_is_shown_by_its_size() -> None:
    shown = writes.facts([Command(update={"note": [10**5000, 2**60, float("nan"), 7]})], "1")
    assert shown == [{"update": {"note": ["a whole number of 16,610 bits", str(2**60), "nan", 7]}}]
