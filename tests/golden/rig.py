"""Runs a scenario against a scripted model server and records what a host sees.

The recording has the form of those in `traces/`: every event that reaches a handler, in order, as it was at that
moment; what the host reads from the run afterwards; every request that the server received.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import openai
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel

from stategraph import AbortSignal, GraphEvents, ModelEndHandler, Run, ToolEndHandler, create_content_aggregator
from stategraph.run.events.content import CONTENT_EVENTS
from stategraph.testing import FakeOpenAIServer, script
from stategraph.types import Command
from tests.golden import projection

Handler: TypeAlias = Callable[[Any], Awaitable[None] | None]

CONFIG = {
    "configurable": {"thread_id": "thread-1", "user_id": "user-1"},
    "streamMode": "values",
    "version": "v2",
}
"""The config of every recorded call."""


class Rig:
    """A host: one server, one set of handlers that record, one aggregator.

    Args:
        server: The scripted model server, running.
        client: Reaches it, and is closed with the loop: the one that the provider's class shares by itself is not.

    Attributes:
        aggregator: Builds content parts from the events, as a host does.
        final: What is read after the run.
    """

    def __init__(self, server: FakeOpenAIServer, client: openai.DefaultAsyncHttpxClient) -> None:
        self._server = server
        self._client = client
        self.aggregator = create_content_aggregator()
        self.final: dict[str, Any] = {}
        self._rows: list[dict[str, Any]] = []
        self._usage: list[Any] = []

    # Before the run.

    def script(self, model: str, *replies: script.Entry) -> None:
        """Say what `model` answers, request by request."""
        self._server.script(model, replies)

    def client_options(self, model: str, **more: Any) -> dict[str, Any]:
        """How to reach `model` on the server."""
        return {
            "model": model,
            "api_key": "sk-fake",
            "base_url": self._server.base_url,
            "streaming": True,
            "stream_usage": True,
            "max_retries": 0,
            "http_async_client": self._client,
            **more,
        }

    def agent(self, agent_id: str, model: str = "m", **inputs: Any) -> dict[str, Any]:
        """Inputs of an agent that answers with `model`."""
        options = self.client_options(model, **inputs.pop("clientOptions", {}))
        standard = {"agentId": agent_id, "provider": "openAI", "instructions": f"You are {agent_id}."}
        return {**standard, **inputs, "clientOptions": options}

    def handlers(
        self,
        *,
        on_execute: Handler | None = None,
        without: Sequence[str] = (),
        instead: Mapping[str, Any] | None = None,
        after: Mapping[str, Handler] | None = None,
    ) -> dict[str, Any]:
        """A handler for every event, which records it and then does what a chat backend does with it.

        Args:
            on_execute: Executes tools of the host.
            without: Events that get no handler.
            instead: Handlers that take the place of the recording ones.
            after: What else to do with an event once it is recorded.
        """
        also: dict[str, list[Any]] = {
            "on_chat_model_end": [ModelEndHandler(self._usage)],
            "on_tool_end": [ToolEndHandler(_ignore)],
        }
        more = {**(after or {}), **({"on_tool_execute": on_execute} if on_execute else {})}

        async def handle(event: str, data: Any, metadata: Mapping[str, Any] | None, graph: Any) -> None:
            self._record(event, data, metadata)
            assert graph is not None, f"{event} came without its graph"
            if event in CONTENT_EVENTS:
                self.aggregator.aggregate_content(event, data)
            for handler in also.get(event, ()):
                await _settled(handler.handle(event, data, metadata, graph))
            if event in more:
                await _settled(more[event](data))

        names = [str(event) for event in GraphEvents]
        return {name: handle for name in names if name not in without} | dict(instead or {})

    # The run.

    async def create(self, run_id: str, *agents: dict[str, Any], **config: Any) -> Any:
        """A run of one agent, or of what ``graph`` in `config` says."""
        graph = config.pop("graph", None) or {"type": "standard", "agents": list(agents)}
        return await Run.create({"runId": run_id, "graphConfig": graph, "returnContent": True, **config})

    async def process(
        self,
        run: Any,
        messages: Sequence[BaseMessage],
        *,
        key: str = "run1",
        options: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> None:
        """Run to the end, and read everything that a host can look at afterwards into ``final[key]``."""
        seen = self.final[key] = {}
        try:
            given = {"messages": list(messages)}
            self._keep(seen, returned=await run.process_stream(given, {**CONFIG, **config}, options))
        except Exception as error:
            seen["thrown"] = projection.error_facts(error)
            self.mark("thrown", seen["thrown"])
        self._keep(
            seen,
            runMessages=run.get_run_messages(),
            runSteps=run.graph.get_run_steps(),
            interrupt=run.get_interrupt(),
            halt=run.get_halt_reason(),
            calibration=run.get_calibration_ratio(),
        )
        self.mark("processStream:return", {"returned": "returned" in seen, "thrown": seen.get("thrown")})

    async def resume(self, run: Any, value: Any) -> None:
        """Go on with a paused run, and read what a host can look at into ``final["resumed"]``."""
        self.mark("resume", value)
        seen = self.final["resumed"] = {}
        try:
            self._keep(seen, returned=await run.resume(value, CONFIG))
        except Exception as error:
            seen["thrown"] = projection.error_facts(error)
        self._keep(seen, runMessages=run.graph.get_run_messages(), interrupt=run.get_interrupt())
        self.mark("resume:return", {"thrown": seen.get("thrown")})

    # What was seen.

    def keep(self, **facts: Any) -> None:
        """Note more of what the host reads afterwards."""
        self._keep(self.final, **facts)

    def keep_usage(self) -> None:
        """Note the usage that the ready-made handler collected."""
        self._keep(self.final, usage=self._usage)

    def mark(self, label: str, data: Any = None) -> None:
        """Note something that the host did, between the events."""
        self._rows.append({"event": f"#{label}", "node": None, "data": plain(data)})

    def recording(self) -> dict[str, Any]:
        """What was seen, in the form of the recordings."""
        return {
            "events": self._rows,
            "final": {**self.final, "contentParts": plain(self.aggregator.content_parts)},
            "requests": [{"path": each.path, **each.body, "tools": each.tools} for each in self._server.requests],
        }

    def _record(self, event: str, data: Any, metadata: Mapping[str, Any] | None) -> None:
        about = metadata or {}
        meta = {name: about[name] for name in projection.META if name in about}
        row = {"event": event, "node": about.get("langgraph_node"), "meta": plain(meta), "data": plain(data)}
        self._rows.append(row)

    def _keep(self, seen: dict[str, Any], **facts: Any) -> None:
        # JavaScript's `undefined` is not in a recording either.
        seen.update({name: plain(fact) for name, fact in facts.items() if fact is not None})


async def _settled(result: Any) -> None:
    if inspect.isawaitable(result):
        await result


def _ignore(*_: Any) -> None:
    """What a host would do with the artifacts of a tool."""


def plain(value: Any) -> Any:
    """A value as JSON, in the words of the recordings: a copy, so that later changes do not show."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)
        case BaseMessage():
            return _plain_message(value)
        case Command():
            return {
                "_class": "Command",
                "graph": value.graph,
                "update": plain(value.update),
                "goto": plain(value.goto),
            }
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case BaseModel():
            return plain(value.model_dump(by_alias=True, exclude_none=True))
        case BaseException():
            return projection.error_facts(value)
        case AbortSignal():
            return "<AbortSignal>"
        case _ if callable(value):
            return "<fn>"
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {_camel(name): plain(each) for name, each in fields.items() if each is not None}
    raise TypeError(
        f"an event carries a {type(value).__name__}, which is nothing that a front end can be sent: {value!r}"
    )


def _plain_message(message: BaseMessage) -> dict[str, Any]:
    fields = ("id", "name", "tool_calls", "invalid_tool_calls", "tool_call_id", "status", "artifact", "usage_metadata")
    held = {name: getattr(message, name, None) for name in (*fields, "additional_kwargs", "response_metadata")}
    kind = "ai" if isinstance(message, AIMessage) else message.type
    shown = {name: plain(each) for name, each in held.items() if each not in (None, "", [], {})}
    return {"_msg": kind, "content": plain(message.content), **shown}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)
