"""Long-term memory: what an assistant knows of a person beyond one conversation.

- A memory is a key and a text in a namespace of a store, usually one namespace a person.
- Two tools write it: `set_memory` and `delete_memory`. A chat backend lets a separate run use them after a turn
  (`remember`), and shows the memories to the agents of the next (`LongTermMemory.text`).
- Keys may be limited to a list, and all texts together to a number of tokens: a tool that would exceed either changes
  nothing and tells the model. The number holds for what is written through one `LongTermMemory`; others that write to
  the namespace at the same time, or a sync and an async graph, may exceed it together.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from langchain_core.messages import BaseMessage, HumanMessage, MessageLikeRepresentation, convert_to_messages
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from stategraph.agent.messages.truncation import text_of
from stategraph.agent.settings import validation
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.engine.checkpoints.saver_interfaces import BaseStore
from stategraph.errors import ConfigurationError
from stategraph.run.run import Run

_INSTRUCTIONS = (
    "You keep the long-term memory of an assistant. Read the conversation and decide what about the person is worth "
    "knowing in later conversations: lasting facts and preferences that the person stated. Set each under a short key, "
    "correct what has changed, delete what is no longer true or what the person wants forgotten. If there is nothing "
    "to change, call no tool."
)
#: Number of memories that are read at once.
_PAGE = 100

#: A namespace and a key.
_Place: TypeAlias = tuple[tuple[str, ...], str]


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
        store: The store that keeps them.
        namespace: Their namespace, such as `("memories", user_id)`.
        valid_keys: The only keys that may be set; None: any.
        token_limit: How many tokens all texts together may have; None: any number.
        count_tokens: Tokens of a text; None: about four characters each.
        changes: The changes by the tools, in order.
    """

    store: BaseStore
    namespace: tuple[str, ...]
    valid_keys: Sequence[str] | None = None
    token_limit: int | None = None
    count_tokens: Callable[[str], int] | None = None
    changes: list[MemoryChange] = field(default_factory=list)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _writing_sync: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        """Refuse what keeps nothing, before a model is asked.

        Raises:
            ConfigurationError: The store is none.
        """
        if not isinstance(self.store, BaseStore):
            raise ConfigurationError(
                f"The store of a LongTermMemory is a value of type {type(self.store).__name__}; expected a "
                "BaseStore of langgraph.store, such as InMemoryStore()"
            )

    async def read(self) -> dict[str, str]:
        """Return all memories by key."""
        found: dict[_Place, Any] = {}
        while _add(found, await self.store.asearch(self.namespace, limit=_PAGE, offset=len(found))):
            pass
        return self._texts(found)

    def _read(self) -> dict[str, str]:
        found: dict[_Place, Any] = {}
        while _add(found, self.store.search(self.namespace, limit=_PAGE, offset=len(found))):
            pass
        return self._texts(found)

    async def text(self) -> str:
        """Return all memories as text for a model, a line each; empty if there are none."""
        return "\n".join(f"- {key}: {' '.join(value.split())}" for key, value in (await self.read()).items())

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
        self._check_key(key)
        async with self._writing:
            if self.token_limit is not None:
                self._check_room(await self.read(), key, value, self.token_limit)
            await self.store.aput(self.namespace, key, {"value": value})
            return self._was_set(key, value)

    def _set(self, key: str, value: str) -> str:
        self._check_key(key)
        with self._writing_sync:
            if self.token_limit is not None:
                self._check_room(self._read(), key, value, self.token_limit)
            self.store.put(self.namespace, key, {"value": value})
            return self._was_set(key, value)

    async def delete(self, key: str) -> str:
        """Delete a memory.

        Args:
            key: Its name.

        Returns:
            What to tell the model.

        Raises:
            ToolException: There is no such memory.
        """
        async with self._writing:
            if await self.store.aget(self.namespace, key) is None:
                raise _unknown(key, await self.read())
            await self.store.adelete(self.namespace, key)
            return self._was_deleted(key)

    def _delete(self, key: str) -> str:
        with self._writing_sync:
            if self.store.get(self.namespace, key) is None:
                raise _unknown(key, self._read())
            self.store.delete(self.namespace, key)
            return self._was_deleted(key)

    # Shared by sync and async.

    def _texts(self, found: Mapping[_Place, Any]) -> dict[str, str]:
        """Return the texts by key, without those of namespaces below, which a store's search includes."""
        own = tuple(self.namespace)
        texts = {key: str(item.value.get("value", "")) for (space, key), item in found.items() if space == own}
        return dict(sorted(texts.items()))

    def _check_key(self, key: str) -> None:
        if self.valid_keys is not None and key not in self.valid_keys:
            raise ToolException(f"The key '{key}' is not allowed; use one of: {', '.join(self.valid_keys)}")

    def _check_room(self, known: Mapping[str, str], key: str, value: str, limit: int) -> None:
        others = [text for name, text in known.items() if name != key]
        left, wanted = limit - sum(map(self._count, others)), self._count(value)
        if wanted > left:
            raise ToolException(
                f"The memory '{key}' needs {wanted} tokens and {max(0, left)} of {limit} are left; shorten it, or "
                "delete another one first"
            )

    def _was_set(self, key: str, value: str) -> str:
        self.changes.append(MemoryChange("set", key, value))
        return f"The memory '{key}' is set."

    def _was_deleted(self, key: str) -> str:
        self.changes.append(MemoryChange("delete", key))
        return f"The memory '{key}' is deleted."

    def tools(self) -> list[BaseTool]:
        """Return the tools `set_memory` and `delete_memory`, for any agent."""
        keys = f" Allowed keys: {', '.join(self.valid_keys)}." if self.valid_keys is not None else ""
        return [
            StructuredTool.from_function(
                func=self._set,
                coroutine=self.set,
                name="set_memory",
                description=f"Remember a text under a key, in place of what is there.{keys}",
                handle_tool_error=True,
            ),
            StructuredTool.from_function(
                func=self._delete,
                coroutine=self.delete,
                name="delete_memory",
                description="Forget what is remembered under a key.",
                handle_tool_error=True,
            ),
        ]

    def _count(self, text: str) -> int:
        return self.count_tokens(text) if self.count_tokens is not None else -(-len(text) // 4)


def _add(found: dict[_Place, Any], page: Sequence[Any]) -> bool:
    """Take up a page; whether there may be another one: not behind one that brings nothing new."""
    before = len(found)
    found |= {(tuple(item.namespace), item.key): item for item in page}
    return len(page) == _PAGE and len(found) > before


def _unknown(key: str, known: Mapping[str, str]) -> ToolException:
    return ToolException(f"There is no memory '{key}'; there are: {', '.join(known) or 'none'}")


async def remember(
    messages: Sequence[MessageLikeRepresentation],
    memory: LongTermMemory,
    agent: AgentInputs | Mapping[str, object],
    *,
    run_id: str,
    instructions: str | None = None,
    config: Mapping[str, object] | None = None,
) -> list[MemoryChange]:
    """Let a model decide what of a conversation to remember, as chat backends do after a turn.

    Args:
        messages: The conversation, or its newest part, in any form that LangChain takes for messages.
        memory: The memory to read and change.
        agent: Whose model decides; its tools and instructions are not used.
        run_id: A name for the run.
        instructions: Instructions on what to remember; None: instructions of this package.
        config: For the run.

    Returns:
        What was changed.

    Raises:
        Exception: What the model raised.
    """
    known = await memory.text()
    told = "\n\n".join(filter(None, (instructions or _INSTRUCTIONS, known and f"What is known now:\n{known}")))
    # Its own list of changes: another turn of the person may be remembered at the same time.
    own = replace(memory, changes=[])
    settings = {"instructions": told, "additional_instructions": None, "tools": own.tools(), "tool_definitions": ()}
    inputs = validation.checked(AgentInputs, agent).model_copy(update={**settings, "tool_end": True})
    run = await Run.create({"run_id": run_id, "graph_config": {"agents": [inputs]}, "event_log_size": 0})
    try:
        await run.process_stream({"messages": [HumanMessage(_transcript(convert_to_messages(messages)))]}, config)
    finally:
        memory.changes.extend(own.changes)
    return own.changes


def _transcript(messages: Sequence[BaseMessage]) -> str:
    """Render a conversation as one text, so that no model takes it for its own."""
    speakers = {"human": "User", "ai": "Assistant"}
    said = [(speakers[each.type], text_of(each.content)) for each in messages if each.type in speakers]
    return "The conversation:\n\n" + "\n\n".join(f"{who}: {text}" for who, text in said if text)
