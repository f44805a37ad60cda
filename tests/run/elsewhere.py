"""One process of a run that is passed from process to process: does a part of it and prints what it saw as JSON.

python tests/run/elsewhere.py {"saver": "sqlite:/tmp/x.db", "replies": [...], "resume": [...], ...}
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.questions import ask_user_question
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel


class Report(BaseModel):
    """What was found."""

    weather: str


KEPT = ("on_run_step", "on_run_step_completed", "on_run_step_closed", "on_message_delta", "on_tool_start")


@asynccontextmanager
async def saver_of(where: str) -> AsyncIterator[Any]:
    """The saver that all processes share."""
    kind, _, address = where.partition(":")
    if kind == "sqlite":
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(address) as saver:
            yield saver
    else:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(address) as saver:
            await saver.setup()
            yield saver


def tools_of(scratch: Path) -> list[Any]:
    """Tools that leave a trace of every time they run."""

    @tool
    def get_weather(city: str) -> str:
        """The weather."""
        with (scratch / "ran").open("a") as log:
            log.write(f"{city}\n")
        return f"Sunny in {city}"

    @tool
    def ask_user(question: str) -> str:
        """Asks."""
        return f"User said: {ask_user_question(question)['answer']}"

    @tool
    def die() -> str:
        """Kills the process, as a crash would."""
        if (scratch / "died").exists():
            return "Survived."
        (scratch / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    return [get_weather, ask_user, die]


def approvals() -> HookRegistry:
    """Every call but the first of a tool needs approval, unless it is asked for a harmless city."""
    hooks = HookRegistry()

    def decide(happened: Mapping[str, Any]) -> dict[str, Any] | None:
        risky = happened["turn"] and happened["toolInput"].get("city") != "Home"
        return {"decision": "ask", "reason": "risky"} if risky else None

    hooks.register("PreToolUse", decide, pattern="^get_weather$")
    return hooks


def reply_of(said: Any) -> Any:
    """A text, or a list of a text and calls."""
    if isinstance(said, str):
        return said
    text, *calls = said
    return script.reply(text, *(script.call(name, args, id=call_id) for name, args, call_id in calls))


async def part(given: Mapping[str, Any]) -> dict[str, Any]:
    """Run one part and say what was seen."""
    seen: list[list[Any]] = []

    def note(event: str, data: Any, *_: Any) -> None:
        seen.append([event, data])

    model = ScriptedChatModel(replies=[reply_of(each) for each in given["replies"]])
    config: dict[str, Any] = {"configurable": {"thread_id": "t"}}
    if "durability" in given:
        config["durability"] = given["durability"]
    async with saver_of(given["saver"]) as saver:
        agent = {"agent_id": "a", "model": model, "tools": tools_of(Path(given["scratch"]))}
        if given.get("typed"):
            agent["output_type"] = Report
        run = await Run.create(
            {
                "run_id": given.get("run_id", "r"),
                "graph_config": {"agents": [agent], "compile_options": {"checkpointer": saver}},
                "custom_handlers": dict.fromkeys(KEPT, note),
                "human_in_the_loop": {"enabled": True},
                "hooks": approvals(),
                "return_content": True,
            }
        )
        if "resume" in given:
            returned = await run.resume(given["resume"], config)
        else:
            returned = await run.process_stream({"messages": [HumanMessage(given["text"])]}, config)
        return {
            "returned": returned,
            "seen": seen,
            "messages": [[message.type, message.content] for message in run.get_run_messages()],
            "output": run.output.weather if isinstance(run.output, Report) else None,
            "waiting": [each.payload for each in run.get_interrupts()],
            "sent": [[[each.type, each.content] for each in request.messages] for request in model.requests],
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(part(json.loads(sys.argv[1])))))
