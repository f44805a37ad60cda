"""Runs in a script that awaits nothing: a turn, its events as they come, a reader that leaves, a person who answers.

Prints::

    Hello, Ada.
    Tides / follow / the / moon. / completed
    stopped after: Once
    kept as: Once (aborted)
    asks: Really send it?
    It was sent.
"""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import AgentInputs, AgentRuntime, interrupt
from stategraph.testing import Gate, Hold, ScriptedChatModel, call, reply


def send() -> str:
    """Send the letter."""
    return "sent" if interrupt("Really send it?") == "yes" else "kept"


def agent(*replies: Any) -> AgentInputs:
    model = ScriptedChatModel(replies=list(replies))  # or model="openai:gpt-5-mini"
    return AgentInputs(agent_id="assistant", model=model, tools=(send,))


def thread(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


def asked(text: str) -> dict[str, Any]:
    return {"messages": [("user", text)]}


with AgentRuntime(checkpointer=InMemorySaver(), return_content=True) as runtime:
    run = runtime.create_run_sync(run_id="1", agents=[agent("Hello, Ada.")])
    parts = run.run_sync(asked("I am Ada."), thread("greeting"))
    assert parts is not None
    print(parts[0]["text"])

    run = runtime.create_run_sync(run_id="2", agents=[agent("Tides follow the moon.")])
    seen: list[str] = []
    status = ""
    for event in run.stream_sync(asked("Why are there tides?"), thread("tides")):
        if event.event == "on_message_delta":
            seen.append(event.data["delta"]["content"][0]["text"].strip())
        status = event.data.get("status", "")
    print(" / ".join([*seen, status]))

    # Leaving the loop ends the run; so does Ctrl-C. What was said stays in the thread, marked.
    run = runtime.create_run_sync(run_id="3", agents=[agent(reply("Once", Hold(Gate()), " upon a time"))])
    for event in run.stream_sync(asked("Tell me a story."), thread("story")):
        if event.event == "on_message_delta":
            print("stopped after:", event.data["delta"]["content"][0]["text"])
            break
    (answer,) = run.get_run_messages()
    print(f"kept as: {answer.content} ({answer.additional_kwargs['incomplete']})")

    run = runtime.create_run_sync(run_id="4", agents=[agent(reply(call("send")), "It was sent.")])
    run.run_sync(asked("Send my letter."), thread("letter"))
    asks = run.get_interrupt()
    assert asks is not None
    print("asks:", asks.payload)
    parts = run.resume_sync("yes", thread("letter"))
    assert parts is not None
    print(parts[-1]["text"])
