"""Skills in runs of agents: what a model calls by a skill's name, and what it is told then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from stategraph import create_run
from stategraph.governance.actions import ActionRequest, Reason, RunRef
from stategraph.governance.capabilities import skills
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.errors import CapabilityDenied
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.gates.agents import ActionGate
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.governance.skills.registry import SkillRegistry
from stategraph.governance.view import CapabilityGraph
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.capabilities.given import context
from tests.governance.executing.kit import Log

EXAMPLES = Path(__file__).parents[3] / "examples" / "skills"


def find_order(number: str) -> str:
    """Find an order."""
    return f"order {number}"


@pytest.fixture
def registry() -> Registry:
    return Registry(offer(find_order), *skills.offers(SkillRegistry(EXAMPLES)))


async def ran(registry: Registry, log: Log, *calls: Any, gated: bool) -> list[tuple[str, str]]:
    """Return what an agent is told that makes these calls one after the other."""
    executor = ActionExecutor(registry, audit=log)
    tools = CapabilityGraph.build(registry, context()).tools(executor)
    model = ScriptedChatModel(replies=[*(script.reply("", each) for each in calls), "Done."])
    run = await create_run(
        run_id="r",
        agents=[{"agent_id": "desk", "model": model, "tools": tools}],
        session=Session(context()),
        **({"tool_gates": [ActionGate(executor)]} if gated else {}),
    )
    await run.process_stream({"messages": [("user", "go")]}, {"configurable": {"thread_id": "t"}})
    return [(str(each.content), each.status) for each in run.get_run_messages() if isinstance(each, ToolMessage)]


@pytest.mark.anyio
@pytest.mark.parametrize("gated", [False, True])
async def test_a_skill_is_read_in_a_run(registry: Registry, gated: bool) -> None:
    log = Log()
    call = script.call("read_skill", skill="invoice-totals", path="references/rounding.md", id="c1")
    ((text, status),) = await ran(registry, log, call, gated=gated)
    assert status == "success" and text.startswith("# Rounding")
    assert [each.capability_id for each in log.of("action.completed")] == ["skill:skills/invoice-totals@1.2"]


@pytest.mark.anyio
async def test_the_name_of_a_skill_that_is_called_as_a_tool_is_refused(registry: Registry) -> None:
    log = Log()
    ((text, status),) = await ran(registry, log, script.call("invoice-totals", {}, id="c1"), gated=True)
    assert status == "error"
    assert text == (
        "Not executed (capability_not_a_tool): 'invoice-totals' is a skill, and no tool: read it with read_skill("
        "skill='invoice-totals')."
    )
    assert log.types == ["action.rejected"]
    (row,) = log.events
    assert (row.capability_id, row.data["reason"]) == ("invoice-totals", "capability_not_a_tool")


def test_skills_are_not_listed_among_the_tools_that_there_are(registry: Registry) -> None:
    view = CapabilityGraph.build(registry, context())
    with pytest.raises(CapabilityDenied) as denied:
        view.locate("meeting_notes", {})
    assert denied.value.reason == Reason.CAPABILITY_UNKNOWN
    assert str(denied.value) == (
        "There is no capability 'meeting_notes'. Available: find_order, invoice-totals_total, read_skill"
    )


def test_a_host_that_names_a_skill_by_its_id_reads_it(registry: Registry) -> None:
    path = {"path": "references/rounding.md"}
    request = ActionRequest("skill:skills/invoice-totals", path, "c1", RunRef("r"), context())
    outcome = ActionExecutor(registry).act_sync(request)
    assert outcome.status == "completed" and outcome.content.startswith("# Rounding")


def test_an_older_version_of_a_skill_says_how_the_newest_is_read(registry: Registry) -> None:
    view = CapabilityGraph.build(registry, context())
    with pytest.raises(CapabilityDenied, match=r"it is \S+@1\.2\. Read it with read_skill\(skill='invoice-totals'\)"):
        view.get("skill:skills/invoice-totals@1.1")
