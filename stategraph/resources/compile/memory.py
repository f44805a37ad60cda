"""Vector memory of agents: what was said in earlier conversations comes back where it is alike.

- Before a turn, what the person says is compared with what the agent remembers, and the nearest memories are told to
  the model in a message of their own, which is marked as added and stays in the conversation.
- After the turn, the question and the answer are one more memory.
- Memories of a user (`configurable.user_id`) are apart from those of others, unless the agent says otherwise.
- Vectors are of a model of embeddings where the agent names one, else of words and letters (`similarity`).
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.messages.truncation import text_of
from stategraph.agent.ports import AgentContext
from stategraph.agent.state import INJECTED, AgentState, is_synthetic, turn_of
from stategraph.constants import CONF, END, START
from stategraph.graph.state import StateGraph
from stategraph.resources.compile import similarity
from stategraph.resources.compile.data import Builder, Data, Fields, Object
from stategraph.resources.kinds.agent import MemorySpec

_LONGEST = 2_000

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Returns the vectors of texts."""


class Scope(Protocol):
    """Store of the memories of one agent and user: JSON by keys."""

    async def all(self) -> Fields:
        """Return everything."""

    async def set(self, key: str, value: Data, /) -> object:
        """Keep a value."""

    async def delete(self, key: str, /) -> object:
        """Forget a value."""


class MemoryStore(Protocol):
    """Store of memories, by scopes."""

    def scope(self, name: str, /) -> Scope:
        """Return the store of a scope."""


@dataclass(frozen=True, slots=True)
class VectorMemory:
    """The memory of one agent.

    Attributes:
        scope: The agent, as `cooking/recipe-assistant`.
        store: Where it is kept.
        spec: How much is recalled and kept.
        embed: Makes vectors; None: those of words and letters.
    """

    scope: str
    store: MemoryStore
    spec: MemorySpec
    embed: Embed | None = None

    def place(self, config: RunnableConfig) -> Scope:
        """Return the memories for a run."""
        user = (config.get(CONF) or {}).get("user_id")
        return self.store.scope(f"{self.scope}/{user}" if self.spec.per_user and user else self.scope)

    async def recall(self, place: Scope, text: str) -> list[str]:
        """Return the memories that are alike to a text, the nearest first."""
        known = await place.all()
        if not known or not text.strip():
            return []
        wanted = await self._vector(text)
        scored = [(self._score(wanted, each), key, each["text"]) for key, each in known.items()]
        near = sorted((each for each in scored if each[0] >= self.spec.min_score), key=lambda each: (-each[0], each[1]))
        return [remembered for _, _, remembered in near[: self.spec.top_k]]

    async def keep(self, place: Scope, text: str, at: datetime) -> None:
        """Remember a text; the oldest memory goes where there are too many."""
        known = await place.all()
        for key in sorted(known)[: max(0, len(known) + 1 - self.spec.max_items)]:
            await place.delete(key)
        stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")
        value: Object = {"text": text[:_LONGEST]}
        if self.embed is not None:
            value["vector"] = list((await self.embed([text]))[0])
        await place.set(f"{stamp}-{uuid.uuid4().hex[:8]}", value)

    async def _vector(self, text: str) -> Data:
        return similarity.vector(text) if self.embed is None else list((await self.embed([text]))[0])

    def _score(self, wanted: Data, memory: Fields) -> float:
        if self.embed is None:
            return similarity.alike(wanted, similarity.vector(memory["text"]))
        return similarity.cosine(wanted, memory.get("vector") or ())


def remembering(agent: Builder, memory: VectorMemory, name: str) -> Builder:
    """Return the graph of an agent with nodes before and after it that recall and remember.

    Args:
        agent: The builder of the agent's graph.
        memory: Its memory.
        name: The name of its node.
    """
    graph: Builder = StateGraph(AgentState, context_schema=AgentContext)

    async def recall(state: AgentState, config: RunnableConfig) -> Object:
        question = _question(state["messages"])
        if question is None:
            return {}
        found = await memory.recall(memory.place(config), text_of(question.content))
        if not found:
            return {}
        told = "From earlier conversations, as far as it helps:\n" + "\n".join(f"- {each}" for each in found)
        return {"messages": [HumanMessage(told, additional_kwargs={INJECTED: True, "source": "memory"})]}

    async def remember(state: AgentState, config: RunnableConfig) -> Object:
        question, answers = _question(state["messages"]), turn_of(state["messages"])
        answer = next((each for each in reversed(answers) if isinstance(each, AIMessage) and each.text), None)
        if question is not None and answer is not None:
            text = f"Asked: {text_of(question.content)}\nAnswered: {answer.text}"
            await memory.keep(memory.place(config), text, datetime.now(UTC))
        return {}

    graph.add_node("recall", recall)
    graph.add_node(name, agent.compile(name=name))
    graph.add_node("remember", remember)
    graph.add_edge(START, "recall")
    graph.add_edge("recall", name)
    graph.add_edge(name, "remember")
    graph.add_edge("remember", END)
    return graph


def _question(messages: Sequence[AnyMessage]) -> AnyMessage | None:
    """Return the last message that a person wrote."""
    for each in reversed(messages):
        if isinstance(each, HumanMessage) and not is_synthetic(each):
            return each
    return None
