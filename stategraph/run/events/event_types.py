"""The events of a run: their names on the wire, what they carry, and how simple facts become events.

Payloads are JSON in the spelling of the front ends that read them, so their keys are camelCase. Steps are the frame of
it all: `on_run_step` opens one, deltas and completions name it by id, and `on_run_step_closed` comes exactly once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Literal, NotRequired, TypeAlias, TypedDict, assert_never

from stategraph.agent import facts, reporting


class GraphEvents(StrEnum):
    """The events that a host can handle, by their names on the wire."""

    ON_RUN_STEP = "on_run_step"
    ON_RUN_STEP_DELTA = "on_run_step_delta"
    ON_RUN_STEP_COMPLETED = "on_run_step_completed"
    ON_RUN_STEP_CLOSED = "on_run_step_closed"
    ON_MESSAGE_DELTA = "on_message_delta"
    ON_REASONING_DELTA = "on_reasoning_delta"
    ON_TOOL_EXECUTE = "on_tool_execute"
    ON_TOOL_PROGRESS = "on_tool_progress"
    ON_TOOL_LOG = "on_tool_log"
    ON_SUMMARIZE_START = "on_summarize_start"
    ON_SUMMARIZE_DELTA = "on_summarize_delta"
    ON_SUMMARIZE_COMPLETE = "on_summarize_complete"
    ON_SUBAGENT_UPDATE = "on_subagent_update"
    ON_AGENT_LOG = "on_agent_log"
    ON_CONTEXT_USAGE = "on_context_usage"
    ON_GUARDRAIL = "on_guardrail"
    ON_AGENT_UPDATE = "on_agent_update"
    ON_OUTPUT_DELTA = "on_output_delta"
    ON_OUTPUT_REFUSED = "on_output_refused"
    ON_OUTPUT = "on_output"
    ON_CUSTOM_EVENT = "on_custom_event"
    ON_STATE_UPDATE = "on_state_update"
    ON_GAP = "on_gap"
    ON_RUN_END = "on_run_end"
    CHAT_MODEL_START = "on_chat_model_start"
    CHAT_MODEL_STREAM = "on_chat_model_stream"
    CHAT_MODEL_END = "on_chat_model_end"
    LLM_START = "on_llm_start"
    LLM_STREAM = "on_llm_stream"
    LLM_END = "on_llm_end"
    CHAIN_START = "on_chain_start"
    CHAIN_STREAM = "on_chain_stream"
    CHAIN_END = "on_chain_end"
    TOOL_START = "on_tool_start"
    TOOL_END = "on_tool_end"
    RETRIEVER_START = "on_retriever_start"
    RETRIEVER_END = "on_retriever_end"
    PROMPT_START = "on_prompt_start"
    PROMPT_END = "on_prompt_end"


#: The events that front ends show. The others carry prompts, whole messages or ways to answer, which are the host's.
FRONT_END_EVENTS = frozenset(
    {
        GraphEvents.ON_RUN_STEP,
        GraphEvents.ON_RUN_STEP_DELTA,
        GraphEvents.ON_RUN_STEP_COMPLETED,
        GraphEvents.ON_RUN_STEP_CLOSED,
        GraphEvents.ON_MESSAGE_DELTA,
        GraphEvents.ON_REASONING_DELTA,
        GraphEvents.ON_TOOL_PROGRESS,
        GraphEvents.ON_SUMMARIZE_START,
        GraphEvents.ON_SUMMARIZE_DELTA,
        GraphEvents.ON_SUMMARIZE_COMPLETE,
        GraphEvents.ON_SUBAGENT_UPDATE,
        GraphEvents.ON_CONTEXT_USAGE,
        GraphEvents.ON_AGENT_UPDATE,
        GraphEvents.ON_OUTPUT_DELTA,
        GraphEvents.ON_OUTPUT_REFUSED,
        GraphEvents.ON_OUTPUT,
        GraphEvents.ON_CUSTOM_EVENT,
        GraphEvents.ON_GAP,
        GraphEvents.ON_RUN_END,
    }
)


class ContentTypes(StrEnum):
    """The kinds of content parts."""

    TEXT = "text"
    ERROR = "error"
    THINK = "think"
    TOOL_CALL = "tool_call"
    IMAGE_URL = "image_url"
    IMAGE_FILE = "image_file"
    THINKING = "thinking"
    REASONING = "reasoning"
    AGENT_UPDATE = "agent_update"
    SUMMARY = "summary"
    REASONING_CONTENT = "reasoning_content"
    STEER = "steer"
    ACTIVITY_LABEL = "activity_label"
    OUTPUT = "output"


class StepTypes(StrEnum):
    """The kinds of steps: a message that is being written, or tool calls."""

    TOOL_CALLS = "tool_calls"
    MESSAGE_CREATION = "message_creation"


class MessageCreation(TypedDict):
    """The message that a step writes."""

    message_id: str
    content_type: NotRequired[Literal["text", "think"]]
    phase: NotRequired[Literal["commentary", "final_answer"]]


class StepToolCall(TypedDict):
    """A tool call as a step declares it: its arguments may still be on their way."""

    id: str
    name: str
    args: dict[str, object] | str
    type: NotRequired[Literal["tool_call"]]


class MessageCreationDetails(TypedDict):
    """Details of a message step."""

    type: Literal["message_creation"]
    message_creation: MessageCreation


class ToolCallsDetails(TypedDict):
    """Details of a tool step."""

    type: Literal["tool_calls"]
    tool_calls: list[StepToolCall]


class SummaryBoundary(TypedDict):
    """The position of a summary: everything before it is summarised."""

    messageId: str
    contentIndex: int


class SummaryCoverage(TypedDict):
    """The messages that a summary does not cover."""

    retainedFromMessageId: NotRequired[str]


class TextBlock(TypedDict):
    """A piece of text."""

    type: Literal["text"]
    text: str


class Summary(TypedDict):
    """A summary, or a piece of one: the boundary comes with the whole."""

    type: Literal["summary"]
    content: NotRequired[list[TextBlock]]
    tokenCount: NotRequired[int]
    coverage: NotRequired[SummaryCoverage]
    boundary: NotRequired[SummaryBoundary]
    summaryVersion: NotRequired[int]
    model: NotRequired[str]
    provider: NotRequired[str]
    createdAt: NotRequired[str]


class RunStep(TypedDict):
    """`on_run_step`. `index` is the position among the content parts, `stepIndex` that within one model call."""

    id: str
    type: Literal["message_creation", "tool_calls"]
    index: int
    stepDetails: MessageCreationDetails | ToolCallsDetails
    usage: None
    stepIndex: NotRequired[int]
    status: NotRequired[Literal["in_progress", "completed", "cancelled", "failed"]]
    runId: NotRequired[str]
    created_at: NotRequired[int]
    completed_at: NotRequired[int]
    cancelled_at: NotRequired[int]
    failed_at: NotRequired[int]
    agentId: NotRequired[str]
    groupId: NotRequired[int]
    summary: NotRequired[Summary]


class ToolCallFragment(TypedDict):
    """A fragment of a tool call: the first one has name and id, later ones arguments and index alone."""

    args: str
    index: NotRequired[int]
    name: NotRequired[str]
    id: NotRequired[str]
    type: NotRequired[Literal["tool_call_chunk"]]


class ToolCallsDelta(TypedDict):
    """Fragments, and where to sign in if a tool asks for it."""

    type: Literal["tool_calls"]
    tool_calls: list[ToolCallFragment]
    auth: NotRequired[str]
    expires_at: NotRequired[int]


class RunStepDelta(TypedDict):
    """`on_run_step_delta`."""

    id: str
    delta: ToolCallsDelta


class ContentDelta(TypedDict):
    """Pieces of content to append."""

    content: list[dict[str, object]]
    tool_call_ids: NotRequired[list[str]]


class MessageDelta(TypedDict):
    """`on_message_delta` and `on_reasoning_delta`."""

    id: str
    delta: ContentDelta


class CompletedToolCall(TypedDict):
    """A tool call with its result; `args` is JSON text."""

    id: str
    name: str
    args: str
    output: str
    progress: Literal[1]
    outcome: NotRequired[str]


class ToolCallResult(TypedDict):
    """The result of a tool step. Correlate by `id` (the step) and `tool_call.id`."""

    id: str
    index: int
    type: Literal["tool_call"]
    tool_call: CompletedToolCall
    completed_at: NotRequired[int]


class SummaryResult(TypedDict):
    """The result of a summary step."""

    id: str
    index: int
    type: Literal["summary"]
    summary: Summary
    completed_at: NotRequired[int]


class RunStepCompleted(TypedDict):
    """`on_run_step_completed`."""

    result: ToolCallResult | SummaryResult


class RunStepClosed(TypedDict):
    """`on_run_step_closed`: exactly one per step."""

    id: str
    index: int
    type: Literal["message_creation", "tool_calls"]
    status: Literal["completed", "cancelled", "failed"]
    closed_at: int
    created_at: NotRequired[int]
    runId: NotRequired[str]
    agentId: NotRequired[str]
    groupId: NotRequired[int]
    stepIndex: NotRequired[int]


class OutputDelta(TypedDict):
    """`on_output_delta`: as much of an output as has come, not validated; `type` is None until it is known."""

    agentId: str
    type: str | None
    value: object


class OutputRefused(TypedDict):
    """`on_output_refused`: an answer is no valid output, and the model is told what is wrong with it."""

    agentId: str
    problems: list[str]


class Output(TypedDict):
    """`on_output`: the output of an agent as JSON, its type, and its step; `messageId` is the answer that gave it."""

    id: str
    index: int
    agentId: str
    type: str
    value: object
    messageId: str | None


class CustomEvent(TypedDict):
    """`on_custom_event`: data that a node of the host's graph wrote.

    `namespace` has the nested graphs around the node, outermost first, as a graph's own stream does; `name` is that of
    an event dispatched in LangChain's way.
    """

    data: object
    namespace: list[str]
    name: NotRequired[str]


class StateUpdate(TypedDict):
    """`on_state_update`: what a node of the host's graph returned; `namespace` as in `on_custom_event`."""

    node: str
    update: object
    namespace: list[str]


class RunError(TypedDict):
    """The error that ended a run: the name of its class, and, of an abort, the reason."""

    type: str
    message: NotRequired[str]


class WaitingFor(TypedDict):
    """A question of a paused run, with the id by which it is answered."""

    interruptId: str
    payload: object


class UsageFigures(TypedDict):
    """Usage of a run so far, over all of its executions; of the details, those that are not zero."""

    modelCalls: int
    toolCalls: int
    inputTokens: int
    outputTokens: int
    totalTokens: int
    cachedTokens: NotRequired[int]
    cacheWriteTokens: NotRequired[int]
    reasoningTokens: NotRequired[int]
    unreportedCalls: NotRequired[int]


class RunEnd(TypedDict):
    """`on_run_end`, the last event of every execution; a paused run has `interrupted`, and says what it waits for.

    `reason` names the limit that ended the turn, such as `model_calls_limit`; `usage` is there once a call was made.
    """

    status: Literal["completed", "cancelled", "failed", "interrupted"]
    reason: NotRequired[str]
    usage: NotRequired[UsageFigures]
    error: NotRequired[RunError]
    interrupts: NotRequired[list[WaitingFor]]


class Gap(TypedDict):
    """`on_gap`: the events after one number and up to another are no longer kept; from 0, none was lost here."""

    afterSeq: int
    lostTo: int


class ToolReport(TypedDict):
    """A report of a running tool: its step, if it is known, and its call."""

    id: str
    toolCallId: str | None
    name: str


class ToolProgress(ToolReport):
    """`on_tool_progress`: how much is done and of how much, in units of the tool's own."""

    progress: float
    total: float | None
    message: str | None


class ToolLog(ToolReport):
    """`on_tool_log`: a line of the tool's log."""

    level: str
    logger: str | None
    data: object


class AgentLog(TypedDict):
    """`on_agent_log`."""

    level: Literal["debug", "info", "warn", "error"]
    scope: str
    message: str
    runId: str
    agentId: str
    data: NotRequired[dict[str, object]]


SubagentPhase: TypeAlias = Literal[
    "start",
    "run_step",
    "run_step_delta",
    "run_step_completed",
    "run_step_closed",
    "message_delta",
    "reasoning_delta",
    "stop",
    "error",
]


class SubagentUpdate(TypedDict):
    """`on_subagent_update`. `data` is the payload of the event that the phase names, without its `on_`."""

    runId: str
    parentRunId: str
    subagentRunId: str
    parentToolCallId: str
    subagentType: str
    subagentKind: Literal["agent"]
    subagentAgentId: str
    memberAgentId: str
    depth: int
    ancestry: list[dict[str, object]]
    parentAgentId: str
    phase: SubagentPhase
    timestamp: str
    data: NotRequired[object]
    label: NotRequired[str]


class GuardrailResult(TypedDict):
    """`on_guardrail`: the judgement of one hook of BeforeModel or AfterModel (`hook`), by the hook's name."""

    runId: str
    agentId: str
    hook: str
    name: str
    outcome: Literal["allowed", "changed", "denied", "ended", "failed"]
    reason: NotRequired[str]
    details: NotRequired[dict[str, object]]


Payload: TypeAlias = Mapping[str, object]
"""The data of an event: one of the typed dicts here, or data of a host's tool or model."""

Row: TypeAlias = tuple[GraphEvents, Payload]
"""An event and its payload."""


def shown(fact: facts.ShownFact, run_id: str, step_id: Callable[[facts.Place, str | None], str]) -> Iterator[Row]:
    """Yield the event for a fact that is shown as it is.

    Args:
        fact: The fact.
        run_id: The run.
        step_id: Finds the step of a call; empty if it is not known.
    """
    match fact:
        case facts.ToolReported(at, call, report):
            yield _of_tool(report, ToolReport(id=step_id(at, call["id"]), toolCallId=call["id"], name=call["name"]))
        case facts.ContextUsed(at, figures):
            yield GraphEvents.ON_CONTEXT_USAGE, {**figures, "runId": run_id, "agentId": at.agent_id}
        case facts.Judged(at, point, judgement):
            about = {"runId": run_id, "agentId": at.agent_id, "hook": point}
            yield GraphEvents.ON_GUARDRAIL, {**about, **judgement}
        case facts.Logged(at, level, scope, text):
            if fact.detail and level == "debug" and os.environ.get("AGENT_DEBUG_LOGGING") != "true":
                return
            log = AgentLog(level=level, scope=scope, message=text, runId=run_id, agentId=at.agent_id)
            if fact.data is not None:
                log["data"] = dict(fact.data)
            yield GraphEvents.ON_AGENT_LOG, log
        case _:
            assert_never(fact)


def _of_tool(report: reporting.ToolReport, about: ToolReport) -> Row:
    match report:
        case reporting.ToolProgress(progress, total, message):
            return GraphEvents.ON_TOOL_PROGRESS, ToolProgress(**about, progress=progress, total=total, message=message)
        case reporting.ToolLog(level, data, logger):
            return GraphEvents.ON_TOOL_LOG, ToolLog(**about, level=level, logger=logger, data=data)
        case _:
            assert_never(report)
