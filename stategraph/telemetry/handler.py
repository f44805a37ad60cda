"""The callback handler that measures graphs, agents, nodes, models, tools and retrievers.

- What runs in what is LangChain's to say (`parent_run_id`). Inside of an operation the current span goes before it: it
  may be one that the program has made there.
- The function of a node runs in a context of its own, in which the span of its node, or of the graph around, is the
  current one. The span of a model or a tool becomes the current one where it is called.
- What goes on inside of something that fails or is stopped, or that is the outermost, ends with it: nobody may say so.
- A graph is an agent if it has the node `agent=<its name>`, as those of `stategraph.agent`, or if LangChain's
  `create_agent` has made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.outputs import LLMResult
from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from stategraph.agent.graphs import done
from stategraph.constants import TAG_HIDDEN
from stategraph.engine.tracing.graph_runs import GraphRun, GraphRunHandler, GraphSave
from stategraph.telemetry import content, mcp_calls, model_calls, names
from stategraph.telemetry.mcp_calls import TOOL_ERROR
from stategraph.telemetry.recorder import Measured, Recorder, enclosing, is_within

_GRAPHS: Final = frozenset({"langgraph", "langchain_create_agent"})
"""Values of `ls_integration` in the metadata of runs that are graphs."""
_UNNAMED: Final = "LangGraph"
_STEP_TAG: Final = "graph:step:"


@dataclass(slots=True, eq=False)
class _Run:
    """A run of LangChain.

    Attributes:
        measured: What measures it, or what is around it.
        is_own: Whether it has a span of its own.
        around: The run that it is in; None: the handler knows of none. If that ends first, it is the one around that.
        inside: Runs in it that go on.
    """

    measured: Measured
    is_own: bool
    around: UUID | None
    inside: dict[UUID, None]


class TelemetryHandler(GraphRunHandler):
    """Measures what it hears of.

    Args:
        recorder: Makes the spans.
        root: The operation that a graph without a run around it is the whole of; None: there is none.
        agents: Names of agents by their ids.
        conversation: The conversation, of a handler that has a root; without one, it is the thread that LangChain's
            metadata names.
    """

    def __init__(
        self,
        recorder: Recorder,
        root: Measured | None = None,
        agents: Mapping[str, str] | None = None,
        conversation: str | None = None,
    ) -> None:
        self._recorder = recorder
        self._root = root
        self._agents = agents or {}
        self._named = conversation
        self._runs: dict[UUID, _Run] = {}
        self._graphs: dict[UUID, GraphRun] = {}
        self._of_servers: set[UUID] = set()  # calls of tools of MCP servers

    # Graphs and nodes.

    def on_graph_start(self, run: GraphRun) -> None:
        """Note that a run will be a graph."""
        self._graphs[run.run_id] = run

    def on_graph_save(self, save: GraphSave) -> None:
        """Record how long a saver took."""
        self._recorder.saved(save.operation, save.duration_s, save.error)

    def enter(self, run_id: UUID) -> None:
        """Make the span of a run, or that around it, the current one."""
        run = self._runs.get(run_id)
        if run is not None and not is_within(contexts.get_current(), run.measured):
            contexts.attach(run.measured.context)

    def on_chain_start(
        self,
        serialized: Mapping[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Begin to measure a graph or a node; other chains belong to what is around them."""
        around, graph, about = self._runs.get(parent_run_id or run_id), self._graphs.pop(run_id, None), metadata or {}
        if graph is None and around is None and about.get("ls_integration") in _GRAPHS:
            graph = GraphRun(run_id, name or _UNNAMED, ())  # of another engine
        whole = self._root if around is None else self._shelled(graph, parent_run_id)
        if graph is not None and whole is not None:
            self._keep(run_id, parent_run_id, whole, is_own=False)
        elif graph is not None:
            self._keep(run_id, parent_run_id, self._graph(graph, inputs, parent_run_id, about), is_own=True)
        elif around is not None:
            measured = self._node(name, tags or (), parent_run_id)
            self._keep(run_id, parent_run_id, measured or around.measured, is_own=measured is not None)

    def _shelled(self, graph: GraphRun | None, parent_run_id: UUID | None) -> Measured | None:
        """Return what is around a graph that only prepares and ends an agent, as of a subagent; None for others."""
        is_shell = graph is not None and graph.name in graph.nodes and done.NODE in graph.nodes
        return enclosing(self._around(parent_run_id)) if is_shell else None

    def _node(self, name: str | None, tags: Sequence[str], parent_run_id: UUID | None) -> Measured | None:
        """Begin to measure a node; None if a chain is none, or nodes have no spans."""
        step = next((tag for tag in tags if tag.startswith(_STEP_TAG)), None)
        if step is None or not self._recorder.nodes or TAG_HIDDEN in tags:
            return None
        attributes = {names.NODE: name, names.STEP: int(step.removeprefix(_STEP_TAG))}
        return self._recorder.begin(None, name, self._around(parent_run_id), attributes)

    def _graph(self, graph: GraphRun, inputs: Any, parent_run_id: UUID | None, about: Mapping[str, Any]) -> Measured:
        """Begin to measure a graph, or the agent that it is."""
        called = graph.name if graph.name != _UNNAMED else about.get("langgraph_node")
        attributes: dict[str, Any] = {names.CONVERSATION: self._conversation(about)}
        around = self._around(parent_run_id)
        if self._recorder.content:
            attributes[names.INPUT_MESSAGES] = content.messages_in(inputs)
        if f"agent={graph.name}" in graph.nodes:
            called = self._agents.get(graph.name, graph.name)
            attributes |= {names.AGENT_ID: graph.name, names.AGENT_NAME: called}
            return self._recorder.begin("invoke_agent", called, around, attributes)
        if about.get("lc_agent_name") == graph.name or (
            about.get("ls_integration") == "langchain_create_agent" and "lc_agent_name" not in about
        ):
            attributes[names.AGENT_NAME] = called
            return self._recorder.begin("invoke_agent", called, around, attributes)
        attributes[names.WORKFLOW] = called
        return self._recorder.begin("invoke_workflow", called, around, attributes)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """End a graph or a node."""
        run = self._runs.get(run_id)
        attributes = {}
        if run is not None and run.is_own and run.measured.operation is not None and self._recorder.content:
            attributes[names.OUTPUT_MESSAGES] = content.answer_in(outputs)
        self._end(run_id, None, attributes)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End a graph or a node that raised something."""
        self._end(run_id, error)

    # Models.

    def on_chat_model_start(
        self,
        serialized: Mapping[str, Any] | None,
        messages: Sequence[Sequence[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        invocation_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Begin to measure a call of a chat model."""
        asked = model_calls.request(metadata, invocation_params, self._conversation(metadata))
        if self._recorder.content:
            asked.attributes[names.INPUT_MESSAGES] = content.messages(messages[0]) if messages else None
            if tools := (invocation_params or {}).get("tools"):
                asked.attributes[names.TOOL_DEFINITIONS] = content.data(tools)
        around = self._around(parent_run_id)
        measured = self._recorder.begin("chat", asked.model, around, asked.attributes, SpanKind.CLIENT)
        self._run(run_id, parent_run_id, measured)

    def on_llm_start(
        self,
        serialized: Mapping[str, Any] | None,
        prompts: Sequence[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        invocation_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Begin to measure a call of a model that completes texts."""
        asked = model_calls.request(metadata, invocation_params, self._conversation(metadata))
        around = self._around(parent_run_id)
        measured = self._recorder.begin("text_completion", asked.model, around, asked.attributes, SpanKind.CLIENT)
        self._run(run_id, parent_run_id, measured)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note when the first piece of an answer came."""
        run = self._runs.get(run_id)
        if run is not None:
            run.measured.note_chunk()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """End a call of a model."""
        if run_id in self._runs:
            self._end(run_id, None, model_calls.response(response, with_content=self._recorder.content))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End a call of a model that failed."""
        self._end(run_id, error)

    # Tools and retrievers.

    def on_tool_start(
        self,
        serialized: Mapping[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        tool_call_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Begin to measure a tool."""
        about = serialized or {}
        name = about.get("name") or kwargs.get("name")
        measured = begin_tool(
            self._recorder,
            name=str(name),
            call_id=tool_call_id,
            description=about.get("description"),
            arguments=input_str if inputs is None else inputs,
            around=self._around(parent_run_id),
            more=(of_server := mcp_calls.attributes(metadata)),
        )
        if of_server:
            self._of_servers.add(run_id)
        self._run(run_id, parent_run_id, measured)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """End a tool."""
        failed = isinstance(output, ToolMessage) and output.status == "error"
        attributes = {names.TOOL_RESULT: content.data(output)} if self._recorder.content else {}
        self._of_servers.discard(run_id)
        self._end(run_id, None, attributes, TOOL_ERROR if failed else None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End a tool that failed."""
        if run_id not in self._of_servers:
            self._end(run_id, error)
            return
        self._of_servers.discard(run_id)
        self._end(run_id, error, *mcp_calls.failure(error))

    def on_retriever_start(
        self,
        serialized: Mapping[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Begin to measure a retriever."""
        attributes = {names.QUERY: query if self._recorder.content else None}
        measured = self._recorder.begin("retrieval", None, self._around(parent_run_id), attributes, SpanKind.CLIENT)
        self._run(run_id, parent_run_id, measured)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """End a retriever."""
        self._end(run_id, None)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End a retriever that failed."""
        self._end(run_id, error)

    # What all have in common.

    def _conversation(self, metadata: Mapping[str, Any] | None) -> str | None:
        if self._root is not None:
            return self._named
        thread_id = (metadata or {}).get("thread_id")
        return None if thread_id is None else str(thread_id)

    def _around(self, parent_run_id: UUID | None) -> Context:
        """Return the context for what is called in a run of LangChain, here."""
        here = contexts.get_current()
        run = None if parent_run_id is None else self._runs.get(parent_run_id)
        if run is None or is_within(here, run.measured):
            return here
        return run.measured.context

    def _run(self, run_id: UUID, parent_run_id: UUID | None, measured: Measured) -> None:
        """Keep what measures a run, and make its span the current one if it is part of something that ends."""
        self._keep(run_id, parent_run_id, measured, is_own=True)
        if parent_run_id is not None:
            contexts.attach(measured.context)

    def _keep(self, run_id: UUID, parent_run_id: UUID | None, measured: Measured, *, is_own: bool) -> None:
        """Keep what measures a run."""
        parent = None if parent_run_id is None else self._runs.get(parent_run_id)
        self._runs[run_id] = _Run(measured, is_own, None if parent is None else parent_run_id, {})
        if parent is not None:
            parent.inside[run_id] = None

    def _end(
        self,
        run_id: UUID,
        error: BaseException | None,
        attributes: Mapping[str, Any] | None = None,
        error_type: str | None = None,
    ) -> None:
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        around = None if run.around is None else self._runs.get(run.around)
        if around is not None:
            around.inside.pop(run_id, None)
        if error is None and around is not None:
            # Something that a node has begun may go on after it.
            for each in list(run.inside):
                if (begun := self._runs.get(each)) is not None:
                    begun.around = run.around
                    around.inside[each] = None
        else:
            self._stopped(run.inside)
        if run.is_own:
            self._recorder.end(run.measured, error, attributes, error_type)

    def _stopped(self, inside: Mapping[UUID, None]) -> None:
        """End what was stopped with what is around it: langchain-core tells of no cancellation of a model or a tool."""
        for run_id in list(inside):
            self._of_servers.discard(run_id)
            self._end(run_id, asyncio.CancelledError())


def begin_tool(
    recorder: Recorder,
    *,
    name: str,
    call_id: str | None,
    arguments: object,
    around: Context,
    description: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> Measured:
    """Begin to measure a tool.

    Args:
        recorder: Makes the span.
        name: The tool.
        call_id: The id of the model's call; None: a model did not call it.
        arguments: What it is given.
        around: The context around it.
        description: What the model is told of the tool; None: not known.
        more: More attributes of the span.
    """
    attributes = {
        **(more or {}),
        names.TOOL_NAME: name,
        names.TOOL_TYPE: "function",
        names.TOOL_CALL_ID: call_id,
        names.TOOL_DESCRIPTION: description,
        names.TOOL_ARGUMENTS: content.data(arguments) if recorder.content else None,
    }
    return recorder.begin("execute_tool", name, around, attributes)
