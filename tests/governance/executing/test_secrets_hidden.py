"""Secrets that a tool returns or raises leave the pipeline hidden, whichever way the call came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.pipeline import hiding
from stategraph.governance.pipeline.action import Ran
from stategraph.governance.redaction import Redactor
from stategraph.governance.session import Session
from tests.governance.executing.kit import ASK, World, asked, session

USED = "zq9-Tr0ub4dor-hunter"
KNOWN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
MAIL = ASK.replace("external: escalate", "external: allow")


def hidden(value: Any) -> bool:
    return USED not in repr(value) and KNOWN not in repr(value) and "[redacted" in repr(value)


def test_a_result_is_hidden_by_value_and_by_form_and_so_is_the_stored_one(office: World, act: Any) -> None:
    redactor = Redactor()
    with redactor.register(USED):
        for _ in range(2):
            outcome = act(office.executor(MAIL, redactor=redactor), asked("send_mail", to=f"ann@acme.example {USED}"))
            assert outcome.status == "completed"
            assert hidden(outcome)
            assert "ann@acme.example" in outcome.content  # whom the tool has written to is no secret
    assert len(office.office.done) == 1
    # Nobody has registered it any more, and it was not stored.
    outcome = act(office.executor(MAIL), asked("send_mail", to=f"ann@acme.example {USED}"))
    assert hidden(outcome)


def test_a_result_that_was_stored_before_there_was_a_redactor_is_hidden(office: World, act: Any) -> None:
    assert KNOWN in act(office.executor(MAIL), asked("send_mail", to=KNOWN)).content
    assert hidden(act(office.executor(MAIL, redactor=Redactor()), asked("send_mail", to=KNOWN)))
    strict = MAIL.replace("external: allow", "external: deny")
    assert hidden(act(office.executor(strict, redactor=Redactor()), asked("send_mail", to=KNOWN)))


@pytest.mark.parametrize("traits", [{}, {"effect_key": "mail:{body}"}])
def test_what_a_tool_raises_is_hidden(office: World, act: Any, traits: Any) -> None:
    class Odd(ValueError):
        def __init__(self, message: str) -> None:
            super().__init__()
            self.message = message

        def __str__(self) -> str:
            return self.message

    for call, raised in enumerate((ValueError(f"no {KNOWN}"), Odd(f"no {KNOWN}"), ConnectionError(2, f"no {KNOWN}"))):
        office.office.raises = raised
        body = str(call)
        executor = office.executor(MAIL, traits, redactor=Redactor())
        assert hidden(act(executor, asked("send_mail", call_id=body, to="ann", body=body)).content)
        assert KNOWN not in str(raised)


@pytest.mark.parametrize("handles", [True, False])
def test_a_tool_node_is_given_messages_and_errors_that_are_hidden(office: World, handles: bool) -> None:
    def send_mail(to: str) -> str:
        """Send a mail."""
        if to == "nobody":
            raise ValueError(f"no {KNOWN}")
        return f"sent with {KNOWN}"

    gate = ToolCallGate(office.executor(MAIL, redactor=Redactor()))
    node = ToolNode([tool(send_mail)], wrap_tool_call=gate.wrap, handle_tool_errors=handles)
    builder = StateGraph(MessagesState).add_node("tools", node)
    graph = builder.add_edge(START, "tools").compile()

    def call(to: str) -> Any:
        calls = [{"name": "send_mail", "args": {"to": to}, "id": to, "type": "tool_call"}]
        with Session(session()).active_sync("run-1", "t"):
            return graph.invoke({"messages": [AIMessage("", tool_calls=calls)]})["messages"][-1]

    assert hidden(call("ann").content)
    if handles:
        assert hidden(call("nobody").content)
    else:
        with pytest.raises(ValueError, match="redacted") as raised:
            call("nobody")
        assert hidden(raised.value)


@dataclass(frozen=True)
class Row:
    note: str
    count: int


def test_a_result_keeps_its_shape() -> None:
    class Services:
        redactor = Redactor()

    message = ToolMessage(f"a {KNOWN}", tool_call_id="1", artifact={"rows": [Row(KNOWN, 3)], "password": "hunter"})
    other = object()
    command: Any = Command(update={"messages": [message], "plain": ("x", other)}, goto="next")
    ran = hiding.result(Services, Ran("x", None, {"output": command}))  # type: ignore[arg-type]
    output = ran.kept["output"]
    assert hidden(output.update)
    assert isinstance(output, Command)
    assert output.goto == "next"
    assert output.update["plain"][1] is other
    (shown,) = output.update["messages"]
    assert shown.artifact == {"rows": [Row("[redacted:github-token]", 3)], "password": "[redacted]"}
    assert message.artifact["rows"] == [Row(KNOWN, 3)]
    plain = Ran("x", {"a": [1, "b"]}, None)
    assert hiding.result(Services, plain) is plain  # type: ignore[arg-type]


def test_what_cannot_be_looked_into_is_left_out() -> None:
    class Services:
        redactor = Redactor()

    around: list[Any] = ["x"]
    around.append(around)
    deep: Any = KNOWN
    for _ in range(200):
        deep = [deep]
    ran = hiding.result(Services, Ran(around, deep))  # type: ignore[arg-type]
    assert ran.content == ["x", "[left out: it cannot be read]"]
    assert KNOWN not in repr(ran.artifact)
