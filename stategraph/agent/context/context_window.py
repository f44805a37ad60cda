"""An agent's window on a conversation: what its model is sent, and what that costs.

- Tokens are counted if there is a counter and the size of the context is known. Otherwise all is sent.
- A summary is sent before what it does not cover; the initial one, of a time before the conversation, with the
  instructions.
- Nothing is told or asked here, and no state is written: a node does that with what it finds in a `Prompt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata

from stategraph.agent.context import calibration, overflow, tokens, trimming
from stategraph.agent.context.calibration import Calibration
from stategraph.agent.context.context_state import ContextState, Correction, uncovered
from stategraph.agent.context.handoff import Outlook
from stategraph.agent.context.tokens import ToolTokens
from stategraph.agent.context.trimming import LogRow, TokenCounter, Trimmed, TrimSettings, TrimState
from stategraph.agent.messages import truncation
from stategraph.agent.ports import AgentContext
from stategraph.errors import EmptyContextError

#: Reported usage of tools' descriptions replaces the count where they differ by more than this part.
_WORTH_CORRECTING = 0.15
#: Instructions consist of tools for the most part from this part on.
_MOSTLY_TOOLS = 0.5

_RESUME = (
    "This summary stands for the earlier part of our conversation. You wrote it when there was no room for the "
    "messages. Go on from where it ends: do not repeat what is done, and speak neither of the summary nor of this note."
)


@dataclass(frozen=True, slots=True)
class Fitting:
    """Settings that keep an agent's context within its size.

    Attributes:
        settings: Settings for every call.
        shown: The tools as the model is shown them.
        provider: The provider's name, by which tools are counted.
        model: The model's name.
        schema_tokens: Tokens of the tools' descriptions as the host counted them; None: counted here.
        initial_summary_tokens: Tokens of the summary that is part of the instructions.
    """

    settings: TrimSettings
    shown: tuple[Any, ...] = ()
    provider: str = ""
    model: str = ""
    schema_tokens: int | None = None
    initial_summary_tokens: int = 0

    def size(self, context_state: ContextState) -> int:
        """Return the size of the context: the host's figure, or the provider's where a refusal corrected it."""
        return _as_known(self.settings.max_context_tokens, context_state.size)


@dataclass(frozen=True, slots=True)
class Instructions:
    """Tokens that are sent in addition to the messages.

    Attributes:
        system: Of the system message.
        tools: Of the tools' descriptions.
        summary: Of a summary that is sent as a message.
        by_tool: Those of the tools by name; None if only their sum is known.
    """

    system: int
    tools: int
    summary: int
    by_tool: Mapping[str, int] | None

    @property
    def total(self) -> int:
        """All of them."""
        return self.system + self.tools + self.summary


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt for a call of a model.

    Attributes:
        system: The instructions.
        summary: The message that stands for what came before.
        history: The messages of the conversation that are sent.
        messages: The conversation that they are chosen from.
        added: Messages of it that the state does not have yet.
        context_state: The context state after the choice; unchanged if tokens are not counted.
        trimmed: The choice; None if tokens are not counted.
        instructions: Tokens in addition to the messages, as they were known for the choice.
        corrected: The same as known after it.
        settings: The settings of the choice.
        said: How large the context is as the host says.
    """

    system: SystemMessage | None
    summary: HumanMessage | None
    history: Sequence[AnyMessage]
    messages: Sequence[AnyMessage]
    added: Sequence[AnyMessage]
    context_state: ContextState
    trimmed: Trimmed | None = None
    instructions: Instructions = field(default=Instructions(0, 0, 0, None))
    corrected: Instructions = field(default=Instructions(0, 0, 0, None))
    settings: TrimSettings | None = None
    said: int = 0

    @property
    def whole(self) -> list[AnyMessage]:
        """All that is sent."""
        before: list[AnyMessage] = [each for each in (self.system, self.summary) if each is not None]
        return [*before, *self.history]

    @property
    def log(self) -> Sequence[LogRow]:
        """Decisions of trimming, in order."""
        return self.trimmed.log if self.trimmed is not None else ()

    @property
    def empty(self) -> bool:
        """True if no message is left that a model could answer."""
        if self.trimmed is None or not self.messages:
            return False
        return all(isinstance(message, SystemMessage) for message in self.history)

    @property
    def tokens(self) -> int | None:
        """Tokens of all that is sent, as counted; None if they are not."""
        if self.trimmed is None:
            return None
        return max(0, self.trimmed.budget - self.trimmed.remaining_tokens)

    def refused_by(self, error: Exception) -> bool:
        """Return whether an error means that the prompt is too long, and it can be shortened."""
        return rejected(self, error) is not None


class Window:
    """Chooses what an agent's model is sent.

    Args:
        fitting: How the context is kept within its size; None: its size is not known.
    """

    def __init__(self, fitting: Fitting | None) -> None:
        self._fitting = fitting
        self._schemas: tuple[TokenCounter, ToolTokens] | None = None
        self._system: tuple[TokenCounter, object, int] | None = None

    def prompt(
        self,
        seen: Outlook,
        context_state: ContextState,
        context: AgentContext,
        agent_id: str,
        *,
        summarise: bool | None = None,
    ) -> Prompt:
        """Choose what to send.

        Args:
            seen: The conversation as the agent sees it.
            context_state: The context state of the last call.
            context: Whose counter and counts to use.
            agent_id: The agent.
            summarise: Whether messages that do not fit can be summarised; None: as the agent is set up.

        Returns:
            The prompt.
        """
        summary = None if context_state.summary is None else summary_message(context_state.summary.text)
        system, messages = seen.system, uncovered(seen.messages, context_state.summary)
        fitting, counter = self._fitting, context.token_counter
        if fitting is None or counter is None:
            return Prompt(system, summary, messages, messages, seen.added, context_state)
        settings = replace(fitting.settings, max_context_tokens=fitting.size(context_state))
        if summarise is not None:
            settings = replace(settings, summarise=summarise)
        instructions = self._instructions(fitting, counter, system, context_state)
        trimmed = trimming.trim(
            messages,
            settings,
            _trim_state(messages, context_state, context, agent_id),
            counter,
            instruction_tokens=instructions.total,
            usage=_usage(context_state.reported),
        )
        after = _after(messages, trimmed.state, context_state)
        if trimmed.state.calibration.deviation < context_state.calibration.deviation:
            counted = self._schema(fitting, counter).total
            after = replace(
                after, tools=_tools(counted, instructions, trimmed.state.calibration) or context_state.tools
            )
        corrected = self._instructions(fitting, counter, system, after)
        said = fitting.settings.max_context_tokens
        return Prompt(
            system,
            summary,
            trimmed.context,
            messages,
            seen.added,
            after,
            trimmed,
            instructions,
            corrected,
            settings,
            said,
        )

    def _instructions(
        self, fitting: Fitting, counter: TokenCounter, system: SystemMessage | None, context_state: ContextState
    ) -> Instructions:
        known = self._schema(fitting, counter)
        total, by_tool = _as_known(known.total, context_state.tools), known.by_name
        if total != known.total and known.total:
            by_tool = tokens.shared_out(total, by_tool, total / known.total)
        return Instructions(
            system=0 if system is None else self._of_system(system, counter),
            tools=total,
            summary=0 if context_state.summary is None else context_state.summary.tokens,
            by_tool=by_tool if by_tool or not fitting.shown else None,
        )

    def _of_system(self, system: SystemMessage, counter: TokenCounter) -> int:
        """Count the tokens of the instructions, once per text: they may be long, and hardly ever change."""
        known = self._system
        if known is None or known[0] is not counter or known[1] != system.content:
            known = self._system = (counter, system.content, counter(system))
        return known[2]

    def _schema(self, fitting: Fitting, counter: TokenCounter) -> ToolTokens:
        """Count the tokens of the tools' descriptions, once per counter."""
        if fitting.schema_tokens is not None:
            return ToolTokens(fitting.schema_tokens, {})
        known = self._schemas
        if known is None or known[0] is not counter:
            counted = tokens.tool_schema_tokens(fitting.shown, counter, fitting.provider, fitting.model)
            known = self._schemas = (counter, counted)
        return known[1]

    def figures(self, prompt: Prompt, counter: TokenCounter) -> dict[str, Any]:
        """Return the figures of the context's usage, by their names in JSON."""
        trimmed, settings, fitting = prompt.trimmed, prompt.settings, self._fitting
        assert trimmed is not None and settings is not None and fitting is not None
        used = trimmed.instruction_tokens
        message_tokens = max(0, trimmed.budget - used - trimmed.remaining_tokens)
        ratio = prompt.context_state.calibration.ratio
        breakdown: dict[str, Any] = {
            "maxContextTokens": settings.max_context_tokens,
            "instructionTokens": used,
            "systemMessageTokens": prompt.instructions.system,
            "dynamicInstructionTokens": 0,
            "toolSchemaTokens": prompt.corrected.tools,
            "summaryTokens": prompt.instructions.summary or fitting.initial_summary_tokens,
            "toolCount": len(fitting.shown),
            "messageCount": len(prompt.history),
            "messageTokens": message_tokens,
            "availableForMessages": max(0, trimmed.budget - used),
        }
        if prompt.corrected.by_tool is not None:
            breakdown["toolTokenCounts"] = dict(prompt.corrected.by_tool)
        breakdown |= _tool_share(prompt, counter, ratio, message_tokens)
        return {
            "breakdown": breakdown,
            "contextBudget": trimmed.budget,
            "effectiveInstructionTokens": used,
            "prePruneContextTokens": trimmed.context_tokens,
            "remainingContextTokens": trimmed.remaining_tokens,
            "calibrationRatio": ratio,
        }

    def check(self, prompt: Prompt) -> None:
        """Let only prompts pass that a model could answer.

        Raises:
            EmptyContextError: Nothing of the conversation fits.
        """
        if prompt.empty:
            raise self.refusal(prompt)[0]

    def refusal(self, prompt: Prompt) -> tuple[EmptyContextError, LogRow]:
        """Return the error for an empty prompt, and its row of the log."""
        trimmed, settings, fitting = prompt.trimmed, prompt.settings, self._fitting
        assert trimmed is not None and settings is not None and fitting is not None
        size, given = settings.max_context_tokens, prompt.corrected
        too_much = given.total > size
        if not too_much:
            advice = "Please increase the context window size or make your message shorter."
        elif given.tools > given.total * _MOSTLY_TOOLS:
            advice = (
                f"Tool definitions ({given.tools} tokens, {len(fitting.shown)} tools) exceed maxContextTokens ({size})."
                " Reduce the number of tools or increase maxContextTokens."
            )
        else:
            advice = (
                f"Instructions ({given.total} tokens) exceed maxContextTokens ({size})."
                " Increase maxContextTokens or shorten the system prompt."
            )
        count = len(prompt.messages)
        breakdown = (
            "Token budget breakdown:\n"
            f"  maxContextTokens:    {size}\n"
            f"  instructionTokens:   {given.total} (system: {given.system}, dynamic: 0,"
            f" tools: {given.tools} [{len(fitting.shown)} tools])\n"
            f"  summaryTokens:       {given.summary or fitting.initial_summary_tokens}\n"
            f"  messageTokens:       {trimmed.context_tokens} ({count} messages)\n"
            f"  availableForMessages: {max(0, trimmed.budget - given.total)}"
        )
        info = f"Message pruning removed all messages as none fit in the context window. {advice}\n{breakdown}"
        data = {"messageCount": count, "instructionsExceedBudget": too_much, "breakdown": breakdown}
        error = EmptyContextError(truncation.compact_json({"type": "empty_messages", "info": info}))
        return error, LogRow("error", "Empty messages after pruning", data)


def summary_message(text: str) -> HumanMessage:
    """Return the message that carries a summary to a model."""
    return HumanMessage(content=f"<summary>\n{text}\n</summary>\n\n{_RESUME}")


def answered(prompt: Prompt, message: AIMessage) -> ContextState:
    """Return the context state after the model has answered.

    Args:
        prompt: The prompt that it was sent.
        message: The answer, whose tokens the provider may have reported.

    Returns:
        The context state for the next call.
    """
    context_state, usage = prompt.context_state, message.usage_metadata
    if prompt.trimmed is None:
        return context_state
    if usage is None:
        return replace(context_state, reported=None, rejected=0)
    counts = context_state.counts
    if message.id is not None and usage["output_tokens"] > 0:
        counts = {**counts, message.id: usage["output_tokens"]}
    return replace(context_state, counts=counts, reported=(usage["input_tokens"], 0), rejected=0)


def rejected(prompt: Prompt, error: BaseException) -> ContextState | None:
    """Return the context state after a provider refused a prompt as too long; None if a retry cannot help.

    Args:
        prompt: The prompt that it was sent.
        error: Its error.

    Returns:
        The context state for the next try; None if the error is another one, or nothing can be made shorter any more.
    """
    trimmed, settings, context_state = prompt.trimmed, prompt.settings, prompt.context_state
    if trimmed is None or settings is None or context_state.rejected >= overflow.MOST_RECOVERIES:
        return None
    told = overflow.recognise(error)
    if told is None:
        return None
    sent = trimmed.budget - trimmed.remaining_tokens
    size = overflow.smaller(told, settings.max_context_tokens, sent, prompt.corrected.total)
    if size is None:
        return None
    reported = None if told.prompt is None else (told.prompt, 0)
    return replace(
        context_state, size=Correction(prompt.said, size), reported=reported, rejected=context_state.rejected + 1
    )


def _as_known(said: int, correction: Correction | None) -> int:
    return correction.tokens if correction is not None and correction.said == said else said


def _usage(reported: tuple[int, int] | None) -> UsageMetadata | None:
    if reported is None:
        return None
    read, written = reported
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _trim_state(
    messages: Sequence[AnyMessage], context_state: ContextState, context: AgentContext, agent_id: str
) -> TrimState:
    """Return the state of the last call, keyed by the present positions of its messages."""
    at = {message.id: index for index, message in enumerate(messages) if message.id is not None}
    counts = {index: context_state.counts[name] for name, index in at.items() if name in context_state.counts}
    counted = next((index for index in range(len(messages)) if index not in counts), len(messages))
    for name, index in at.items():
        if index not in counts and name in context.token_counts:
            counts[index] = context.token_counts[name]
    learned, tier = context_state.calibration, context_state.tier
    if learned == Calibration():
        learned = replace(learned, ratio=calibration.within(context.calibration_ratio))
    if context_state.newest is None and context_state.summary is None:
        tier = context.fading_tiers.get(agent_id, tier)
    seen = at.get(context_state.newest or "", -1) + 1
    return TrimState(counts, learned, tier, seen=seen, cut_at=at.get(context_state.oldest or "", 0), recounted=counted)


def _after(messages: Sequence[AnyMessage], state: TrimState, context_state: ContextState) -> ContextState:
    names = [message.id for message in messages]
    oldest = names[state.cut_at] if 0 < state.cut_at < len(names) else None
    return replace(
        context_state,
        counts={name: state.counts[index] for index, name in enumerate(names) if name is not None},
        calibration=state.calibration,
        tier=state.tier,
        newest=next((name for name in reversed(names) if name is not None), None),
        oldest=oldest,
        reported=None,
    )


def _tools(counted: int, instructions: Instructions, learned: Calibration) -> Correction | None:
    """Return the tokens of the tool schemas, corrected by reported usage where the estimate is far off."""
    found = max(0, (learned.instruction_overhead or 0) - instructions.total + instructions.tools)
    off = abs(found - instructions.tools) / instructions.tools if instructions.tools else 1.0
    return Correction(counted, found) if off > _WORTH_CORRECTING else None


def _tool_share(prompt: Prompt, counter: TokenCounter, ratio: float, message_tokens: int) -> dict[str, Any]:
    """Return the share of the messages that calls and results take, in total and by tool."""
    total, by_name = 0, dict[str, int]()
    for message in prompt.history:
        if isinstance(message, ToolMessage):
            count = prompt.context_state.counts.get(message.id or "")
            count = counter(message) if count is None else count
            total += count
            name = message.name or "unknown_tool"
            by_name[name] = by_name.get(name, 0) + count
        elif isinstance(message, AIMessage) and message.tool_calls and not truncation.text_of(message.content).strip():
            total += counter(message)
    whole = trimming.nearest(total * ratio)
    shares = tokens.shared_out(min(whole, trimming.nearest(sum(by_name.values()) * ratio)), by_name, ratio)
    if whole > message_tokens:
        factor = message_tokens / whole
        shares = tokens.shared_out(trimming.nearest(sum(shares.values()) * factor), shares, factor)
        whole = message_tokens
    return {"toolMessageTokens": whole, **({"toolMessageTokenCounts": shares} if any(shares.values()) else {})}
