"""A host for tests: it notes every event, puts the content together, and executes tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from stategraph.run.events.content import ContentAggregator
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

THREAD = {"configurable": {"thread_id": "t", "user_id": "u"}}


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"


WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def sunny(data: Any) -> None:
    """Answer a request to execute tools."""
    data.resolve(
        [{"toolCallId": call["id"], "content": f"Sunny in {call['args']['city']}"} for call in data["toolCalls"]]
    )


class Host:
    """A host that notes every event and puts the content together."""

    def __init__(self, **handlers: Any) -> None:
        self.rows: list[tuple[str, Any]] = []
        self.content = ContentAggregator()
        self._handlers = handlers

    def handlers(self) -> dict[str, Any]:
        return dict.fromkeys(GraphEvents, self._handle)

    async def _handle(self, event: str, data: Any, metadata: Any, graph: Any) -> None:
        self.rows.append((event, data))
        self.content.aggregate_content(event, data)
        if (more := self._handlers.get(event)) is not None:
            more(data)

    def steps(self) -> list[tuple[str, Any]]:
        kept = ("on_run_step", "on_run_step_closed", "on_run_step_completed", "on_message_delta")
        return [(event, _gist(data)) for event, data in self.rows if event in kept]


def _gist(data: Any) -> Any:
    if "stepDetails" in data:
        return data["index"], data["type"]
    if "result" in data:
        return data["result"]["tool_call"]["output"]
    return data["status"] if "status" in data else data["delta"]["content"][0]["text"]


def ask(text: str = "hi") -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def calls(*several: tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], str]) -> script.Reply:
    """An answer that calls tools, the first with the id `call_1` and so on."""
    made = [
        script.call(name, args, id=more[0] if more else f"call_{number}")
        for number, (name, args, *more) in enumerate(several, 1)
    ]
    return script.reply(*made)


async def run_of(*replies: Any, host: Host | None = None, agent: Mapping[str, Any] | None = None, **config: Any) -> Run:
    """A run of one agent whose model answers in turn."""
    inputs = {"agent_id": "a", "model": ScriptedChatModel(replies=list(replies)), **(agent or {})}
    graph = {"agents": [inputs], "compile_options": config.pop("compile_options", {})}
    handlers = {} if host is None else host.handlers()
    settings = {"run_id": "r", "graph_config": graph, "custom_handlers": handlers, "return_content": True}
    return await Run.create({**settings, **config})


def requests_of(run: Run) -> list[Any]:
    """What the model of a run was asked."""
    (agent,) = run.graph.agents
    model: Any = agent.routes[0].model
    return list(getattr(model, "bound", model).requests)
