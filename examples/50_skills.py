"""Skills: folders with instructions that a model reads when it needs them, and scripts that run in a sandbox.

Prints::

    told at first: invoice-totals, meeting-notes
    read: # Totals of an invoice
    with the skill it may use: find_invoice, invoice-totals, invoice-totals_total
    the script said: {"net": 1383, "tax": 223, "gross": 1606}
"""

import json
from pathlib import Path

from stategraph.governance.capabilities import skills as skill_capabilities
from stategraph.governance.capabilities.functions import capability, offer
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.registry import Registry
from stategraph.governance.skills.registry import SkillRegistry
from stategraph.governance.skills.sandbox import Sandbox, SandboxUnavailable
from stategraph.governance.view import CapabilityGraph

FOLDER = Path(__file__).parent / "skills"


@capability(risk="read", source="shop")
def find_invoice(number: str) -> str:
    """Find the lines of an invoice by its number."""
    return json.dumps([{"net": 1050, "tax": 19}, {"net": 333, "tax": 7}])


@capability(risk="destructive", source="shop")
def delete_invoice(number: str) -> str:
    """Delete an invoice."""
    return f"{number} is gone"


try:
    Sandbox().check()
    trust = "verified"  # their scripts run in bubblewrap
except SandboxUnavailable:
    trust = "trusted"  # this example answers for its own scripts, where there is no bubblewrap
skills = SkillRegistry(FOLDER, trust=trust)
print("told at first:", ", ".join(skill.name for skill in skills))
assert "Do not add up anything yourself" not in skills.prompt()

registry = Registry(offer(find_invoice), offer(delete_invoice), *skill_capabilities.offers(skills))
context = RuntimeSessionContext(Principal("acme", "ann"), AgentRef("desk"), session_id="thread-1")
executor = ActionExecutor(registry)
view = CapabilityGraph.build(registry, context)
read = {tool.name: tool for tool in view.tools(executor, context)}["read_skill"]
print("read:", read.invoke({"skill": "invoice-totals"}).splitlines()[0])

# `allowed-tools` of the skill narrows what the model is shown while it follows it: no tool that deletes.
skill = skills.get("invoice-totals")
narrow = CapabilityGraph.narrowed(registry, view, skill.allowed_tools or (), skill.name)
print("with the skill it may use:", ", ".join(narrow.names))
tools = {tool.name: tool for tool in narrow.tools(executor, context)}
lines = tools["find_invoice"].invoke({"number": "2026-7"})
print("the script said:", tools["invoice-totals_total"].invoke({"input": lines}).strip())
