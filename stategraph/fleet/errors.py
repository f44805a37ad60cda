"""Errors between an agent and those who ask it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import ClassVar, Final

#: Parts of what OpenSSL says of a certificate, with the way out of each.
_WAYS_OUT: Final = (
    ("mismatch", "Write the name in the address that the certificate was made for"),
    ("not valid for", "Write the name in the address that the certificate was made for"),
    ("expired", "Renew it"),
    ("not yet valid", "Correct the clock of this machine, or wait"),
)
_TRUST: Final = "Trust the authority that signed it: httpx.AsyncClient(verify=ssl.create_default_context(cafile=...))"

#: Parts of the errors by which a server asks for a certificate of the client.
_ASKS_FOR_ONE: Final = ("certificate required", "CERTIFICATE_REQUIRED", "bad certificate", "handshake failure")


class FleetError(Exception):
    """The base of the errors of this package."""


class NoEndpointError(FleetError):
    """No endpoint can take the request: there is none, or each is drained, unhealthy or had too many failures."""


class EndpointError(FleetError):
    """An endpoint failed.

    Args:
        message: What happened, without secrets.
        reached: Whether the request may have reached the agent. What certainly did not can be sent elsewhere.

    Attributes:
        is_failure: Whether it tells that the endpoint is not well; else it is passed over, and as good as before.
    """

    is_failure: ClassVar[bool] = True

    def __init__(self, message: str, *, reached: bool) -> None:
        super().__init__(message)
        self.reached = reached


class AgentRefusedError(FleetError):
    """The agent answered with an error; `a2a-sdk`'s is its cause. Nothing is wrong with the endpoint."""


class RequestLostError(FleetError):
    """An endpoint failed when it may have begun with the request, so it was not sent to another one.

    Attributes:
        endpoint: The address of the endpoint.
        streamed: Whether it had answered something already.
    """

    def __init__(self, message: str, *, endpoint: str, streamed: bool) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.streamed = streamed


def why(error: BaseException) -> str:
    """Return why a request failed, for a message: what is wrong with a certificate, or the name of the error."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            said = each.verify_message.rstrip(".")
            ways = (way for part, way in _WAYS_OUT if part in said)
            return f"its certificate is not accepted: {said}. {next(ways, _TRUST)}"
        if isinstance(each, ssl.SSLError) and any(part in str(each) for part in _ASKS_FOR_ONE):
            return "it asks for a certificate of the client: give the client's SSL context one with load_cert_chain"
        if isinstance(each, ssl.SSLError):
            return f"TLS failed: {each.reason or each}. Is it a server with TLS?"
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
