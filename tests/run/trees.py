"""Random trees of agents: they hand over, call tools side by side, and call agents inside of tools.

A `Tree` is drawn from a seed. Its models decide what they do by the same seed, and note what they really took.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

from stategraph.agent.graphs import assemble
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.engine.config.runtime import get_runtime


@dataclass
class Taken:
    """What really happened."""

    calls: list[tuple[str, int, int]] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)
    tools: int = 0
    under_way: int = 0
    most_under_way: int = 0

    def tokens(self) -> list[int]:
        return [read + written for _, read, written in self.calls]


class Wanderer(BaseChatModel):
    """A model that does something at random, takes its time, and reports what it takes."""

    name_: str
    taken: Any
    chance: Any
    most_tokens: int = 1000
    max_tokens: int | None = None

    _tools: list[str] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "wanderer"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {"ls_provider": "wander", "ls_model_name": self.name_, "ls_model_type": "chat"}

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools])

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, tools: list[dict[str, Any]] | None = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        taken: Taken = self.taken
        chance: random.Random = self.chance
        taken.under_way += 1
        taken.most_under_way = max(taken.most_under_way, taken.under_way)
        read, written = chance.randrange(1, self.most_tokens), chance.randrange(1, self.most_tokens)
        if self.max_tokens is not None:
            # What the meter holds for a call is an upper bound, and so has to be one here.
            read, written = min(read, 40), chance.randrange(1, self.max_tokens + 1)
        call = len(taken.calls)
        taken.calls.append((self.name_, read, written))
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.02:
                taken.calls[call] = (self.name_, 0, 0)  # nobody tells what a call takes that fails
                raise ConnectionError("the line is bad")
            yield ChatGenerationChunk(message=AIMessageChunk(content="hm "))
            names = [each["function"]["name"] for each in tools or ()]
            for index in range(chance.choice([0, 1, 1, 2, 3]) if names else 0):
                chunk = tool_call_chunk(name=chance.choice(names), args="{}", id=f"c{index}", index=index)
                yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))
            usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
            yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))
        finally:
            taken.under_way -= 1


@dataclass
class Tree:
    """Agents, the ways between them, and what they took."""

    agents: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    taken: Taken

    @classmethod
    def drawn(cls, seed: int, max_tokens: int | None = None) -> Tree:
        chance = random.Random(seed)
        taken = Taken(chance=chance)
        names = [f"agent{number}" for number in range(chance.randrange(1, 5))]
        model: Callable[[str], Wanderer] = lambda name: Wanderer(  # noqa: E731
            name_=name, taken=taken, chance=chance, max_tokens=max_tokens
        )
        agents = [
            {
                "agent_id": name,
                "model": model(name),
                "tools": [_counted(taken, chance), _nested(f"{name}_inner", model(f"{name}_inner"), taken, chance)],
            }
            for name in names
        ]
        edges = []
        for source in names:
            for to in names:
                if source != to and chance.random() < 0.25:
                    edges.append({"from": [source], "to": [to], "edgeType": "handoff"})
        return cls(agents, edges, taken)


def _counted(taken: Taken, chance: random.Random) -> BaseTool:
    @tool
    async def look() -> str:
        """Look."""
        taken.tools += 1
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        return "seen"

    return look


def _nested(name: str, model: Wanderer, taken: Taken, chance: random.Random) -> BaseTool:
    inputs = AgentInputs(agent_id=name, model=model, tools=(_counted(taken, chance),))
    _, builder = assemble.build([inputs])
    graph = builder.compile()

    @tool
    async def delegate() -> str:
        """Have another agent do it, in a graph of its own."""
        values = await graph.ainvoke({"messages": [HumanMessage("do it")]}, context=get_runtime().context)
        taken.tools += 1  # at its end: it begins again where its agent waited for a person
        return str(values["messages"][-1].content)

    return delegate
