"""Addresses of NATS servers: where they are, and by what this process proves who it is.

    nats://127.0.0.1:4222                                 a server of this machine
    tls://TOKEN@nats.example.com                          with a token; or USER:PASSWORD@
    tls://a.example.com,b.example.com?credentials=FILE    with a file of credentials (JWT and seed)
    tls://nats.example.com?nkey=FILE&ca=FILE              with the seed of an NKey, and an own authority
    tls://nats.example.com?certificate=FILE&key=FILE      with a certificate of this process
    tls://TOKEN@nats.example.com?handshake=first          a server that begins with TLS (`handshake_first`)

Rules
-----
* A server that is not on this machine needs a proof.
* With `tls://`, `ca`, `certificate` or `handshake` a connection is encrypted, or there is none. With `nats://` alone it
  is if the server asks for it.
* Neither an address nor anything made of it shows a secret.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from stategraph.errors import ConfigurationError

SCHEMES: Final = ("nats", "tls")
PORT: Final = 4222

#: The first part of all subjects, streams and buckets, unless the address says `namespace=`.
NAMESPACE: Final = "stategraph"

_OPTIONS: Final = ("ca", "certificate", "credentials", "handshake", "key", "namespace", "nkey")
_FORM: Final = "nats://TOKEN@host:4222, or tls://host?credentials=FILE"


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Servers of one cluster, and the proof for them.

    Attributes:
        servers: Their addresses, without secrets.
        token: A token; None: none.
        user: A user; None: none.
        password: The user's password.
        credentials: A file with a JWT and its seed; None: none.
        nkey: A file with the seed of an NKey; None: none.
        ca: A file with the certificates of the authorities that are trusted; None: those of the system.
        certificate: A file with this process's certificate, for servers that ask for one; None: none.
        key: A file with the key of that certificate; None: it is in the same file.
        handshake: `first` if the servers begin with the handshake of TLS; None: they first say in plain text whether
            they want it.
        namespace: The first part of all names in the server.
    """

    servers: tuple[str, ...]
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    credentials: str | None = None
    nkey: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    handshake: str | None = None
    namespace: str = NAMESPACE

    @property
    def where(self) -> str:
        """The servers, for messages."""
        return ", ".join(self.servers)

    @property
    def encrypts(self) -> bool:
        """True if nothing may be sent without TLS."""
        return self.servers[0].startswith("tls:") or any((self.ca, self.certificate, self.handshake))

    @property
    def proof(self) -> str:
        """The kind of the proof, for messages."""
        kinds = (("a token", self.token), ("a user and a password", self.user))
        files = (
            ("a file of credentials", self.credentials),
            ("an NKey", self.nkey),
            ("a certificate", self.certificate),
        )
        return next((kind for kind, value in (*kinds, *files) if value is not None), "no proof of who it is")


def is_nats(url: str) -> bool:
    """Return whether an address is one of NATS."""
    return url.partition(":")[0] in SCHEMES


def read_address(url: str) -> NatsAddress:
    """Read an address.

    Raises:
        ConfigurationError: It is none, or names a server of another machine without a proof.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ConfigurationError(f"An address of NATS begins with 'nats://' or 'tls://': write {_FORM}")
    login, at, where = rest.rpartition("@")
    where, _, query = where.partition("?")
    hosts = [each.strip("/") for each in where.split(",")]
    options = _options(query)
    user, colon, password = login.partition(":")
    address = NatsAddress(
        tuple(_server(scheme, each) for each in hosts),
        token=unquote(login) if at and not colon else None,
        user=unquote(user) if colon else None,
        password=unquote(password) if colon else None,
        **options,
    )
    if address.proof.startswith("no ") and not all(map(_is_here, hosts)):
        raise ConfigurationError(
            f"The NATS server at {address.where} is on another machine, and the address holds {address.proof}: write "
            f"{_FORM}, or ?nkey=FILE"
        )
    return address


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise ConfigurationError(f"An address of NATS has no option {name!r}; it has: {known}")
        if name == "namespace" and not value.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"The namespace {value!r} of NATS has letters, digits, '-' and '_' alone")
        if name == "handshake" and value != "first":
            raise ConfigurationError(
                f"The handshake {value!r} of NATS is not known: write handshake=first, or leave it out"
            )
        options[name] = value
    if "key" in options and "certificate" not in options:
        raise ConfigurationError("An address of NATS with key=FILE names the key's certificate, too: certificate=FILE")
    return options


def _server(scheme: str, host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or PORT
    except ValueError:
        port = 0
    if not port or not parts.hostname:
        raise ConfigurationError(f"The NATS server {host!r} is no host with a port: write {_FORM}")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{name}:{port}"


def _is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
