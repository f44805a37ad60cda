"""A target of the chat page: two agents, a tool that needs approval, limits and prices.

Open the page in a clone, with a scripted model or with a real one::

    make chat ARGS=examples.chat_page:support
    OPENAI_MODEL=openai:gpt-5-mini python examples/chat_page.py

The second needs `pip install '.[dev]' langchain-openai` and an OPENAI_API_KEY in the environment.
"""

import os

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from stategraph import AgentInputs, GraphEdge, HookOutput, HookRegistry, ModelPrice, Prices, RunLimits
from stategraph.testing import Script, ScriptedChatModel, call, reply


@tool
def cancel_order(order_id: str) -> str:
    """Cancel an order."""
    return f"order {order_id} is cancelled"


def support_says(request):
    return reply("That is a matter of orders. ", call("lc_transfer_to_orders"), usage=(90, 20), gap_s=0.03)


def orders_says(request):
    if isinstance(request.messages[-1], ToolMessage) and request.messages[-1].name == "cancel_order":
        return reply(f"Done: {request.messages[-1].content}.", usage=(140, 15), gap_s=0.03)
    return reply("I can cancel it. ", call("cancel_order", order_id="1042"), usage=(120, 25), gap_s=0.03)


def model(says):
    """The model named by OPENAI_MODEL, or a scripted one."""
    scripted = ScriptedChatModel(replies=Script([says], repeat_last=True))
    return os.environ.get("OPENAI_MODEL") or scripted


def guard(happened):
    return HookOutput(decision="ask", reason="The customer cannot order this again.")


hooks = HookRegistry()
hooks.register("PreToolUse", guard, pattern="^cancel_")

support = {
    "agents": [
        AgentInputs(
            agent_id="support", name="Support", model=model(support_says), instructions="Find out who can help."
        ),
        AgentInputs(agent_id="orders", name="Orders", model=model(orders_says), tools=[cancel_order]),
    ],
    "edges": [GraphEdge(from_="support", to="orders", edge_type="handoff")],
    "hooks": hooks,
    "limits": RunLimits(model_calls=20, on_limit="ask"),
    "prices": Prices(models=(ModelPrice(model="scripted", input=0.25, output=2.0),)),
}

if __name__ == "__main__":
    from stategraph.dev import serve

    serve(support, open_browser=True)
