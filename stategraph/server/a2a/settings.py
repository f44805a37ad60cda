"""Settings of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stategraph.server.a2a.push_store import PushStore

#: Media types of parts that graphs take unless their assistant says otherwise.
INPUT_MODES = ("text/plain", "text", "application/json", "image/*", "audio/*", "application/pdf", "text/*")

#: Media types of parts that graphs may answer with.
OUTPUT_MODES = ("text/plain", "application/json")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs cards, as JSON Web Signature (RFC 7515).

    Attributes:
        key: The private key as PEM, or the secret of `HS256`.
        key_id: Its name, by which clients find the public key.
        algorithm: Such as `ES256`.
        jwks_url: Where the public keys are; None: clients know them.
    """

    key: str = field(repr=False)
    key_id: str
    algorithm: str = "ES256"
    jwks_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class A2aSettings:
    """Settings of the protocol.

    Attributes:
        url: The address of the server as clients see it, such as `https://agents.example.com`; empty: as each request
            was addressed.
        grpc_url: The address of the gRPC server as clients see it, `host:port`; None: there is none.
        default: The assistant of requests that name none; None: the first graph.
        version: Of the agents, in their cards.
        organization: Who provides the agents; empty: not said.
        organization_url: Its page.
        documentation_url: A page about the agents; None: not said.
        input_modes: Media types of parts that are taken. `image/*` stands for all of a kind.
        output_modes: Media types of parts that are answered with.
        signing: Keys that sign the cards; none: they are not signed.
        needs_auth: Whether requests need credentials, which the cards then say.
        card_max_age_s: For how long a card may be kept, in seconds.
        pushes: Whether clients may have themselves told of tasks.
        push_secrets: Whether clients may give tokens and credentials with the addresses at which they are told, which
            are stored.
        push_store: Keeps where they are told, such as `DatabasePushStore`; None: this process remembers it.
        push_hosts: Names and addresses that are told although they are not public, such as those of tests; they may be
            told over http too. Others need https and public addresses.
    """

    url: str = ""
    grpc_url: str | None = None
    default: str | None = None
    version: str = "1.0.0"
    organization: str = ""
    organization_url: str = ""
    documentation_url: str | None = None
    input_modes: Sequence[str] = INPUT_MODES
    output_modes: Sequence[str] = OUTPUT_MODES
    signing: Sequence[SigningKey] = ()
    needs_auth: bool = False
    card_max_age_s: int = 300
    pushes: bool = True
    push_secrets: bool = True
    push_store: PushStore | None = field(default=None, repr=False)
    push_hosts: Sequence[str] = ()
