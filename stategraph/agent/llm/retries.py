"""Errors of models: which of them may pass if the call is made again, and after which pause.

The rules, by what providers' clients raise:

| | |
|---|---|
| the provider's own word (`x-should-retry`, which OpenAI and Anthropic send) | decides |
| no answer came: connections refused, lost or timed out; a time limit of ours | again |
| status 408, 409, 425, 429, 5xx but 501 and 505 | again |
| of these: a quota that is used up, a request that exceeds a limit by itself | not again |
| any other status: a refused key, an unknown model, a request that makes no sense | not again |
| what is no error of an HTTP client | not again |

`Retry-After` (RFC 9110, section 10.2.3; in milliseconds as `retry-after-ms`) is read from the response, else what the
provider's message says: "try again in 1.2s".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from stategraph.agent.context import overflow
from stategraph.agent.messages import problems
from stategraph.agent.settings.model_settings import ModelRetry
from stategraph.errors import ModelTimeoutError

_log = logging.getLogger(__name__)

_AGAIN: Final = frozenset({408, 409, 425, 429})
_NEVER: Final = frozenset({501, 505})

#: Classes of clients that say that no answer came, by their names: which client it is does not matter.
_NO_ANSWER: Final = frozenset(
    {
        *("APIConnectionError", "APITimeoutError", "TransportError"),  # openai and anthropic; httpx
        *("ConnectTimeoutError", "EndpointConnectionError", "ReadTimeoutError", "ConnectionClosedError"),  # botocore
        *("ClientConnectionError", "ServerTimeoutError"),  # aiohttp
        *("DeadlineExceeded", "ServiceUnavailable"),  # google.api_core
    }
)

_USED_UP: Final = re.compile(
    r"insufficient_quota|exceeded your current quota|billing|credit balance|payment required"
    r"|requests? per day|daily limit",
    re.IGNORECASE,
)

_IN_WORDS: Final = re.compile(
    r"(?:retry|try again) (?:in|after) (?P<number>\d+(?:\.\d+)?) ?(?P<unit>ms|s\b|sec)", re.IGNORECASE
)


def is_transient(error: BaseException) -> bool:
    """Return whether a call that failed with an error may succeed if it is made again.

    Args:
        error: What a model raised.
    """
    told = _header(error, "x-should-retry")
    if told in ("true", "false"):
        return told == "true"
    status = status_of(error)
    if status is None:
        return _no_answer_came(error)
    if status not in _AGAIN and (status < 500 or status in _NEVER):
        return False
    text = f"{problems.text(error)} {getattr(error, 'code', '')}"
    return not (status == 429 and (_USED_UP.search(text) or overflow.recognise(error) is not None))


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of a provider's answer; None if the error tells none."""
    response = getattr(error, "response", None)
    places: list[Any] = [getattr(error, name, None) for name in ("status_code", "http_status", "status", "code")]
    places.append(getattr(response, "status_code", None))
    if isinstance(response, Mapping):  # botocore
        places.append((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    return next((each for each in places if type(each) is int and 100 <= each <= 599), None)


def retry_after_s(error: BaseException, now_s: float) -> float | None:
    """Return the seconds that a provider asks to wait; None if it does not say.

    Args:
        error: What a model raised.
        now_s: The time, in seconds since the epoch.
    """
    exact, header = _header(error, "retry-after-ms"), _header(error, "retry-after")
    if exact is not None and _is_number(exact):
        return float(exact) / 1000
    if header is not None:
        if _is_number(header):
            return float(header)
        try:
            return max(0.0, parsedate_to_datetime(header).replace(tzinfo=UTC).timestamp() - now_s)
        except ValueError:
            return None
    said = _IN_WORDS.search(problems.text(error))
    if said is None:
        return None
    return float(said["number"]) / (1000 if said["unit"].lower() == "ms" else 1)


def pause_s(policy: ModelRetry, attempt: int, error: BaseException, *, now_s: float, chance: float) -> float | None:
    """Return the pause before a call is made again; None if it is not.

    Args:
        policy: The policy.
        attempt: The number of the attempt that failed, from 1.
        error: What it failed with.
        now_s: The time, in seconds since the epoch.
        chance: A number between 0 and 1.
    """
    if attempt >= policy.max_attempts or not isinstance(error, Exception):
        return None
    if not (is_transient(error) if policy.retry_on is None else _says_yes(policy.retry_on, error)):
        return None
    asked = retry_after_s(error, now_s)
    if asked is not None and asked > policy.max_retry_after_s:
        return None
    pause = min(policy.max_interval_s, policy.initial_interval_s * policy.backoff_factor ** (attempt - 1))
    if policy.jitter:
        pause *= 1 - chance / 2
    return float(pause if asked is None else asked)


def _says_yes(retry_on: Callable[[Exception], bool], error: Exception) -> bool:
    """Ask a host's function about an error; one that fails says no, and the provider's error has a note of that."""
    try:
        return bool(retry_on(error))
    except Exception as failure:
        note = f"The call is not made again: 'retry_on' of its ModelRetry failed with {problems.named(failure)}"
        error.add_note(note)
        _log.exception(note)
        return False


def _no_answer_came(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | ModelTimeoutError):
        return True
    return any(cls.__name__ in _NO_ANSWER for cls in type(error).__mro__)


def _header(error: BaseException, name: str) -> str | None:
    response = getattr(error, "response", None)
    headers: Any = getattr(response, "headers", None)
    if isinstance(response, Mapping):
        headers = (response.get("ResponseMetadata") or {}).get("HTTPHeaders")
    value = headers.get(name) if isinstance(headers, Mapping) else None
    return value.strip().lower() if isinstance(value, str) and name != "retry-after" else value


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None
