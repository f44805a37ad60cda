"""The gate and the host with which agents act through an executor.

    run = await runtime.create_run(..., tool_gates=[ActionGate(executor)], session=Session(context))

- Before any of an answer's calls runs, all of them are decided about, and people are asked about those that need
  approval, in one interrupt. Each is decided about once more when it is executed, and claimed then.
- A call that does not run has a result that tells the model why, with a reason code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import ToolCall, ToolMessage

from stategraph.agent.facts import Place
from stategraph.agent.messages.truncation import compact_json
from stategraph.agent.ports import Allow, Answer, Executed, HostResult, Remarks, Reviewed, ToolBatch, Verdict
from stategraph.agent.tools import tool_batch
from stategraph.engine.config.context import get_config
from stategraph.engine.config.runtime import get_runtime
from stategraph.governance import session
from stategraph.governance.actions import ActionOutcome
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor, action_of, place_of
from stategraph.governance.gates.requests import request_of
from stategraph.governance.gates.tool_results import ToolAnsweredError
from stategraph.governance.pipeline.action import Action, Carried, Execution, Ran
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.prebuilt.steps import atake


class ActionGate:
    """Has the calls of agents pass the pipeline of an executor; see `stategraph.agent.ports.ExecutionGate`.

    Args:
        executor: The executor.
        view_digest: The digest of the capabilities that the model was shown, to be compared at each call; None: not
            compared.
        context: Who acts; None: the session of the run, or the context that the host gave the run.
    """

    def __init__(
        self,
        executor: ActionExecutor,
        *,
        view_digest: str | None = None,
        context: RuntimeSessionContext | None = None,
    ) -> None:
        self._executor = executor
        self._view_digest = view_digest
        self._context = context

    async def before(self, at: Place, calls: Sequence[ToolCall], /) -> Sequence[Verdict]:
        """Decide about the calls of one answer, and ask people about them."""
        cleared = await atake(self._executor.clearing([self._action(at, call, None) for call in calls]))
        verdicts: list[Verdict] = []
        for call, each in zip(calls, cleared, strict=True):
            if each.kind == "answer":
                verdicts.append(Answer(call, each.text, "success" if each.status == "answered" else "error"))
            else:
                verdicts.append(
                    Allow(ToolCall(name=call["name"], args=each.arguments, id=call["id"], type="tool_call"))
                )
        return verdicts

    async def unreadable(self, at: Place, call: ToolCall, why: str, /) -> None:
        """Tell the log of a call that cannot be read."""
        await atake(self._executor.refusing(self._action(at, call, None), why))

    async def around(
        self, at: Place, call: ToolCall, execute: Callable[[ToolCall], Awaitable[Executed]], /
    ) -> Executed | Answer:
        """Execute a call through the pipeline."""

        async def later(arguments: Mapping[str, Any]) -> Ran:
            changed = ToolCall(name=call["name"], args=dict(arguments), id=call["id"], type="tool_call")
            ended = await execute(changed)
            message = ended.message
            if message is None:
                return Ran("", None, dict(ended.stored), ended.error)
            error = ended.error
            if error is None and message.status == "error":  # the tool turned what it raised into words
                error = ToolAnsweredError(str(message.content))
            return Ran(message.content, None, dict(ended.stored), error)

        carried = await atake(self._executor.carrying_out(self._action(at, call, Execution(_never, later))))
        return _executed(call, carried)

    async def after(self, at: Place, call: ToolCall, message: ToolMessage, /) -> tuple[ToolMessage, Remarks | None]:
        """Leave a result as it is: the pipeline has shown it to the policy."""
        return message, None

    async def finish(
        self, at: Place, calls: Sequence[ToolCall], messages: Sequence[ToolMessage], remarks: Sequence[Remarks], /
    ) -> Reviewed:
        """Leave the results as they are."""
        return Reviewed(messages)

    def _action(self, at: Place, call: ToolCall, execution: Execution | None) -> Action:
        return replace(_action_of(at, call, self._context, self._view_digest), execution=execution)


class ActionHost:
    """Executes tools that agents know only by their definition, as capabilities; see `stategraph.agent.ports.ToolHost`.

    Args:
        executor: The executor.
        context: Who acts; None: the session of the run, or the context that the host gave the run.
    """

    def __init__(self, executor: ActionExecutor, *, context: RuntimeSessionContext | None = None) -> None:
        self._executor = executor
        self._context = context

    async def execute(
        self, batch: ToolBatch, early: Callable[[HostResult], Awaitable[None]], /
    ) -> Sequence[HostResult]:
        """Execute calls beside each other, once people were asked about all that need approval.

        If one raises, such as for an event that cannot be told, the others are cancelled, and have ended when it does.
        """
        actions = [_action_of(batch.at, call, self._context, None) for call in batch.calls]
        cleared = await atake(self._executor.clearing(actions))

        async def one(call: ToolCall, action: Action, each: Cleared) -> HostResult:
            if each.kind == "answer":
                result = _hosted(call, ActionOutcome(each.status, each.text, each.reason))
            else:
                action = replace(action, asked=each.arguments, asks=False)
                result = _hosted(call, (await atake(self._executor.carrying_out(action))).outcome)
            await early(result)
            return result

        works = map(one, batch.calls, actions, cleared)
        return tool_batch.ended(await tool_batch.side_by_side([tool_batch.outcome_of(work) for work in works]))


def _action_of(at: Place, call: ToolCall, context: RuntimeSessionContext | None, view_digest: str | None) -> Action:
    """Return the action of an agent's call, in the task that runs now."""
    config = get_config()
    if context is None:
        context = session.context_of(get_runtime().context)
    place, of_node = place_of(config), str(at.metadata.get("langgraph_checkpoint_ns") or "")
    if of_node and place.startswith(of_node):  # where the call is a task of the engine within the node's
        place = of_node
    return action_of(request_of(call, context, config, place, view_digest), config)


def _never(arguments: Mapping[str, Any]) -> Any:
    raise TypeError("Gates of agents are asked in async runs alone")


def _executed(call: ToolCall, carried: Carried) -> Executed | Answer:
    """Return the end of an action as the agent expects it."""
    outcome, ran = carried
    if ran is None or ran.kept is None or outcome.status not in ("completed", "failed"):
        went_well = outcome.status in ("completed", "answered")
        text = outcome.content if isinstance(outcome.content, str) else compact_json(outcome.content)
        return Answer(call, text, "success" if went_well else "error")
    message = ran.kept["message"]
    if message is not None and message.content != outcome.content:  # the policy has changed it
        message = message.model_copy(update={"content": outcome.content, "artifact": None})
    return Executed(message, {**ran.kept, "message": message}, ran.error)


def _hosted(call: ToolCall, outcome: ActionOutcome) -> HostResult:
    """Return an outcome as a run expects it of a host."""
    call_id = call["id"] or ""
    if outcome.status in ("completed", "answered"):
        return HostResult(call_id, outcome.content, artifact=outcome.artifact)
    return HostResult(call_id, str(outcome.content), "error", str(outcome.content))
