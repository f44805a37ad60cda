"""Random trees of agents: they hand over, call tools side by side, have subagents, fallbacks, and graphs inside tools.

A `Tree` is drawn from a seed. Its models decide what they do by the same seed, and note what they really took.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from stategraph.agent.graphs import assemble
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.engine.config.runtime import get_runtime


@dataclass
class Taken:
    """What really happened."""

    calls: list[tuple[str, int, int]] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)
    tools: int = 0
    failures: int = 0
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
    failing: float = 0.02

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
            if chance.random() < self.failing:
                taken.calls[call] = (self.name_, 0, 0)  # a call that fails before it is answered takes nothing
                taken.failures += 1
                raise ConnectionError("the line is bad")
            yield ChatGenerationChunk(message=AIMessageChunk(content="hm "))
            offered = [each["function"] for each in tools or ()]
            for index in range(chance.choice([0, 1, 1, 2, 3]) if offered else 0):
                function = chance.choice(offered)
                args = _arguments(function.get("parameters") or {}, chance)
                chunk = tool_call_chunk(name=function["name"], args=args, id=f"c{index}", index=index)
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
        planted = _Planted(taken, chance, max_tokens)
        agents = [planted.agent(name) for name in names]
        edges = []
        for source in names:
            for to in names:
                if source != to and chance.random() < 0.25:
                    edges.append({"from": [source], "to": [to], "edgeType": "handoff"})
        return cls(agents, edges, taken)


@dataclass
class _Planted:
    """Draws agents.

    Attributes:
        taken: What they take.
        chance: What they draw from.
        max_tokens: The longest answers; None: not known to the run.
    """

    taken: Taken
    chance: random.Random
    max_tokens: int | None

    def model(self, name: str, failing: float = 0.02) -> Wanderer:
        return Wanderer(name_=name, taken=self.taken, chance=self.chance, max_tokens=self.max_tokens, failing=failing)

    def agent(self, name: str, depth: int = 2) -> dict[str, Any]:
        """An agent with tools and a graph inside of one; often with fallbacks and with agents as tools."""
        chance = self.chance
        inner = f"{name}_inner"
        made: dict[str, Any] = {
            "agent_id": name,
            "model": self.model(name),
            "tools": [_counted(self.taken, chance), _nested(inner, self.model(inner), self.taken, chance)],
        }
        if chance.random() < 0.4:
            made["model"] = self.model(name, 0.3)
            made["fallbacks"] = [self.model(f"{name}_fallback")]
        if depth and chance.random() < 0.5:
            subagents = [self._subagent(f"{name}_sub{number}", depth - 1) for number in range(chance.randrange(1, 3))]
            made["subagent_configs"] = subagents
        return made

    def _subagent(self, name: str, depth: int) -> dict[str, Any]:
        config: dict[str, Any] = {"type": name, "description": "Helps.", "agent_inputs": self.agent(name, depth)}
        config |= {"max_turns": self.chance.randrange(1, 6), "allow_nested": self.chance.random() < 0.7}
        return config | ({"tool_name": f"ask_{name}"} if self.chance.random() < 0.5 else {})


def _arguments(schema: dict[str, Any], chance: random.Random) -> str:
    """Arguments for a tool: of an enum one of its values, else some text."""
    properties = schema.get("properties") or {}
    return json.dumps({name: chance.choice(about.get("enum") or ["do it"]) for name, about in properties.items()})


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
