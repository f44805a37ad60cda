"""Hooks: functions of a host that see a run at fixed points and may influence it.

| event | when | a hook may |
|---|---|---|
| RunStart | before a turn, not when one is resumed | add context, end the turn |
| UserPromptSubmit | after that, with the newest message's text | deny or ask: no turn; add context |
| BeforeModel | before a model is called | deny, answer itself, change what is sent, end the turn |
| AfterModel | when it has answered, or a sentence of it has come | deny, replace, end the turn |
| PreToolUse | before a call runs | allow, deny or ask, change the arguments, end the turn |
| PostToolUse | when a call has succeeded | change the result, add context, end the turn |
| PostToolUseFailure | when a call has failed | the same |
| PermissionDenied | when a call was denied, by a hook or a person | add context, end the turn |
| PostToolBatch | when all calls of an answer have results | add messages and context, end the turn |
| SubagentStart | before a subagent works on a call, after PreToolUse | as PreToolUse, without changes |
| SubagentStop | when a subagent has answered | |
| PreCompact, PostCompact | before and after messages are summarised | |
| Stop | when a turn has ended, also early | block: go on with what it injects; or say why it ends |
| StopFinalize | after that, knowing what hooks of Stop said | the same |
| StopFailure | when it failed or was aborted, before the error is raised | |

- The hooks of one event run side by side; what they return is folded in the order of registration. `deny` beats `ask`
  beats `allow`; of two changes the later one counts.
- A hook is sync, and then runs in a thread, or async. It has `timeout_s` seconds; a sync one that takes longer is left
  behind, not stopped.
- A hook that fails, takes too long or returns nonsense fails closed where it decides (PreToolUse, UserPromptSubmit,
  BeforeModel, AfterModel, SubagentStart): it counts as `deny`, and the model is told `it could not be checked`. One of
  StopFinalize that fails fails the run: it may have taken up work that would be lost. At the other points the run goes
  on as if it had said nothing. All are logged.
- A hook cannot wait for a person itself: it returns `ask`.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast

from langchain_core.messages import HumanMessage, convert_to_messages
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stategraph.agent.messages import problems
from stategraph.agent.messages.encodable import encodable_value
from stategraph.agent.ports import Hold
from stategraph.agent.settings import secrets, validation
from stategraph.agent.settings.field_types import Flag, Number, PositiveNumber
from stategraph.agent.settings.validation import Settings
from stategraph.engine.compile.functions import is_async_callable
from stategraph.engine.tasks import threads
from stategraph.errors import ConfigurationError
from stategraph.run.hooks.injected import injected_message
from stategraph.run.questions import REVIEWS, ReviewWord

logger = logging.getLogger("stategraph.run.hooks")

T = TypeVar("T")

#: The reason of a denial that stands for the failure of a hook: what failed is for the host, not for the model.
UNCHECKED = "it could not be checked"

#: Seconds that a hook may take if its registration says nothing.
TIMEOUT_S = 30.0

Decision: TypeAlias = Literal["allow", "ask", "deny", "continue", "block"]

#: From the mildest to the strictest; "continue" and "block" never meet the others.
_STRICTNESS: tuple[Decision | None, ...] = (None, "allow", "continue", "ask", "deny", "block")
_OF_STOP = ("continue", "block")
#: From the mildest to the strictest.
HOLDS: tuple[Hold, ...] = ("nothing", "sentence", "answer")


class HookEvents(StrEnum):
    """The points at which hooks are called."""

    RUN_START = "RunStart"
    USER_PROMPT_SUBMIT = "UserPromptSubmit"
    BEFORE_MODEL = "BeforeModel"
    AFTER_MODEL = "AfterModel"
    PRE_TOOL_USE = "PreToolUse"
    POST_TOOL_USE = "PostToolUse"
    POST_TOOL_USE_FAILURE = "PostToolUseFailure"
    POST_TOOL_BATCH = "PostToolBatch"
    PERMISSION_DENIED = "PermissionDenied"
    SUBAGENT_START = "SubagentStart"
    SUBAGENT_STOP = "SubagentStop"
    PRE_COMPACT = "PreCompact"
    POST_COMPACT = "PostCompact"
    STOP = "Stop"
    STOP_FINALIZE = "StopFinalize"
    STOP_FAILURE = "StopFailure"


_OF_TOOLS = frozenset(
    (
        HookEvents.PRE_TOOL_USE,
        HookEvents.POST_TOOL_USE,
        HookEvents.POST_TOOL_USE_FAILURE,
        HookEvents.PERMISSION_DENIED,
    )
)
_OF_MODELS = frozenset((HookEvents.BEFORE_MODEL, HookEvents.AFTER_MODEL))
_OF_SUBAGENTS = frozenset((HookEvents.SUBAGENT_START, HookEvents.SUBAGENT_STOP))
_DECIDING = _OF_MODELS | {HookEvents.PRE_TOOL_USE, HookEvents.USER_PROMPT_SUBMIT, HookEvents.SUBAGENT_START}
_STOPPING = frozenset((HookEvents.STOP, HookEvents.STOP_FINALIZE))
#: Where `updated_input` and `updated_output` have a meaning.
_WITH_INPUT = frozenset((HookEvents.PRE_TOOL_USE, HookEvents.BEFORE_MODEL))
_WITH_OUTPUT = _OF_MODELS | {HookEvents.POST_TOOL_USE, HookEvents.POST_TOOL_USE_FAILURE}

_NEVER = {
    "PreemptBoundary": "an answer that is being written is not interrupted here: inject messages with PostToolBatch or "
    "Stop, or abort the run and start another one",
}
"""Events of other implementations that cannot happen here, and what to do instead."""


def _boxed(output: Any) -> Any:
    return (output,)


def _message(given: dict[str, Any]) -> dict[str, Any]:
    injected_message(given)
    return given


class HookOutput(Settings):
    """A hook's return value; a mapping in either spelling, or None for nothing.

    Attributes:
        decision: Whether to go on; of Stop and StopFinalize, `block` to not stop.
        reason: The reason, for the model or the person who is asked.
        allowed_decisions: Decisions open to a person who is asked; None: all.
        updated_input: The arguments of a call, in place of its own; they must be copyable. Of a call of a model:
            `messages`, with the instructions first, and `options`.
        updated_output: The result of a call, or the answer of a model, in place of its own: text, content blocks, or
            anything that is JSON.
        details: Told in `on_guardrail` with the judgement of a hook of BeforeModel or AfterModel, as JSON.
        additional_context: Told to the model.
        injected_messages: Added to the conversation: mappings with `content`, `role`, `isMeta` and `source`.
        prevent_continuation: End the turn.
        stop_reason: Why.
        detached: The hook goes on by itself, and nothing else that it returns counts. On the wire it is `async`.
        async_timeout: Accepted, without an effect: how long the hook may go on by itself.
    """

    decision: Decision | None = None
    reason: str | None = None
    allowed_decisions: Annotated[tuple[ReviewWord, ...], Field(min_length=1)] | None = None
    updated_input: Annotated[dict[str, Any], AfterValidator(deepcopy)] | None = None
    updated_output: Annotated[tuple[Any, ...], BeforeValidator(_boxed)] | None = None
    details: dict[str, Any] | None = None
    additional_context: str | None = None
    injected_messages: tuple[Annotated[dict[str, Any], AfterValidator(_message)], ...] = ()
    prevent_continuation: Flag = False
    stop_reason: str | None = None
    detached: Flag = Field(default=False, alias="async")
    async_timeout: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _encodable(cls, given: object) -> object:
        return encodable_value(given)

    @property
    def halt(self) -> str | None:
        """The reason for which the turn ends; None if it goes on."""
        return (self.stop_reason or "preventContinuation") if self.prevent_continuation else None


Hook: TypeAlias = Callable[[Mapping[str, object]], "HookOutput | Mapping[str, object] | Awaitable[Any] | None"]


class HookRegistration(Settings):
    """Hooks that are registered together.

    Attributes:
        hooks: The functions. Each is given a mapping that says what happened.
        pattern: For tools: only calls of tools in whose name this regular expression is found; for models: only those
            of agents in whose id it is found; for subagents: in whose type.
        hold: For AfterModel: what readers of the run are told only when the hooks have approved it. `sentence`: each
            sentence, and the hooks are called with each; `answer`: the whole, and they are called with the whole;
            `nothing`: all is told as it comes, and what hooks replace or deny has been read.
        timeout_s: Seconds that each may take.
        timeout: The same in milliseconds, as other implementations have it.
        once: Only the first time.
    """

    hooks: Annotated[tuple[Callable[..., Any], ...], Field(min_length=1)]
    pattern: re.Pattern[str] | None = None
    hold: Hold = "answer"
    timeout_s: PositiveNumber = TIMEOUT_S
    timeout: PositiveNumber | None = None
    once: Flag = False

    @property
    def limit_s(self) -> float:
        """Seconds that each may take, in whichever unit they were given."""
        return self.timeout_s if self.timeout is None else self.timeout / 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The combined result of an event's hooks.

    Attributes:
        decision: The strictest one; None if none decided.
        reason: Of the first hook that decided so.
        allowed_decisions: Decisions that all asking hooks leave to a person.
        updated_input: Arguments in place of a call's own.
        updated_output: A tuple of the result in place of a call's own; None to leave it.
        contexts: Told to the model.
        injected: Added to the conversation.
        halt: Why the turn is to end; None if it is not.
        judgements: Of hooks of models, each that said something: its `name`, and `outcome`, `reason` and `details`.
        errors: Hooks that failed, and how.
    """

    decision: Decision | None = None
    reason: str | None = None
    allowed_decisions: tuple[ReviewWord, ...] = REVIEWS
    updated_input: dict[str, Any] | None = None
    updated_output: tuple[Any, ...] | None = None
    contexts: tuple[str, ...] = ()
    injected: tuple[HumanMessage, ...] = ()
    halt: str | None = None
    judgements: tuple[Mapping[str, Any], ...] = ()
    errors: tuple[str, ...] = ()

    def and_then(self, later: Outcome) -> Outcome:
        """Return what hooks of two points say about one call together; what the later ones change does not count."""
        stricter = max(self, later, key=lambda each: _STRICTNESS.index(each.decision))
        return replace(
            stricter,
            updated_input=self.updated_input,
            updated_output=None,
            contexts=self.contexts + later.contexts,
            injected=self.injected + later.injected,
            halt=self.halt or later.halt,
            errors=self.errors + later.errors,
        )


NOTHING = Outcome()

#: A hook's output, and its error if it failed.
_Said: TypeAlias = tuple[HookOutput, str | None]


class HookRegistry:
    """The hooks of a host. One registry may serve many runs."""

    def __init__(self) -> None:
        self._registered: dict[HookEvents, list[HookRegistration]] = {}

    def register(
        self,
        event: str,
        hooks: Hook | Sequence[Hook] | HookRegistration | Mapping[str, object],
        *,
        pattern: str | None = None,
        timeout_s: float | None = None,
        once: bool = False,
        hold: Hold | None = None,
    ) -> Callable[[], None]:
        """Have hooks called.

        Args:
            event: When, a name in `HookEvents`.
            hooks: A function or several, or all of a registration as one value.
            pattern: For tools: a regular expression to be found in the name of the tool; for models: in the agent's id;
                None: all.
            timeout_s: Seconds that each may take; None: 30.
            once: Only the first time.
            hold: For AfterModel: what is told only when it is approved, see `HookRegistration`; None: the answer.

        Returns:
            A function that takes the registration back.

        Raises:
            ConfigurationError: There is no such event, or the registration makes no sense.
        """
        point = _event(event)
        if isinstance(hooks, Mapping | HookRegistration):
            if pattern is not None or timeout_s is not None or once or hold is not None:
                raise ConfigurationError("pattern, timeout_s, once and hold belong into the registration that is given")
            registration = validation.checked(HookRegistration, hooks)
        else:
            several = cast("Any", hooks)
            if not callable(hooks) and (isinstance(several, str) or not isinstance(several, Sequence)):
                raise ConfigurationError(
                    f"The hook of {point} is a value of type {type(hooks).__name__}; expected a function, a list of "
                    "functions, or a HookRegistration"
                )
            given = {"hooks": [hooks] if callable(hooks) else hooks, "pattern": pattern, "once": once, "hold": hold}
            registration = validation.checked(HookRegistration, given | {"timeout_s": timeout_s})
        if registration.pattern is not None and point not in _OF_TOOLS | _OF_MODELS | _OF_SUBAGENTS:
            raise ConfigurationError(f"A pattern chooses tools or agents, and {point} is about none: leave it out")
        if "hold" in registration.model_fields_set and point is not HookEvents.AFTER_MODEL:
            raise ConfigurationError(
                f"'hold' is for answers, that is for AfterModel, and not for {point}: leave it out"
            )
        registered = self._registered.setdefault(point, [])
        registered.append(registration)

        def take_back() -> None:
            self._registered[point] = [each for each in self._registered[point] if each is not registration]

        return take_back

    def has(self, event: HookEvents) -> bool:
        """Return whether any hook is registered for an event."""
        return bool(self._registered.get(event))

    def hold(self) -> Hold:
        """Return how much of an answer is held back for hooks of AfterModel."""
        held = {each.hold for each in self._registered.get(HookEvents.AFTER_MODEL, ())}
        return max(held, key=HOLDS.index, default="nothing")

    async def call(self, event: HookEvents, happened: Mapping[str, object], about: str | None = None) -> Outcome:
        """Call the hooks of an event and fold what they say.

        Args:
            event: The event.
            happened: The event's data, of which each hook is given a copy.
            about: The name of the tool, the id of the agent or the type of the subagent that it is about, if any.

        Returns:
            What they say together.
        """
        chosen = self._chosen(event, happened, about)
        if not chosen:
            return NOTHING
        hooks = [(hook, registration.limit_s) for registration in chosen for hook in registration.hooks]
        calls = [_call(event, hook, {"hook_event_name": event, **happened}, limit_s) for hook, limit_s in hooks]
        if len(calls) == 1:
            said = [await calls[0]]
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call) for call in calls]
            said = [task.result() for task in tasks]
        outcome = _fold(said)
        if event not in _OF_MODELS:
            return outcome
        judgements = [_judgement(_name(hook), *each) for (hook, _), each in zip(hooks, said, strict=True)]
        return replace(outcome, judgements=tuple(each for each in judgements if each is not None))

    def _chosen(self, event: HookEvents, happened: Mapping[str, object], about: str | None) -> list[HookRegistration]:
        """Return the registrations whose hooks are to be called, and forget those that are called once."""
        chosen = [each for each in self._registered.get(event, ()) if _matches(each, about)]
        if event is HookEvents.AFTER_MODEL:
            chosen = [each for each in chosen if _is_for(each, happened)]
        spent = {id(each) for each in chosen if each.once}
        if spent:
            self._registered[event] = [each for each in self._registered[event] if id(each) not in spent]
        return chosen


def _event(name: str) -> HookEvents:
    try:
        return HookEvents(name)
    except ValueError:
        known = ", ".join(HookEvents)
    if (why := _NEVER.get(name)) is not None:
        raise ConfigurationError(f"The hook event '{name}' never happens: {why}. There are {known}")
    for near in difflib.get_close_matches(str(name), list(HookEvents), n=1):
        raise ConfigurationError(f"There is no hook event {name!r}; did you mean '{near}'?")
    raise ConfigurationError(f"There is no hook event {name!r}; expected one of {known}")


def _name(hook: Hook) -> str:
    return str(getattr(hook, "__qualname__", None) or type(hook).__name__)


def _matches(registration: HookRegistration, about: str | None) -> bool:
    return registration.pattern is None or (about is not None and registration.pattern.search(about) is not None)


def _is_for(registration: HookRegistration, happened: Mapping[str, object]) -> bool:
    """Return whether hooks of AfterModel are called with a sentence, or with an answer."""
    if happened.get("partial"):
        return registration.hold == "sentence"
    return registration.hold != "sentence" or not happened.get("sentences")


def _judgement(name: str, output: HookOutput, error: str | None) -> Mapping[str, Any] | None:
    """Return what a hook of a model says, for readers of the run; None if it says nothing."""
    if error is None and not output.model_fields_set:
        return None
    told = {"name": name, "outcome": _outcome(output, error), "reason": output.reason, "details": output.details}
    return {key: value for key, value in told.items() if value is not None}


def _outcome(output: HookOutput, error: str | None) -> str:
    if error is not None:
        return "failed"
    if output.decision == "deny":
        return "denied"
    if output.prevent_continuation:
        return "ended"
    changes = (output.updated_input, output.updated_output, output.additional_context, *output.injected_messages)
    return "allowed" if all(each is None for each in changes) else "changed"


async def _call(event: HookEvents, hook: Hook, happened: dict[str, Any], limit_s: float) -> _Said:
    """Call one hook and return its output, or the output that stands for its failure."""
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            if is_async_callable(hook):
                said = await cast("Awaitable[Any]", hook(happened))
            else:
                # Not in the loop's own few threads: hooks that hang would block the tools of all others.
                loop = asyncio.get_running_loop()
                said = await loop.run_in_executor(threads.pool(), copy_context().run, hook, happened)
                if inspect.isawaitable(said):
                    said = await said
        return _checked(event, said), None
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is None or current.cancelling():
            raise
        problem: BaseException | str = error
    except TimeoutError as error:
        problem = f"took longer than {limit_s:g} s" if limit.expired() else error
    except Exception as error:
        problem = error
    if isinstance(problem, BaseException):
        problem = f"failed with {secrets.without_logins(problems.named(problem))}"
    sentence = f"The hook '{_name(hook)}' of {event} {problem}"
    logger.error(sentence)
    return (HookOutput(decision="deny", reason=UNCHECKED) if event in _DECIDING else HookOutput()), sentence


def _checked(event: HookEvents, said: Any) -> HookOutput:
    """Validate a hook's return value for its event."""
    output = HookOutput() if said is None else validation.checked(HookOutput, said)
    if output.detached:
        return HookOutput()
    if event in _OF_MODELS:
        _check_of_model(event, output)
    if output.decision is not None and (output.decision in _OF_STOP) is not (event in _STOPPING):
        words = "'continue' or 'block'" if event in _STOPPING else "'allow', 'ask' or 'deny'"
        raise ConfigurationError(f"the decision is {output.decision!r}, expected {words}")
    if output.decision in ("ask", "deny") and event not in _DECIDING:
        why = "nothing is decided at this point; 'prevent_continuation' ends the turn"
        raise ConfigurationError(f"the decision is {output.decision!r}, and {why}")
    for name, value, events in (
        ("updated_input", output.updated_input, _WITH_INPUT),
        ("updated_output", output.updated_output, _WITH_OUTPUT),
    ):
        if value is not None and event not in events:
            raise ConfigurationError(f"{name!r} is returned, which only {' and '.join(sorted(events))} may")
    return output


def _check_of_model(event: HookEvents, output: HookOutput) -> None:
    """Refuse what has no meaning for a call of a model."""
    if output.decision == "ask":
        raise ConfigurationError("nobody can be asked about a call of a model: the decision is 'allow' or 'deny'")
    if event is HookEvents.AFTER_MODEL:
        if output.updated_input is not None or output.additional_context or output.injected_messages:
            raise ConfigurationError("the model has answered: return 'updated_output' to replace the answer")
        return
    changes = output.updated_input or {}
    if unknown := changes.keys() - {"messages", "options"}:
        raise ConfigurationError(f"'updated_input' has {', '.join(sorted(unknown))}; expected 'messages' and 'options'")
    messages, options = changes.get("messages", [{}]), changes.get("options", {})
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise ConfigurationError(f"'messages' of 'updated_input' is {messages!r:.60}; expected a list with messages")
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"'options' of 'updated_input' is {options!r:.60}; expected a mapping")
    if "messages" in changes:
        convert_to_messages(messages)


def _fold(said: Sequence[_Said]) -> Outcome:
    """Combine what hooks return, in the order of their registration."""
    outputs = [output for output, _ in said]
    decision = max((each.decision for each in outputs), key=_STRICTNESS.index, default=None)
    return Outcome(
        decision=decision,
        reason=_first(each.reason for each in outputs if each.decision == decision),
        allowed_decisions=_allowed_decisions(outputs),
        updated_input=_last(each.updated_input for each in outputs),
        updated_output=_last(each.updated_output for each in outputs),
        contexts=tuple(each.additional_context for each in outputs if each.additional_context),
        injected=tuple(injected_message(message) for each in outputs for message in each.injected_messages),
        halt=_first(each.halt for each in outputs),
        errors=tuple(error for _, error in said if error is not None),
    )


def _allowed_decisions(outputs: Sequence[HookOutput]) -> tuple[ReviewWord, ...]:
    """Return the decisions that all asking hooks leave to a person; rejecting is always one."""
    asking = [set(each.allowed_decisions) for each in outputs if each.decision == "ask" and each.allowed_decisions]
    return tuple(word for word in REVIEWS if all(word in each for each in asking)) or ("reject",)


def _first(texts: Iterable[str | None]) -> str | None:
    return next((text for text in texts if text), None)


def _last(values: Iterable[T | None]) -> T | None:
    """Return the last value that is not None."""
    given = [value for value in values if value is not None]
    return given[-1] if given else None
