"""A person decides: a call that needs approval, a question of a tool, and an answer from another process.

Each `Run` below stands for a separate process; they share the checkpointer.

Prints::

    waits for approval of delete_file with {'name': 'report.txt'}: irreversible
    refused: The decision about the call call_1 of 'delete_file' is 'aprove'; allowed: approve, reject, edit, respond
    waits for an answer: Really delete old.txt?
    model: Deleted it.
    old.txt is gone: yes, really
"""

import asyncio
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import (
    AgentInputs,
    HookOutput,
    HookRegistry,
    HumanInTheLoop,
    InvalidAnswerError,
    Run,
    ask_user_question,
    create_run,
)
from stategraph.testing import ScriptedChatModel, call, reply

saver = InMemorySaver()  # With a saver on disk, each step may be another process.
thread: RunnableConfig = {"configurable": {"thread_id": "files"}}


@tool
def delete_file(name: str) -> str:
    """Delete a file."""
    said = ask_user_question({"question": f"Really delete {name}?"})
    return f"{name} is gone: {said['answer']}"


def guard(happened: object) -> HookOutput:
    return HookOutput(decision="ask", reason="irreversible")


async def new_run(*replies: Any) -> Run:
    hooks = HookRegistry()
    hooks.register("PreToolUse", guard, pattern="^delete_")
    agent = AgentInputs(agent_id="files", model=ScriptedChatModel(replies=list(replies)), tools=[delete_file])
    return await create_run(
        run_id="answer-1",
        agents=[agent],
        checkpointer=saver,
        hooks=hooks,
        human_in_the_loop=HumanInTheLoop(enabled=True),
    )


async def main() -> None:
    run = await new_run(reply(call("delete_file", name="report.txt", id="call_1")))
    await run.process_stream({"messages": [("user", "Delete the report.")]}, thread)
    waits = run.get_interrupt()
    assert waits is not None
    (request,) = waits.payload["action_requests"]
    print(f"waits for approval of {request['name']} with {request['arguments']}: {request['description']}")

    run = await new_run()
    try:
        await run.resume([{"type": "aprove"}], thread)
    except InvalidAnswerError as error:
        print(f"refused: {error}")  # Nothing was written: the question is still open.
    await run.resume([{"type": "edit", "updated_input": {"name": "old.txt"}}], thread)
    waits = run.get_interrupt()
    assert waits is not None
    print(f"waits for an answer: {waits.payload['question']['question']}")

    run = await new_run("Deleted it.")
    await run.resume({"answer": "yes, really"}, thread)
    answer, result = run.get_run_messages()[-1], run.get_run_messages()[-2]
    print(f"model: {answer.content}")
    print(result.content)


asyncio.run(main())
