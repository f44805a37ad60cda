"""Coming from Mastra: two agents in a row, the second told what the first one said; a thread with title and owner.

Prints::

    packed: In a box.
    packed: In a larger box.
    threads of ada: Tea; first asked: Three tea, please.
"""

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import AgentInputs, AgentRuntime, GraphEdge
from stategraph.testing import ScriptedChatModel, call, reply


def price(drink: str) -> float:
    """Return the price of a drink in euros."""
    return {"tea": 2.5, "coffee": 3.0}[drink]


selling = ScriptedChatModel(  # or "openai:gpt-5-mini", like the packer's
    replies=[
        reply(call("price", drink="tea"), usage=(20, 5)),
        reply("Three tea are 7.50.", usage=(30, 10)),
        reply("Four tea are 10.00.", usage=(40, 10)),
    ]
)
packing = ScriptedChatModel(replies=[reply("In a box.", usage=(9, 4)), reply("In a larger box.", usage=(9, 5))])
agents = [
    AgentInputs(agent_id="seller", instructions="Quote drinks.", model=selling, tools=(price,)),
    AgentInputs(agent_id="packer", instructions="Say how it is packed.", model=packing),
]


def pack(messages, start: int) -> str:
    return f"Pack this: {messages[-1].content}"


edges = [GraphEdge(from_="seller", to="packer", edge_type="direct", prompt=pack, exclude_results=True)]

with AgentRuntime(checkpointer=InMemorySaver()) as runtime:  # or checkpointer="sqlite:///shop.db"
    threads = runtime.threads_sync
    threads.create("tea-1", title="Tea", owner="ada")
    for number, asked in enumerate(("Three tea, please.", "One more.")):
        run = runtime.create_run_sync(run_id=f"turn-{number}", agents=agents, edges=edges)
        run.run_sync({"messages": [("user", asked)]}, {"configurable": {"thread_id": "tea-1"}})
        print(f"packed: {run.get_run_messages()[-1].content}")
    titles = [each.title for each in threads.list(owner="ada").threads]
    print(f"threads of ada: {', '.join(titles)}; first asked: {threads.get('tea-1').messages[0].content}")
