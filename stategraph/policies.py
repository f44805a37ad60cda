"""Policies of nodes: retries, time limits, caching and tracing.

The policies are data. The engine's attempt reads them; nothing here sleeps, calls or counts.
"""

import pickle
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, Literal, NamedTuple

from typing_extensions import TypeVar

from stategraph import wire

__all__ = (
    "CacheKey",
    "CachePolicy",
    "RetryPolicy",
    "TimeoutPolicy",
    "TracePolicy",
    "default_cache_key",
    "default_retry_on",
    "omit_payload",
)

# A second attempt would meet the same bug, the same missing name, the same bad value.
_PERMANENT: Final = (
    *(ArithmeticError, ImportError, LookupError, NameError, ReferenceError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, OSError, StopIteration, StopAsyncIteration),
)

# The classes of HTTP clients for "the server answered with an error status" and for "no answer came at all".
_HTTP_STATUS_ERRORS: Final = (("httpx", "HTTPStatusError"), ("httpx2", "HTTPStatusError"), ("requests", "HTTPError"))
_HTTP_TRANSPORT_ERRORS: Final = (("requests", "ConnectionError"), ("requests", "Timeout"))


def _is_any(error: BaseException, names: Sequence[tuple[str, str]]) -> bool:
    """Return whether `error` is an instance of one of the named classes, without importing their modules.

    A library that has not been imported cannot have raised anything.
    """
    for module_name, class_name in names:
        found = getattr(sys.modules.get(module_name), class_name, None)
        if isinstance(found, type) and isinstance(error, found):
            return True
    return False


def default_retry_on(exc: Exception) -> bool:
    """Return whether a failure looks temporary.

    Args:
        exc: What the node raised.

    Returns:
        True for lost connections, for HTTP answers of 500 to 599, for an HTTP error without an answer, and for
        exceptions that are not one of Python's own kinds of programming or operating system error. False for
        those kinds, and for every other HTTP answer.
    """
    if isinstance(exc, ConnectionError):
        return True
    if _is_any(exc, _HTTP_STATUS_ERRORS):
        # Compared with None because a `requests.Response` of an error status is falsy.
        response = getattr(exc, "response", None)
        return response is None or 500 <= response.status_code < 600
    if _is_any(exc, _HTTP_TRANSPORT_ERRORS):
        return True
    return not isinstance(exc, _PERMANENT)


@wire.stored
class RetryPolicy(NamedTuple):
    """Retry policy of a node: which failed attempts are repeated, and after which pause."""

    initial_interval: float = 0.5
    """Pause before the second attempt, in seconds."""

    backoff_factor: float = 2.0
    """Factor by which each pause is longer than the one before."""

    max_interval: float = 128.0
    """No pause is longer than this, in seconds."""

    max_attempts: int = 3
    """Attempts altogether, the first one included."""

    jitter: bool = True
    """True to vary each pause by up to a second, so that many clients do not come back at once."""

    retry_on: type[Exception] | Sequence[type[Exception]] | Callable[[Exception], bool] = default_retry_on
    """Exception classes worth another attempt, or a function that says so for an exception."""


def checked_retry_policies(value: Any, owner: str) -> Any:
    """Check what was given as a ``retry_policy``.

    Args:
        value: A policy, a sequence of them, or None.
        owner: What it was given to, for the message.

    Returns:
        The argument, with the policies of an installed LangGraph exchanged for ours.

    Raises:
        TypeError: It is anything else.
    """
    if value is None:
        return None
    # By what it can do, as another engine's policies do as well; and a policy is a tuple itself.
    several = isinstance(value, (list, tuple)) and not hasattr(value, "retry_on")
    for policy in value if several else (value,):
        if isinstance(policy, type) or not hasattr(policy, "retry_on"):
            raise TypeError(
                f"retry_policy of {owner} is {value!r}; expected a RetryPolicy, a list of them, or None. For three "
                "attempts write RetryPolicy(max_attempts=3)."
            )
    return type(value)(map(_own_retry_policy, value)) if several else _own_retry_policy(value)


def _own_retry_policy(policy: Any) -> Any:
    return RetryPolicy(**policy._asdict()) if wire.is_double(policy, RetryPolicy) else policy


_REFRESH_ON: Final = ("auto", "heartbeat")


@wire.stored
@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """Time limits for one attempt of an async node.

    Time-outs cancel the attempt as asyncio cancels a task: code that blocks the event loop is not interrupted.
    """

    run_timeout: float | timedelta | None = None
    """Longest duration of one attempt, in seconds. Nothing extends it. None: no limit."""

    idle_timeout: float | timedelta | None = None
    """Longest silence within one attempt, in seconds. None: no limit."""

    refresh_on: Literal["auto", "heartbeat"] = "auto"
    """Events that end a silence: `auto` is any sign of progress (a callback, a write, a stream event or a heartbeat),
    `heartbeat` is only `runtime.heartbeat()`.
    """

    @classmethod
    def coerce(cls, value: "float | timedelta | TimeoutPolicy | None") -> "TimeoutPolicy | None":
        """Bring every accepted spelling of a time-out to one form.

        Args:
            value: Seconds or a timedelta, meaning a `run_timeout`; a policy; or None.

        Returns:
            A policy whose limits are positive seconds, the same object if `value` is one already.
            None if nothing is limited.

        Raises:
            ValueError: A limit is not positive, or `refresh_on` is neither of its two words.
        """
        if value is None:
            return None
        if isinstance(value, TimeoutPolicy):
            policy = value
        elif wire.is_double(value, TimeoutPolicy):  # an installed LangGraph's
            double: Any = value
            policy = cls(run_timeout=double.run_timeout, idle_timeout=double.idle_timeout, refresh_on=double.refresh_on)
        else:
            policy = cls(run_timeout=value)
        if policy.refresh_on not in _REFRESH_ON:
            raise ValueError(f"refresh_on must be 'auto' or 'heartbeat', not {policy.refresh_on!r}")
        run = _seconds(policy.run_timeout, "run_timeout")
        idle = _seconds(policy.idle_timeout, "idle_timeout")
        if run is None and idle is None:
            return None
        if run is policy.run_timeout and idle is policy.idle_timeout:
            return policy
        return cls(run_timeout=run, idle_timeout=idle, refresh_on=policy.refresh_on)


def _seconds(limit: float | timedelta | None, field: str) -> float | None:
    """Return a limit as positive seconds; a float that is one comes back as the same object."""
    if limit is None:
        return None
    seconds = limit.total_seconds() if isinstance(limit, timedelta) else float(limit)
    if not seconds > 0:
        raise ValueError(f"{field} must be greater than 0 seconds, not {limit!r}; leave it out for no limit")
    return seconds


_CANONICAL_DEPTH: Final = 10

# The meaning of the bytes of an array or image. Without these, arrays of different numbers have the same bytes.
_LAYOUT: Final = ("dtype", "typecode", "format", "shape", "mode", "size")


def _canonical(value: Any, depth: int = _CANONICAL_DEPTH) -> Any:
    """Return a value whose pickle is the same for equal inputs: without the order of mappings and sets.

    Args:
        value: Any input of a node.
        depth: How many levels of containers to look into.

    Returns:
        Containers as tuples that begin with their kind; anything else as it is.
    """
    if depth <= 0 or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: (type(item[0]).__qualname__, repr(item[0])))
        return "mapping", *((key, _canonical(item, depth - 1)) for key, item in items)
    if isinstance(value, Set):
        return "set", *sorted((_canonical(item, depth - 1) for item in value), key=repr)
    if type(value) is tuple or (isinstance(value, Sequence) and not isinstance(value, Hashable)):
        return type(value).__qualname__, *(_canonical(item, depth - 1) for item in value)
    if hasattr(value, "tobytes") and not isinstance(value, Hashable):
        palette = value.getpalette() if hasattr(value, "getpalette") else None
        layout = [str(getattr(value, name, None)) for name in _LAYOUT]
        return type(value).__qualname__, value.tobytes(), layout, palette
    return value


def default_cache_key(*args: Any, **kwargs: Any) -> str | bytes:
    """Return a cache key for a call with these arguments.

    Returns:
        Bytes that are equal for equal arguments, regardless of the order of their mappings and sets.
    """
    return pickle.dumps((_canonical(args), _canonical(kwargs)), protocol=5, fix_imports=False)


KeyFuncT = TypeVar("KeyFuncT", bound=Callable[..., str | bytes], default=Callable[..., str | bytes])


@wire.stored
@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy(Generic[KeyFuncT]):
    """Cache policy of a node: the key of an earlier result, and how long it is used instead of running the node."""

    key_func: KeyFuncT = default_cache_key  # type: ignore[assignment]
    """Makes the key out of the node's input. The default pickles it."""

    ttl: int | None = None
    """Seconds that a result stays valid. None: for ever."""


@wire.stored
class CacheKey(NamedTuple):
    """Cache key of the result of one task."""

    ns: tuple[str, ...]
    """Namespace in the cache."""

    key: str
    """Key within the namespace."""

    ttl: int | None
    """Seconds that the entry stays valid. None: for ever."""


@wire.stored
@dataclass(frozen=True, slots=True, kw_only=True)
class TracePolicy:
    """Contents of the trace of a node's own run.

    Runs inside the node, and the run of the graph around it, record what they always do. This saves space; it is
    not a way to keep secrets out of traces.
    """

    process_inputs: Callable[[Any], Any] | None = None
    """Given the node's input, returns what to record for it. It must not change its argument. None: the input."""

    process_outputs: Callable[[Any], Any] | None = None
    """Given the node's output, returns what to record for it. It must not change its argument. None: the output."""


def omit_payload(_value: Any) -> dict[str, Any]:
    """Record nothing: for either field of a `TracePolicy`.

    Returns:
        An empty dict. The run itself and its duration stay in the trace.
    """
    return {}
