"""Long-term memory: what an assistant knows of a person beyond one conversation.

- A memory is a key and a text in a namespace of a store, usually one namespace a person.
- Two tools write it: `set_memory` and `delete_memory`. A chat backend lets a run of its own use them after a turn
  (`remember`), and shows what is known to the agents of the next (`LongTermMemory.text`).
- Keys may be limited to a list, and all texts together to a number of tokens: a tool that would exceed either changes
  nothing and tells the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from stategraph.agent import validation
from stategraph.agent.inputs import AgentInputs
from stategraph.agent.truncation import text_of
from stategraph.engine.memory import BaseStore
from stategraph.run.run import Run

_INSTRUCTIONS = (
    "You keep the long-term memory of an assistant. Read the conversation and decide what about the person is worth "
    "knowing in later conversations: lasting facts and preferences that the person stated. Set each under a short key, "
    "correct what has changed, delete what is no longer true or what the person wants forgotten. If there is nothing "
    "to change, call no tool."
)
#: How many memories are read at once.
_PAGE = 100


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A change of the memory.

    Attributes:
        type: Whether a key was set or deleted.
        key: The key.
        value: Its new text; None if it was deleted.
    """

    type: Literal["set", "delete"]
    key: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class LongTermMemory:
    """The memories of one namespace.

    Attributes:
        store: Where they are kept.
        namespace: Which they are, such as `("memories", user_id)`.
        valid_keys: The only keys that may be set; None: any.
        token_limit: How many tokens all texts together may have; None: any number.
        count_tokens: Tokens of a text; None: about four characters each.
        changes: What the tools changed, in order.
    """

    store: BaseStore
    namespace: tuple[str, ...]
    valid_keys: Sequence[str] | None = None
    token_limit: int | None = None
    count_tokens: Callable[[str], int] | None = None
    changes: list[MemoryChange] = field(default_factory=list)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def read(self) -> dict[str, str]:
        """All memories by key."""
        found: dict[str, str] = {}
        while True:
            page = await self.store.asearch(self.namespace, limit=_PAGE, offset=len(found))
            found |= {item.key: str(item.value.get("value", "")) for item in page}
            if len(page) < _PAGE:
                return dict(sorted(found.items()))

    async def text(self) -> str:
        """All memories for a model, a line each; empty if there are none."""
        return "\n".join(f"- {key}: {value}" for key, value in (await self.read()).items())

    async def set(self, key: str, value: str) -> str:
        """Set a memory.

        Args:
            key: Its name.
            value: Its text.

        Returns:
            What to tell the model.

        Raises:
            ToolException: The key is not allowed, or the memory would be too long.
        """
        if self.valid_keys is not None and key not in self.valid_keys:
            raise ToolException(f"The key '{key}' is not allowed; use one of: {', '.join(self.valid_keys)}")
        async with self._writing:
            if self.token_limit is not None:
                await self._make_sure_of_room(key, value, self.token_limit)
            await self.store.aput(self.namespace, key, {"value": value})
        self.changes.append(MemoryChange("set", key, value))
        return f"The memory '{key}' is set."

    async def _make_sure_of_room(self, key: str, value: str, limit: int) -> None:
        others = await self.read()
        others.pop(key, None)
        left, wanted = limit - sum(map(self._count, others.values())), self._count(value)
        if wanted > left:
            raise ToolException(
                f"The memory '{key}' needs {wanted} tokens and {max(0, left)} of {limit} are left; shorten it, or "
                "delete another one first"
            )

    async def delete(self, key: str) -> str:
        """Delete a memory.

        Args:
            key: Its name.

        Returns:
            What to tell the model.

        Raises:
            ToolException: There is no such memory.
        """
        if await self.store.aget(self.namespace, key) is None:
            known = ", ".join(await self.read()) or "none"
            raise ToolException(f"There is no memory '{key}'; there are: {known}")
        await self.store.adelete(self.namespace, key)
        self.changes.append(MemoryChange("delete", key))
        return f"The memory '{key}' is deleted."

    def tools(self) -> list[BaseTool]:
        """The tools `set_memory` and `delete_memory`, for any agent."""
        keys = f" Allowed keys: {', '.join(self.valid_keys)}." if self.valid_keys is not None else ""
        return [
            StructuredTool.from_function(
                coroutine=self.set,
                name="set_memory",
                description=f"Remember a text under a key, in place of what is there.{keys}",
                handle_tool_error=True,
            ),
            StructuredTool.from_function(
                coroutine=self.delete,
                name="delete_memory",
                description="Forget what is remembered under a key.",
                handle_tool_error=True,
            ),
        ]

    def _count(self, text: str) -> int:
        return self.count_tokens(text) if self.count_tokens is not None else -(-len(text) // 4)


async def remember(
    messages: Sequence[AnyMessage],
    memory: LongTermMemory,
    agent: AgentInputs | Mapping[str, Any],
    *,
    run_id: str,
    instructions: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> list[MemoryChange]:
    """Let a model decide what of a conversation to remember, as chat backends do after a turn.

    Args:
        messages: The conversation, or its newest part.
        memory: What is known, and where changes go.
        agent: Whose model decides; its tools and instructions are not used.
        run_id: A name for the run.
        instructions: What to remember; None: instructions of this package.
        config: For the run.

    Returns:
        What was changed.

    Raises:
        Exception: What the model raised.
    """
    known = await memory.text()
    told = "\n\n".join(filter(None, (instructions or _INSTRUCTIONS, known and f"What is known now:\n{known}")))
    own = {"instructions": told, "additional_instructions": None, "tools": memory.tools(), "tool_definitions": ()}
    inputs = validation.checked(AgentInputs, agent).model_copy(update={**own, "tool_end": True})
    before = len(memory.changes)
    run = await Run.create({"run_id": run_id, "graph_config": {"agents": [inputs]}, "event_log_size": 0})
    await run.process_stream({"messages": [HumanMessage(_transcript(messages))]}, config)
    return memory.changes[before:]


def _transcript(messages: Sequence[BaseMessage]) -> str:
    """A conversation as one text, so that no model takes it for its own."""
    speakers = {"human": "User", "ai": "Assistant"}
    said = [(speakers[each.type], text_of(each.content)) for each in messages if each.type in speakers]
    return "The conversation:\n\n" + "\n\n".join(f"{who}: {text}" for who, text in said if text)
