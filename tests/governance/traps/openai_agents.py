"""The system of `scenarios` with the OpenAI Agents SDK: `python openai_agents.py FOLDER < step.json`.

Its own means are used: `needs_approval`, `RunState.approve`, and the state of a run as JSON. It imports nothing of this
project.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agents import Agent, FunctionTool, ModelResponse, Runner, Usage, set_tracing_disabled
from agents.models.interface import Model
from agents.run_state import RunState
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

PARAMETERS = {
    "send_mail": ("to", "body", "api_key"),
    "pay": ("to", "cents"),
}


class Scripted(Model):
    """A model that asks for one call, and then ends."""

    def __init__(self, call: dict[str, Any] | None) -> None:
        self.call = call

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:
        output: Any
        if self.call is not None:
            call, self.call = self.call, None
            arguments = json.dumps(call["args"])
            output = ResponseFunctionToolCall(
                arguments=arguments, call_id=call["id"], name=call["tool"], type="function_call"
            )
        else:
            text = ResponseOutputText(annotations=[], text="Done.", type="output_text")
            output = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


async def answer(folder: Path, step: dict[str, Any]) -> dict[str, Any]:
    """Do a step."""
    effects, stored = folder / "effects", folder / "state.json"
    asked: list[str] = []

    def made(name: str) -> FunctionTool:
        async def invoke(context: Any, text: str) -> str:
            with effects.open("a") as file:
                file.write(json.dumps([name, json.loads(text)["to"]]) + "\n")
            return "done"

        async def needs_approval(context: Any, parameters: Any, call_id: str) -> bool:
            asked.append(step["policy"])
            return True

        kinds = {each: {"type": "integer" if each == "cents" else "string"} for each in PARAMETERS[name]}
        schema = {"type": "object", "properties": kinds, "required": list(kinds), "additionalProperties": False}
        return FunctionTool(
            name=name,
            description=name,
            params_json_schema=schema,
            on_invoke_tool=invoke,
            needs_approval=needs_approval,
        )

    agent = Agent(
        name="mailer",
        model=Scripted(step.get("call")),
        tools=[made(name) for name in PARAMETERS if name in step["tools"]],
    )
    state, error, result = None, None, None
    if step["do"] == "turn":
        result = await Runner.run(agent, "go")
    elif step["do"] == "approve":
        state = await RunState.from_json(agent, json.loads(stored.read_text()))
        for item in state.get_interruptions():
            state.approve(item)
        stored.write_text(json.dumps(state.to_json()))
    else:
        text = stored.read_text()
        if "alter" in step:
            text = _altered(text, step["alter"])
        try:
            state = await RunState.from_json(agent, json.loads(text))
            result = await Runner.run(agent, state)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"[:200]
    waiting = []
    if result is not None:
        stored.write_text(json.dumps(result.to_state().to_json()))
        waiting = [{"name": each.name, "arguments": each.arguments} for each in result.interruptions]
    lines = effects.read_text().splitlines() if effects.exists() else []
    return {
        "effects": [json.loads(line) for line in lines],
        "waiting": waiting,
        "error": error,
        "policy_calls": len(asked),
    }


def _altered(text: str, call: dict[str, Any]) -> str:
    """Alter the stored call wherever it is written, but not what was approved."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            changed = {key: walk(each) for key, each in value.items()}
            if changed.get("type") == "function_call" and "arguments" in changed:
                changed |= {"name": call["tool"], "arguments": json.dumps(call["args"]), "call_id": call["id"]}
            return changed
        return [walk(each) for each in value] if isinstance(value, list) else value

    return json.dumps(walk(json.loads(text)))


if __name__ == "__main__":
    set_tracing_disabled(True)
    print(json.dumps(asyncio.run(answer(Path(sys.argv[1]), json.load(sys.stdin)))))
