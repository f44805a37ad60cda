"""What an agent can do, as one hashed set: functions and a graph, shown to a model and carried out by one executor.

Prints::

    shown: ['find_order', 'parcel', 'refund'], and the same digest in another order: True
    order A1: 3 books
    the depot of DE
    refused: the arguments do not fit
    refused: capability_gone, and what is left: find_order, parcel
"""

from langchain_core.messages import ToolCall
from typing_extensions import TypedDict

from stategraph import END, START, StateGraph
from stategraph.governance.capabilities import graphs
from stategraph.governance.capabilities.functions import capability, offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.errors import CapabilityDenied
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityGraph


@capability(risk="read", source="shop")
def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number}: 3 books"


@capability(risk="write", source="shop", version="2", effect_key="refund:{number}")
def refund(number: str, cents: int) -> str:
    """Refund an order."""
    return f"refunded {cents} cents of {number}"


class Parcel(TypedDict):
    number: str
    place: str


def locate(state: Parcel) -> dict[str, str]:
    return {"place": f"the depot of {state['number'][:2]}"}


builder = StateGraph(Parcel)
builder.add_node("locate", locate)
builder.add_edge(START, "locate")
builder.add_edge("locate", END)
parcel = graphs.offer(
    builder.compile(name="parcel"),
    Traits(description="Say where a parcel is.", risk="read"),
    input_schema={"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
    output="place",
)

context = RuntimeSessionContext(Principal("acme", "ann"), AgentRef("desk"), session_id="thread-1")
registry = Registry(offer(find_order), offer(refund), parcel)
view = CapabilityGraph.build(registry, context)
elsewhere = CapabilityGraph.build(Registry(parcel, offer(refund), offer(find_order)), context)
print(f"shown: {list(view.names)}, and the same digest in another order: {view.digest == elsewhere.digest}")

tools = {tool.name: tool for tool in view.tools(ActionExecutor(registry), context)}
print(tools["find_order"].invoke({"number": "A1"}))
print(tools["parcel"].invoke({"number": "DE77"}))

# What does not fit is told to the model, as the result of its call.
call = ToolCall(name="refund", args={"number": "A1", "cents": "all"}, id="call-1", type="tool_call")
message = tools["refund"].invoke(call)
assert message.status == "error"
print("refused: the arguments do not fit" if "do not fit" in message.content else message.content)

registry.withdraw("function:shop/refund", why="Refunds are done by people until Monday.")
try:
    CapabilityGraph.build(registry, context).require("refund")
except CapabilityDenied as denied:
    print(f"refused: {denied.reason}, and what is left: {', '.join(CapabilityGraph.build(registry, context).names)}")
