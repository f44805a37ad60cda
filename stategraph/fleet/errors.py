"""Errors between an agent and those who ask it."""

from __future__ import annotations


class FleetError(Exception):
    """The base of the errors of this package."""


class NoEndpointError(FleetError):
    """No endpoint can take the request: there is none, or each is drained, unhealthy or had too many failures."""


class EndpointError(FleetError):
    """An endpoint failed.

    Args:
        message: What happened, without secrets.
        reached: Whether the request may have reached the agent. What certainly did not can be sent elsewhere.
    """

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
