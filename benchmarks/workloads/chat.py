"""A turn of a chat backend: one agent whose tokens and tool calls are told to a front end as they come.

What is measured is the overhead: what a turn costs beyond iterating over ``model.astream`` and awaiting the tools, per
token or per round of tool calls. Our side is ``Run.process_stream`` with the handlers that a backend registers; the
other is ``create_react_agent``, read through ``astream_events`` by a loop that keeps the same books. On both sides the
turn's content parts are put together and every piece is awaited on its way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import langgraph.graph
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool, tool

from benchmarks.workloads.base import LOOP, Difference, Timed, Workload

TOKENS = 1_000
ROUNDS = 50
QUESTION = HumanMessage("hi?", id="human")


class Scripted(BaseChatModel):
    """A model that calls a tool in each of its first rounds and then streams words, without waiting for anything."""

    rounds: int = 0
    tokens: int = 1

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        """Take any tools: the script knows what it calls."""
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("the script is only streamed")

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        turn = len(messages) // 2
        for message in self._words() if turn >= self.rounds else self._call(turn):
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                await run_manager.on_llm_new_token(message.content, chunk=chunk)
            yield chunk

    def _words(self) -> Any:
        return (AIMessageChunk("word ") for _ in range(self.tokens))

    def _call(self, turn: int) -> Any:
        """A call as providers stream it: its name, then its arguments."""
        named = tool_call_chunk(name="look_up", args="", id=f"call-{turn}", index=0)
        arguments = tool_call_chunk(args=f'{{"query":"question {turn}"}}', index=0)
        return (AIMessageChunk("", tool_call_chunks=[each]) for each in (named, arguments))


@tool
async def look_up(query: str) -> str:
    """Look something up."""
    return f"result of {query}"


class FrontEnd:
    """Takes what is sent to it; stands where a backend writes to a connection."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    async def send(self, event: str, _data: Any) -> None:
        """Take one piece."""
        self.sent[event] += 1


class EventLoopBackend:
    """The backend on LangGraph: reads ``astream_events`` and keeps the books of steps and parts itself."""

    def __init__(self, model: BaseChatModel, tools: list[BaseTool]) -> None:
        from langgraph.prebuilt import create_react_agent

        self._graph = create_react_agent(model, tools)

    async def turn(self, front_end: FrontEnd) -> list[dict[str, Any]]:
        """Answer the question, and return the content parts."""
        books = _Books(front_end)
        limits = {"recursion_limit": 1_000_000}
        async for event in self._graph.astream_events({"messages": [QUESTION]}, limits, version="v2"):
            match event["event"]:
                case "on_chat_model_stream":
                    await books.chunk(event["data"]["chunk"])
                case "on_chat_model_end":
                    await books.close_text()
                case "on_tool_end":
                    await books.answer(event["data"]["output"])
        return books.parts


class _Books:
    """The steps and parts of one turn."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.parts: list[dict[str, Any]] = []
        self._send = front_end.send
        self._text: dict[str, Any] | None = None
        self._calls: dict[str, dict[str, Any]] = {}
        self._calling: int = 0

    async def chunk(self, chunk: AIMessageChunk) -> None:
        if chunk.content:
            if self._text is None:
                self._text = {"type": "text", "text": ""}
                await self._open(self._text)
            self._text["text"] += chunk.content
            await self._send("on_message_delta", {"id": len(self.parts), "text": chunk.content})
        for fragment in chunk.tool_call_chunks:
            if fragment["id"]:
                call = {"id": fragment["id"], "name": fragment["name"], "type": "tool_call"}
                self._calls[fragment["id"]] = part = {"type": "tool_call", "tool_call": call}
                await self._open(part)
            await self._send("on_run_step_delta", {"id": len(self.parts), "tool_calls": [fragment]})

    async def _open(self, part: dict[str, Any]) -> None:
        self.parts.append(part)
        await self._send("on_run_step", {"id": len(self.parts), "index": len(self.parts) - 1, "type": part["type"]})

    async def close_text(self) -> None:
        if self._text is not None:
            self._text = None
            await self._send("on_run_step_closed", {"id": len(self.parts)})

    async def answer(self, message: ToolMessage) -> None:
        call = self._calls[message.tool_call_id]["tool_call"]
        call["output"] = message.content
        await self._send("on_run_step_completed", {"id": call["id"], "tool_call": call})
        await self._send("on_run_step_closed", {"id": call["id"]})


class RunBackend:
    """The backend on a run: handlers for its events, and the aggregator that comes with them."""

    def __init__(self, model: BaseChatModel, tools: list[BaseTool]) -> None:
        self._agent = {"agent_id": "agent", "model": model, "tools": tools}

    async def turn(self, front_end: FrontEnd) -> list[dict[str, Any]]:
        """Answer the question, and return the content parts."""
        from stategraph import GraphEvents, Run, create_handlers

        async def forward(event: str, data: Any, _metadata: Any, _graph: Any) -> None:
            await front_end.send(event, data)

        shown = (
            GraphEvents.ON_RUN_STEP,
            GraphEvents.ON_RUN_STEP_DELTA,
            GraphEvents.ON_RUN_STEP_COMPLETED,
            GraphEvents.ON_RUN_STEP_CLOSED,
            GraphEvents.ON_MESSAGE_DELTA,
            GraphEvents.ON_REASONING_DELTA,
            GraphEvents.ON_AGENT_LOG,
        )
        content = create_handlers(dict.fromkeys(shown, forward))
        graph = {"type": "standard", "agents": [self._agent]}
        run = await Run.create({"run_id": "run", "graph_config": graph, "custom_handlers": content.handlers})
        limits = {"recursion_limit": 1_000_000, "configurable": {"thread_id": "thread"}}
        await run.process_stream({"messages": [QUESTION]}, limits)
        return [part for part in content.content_parts if part is not None]


def _backend(model: BaseChatModel, tools: list[BaseTool]) -> Any:
    ours = langgraph.graph.StateGraph.__module__.startswith("stategraph")
    return (RunBackend if ours else EventLoopBackend)(model, tools)


def _turn(model: BaseChatModel, tools: list[BaseTool]) -> Timed:
    backend = _backend(model, tools)

    def describe() -> dict[str, Any]:
        front_end = FrontEnd()
        parts = LOOP.run(backend.turn(front_end))
        texts = [part["text"] for part in parts if part["type"] == "text" and part["text"]]
        calls = [part["tool_call"] for part in parts if part["type"] == "tool_call"]
        return {
            "text": "".join(texts),
            "outputs": [call["output"] for call in calls],
            "deltas": {name: front_end.sent[name] for name in ("on_message_delta", "on_run_step_delta")},
        }

    return Timed(lambda: LOOP.run(backend.turn(FrontEnd())), describe)


def _token(_variant: str) -> Workload:
    """One token: a turn that streams words, beyond the model's own stream of them."""
    model = Scripted(tokens=TOKENS)

    async def bare() -> int:
        return len([chunk async for chunk in model.astream([QUESTION])])

    return Difference(_turn(model, []), Timed(lambda: LOOP.run(bare()), lambda: {"chunks": LOOP.run(bare())}), TOKENS)


def _tool_round(_variant: str) -> Workload:
    """One round of a model and a tool, beyond the two by themselves."""
    model = Scripted(rounds=ROUNDS)
    calls = [
        {"name": "look_up", "args": {"query": f"question {turn}"}, "id": f"call-{turn}", "type": "tool_call"}
        for turn in range(ROUNDS)
    ]
    history: list[Any] = [QUESTION]
    for call in calls:
        history += [AIMessage("", tool_calls=[call]), ToolMessage("result", tool_call_id=call["id"])]

    async def bare() -> int:
        chunks = 0
        for turn, call in enumerate(calls):
            chunks += len([chunk async for chunk in model.astream(history[: 1 + 2 * turn])])
            await look_up.ainvoke(call)
        return chunks + len([chunk async for chunk in model.astream(history)])

    short = Timed(lambda: LOOP.run(bare()), lambda: {"chunks": LOOP.run(bare())})
    return Difference(_turn(model, [look_up]), short, ROUNDS)


WORKLOADS: dict[str, Callable[[str], Workload]] = {"token_of_a_turn": _token, "tool_round_of_a_turn": _tool_round}
