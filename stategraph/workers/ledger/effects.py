"""`@effect`: calls to the outside world that happen once, or say that they do not know.

    @effect(key=lambda a: f"charge:{a.order_id}", on_doubt=ask_the_bank)
    async def charge(order_id: str, cents: int) -> Receipt: ...

Rules
-----
* The row is written before the call. If the call returns, its result is stored, and every later call with this key gets
  that result without calling.
* A call that raises is in doubt: the destination may have acted. Only what `refused` and `not_sent` name, and
  `EffectFailed`, say that it has not.
* A call in doubt is not repeated. `on_doubt` asks the destination; without it a person is asked, by an interrupt.
* The key is made of the call's arguments; use what was fixed before a model ran, such as the number of an order.
* A call that asks a person asks before the effect begins, not in the middle of it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final, TypeAlias, TypeVar, cast

import anyio
import anyio.to_thread

from stategraph.agent.mcp import call_meta
from stategraph.engine.checkpoints import allowlist
from stategraph.engine.config.procedures import adrive, drive
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import ConfigurationError, GraphBubbleUp, InvalidAnswerError
from stategraph.workers.ids import new_owner
from stategraph.workers.ledger import machine
from stategraph.workers.ledger.book import EffectBook
from stategraph.workers.ledger.machine import Claimant, Decision, EffectRow, IllegalEffectMove
from stategraph.workers.ledger.records import EffectCall as EffectCall
from stategraph.workers.ledger.records import EffectFailed as EffectFailed
from stategraph.workers.ledger.records import EffectName as EffectName
from stategraph.workers.ledger.records import EffectRecord as EffectRecord
from stategraph.workers.ledger.records import Found as Found
from stategraph.workers.ledger.records import InDoubt as InDoubt
from stategraph.workers.ledger.records import NotFound as NotFound
from stategraph.workers.ledger.records import OnDoubt, Reconcile, current
from stategraph.workers.ledger.records import current_effect as current_effect
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Claimed, Lease

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: What the engine passes to functions, which is not part of what they are asked to do.
_INJECTED: Final = frozenset({"config", "runtime", "writer", "store", "run_manager", "callbacks"})

_LOOK_S: Final = 0.05
_LONGEST_LOOK_S: Final = 1.0

#: How often a call is dispatched in one attempt, each time after the destination said that it has not happened.
_DISPATCHES: Final = 3

_PREVIEW_CHARACTERS: Final = 80


class EffectLedger:
    """The effects of runs, in the registry's database.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: RunRegistry) -> None:
        self._registry = registry
        self._owner = new_owner()
        self.book = EffectBook(registry.operations, registry.settings.lease_s)
        self.dump = registry.dump
        self.serde = registry.serde

    @contextmanager
    def of_run(self, claimed: Claimed) -> Iterator[None]:
        """Have the effects of a block belong to a run that this process has."""
        lease = claimed.lease
        place = _Place(self, claimed.tenant, Claimant(lease.run_id, lease.token), lease, claimed.attempt)
        with _placed(place):
            yield

    @contextmanager
    def active(self, scope: str = "") -> Iterator[None]:
        """Have the effects of a block belong to this process, for programs without workers.

        Args:
            scope: Within which keys are unique, such as a tenant.
        """
        with _placed(self._own_place(scope)):
            yield

    def _own_place(self, scope: str) -> _Place:
        return _Place(self, scope, Claimant(self._owner), None, 0)

    def once(self, named: EffectName, function: Callable[[], Any]) -> Any:
        """Make a call whose effect happens once, for code that names effects itself; see `effect`.

        Args:
            named: The name of the effect, and what to do about it.
            function: Makes the call, and returns its result.

        Returns:
            The result, of this call or of an earlier one.

        Raises:
            InDoubt: It is unknown whether an earlier call has acted.
            EffectFailed: An earlier call was refused.
            EffectKeyReused: The key was used with other arguments.
            Exception: What the function raised.
        """
        return _call(*self._named(named), function)

    async def aonce(self, named: EffectName, function: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call whose effect happens once, as `once` does."""
        return await _acall(*self._named(named), function)

    def is_called_with(self, row: EffectRow, arguments: Mapping[str, Any]) -> bool:
        """Return whether an effect was called with these arguments."""
        return row.args_hash == _args_hash(self, arguments)

    def load(self, stored: bytes) -> Any:
        """Read the result of an effect, as its row has it."""
        kind, _, data = stored.partition(b"\0")
        return self.serde.loads_typed((kind.decode(), data))["result"]

    def _named(self, named: EffectName) -> tuple[_Plan, _Call]:
        place = _place.get()
        if place is None or place.ledger is not self:
            place = self._own_place(named.scope)
        elif place.scope != named.scope:
            place = replace(place, scope=named.scope)
        plan = _Plan(_untyped, named.key, named.on_doubt, named.refused, named.not_sent)
        return plan, _Call(place, named.key, named.arguments)


def _untyped() -> None:
    """Stand for a function that says nothing of the class of its result."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The owner of the effects of a block."""

    ledger: EffectLedger
    scope: str
    claimant: Claimant
    lease: Lease | None
    attempt: int


_place: ContextVar[_Place | None] = ContextVar("stategraph_effect_place", default=None)


@contextmanager
def _placed(place: _Place) -> Iterator[None]:
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def effect(
    *,
    key: str | Callable[[Any], str],
    on_doubt: OnDoubt = "interrupt",
    refused: tuple[type[Exception], ...] = (),
    not_sent: tuple[type[Exception], ...] = (),
) -> Callable[[F], F]:
    """Make a function one whose effect happens once.

    It goes on functions that are tools, tasks or nodes: below `@tool` and `@task`.

    Args:
        key: Names the effect: text, or a function of the call's arguments, given as attributes. Within the scope, which
            is the run's tenant, one key is one effect.
        on_doubt: What to do if it is unknown whether an earlier call has acted. `interrupt`: ask a person, who answers
            `{"happened": True, "result": ...}` or `{"happened": False}`. `raise`: raise `InDoubt`. Or a function that
            asks the destination: it is given an `EffectRecord` and returns `Found(result)` or `NotFound()`.
        refused: Errors that say that the destination refused. Later calls get the same refusal.
        not_sent: Errors that say that nothing was sent. Later calls try again.

    Returns:
        The decorator.

    Raises:
        ConfigurationError: `on_doubt` is something else, or an async hook of a function that is not.
    """
    if on_doubt not in ("interrupt", "raise") and not callable(on_doubt):
        raise ConfigurationError(
            f"on_doubt is {on_doubt!r}; expected 'interrupt', 'raise' or a function that reconciles"
        )

    def decorate(function: F) -> F:
        if not inspect.isroutine(function):
            raise ConfigurationError(
                f"@effect goes on a function, and got a {type(function).__name__}: write it below @tool or @task, or "
                "use effect_tool for a tool that is there"
            )
        plan = _Plan(function, key, on_doubt, refused, not_sent)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call(*args: Any, **kwargs: Any) -> Any:
                return await _acall(plan, plan.begin(args, kwargs), lambda: function(*args, **kwargs))

            return cast("F", call)
        if inspect.iscoroutinefunction(on_doubt):
            raise ConfigurationError(f"'{plan.name}' is not async, so its on_doubt cannot be: make both the same")

        @functools.wraps(function)
        def call_sync(*args: object, **kwargs: object) -> Any:
            return _call(plan, plan.begin(args, kwargs), lambda: function(*args, **kwargs))

        return cast("F", call_sync)

    return decorate


class _Plan:
    """An effect as it was declared."""

    def __init__(
        self,
        function: Callable[..., Any],
        key: str | Callable[[Any], str],
        on_doubt: OnDoubt,
        refused: tuple[type[Exception], ...],
        not_sent: tuple[type[Exception], ...],
    ) -> None:
        self.name: str = getattr(function, "__qualname__", type(function).__name__)
        self.on_doubt = on_doubt
        self._function = function
        self._signature = inspect.signature(function)
        self._key = key
        self._refused = refused
        self._not_sent = not_sent
        self._classes: set[Any] | None = None

    def begin(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> _Call:
        """Name the effect of a call.

        Raises:
            ConfigurationError: No ledger is active, or the key is no text.
            TypeError: The arguments do not fit, or cannot be stored.
        """
        place = _place.get()
        if place is None:
            raise ConfigurationError(
                f"The effect '{self.name}' was called without a ledger: execute the run on a worker, or in "
                "`with EffectLedger(registry).active():`"
            )
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self._signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                arguments |= value
            elif name not in _INJECTED:
                arguments[name] = value
        key = self._key if isinstance(self._key, str) else self._key(SimpleNamespace(**arguments))
        if not isinstance(key, str) or not key:
            raise ConfigurationError(f"The key of the effect '{self.name}' is {key!r}; expected text that is not empty")
        return _Call(place, key, arguments)

    def load(self, call: _Call, stored: bytes) -> Any:
        """Read a result; classes that the function says it returns are rebuilt."""
        if self._classes is None:
            hint = inspect.get_annotations(self._function, eval_str=False).get("return")
            if isinstance(hint, str):
                try:
                    hint = inspect.get_annotations(self._function, eval_str=True).get("return")
                except NameError:
                    hint = None
            self._classes = set() if hint is None else set(allowlist.collect([hint]))
        kind, _, data = stored.partition(b"\0")
        return call.place.ledger.serde.with_msgpack_allowlist(self._classes).loads_typed((kind.decode(), data))

    def asks_again(self, error: BaseException, doubtful: bool, dispatches: int) -> bool:
        """Return whether a doubt that an error left is resolved at once, rather than raised."""
        return doubtful and isinstance(error, Exception) and dispatches < _DISPATCHES and self.on_doubt != "raise"

    def ask(self, call: _Call, row: EffectRow) -> Found | NotFound:
        """Ask a person about a doubt, by an interrupt.

        Raises:
            InDoubt: There is no one to ask.
            InvalidAnswerError: The answer says neither.
        """
        if self.on_doubt == "raise":
            reason = row.error or "the attempt that called it is gone"
            raise InDoubt(f"Whether the effect '{row.key}' has happened is unknown: {reason}", call.record(row))
        answer = interrupt(
            {
                "type": "effect_in_doubt",
                "key": row.key,
                "args_preview": {name: repr(value)[:_PREVIEW_CHARACTERS] for name, value in call.arguments.items()},
                "external_ref": row.external_ref,
            }
        )
        match answer:
            case {"happened": True, **rest}:
                return Found(rest.get("result"))
            case {"happened": False}:
                return NotFound()
        raise InvalidAnswerError(
            f"The answer about the effect '{row.key}' is {answer!r}; expected {{'happened': True, 'result': ...}} or "
            "{'happened': False}"
        )

    def said(self, error: BaseException) -> tuple[str, bool] | None:
        """Return what an error says about an effect that has not happened, and whether it may be tried again."""
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, EffectFailed):
            return text, error.retryable
        if isinstance(error, (GraphBubbleUp, *self._not_sent)):
            return text, True
        return (text, False) if isinstance(error, self._refused) else None


class _Call:
    """One call of an effect."""

    def __init__(self, place: _Place, key: str, arguments: Mapping[str, Any]) -> None:
        self.place = place
        self.key = key
        self.arguments = arguments
        self.args_hash = _args_hash(place.ledger, arguments)
        self.idempotency_id = hashlib.sha256(f"{place.scope}\0{key}".encode()).hexdigest()[:32]

    def claim(self) -> Decision:
        """Claim the effect; see `EffectBook.claim`."""
        place = self.place
        return place.ledger.book.claim(place.scope, self.key, self.args_hash, place.claimant, place.lease)

    def tell(self, event: machine.Event) -> Decision:
        """Tell the ledger."""
        return self.place.ledger.book.tell(self.place.scope, self.key, event)

    def settle(self, result: object) -> None:
        """Store what came of the call."""
        try:
            stored = self.place.ledger.dump({"result": result}) or b""
        except TypeError as error:
            self.tell(machine.Doubt(self.place.claimant, f"its result, a {type(result).__name__}, cannot be stored"))
            raise TypeError(
                f"The effect '{self.key}' has happened, and its result, a {type(result).__name__}, cannot be stored: "
                "return plain values"
            ) from error
        self.tell(machine.Settle(self.place.claimant, stored))

    def fail(self, plan: _Plan, error: BaseException) -> bool:
        """Store how the call ended with an error; return whether it is in doubt."""
        claimant = self.place.claimant
        said = plan.said(error)
        try:
            if said is None:
                self.tell(machine.Doubt(claimant, f"{type(error).__name__}: {error}"))
            else:
                self.tell(machine.Fail(claimant, *said))
        except IllegalEffectMove:
            return False  # it has been resolved meanwhile
        return said is None

    def kept(self, since: float) -> bool:
        """Return whether the attempt has its run to itself for long enough to dispatch.

        Args:
            since: The reading of `time.monotonic` before the lease was last made to hold.
        """
        place = self.place
        return place.lease is None or time.monotonic() - since < place.ledger.book.lease_s / 2

    def keep(self) -> None:
        """Have the lease hold again; see `EffectBook.keep`."""
        assert self.place.lease is not None
        self.place.ledger.book.keep(self.place.scope, self.key, self.place.lease)

    def give_up(self, decision: Decision) -> None:
        """Take a claim back, of a call that was cancelled before it was made."""
        if decision.order == machine.Dispatch():
            self.take_back()

    def take_back(self, _: object = None) -> None:
        """Say that the call was cancelled before it was made."""
        self.tell(machine.Fail(self.place.claimant, "cancelled before it was sent", True))

    def resolve(self, said: object) -> None:
        """Store what the destination, or a person, said.

        Raises:
            TypeError: It is neither `Found` nor `NotFound`.
        """
        match said:
            case Found(result=result):
                event = machine.Resolve(True, self.place.ledger.dump({"result": result}))
            case NotFound():
                event = machine.Resolve(False)
            case _:
                raise TypeError(
                    f"The hook of the effect '{self.key}' returned {said!r}; expected Found(...) or NotFound()"
                )
        try:
            self.tell(event)
        except IllegalEffectMove:
            pass  # another attempt was told the same

    def record(self, row: EffectRow) -> EffectRecord:
        """Describe the effect for reconciling it."""
        return EffectRecord(row.scope, row.key, self.idempotency_id, self.arguments, row.external_ref, row.error)

    def _note(self, external_ref: str) -> None:
        self.tell(machine.Note(self.place.claimant, external_ref))

    @contextmanager
    def dispatching(self) -> Iterator[None]:
        """Have the key at hand for the code that dispatches, and for MCP servers."""
        call = EffectCall(self.key, self.idempotency_id, self.place.attempt, self._note)
        token = current.set(call)
        meta = call_meta.current.set({call_meta.IDEMPOTENCY_KEY: self.idempotency_id, call_meta.EFFECT_KEY: self.key})
        try:
            yield
        finally:
            call_meta.current.reset(meta)
            current.reset(token)


@dataclass(frozen=True, slots=True)
class _Do:
    """Tell the ledger something.

    Attributes:
        act: What to do; it blocks.
        undo: Called with what came of it, if the caller was cancelled meanwhile.
    """

    act: Callable[[], Any]
    undo: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class _Rest:
    """Wait for another call of the same effect."""

    seconds: float


@dataclass(frozen=True, slots=True)
class _Dispatch:
    """Make the call."""


@dataclass(frozen=True, slots=True)
class _Reconcile:
    """Ask the destination."""

    hook: Reconcile
    record: EffectRecord


_Step: TypeAlias = _Do | _Rest | _Dispatch | _Reconcile


def _flow(plan: _Plan, call: _Call) -> Generator[_Step, Any, Any]:
    """Decide what a call of an effect does next; sync and async callers perform it.

    Returns:
        What the call returns.
    """
    wait_s, dispatches = _LOOK_S, 0
    while True:
        since = time.monotonic()
        decision: Decision = yield _Do(call.claim, call.give_up)
        match decision.order:
            case machine.Replay(result=stored):
                return plan.load(call, stored)["result"]
            case machine.RaiseAgain(error=message):
                raise EffectFailed(message)
            case machine.Wait():
                yield _Rest(wait_s * random.uniform(0.7, 1.3))
                wait_s = min(_LONGEST_LOOK_S, wait_s * 2)
            case machine.Dispatch():
                dispatches += 1
                while not call.kept(since):  # the process was stopped meanwhile, or the database took its time
                    since = time.monotonic()
                    yield _Do(call.keep, call.take_back)
                try:
                    result = yield _Dispatch()
                except BaseException as error:
                    doubtful = yield _Do(functools.partial(call.fail, plan, error))
                    if not plan.asks_again(error, doubtful, dispatches):
                        raise
                    continue
                yield _Do(functools.partial(call.settle, result))
                return result
            case _:
                assert decision.row is not None
                if callable(plan.on_doubt):
                    said = yield _Reconcile(plan.on_doubt, call.record(decision.row))
                else:
                    said = plan.ask(call, decision.row)
                yield _Do(functools.partial(call.resolve, said))


def _call(plan: _Plan, call: _Call, function: Callable[[], object]) -> Any:
    def dispatch() -> object:
        with call.dispatching():
            return function()

    return drive(_flow(plan, call), functools.partial(_perform, dispatch, _do, time.sleep))


async def _acall(plan: _Plan, call: _Call, function: Callable[[], Awaitable[object]]) -> Any:
    async def dispatch() -> object:
        with call.dispatching():
            return await function()

    async def perform(step: _Step) -> Any:
        answer = _perform(dispatch, _uncut, asyncio.sleep, step)
        return await answer if inspect.isawaitable(answer) else answer  # a hook may be a plain function

    return await adrive(_flow(plan, call), perform)


def _perform(dispatch: Callable[[], Any], do: Callable[..., Any], rest: Callable[[float], Any], step: _Step) -> Any:
    """Perform a step of a call; an async caller awaits what this returns.

    Args:
        dispatch: Makes the call.
        do: Tells the ledger something, or takes it back.
        rest: Waits.
        step: The step.
    """
    match step:
        case _Do(act=act, undo=undo):
            return do(act, undo)
        case _Rest(seconds=seconds):
            return rest(seconds)
        case _Dispatch():
            return dispatch()
        case _Reconcile(hook=hook, record=record):
            return hook(record)


def _do(act: Callable[[], T], undo: Callable[[T], None] | None) -> T:
    """Do something; a sync caller cannot be cancelled meanwhile."""
    return act()


async def _uncut(act: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """Do something in a thread, and finish it also if the caller is cancelled meanwhile.

    Args:
        act: What to do.
        undo: Called with what came of it, if the caller was cancelled.
    """
    cancelled: asyncio.CancelledError | None = None
    doing = asyncio.ensure_future(anyio.to_thread.run_sync(act))
    with anyio.CancelScope(shield=True):
        while not doing.done():
            try:
                await asyncio.wait({doing})
            except asyncio.CancelledError as error:
                cancelled = error
    done = doing.result()
    if cancelled is not None:
        if undo is not None:
            undo(done)
        raise cancelled
    return done


def _args_hash(ledger: EffectLedger, arguments: Mapping[str, Any]) -> str:
    return hashlib.sha256(ledger.dump(_canonical(arguments)) or b"").hexdigest()


def _canonical(value: object) -> object:
    """Return a value whose stored form depends on what it holds, not on the order it was filled in."""
    if isinstance(value, Mapping):
        return [[str(key), _canonical(value[key])] for key in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return value
