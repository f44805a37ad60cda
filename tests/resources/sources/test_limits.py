"""Budgets and Policies that Agents and Workflows declare: they hold, or the status says that they do not."""

from __future__ import annotations

import pytest

from stategraph.governance.budget.ledger import SqlBudgetLedger
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.budget.port import BudgetUnit
from stategraph.governance.errors import BudgetExceeded
from stategraph.testing import call, reply
from tests.resources.sources.kit import Models, running, said

pytestmark = pytest.mark.anyio

BUDGET = """
apiVersion: stategraph.dev/v1
kind: Budget
metadata: {name: small}
spec: {LIMIT, onLimit: HOW}
---
"""
AGENT = """
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: clerk}
spec: {instructions: Help., model: "openai:gpt", tools: [look], budgetRef: small}
---
"""
ASKED = """
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: asked}
spec: {instructions: Help., model: "openai:gpt", tools: [look]}
---
"""
FLOW = """
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: flow}
spec:
  budgetRef: small
  state: {texts: {type: array, merge: append}, found: {}}
  steps:
    - {id: look, tool: look, input: {what: here}, output: {found: "${{ result }}"}, next: first}
    - {id: first, agent: asked, input: one, output: {texts: "${{ result.text }}"}, next: second}
    - {id: second, agent: asked, input: two, output: {texts: "${{ result.text }}"}, next: third}
    - {id: third, agent: asked, input: three, output: {texts: "${{ result.text }}"}}
---
"""
POLICY = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: strict}
spec:
  rules:
    - {name: no-vault, at: [pre_tool_call], when: "args.what == 'vault'", then: {decision: deny, message: Not there.}}
    - {name: rest, at: [pre_tool_call], then: {decision: allow}}
---
"""


def look(what: str) -> str:
    """Look."""
    return f"seen {what}"


def used(text, *calls):
    return reply(text, *calls, usage=(100, 20))


def budget(limit, how):
    return BUDGET.replace("LIMIT", limit).replace("HOW", how)


@pytest.fixture
async def budgets(tmp_path):
    ledger = SqlBudgetLedger.from_url(f"sqlite:///{tmp_path}/budgets.db")
    yield RunBudget(ledger, assumed_tokens=10)
    await ledger.aclose()


LOOKS = [used("", call("look", {"what": str(each)})) for each in range(5)]


async def test_an_agent_is_stopped_at_its_limit_of_tokens(budgets):
    models = Models(agent__default__clerk=[*LOOKS, "never"])
    text = AGENT + budget("tokens: 300", "raise")
    async with running(text, model_factory=models, budgets=budgets, tools={"look": look}) as runtime:
        assert (await runtime.get("agent/clerk")).condition("Degraded") is None
        with pytest.raises(BudgetExceeded) as caught:
            await runtime.agent("clerk").generate("go")
        assert (caught.value.unit, caught.value.cap) == ("tokens", 300)
        assert len(models.made["agent/default/clerk"].requests) == 3


async def test_an_agent_asks_at_its_limit_and_goes_on_when_that_is_raised(budgets):
    models = Models(agent__default__clerk=[*LOOKS[:3], used("done")])
    text = AGENT + budget("tokens: 300", "interrupt")
    async with running(text, model_factory=models, budgets=budgets, tools={"look": look}) as runtime:
        clerk = runtime.agent("clerk")
        waiting = await clerk.generate("go", thread_id="t")
        (asked,) = waiting.interrupts
        assert (asked.value["unit"], asked.value["cap"]) == ("tokens", 300)
        assert (await clerk.resume("t", {"type": "raise", "to": 1000})).text == "done"


@pytest.mark.parametrize("policy", ["", ", policyRef: strict"])
async def test_tool_calls_of_an_agent_are_counted_with_a_policy_and_without(budgets, policy):
    models = Models(agent__default__clerk=[*LOOKS, "done"])
    text = AGENT.replace(", budgetRef", f"{policy}, budgetRef") + budget("toolCalls: 2", "raise") + POLICY
    seen = []

    def look(what: str) -> str:
        """Look."""
        seen.append(what)
        return "seen"

    async with running(text, model_factory=models, budgets=budgets, tools={"look": look}) as runtime:
        answer = await runtime.agent("clerk").generate("go")
        results = [each.text for each in answer.messages if each.type == "tool"]
        assert seen == ["0", "1"]
        assert all("reached its cap tool_calls=2" in each for each in results[2:])


async def test_tool_calls_of_the_steps_of_a_workflow_are_counted(budgets):
    text = FLOW + ASKED + budget("toolCalls: 1", "raise")
    models = Models(agent__default__asked=[*LOOKS[:1], "one", "two", "three"])
    async with running(text, model_factory=models, budgets=budgets, tools={"look": look}) as runtime:
        await runtime.get_workflow("flow").execute(thread_id="t")
        usage = await budgets.ledger.usage("default", "t")
        assert usage.units[BudgetUnit.TOOL_CALLS].spent == 1
        (_, told), *_ = [
            (each.type, each.text) for each in models.made["agent/default/asked"].requests[1].messages[-1:]
        ]
        assert "reached its cap tool_calls=1" in told, "the agent that the step asked is in the same tree"
    again = text.replace("next: first}", "next: more}\n    - {id: more, tool: look, input: {what: x}, next: first}")
    async with running(again, budgets=budgets, tools={"look": look}) as runtime:
        with pytest.raises(Exception, match="reached its cap tool_calls=1"):
            await runtime.get_workflow("flow").execute(thread_id="u")


async def test_a_step_under_a_policy_is_given_the_value_that_its_tool_returned():
    def look(what: str) -> dict:
        """Look."""
        return {"seen": [what]}

    text = FLOW.replace("budgetRef: small", "policyRef: strict").replace("${{ result }}", "${{ result.seen }}")
    async with running(text + ASKED + POLICY, tools={"look": look}) as runtime:
        assert (await runtime.get_workflow("flow").execute()).output["found"] == ["here"]


async def test_a_workflow_is_stopped_over_all_of_its_steps(budgets):
    models = Models(agent__default__asked=[used(each) for each in ("one", "two", "three")])
    text = FLOW + ASKED + budget("tokens: 200", "raise")
    async with running(text, model_factory=models, budgets=budgets, tools={"look": look}) as runtime:
        flow = runtime.get_workflow("flow")
        with pytest.raises(BudgetExceeded):
            await flow.execute(thread_id="t")
        assert (await flow.graph.aget_state({"configurable": {"thread_id": "t"}})).values["texts"] == ["one", "two"]
        usage = await budgets.ledger.usage("default", "t")
        assert usage.units[BudgetUnit.TOKENS].spent == 240


async def test_a_workflow_asks_at_its_limit(budgets):
    models = Models(agent__default__asked=[used(each) for each in ("one", "two", "three")])
    text = FLOW + ASKED + budget("tokens: 200", "interrupt")
    async with running(text, model_factory=models, budgets=budgets, tools={"look": look}) as runtime:
        flow = runtime.get_workflow("flow")
        waiting = await flow.execute(thread_id="t")
        assert waiting.status == "waiting"
        done = await flow.resume("t", {"type": "raise", "to": 1000})
        assert done.output["texts"] == ["one", "two", "three"]


@pytest.mark.parametrize("name", ["agent/clerk", "workflow/flow"])
async def test_without_a_budgets_service_the_status_says_that_nobody_keeps_the_limits(name, budgets):
    text = AGENT + FLOW + ASKED + budget("tokens: 200", "raise")
    async with running(text, tools={"look": look}) as runtime:
        told = await said(runtime, name, "Degraded", "True")
        assert told.reason == "BudgetNotEnforced"
        assert "spec.budgetRef: this runtime has no 'budgets' service" in told.message
        found = await runtime.get(name)
        assert found.is_ready
        assert found.status["phase"] == "Degraded"
        assert (await runtime.get("agent/asked")).status["phase"] == "Ready"


async def test_a_policy_decides_about_the_tools_of_the_steps_of_a_workflow():
    flow = FLOW.replace("budgetRef: small", "policyRef: strict\n  inputs: {what: {type: string}}")
    text = flow.replace("what: here", 'what: "${{ input.what }}"') + ASKED + POLICY
    async with running(text, tools={"look": look}) as runtime:
        done = await runtime.get_workflow("flow").execute({"what": "garden"})
        assert done.output["found"] == "seen garden"
        with pytest.raises(Exception, match="Not there"):
            await runtime.get_workflow("flow").execute({"what": "vault"})
        await runtime.load_from_string(POLICY.replace("'vault'", "'garden'"))
        with pytest.raises(Exception, match="Not there"):
            await runtime.get_workflow("flow").execute({"what": "garden"})


async def test_vector_memory_of_an_agent_outlives_the_process_and_keeps_users_apart(tmp_path):
    text = """
apiVersion: stategraph.dev/v1
kind: Agent
metadata: {name: friend}
spec: {instructions: Chat., model: "openai:gpt", memory: {enabled: true, type: vector}}
"""
    ann, bob = {"configurable": {"user_id": "ann"}}, {"configurable": {"user_id": "bob"}}
    url = f"sqlite:///{tmp_path}/app.db"
    async with running(text, url) as runtime:
        await runtime.agent("friend").generate("My cat is called Mia", config=ann)
        assert (await runtime.get("agent/friend")).is_ready
    models = Models()
    async with running(text, url, model_factory=models) as runtime:
        await runtime.agent("friend").generate("What is my cat called?", config=ann)
        await runtime.agent("friend").generate("What is my cat called?", config=bob)
    seen, other = models.made["agent/default/friend"].requests
    assert any("My cat is called Mia" in str(each.content) for each in seen.messages)
    assert not any("Mia" in str(each.content) for each in other.messages)
