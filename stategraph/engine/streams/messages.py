"""``stream_mode="messages"``: what chat models say, token by token, and messages that come from elsewhere.

Rules
-----
* A chunk is a message, or a piece of one, with the metadata of the run it comes from.
* A whole message is shown once. What was in a node's input has been seen, and so has what a model streamed: when the
  node returns it, nothing is shown.
* A message that is shown has an id, given here if need be, so that it can be told apart later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.tracers._streaming import _V2StreamingCallbackHandler
from pydantic import BaseModel

from stategraph.constants import TAG_HIDDEN
from stategraph.engine.config import environment, foreign_types
from stategraph.engine.config.runnable_config import filter_to_user_tags
from stategraph.engine.tracing.stream_handler import Namespace, Put, StreamFeed, graph_namespace
from stategraph.types import Command

Source = tuple[Namespace, dict[str, Any]]
"""The origin of a message: the namespace of the graph, and the metadata of the run in it."""


_MESSAGES: Final = frozenset((AIMessage, HumanMessage, SystemMessage, ToolMessage, AIMessageChunk))
"""Kinds of messages that most messages are; asking `isinstance` of one takes three times as long."""

_PLAIN: Final = frozenset((str, bytes, int, float, bool, dict, type(None)))
"""Kinds of values of a state that are no messages, and no lists of any; `isinstance` would take 1 us to say so."""

_MOST_KNOWN: Final = 64
"""Lists of messages of which a handler remembers what it has seen: one for each list of the graphs that run beside each
other."""


class StreamMessagesHandler(StreamFeed):
    """Shows the pieces of a model's answer as they arrive, and whole messages that nodes return.

    Attributes:
        metadata: Where the messages of a run come from, for each run of a model or node that is followed.
        seen: Ids of messages that were shown, or were there before.
    """

    content_blocks: ClassVar[bool] = False
    """True if answers are shown as events of their content blocks rather than as message chunks."""

    def __init__(self, put: Put, subgraphs: bool, *, parent_ns: Namespace | None = None) -> None:
        super().__init__(put, subgraphs, parent_ns=parent_ns)
        self.metadata: dict[UUID, Source] = {}
        self.seen: set[str] = set()
        self._latest: tuple[UUID | None, Source | None] = (None, None)
        # The lists of messages that nodes were given last, as far as all in them are messages with ids: by the graph's
        # namespace, and the position in the state.
        self._known: dict[tuple[Namespace, int], list[Any]] = {}

    # -- models --

    def on_chat_model_start(
        self,
        serialized: dict[str, object],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        """Follow a model's run."""
        ns = self.place(metadata, tags)
        if ns is None or metadata is None:
            return
        shown_tags = filter_to_user_tags(tags)
        self.metadata[run_id] = ns, ({**metadata, "tags": shown_tags} if shown_tags else metadata)

    def on_llm_new_token(
        self,
        token: object,
        *,
        chunk: object = None,
        run_id: UUID,
        parent_run_id: object = None,
        tags: object = None,
        **kwargs: object,
    ) -> None:
        """Show a piece of an answer."""
        # Called once per token, with the ids and the tags named above so that no dictionary is made for them.
        latest, source = self._latest
        if run_id is not latest:
            # Hashing the id of every piece's run would be a quarter of the whole.
            source = self.metadata.get(run_id)
            self._latest = run_id, source
        if source is None or not isinstance(chunk, ChatGenerationChunk):
            return
        message = chunk.message
        known = message.id
        if known is None:
            self._show(source, message)
        else:
            self.seen.add(known)
            ns, metadata = source
            self.put((ns, "messages", (message, metadata)))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: object) -> None:
        """Show an answer that came in one piece."""
        self._latest = (None, None)
        source = self.metadata.pop(run_id, None)
        message = _answer(response)
        if source is not None and message is not None:
            self._show_once(source, message)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        """Forget a model's run."""
        self._latest = (None, None)
        self.metadata.pop(run_id, None)

    # -- nodes --

    def hears_chain(self, name: str | None, metadata: Mapping[str, object] | None) -> bool:
        """Tell whether a chain's run may be that of a node; others only matter for what is called in them."""
        if metadata is None or name == metadata.get("langgraph_node", name):
            return True
        kind, own = type(self), StreamMessagesHandler
        return not (
            kind.on_chain_start is own.on_chain_start
            and kind.on_chain_end is own.on_chain_end
            and kind.on_chain_error is own.on_chain_error
        )

    def on_chain_start(
        self,
        serialized: dict[str, object],
        inputs: object,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        """Follow a node's run; other chains, and nodes that are hidden, are left out."""
        if not metadata or kwargs.get("name") != metadata.get("langgraph_node") or (tags and TAG_HIDDEN in tags):
            return
        ns = graph_namespace(metadata)
        if self.shows(ns):
            self.metadata[run_id] = ns, metadata
            self._have_seen(inputs, ns)

    def _have_seen(self, state: object, ns: Namespace) -> None:
        """Note the messages of a state."""
        seen = self.seen
        for position, value in enumerate(_parts(state)):
            kind = type(value)
            if kind is list:
                self._have_seen_all(value, (ns, position))
            elif kind in _PLAIN:
                continue
            elif isinstance(value, BaseMessage):
                if value.id is not None:
                    seen.add(value.id)
            elif _is_list(value):
                seen.update(each for each in _ids(value) if each is not None)

    def _have_seen_all(self, messages: list[Any], place: tuple[Namespace, int]) -> None:
        """Note the messages of a list: mostly it is that of the node before, with some behind it."""
        known = self._known.get(place)
        if known is not None and _begins_with(messages, known):
            messages = messages[len(known) :]
        else:
            known = None
        ids: list[Any] = _ids(messages)
        without = None in ids
        self.seen.update((each for each in ids if each is not None) if without else ids)
        if without or len(ids) != len(messages):
            self._known.pop(place, None)  # an id may be given to one, or what is no message be changed
        elif known is not None:
            known += messages
        else:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[place] = messages.copy()

    def on_chain_end(self, outputs: object, *, run_id: UUID, **kwargs: object) -> None:
        """Show the new messages that a node returned."""
        source = self.metadata.pop(run_id, None)
        if source is not None:
            for message in self._new_messages(outputs):
                self._show_once(source, message)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        """Forget a node's run."""
        self.metadata.pop(run_id, None)

    # -- showing --

    def push_message(self, message: BaseMessage, metadata: dict[str, object]) -> None:
        """Show a message that a running task wants to be seen, even if it was shown before.

        Args:
            message: The message.
            metadata: That of the task.
        """
        ns = graph_namespace(metadata)
        if self.shows(ns):
            self._show((ns, metadata), message)

    def _new_messages(self, output: object) -> Iterator[BaseMessage]:
        return _messages_in_output(output)

    def _show_once(self, source: Source, message: BaseMessage) -> None:
        if message.id not in self.seen:
            self._show(source, message)

    def _show(self, source: Source, message: BaseMessage) -> None:
        if message.id is None:
            message.id = environment.current().unique()
        self.seen.add(message.id)
        ns, metadata = source
        self.put((ns, "messages", (message, metadata)))


class StreamMessagesHandlerV2(StreamMessagesHandler, _V2StreamingCallbackHandler):
    """Shows answers as events of their content blocks: the base class makes langchain-core report these instead.

    Results of tools are no part of a conversation that is followed this way; they have a separate stream mode.
    """

    content_blocks: ClassVar[bool] = True

    def __init__(self, put: Put, subgraphs: bool, *, parent_ns: Namespace | None = None) -> None:
        super().__init__(put, subgraphs, parent_ns=parent_ns)
        self._begun: set[UUID] = set()

    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Show an event; the metadata says which run it belongs to."""
        source = self.metadata.get(run_id)
        if source is None:
            return
        if event.get("event") == "message-start":
            self._begun.add(run_id)
            if message_id := event.get("message_id"):
                self.seen.add(message_id)
        ns, metadata = source
        self.put((ns, "messages", (event, {**metadata, "run_id": str(run_id)})))

    def on_llm_new_token(self, token: object, *, chunk: object = None, run_id: UUID, **kwargs: object) -> None:
        """Show nothing: a node that streams its model itself still causes these callbacks."""

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: object) -> None:
        """Show an answer without events; one with events may get its final id only now."""
        if run_id in self._begun:
            message = _answer(response) if run_id in self.metadata else None
            if message is not None:
                message.id = message.id or environment.current().unique()
                self.seen.add(message.id)
            self._forget(run_id)
        else:
            super().on_llm_end(response, run_id=run_id, **kwargs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        """Forget a model's run."""
        self._forget(run_id)

    def _forget(self, run_id: UUID) -> None:
        self._begun.discard(run_id)
        self.metadata.pop(run_id, None)

    def _new_messages(self, output: object) -> Iterator[BaseMessage]:
        return (message for message in _messages_in_output(output) if not isinstance(message, ToolMessage))


# -- finding messages ----------------------------------------------------------


def _answer(response: LLMResult) -> BaseMessage | None:
    """Return the first answer of a model, if it is a chat model's."""
    first = response.generations[0] if response.generations else None
    generation = first[0] if first else None
    return generation.message if isinstance(generation, ChatGeneration) else None


def _messages_in_output(output: Any) -> Iterator[BaseMessage]:
    """Yield the messages that a node returned: bare, in a list, in the fields of a state, or in commands."""
    if type(output) is dict:
        yield from _messages_among(tuple(output.values()))
        return
    output = foreign_types.taken(output)
    if isinstance(output, Command):
        yield from _messages_in_update(output.update)
    elif _is_list(output) and any(isinstance(item, Command) for item in output):
        for item in output:
            yield from _messages_in_update(item.update if isinstance(item, Command) else item)
    else:
        yield from _messages_in_update(output)


def _messages_in_update(update: object) -> Iterator[BaseMessage]:
    bare = isinstance(update, BaseMessage) or _is_list(update)
    return _messages_among((update,) if bare else _parts(update))


def _messages_among(values: Iterable[Any]) -> Iterator[BaseMessage]:
    """Yield the values that are messages, and the messages in those that are lists."""
    for value in values:
        if type(value) in _PLAIN:
            continue
        if isinstance(value, BaseMessage):
            yield value
        elif _is_list(value):
            for item in value:
                if type(item) in _MESSAGES or isinstance(item, BaseMessage):
                    yield item


def _ids(values: Iterable[Any]) -> list[str | None]:
    """Return the ids of the messages among values."""
    return [item.id for item in values if type(item) in _MESSAGES or isinstance(item, BaseMessage)]


def _begins_with(messages: list[Any], known: list[Any]) -> bool:
    """Return whether a list begins with messages that are known; mostly they are the same objects."""
    try:
        return messages[: len(known)] == known
    except Exception:
        # Messages hold anything, arrays too, whose comparison raises.
        return False


def _is_list(value: object) -> bool:
    kind = type(value)
    return kind is list or (kind is not str and isinstance(value, Sequence) and not isinstance(value, (str, bytes)))


def _parts(state: object) -> Iterable[Any]:
    """Return the values of a state's fields; nothing if it is no state with fields."""
    if type(state) is dict or isinstance(state, Mapping):
        return tuple(state.values())
    if isinstance(state, BaseModel):
        return [getattr(state, name) for name in type(state).model_fields]
    if is_dataclass(state) and not isinstance(state, type):
        return [getattr(state, field.name) for field in fields(state)]
    return ()
