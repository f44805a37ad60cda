"""Settings of a server: who is let in, limits, protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.routing import BaseRoute

from stategraph.server.access.port import Authenticator
from stategraph.server.limits import Limits
from stategraph.server.service.graphs.declared import ResourceSettings
from stategraph.server.service.runs.sessions import Sessions
from stategraph.workers.leases import LeaseSettings

#: The protocols, each a package beside this file; `runs` is the Run API.
PROTOCOLS: Final = ("runs", "langgraph", "agui", "vercel", "openai", "a2a", "mcp")

#: Seconds that runs have to end when the server stops.
DRAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files, as PEM, by which a server encrypts its connections.

    Attributes:
        certificate: Its certificate, and those between it and its authority.
        key: The key of that, not encrypted; None: it is in the same file.
        client_ca: Authorities whose certificates clients have to show; None: they show none.
    """

    certificate: str
    key: str | None = None
    client_ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """The place of a server in the directory of a fleet, where each of its graphs is registered as an agent.

    Attributes:
        url: Its address as others reach it, such as `https://host-1.example.com:2024`.
        weight: Its share of requests beside its replicas, up to 1,000.
    """

    url: str
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a server.

    Attributes:
        auth: Are asked in turn who sends a request; none: the server knows no users.
        routes: Routes that these need, such as the metadata of a resource server.
        protocols: Those that are served.
        limits: Limits of requests.
        cors: Origins of pages that may use the server, such as `https://chat.example.com`; `http://localhost:*` stands
            for all ports.
        allowed_hosts: Without authentication, names by which the server may be addressed, beside `localhost` and
            addresses.
        webhook_hosts: Hosts that webhooks may be sent to, and A2A's clients told at, although they are private, or over
            http.
        drain_s: Seconds that runs have to end when the server stops.
        grpc: Address of the gRPC server of A2A, `host:port`; empty: there is none.
        probes: Address of the probes and of the figures for Prometheus, `host:port`, which need no credentials; empty:
            there is none.
        leases: How long a process may be silent before others go on with its runs, and how often a run is tried.
        sessions: Says in which session runs of the protocols are executed, such as `GovernedSessions`, or where that
            is: `file.py:name` or `package.module:name`. None: runs have none.
        access_log: Whether each request is a line of the log `stategraph.server.access_log`.
        tls: The server's certificate; None: connections are not encrypted.
        nats: The address of a NATS server that wakes workers and readers beside the database; empty: there is none.
        announce: How the server is registered in the directory of a fleet, in the NATS server or else in its database;
            None: it is not.
        resources: What is declared, and served too; None: nothing is.
        options: Settings of protocols by their names: an `A2aSettings` for `a2a`, a `McpSettings` for `mcp`.
    """

    auth: Sequence[Authenticator] = ()
    routes: Sequence[BaseRoute] = field(default_factory=tuple)
    protocols: Sequence[str] = PROTOCOLS
    limits: Limits = field(default_factory=Limits)
    cors: Sequence[str] = ()
    allowed_hosts: Sequence[str] = ()
    webhook_hosts: Sequence[str] = ()
    drain_s: float = DRAIN_S
    grpc: str = ""
    probes: str = ""
    leases: LeaseSettings = field(default_factory=LeaseSettings)
    sessions: Sessions | str | None = None
    access_log: bool = False
    tls: Tls | None = None
    nats: str = field(default="", repr=False)
    announce: Announcement | None = None
    resources: ResourceSettings | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
