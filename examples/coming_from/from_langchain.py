"""Coming from LangChain: an agent of `create_agent` with its middleware as a run, with numbered events and a question.

Prints::

    calls: order
    asks: order {'drink': 'tea', 'number': 3}
    sent: Three tea for [REDACTED_EMAIL].
    Your three tea are ordered.
"""

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, PIIMiddleware
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import AgentRuntime
from stategraph.testing import ScriptedChatModel, call, reply


def order(drink: str, number: int) -> str:
    """Order drinks."""
    return f"{number} {drink} ordered"


model = ScriptedChatModel(  # or "openai:gpt-5-mini"
    replies=[
        reply(call("order", drink="tea", number=3), usage=(20, 5)),
        reply("Your three tea are ordered.", usage=(30, 10)),
    ]
)
agent = create_agent(
    model,
    tools=[order],
    system_prompt="Take orders.",
    middleware=[
        PIIMiddleware("email", strategy="redact"),
        HumanInTheLoopMiddleware(interrupt_on={"order": True}),
    ],
    name="waiter",
)
config = {"configurable": {"thread_id": "ada"}}
asked = {"messages": [("user", "Three tea for ada@example.org.")]}

with AgentRuntime(checkpointer=InMemorySaver()) as runtime:
    run = runtime.create_run_sync(run_id="turn-1", graph=agent)
    for event in run.stream_sync(asked, config):
        if event.event == "on_run_step" and event.data["type"] == "tool_calls":
            print("calls:", event.data["stepDetails"]["tool_calls"][0]["name"])
    (question,) = run.get_interrupts()
    (action,) = question.payload["action_requests"]
    print("asks:", action["name"], action["args"])
    run.resume_sync({"decisions": [{"type": "approve"}]}, config)  # or in another process
    print("sent:", run.graph.values["messages"][0].content)
    print(run.get_run_messages()[-1].content)
