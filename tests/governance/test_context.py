"""The context of a governed run: checked where it is made, and never stored."""

import copy
import pickle
from decimal import Decimal

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import ValidationError

from stategraph.errors import ConfigurationError
from stategraph.governance.capability import Capability, capability_id, without_version
from stategraph.governance.context import AgentRef, Budget, CapabilitySelector, Principal, RuntimeSessionContext

ANN = Principal("acme", "ann", frozenset({"support"}))
CONTEXT = RuntimeSessionContext(ANN, AgentRef("desk"), "thread-1")


@pytest.mark.parametrize("store", [pickle.dumps, copy.copy, JsonPlusSerializer(pickle_fallback=True).dumps_typed])
def test_a_context_is_refused_wherever_it_would_be_stored(store) -> None:
    with pytest.raises(TypeError, match="RuntimeSessionContext is not stored"):
        store(CONTEXT)


@pytest.mark.parametrize(
    ("org", "user", "field"),
    [("", "ann", "org_id"), ("acme", "", "user_id"), (None, "ann", "org_id"), (" ", "ann", "org_id")],
)
def test_a_principal_without_a_tenant_or_a_user_is_refused(org, user, field) -> None:
    with pytest.raises(ConfigurationError, match=field):
        Principal(org, user)


def test_roles_that_are_one_text_are_refused_with_the_form_that_is_expected() -> None:
    with pytest.raises(ConfigurationError, match=r"roles is the text 'support'; expected several: frozenset\("):
        Principal("acme", "ann", "support")  # type: ignore[arg-type]


def test_an_agent_and_a_session_without_an_id_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="AgentRef: id is ''"):
        AgentRef("")
    with pytest.raises(ConfigurationError, match="RuntimeSessionContext: session_id is ''"):
        RuntimeSessionContext(ANN, AgentRef("desk"), "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("tokens", each) for each in (-1, "300", 1.5, True, float("nan"), 10**40)),
        *(("usd", each) for each in (-0.01, "5", float("nan"), float("inf"), Decimal("NaN"), Decimal(-1), 10**40)),
        *(("tool_calls", each) for each in (-1, True, "3")),
        *(("wall_s", each) for each in ("1h", -1, float("nan"), float("inf"))),
        *(("on_limit", each) for each in ("ask", None)),
    ],
)
def test_a_budget_is_checked_where_it_is_made(field, value) -> None:
    with pytest.raises(ConfigurationError, match=f"Budget: {field} is .*; it must be "):
        Budget(**{field: value})


def test_a_budget_takes_every_number_that_is_a_limit() -> None:
    assert Budget(tokens=0, usd=Decimal("0.5"), tool_calls=10**18, wall_s=0.25, on_limit="deny").usd == Decimal("0.5")
    assert Budget() == Budget(None, None, None, None)


def test_claims_cannot_be_changed_afterwards_and_are_not_printed() -> None:
    claims = {"email": "ann@acme.example"}
    principal = Principal("acme", "ann", claims=claims)
    claims["email"] = "mallory@acme.example"
    with pytest.raises(TypeError):
        principal.claims["email"] = "mallory@acme.example"  # type: ignore[index]
    assert principal.claims["email"] == "ann@acme.example"
    assert "ann@acme.example" not in repr(principal)


def test_a_chain_of_delegation_begins_with_the_caller() -> None:
    agent = Principal("acme", "agent-7", on_behalf_of=ANN)
    assert [each.name for each in agent.chain()] == ["acme/agent-7", "acme/ann"]


def test_an_unknown_risk_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match="read, write, external, destructive"):
        CapabilitySelector(max_risk="huge")  # type: ignore[arg-type]


@pytest.mark.parametrize("id", ["mcp:github/create_issue", "tool:a/b@1", "mcp:/b@1", "mcp:a/@1", "mcp:a/b@"])
def test_the_id_of_a_capability_has_its_form(id) -> None:
    with pytest.raises(ValidationError, match="no id of a capability"):
        Capability(id=id, kind="mcp", name="b", input_schema={}, version="1", source="a", digest="0" * 64)


def test_ids_are_made_and_read() -> None:
    id = capability_id("mcp", "github", "create_issue", "2")
    assert id == "mcp:github/create_issue@2"
    assert without_version(id) == "mcp:github/create_issue"
