"""Connections to NATS: opened with a sentence for each way in which that fails.

The client of `nats-py` is kept from connecting again by itself: it tries for minutes before it says that a server is
away, sends what it kept before its subscriptions are there again, and gives up for good after most errors that a server
reports. So a connection that is lost is over, and who uses it makes another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.workers.nats.address import NatsAddress
from stategraph.workers.nats.encryption import Encryption

if TYPE_CHECKING:
    from nats.aio.client import Client

logger = logging.getLogger("stategraph.workers")

CONNECT_S: Final = 5.0

#: Time limit for closing a connection.
CLOSE_S: Final = 1.0

#: Subjects that a server does not allow which one connection warns of, each once; nodes try theirs every two seconds.
MOST_WARNINGS: Final = 20

#: Interval at which a silent connection is asked whether it is there; twice without an answer it is given up.
PING_S: Final = 20

#: The least that a server has to take in one message, in bytes.
LEAST_PAYLOAD: Final = 16 * 1024

#: Parts of the errors by which a server refuses a proof.
_DENIED: Final = ("authorization", "authentication", "user jwt", "nkey")

#: The two parts of a file of credentials.
_JWT: Final = re.compile(rb"BEGIN NATS USER JWT-+\s+(eyJ[\w.-]+)")
_SEED: Final = re.compile(rb"BEGIN USER NKEY SEED-+\s+(S\w+)")

#: Parts of what OpenSSL says of a certificate, with the way out of each.
_WAYS_OUT: Final = (
    ("mismatch", "Write the name in the address that the certificate was made for"),
    ("expired", "Renew it"),
    ("not yet valid", "Correct the clock of this machine, or wait"),
)

#: Parts of the reasons of errors by which a server asks for a certificate of the client.
_ASKS_FOR_ONE: Final = ("certificate required", "bad certificate", "unknown ca")
_NAME_ONE: Final = "name one with ?certificate=FILE&key=FILE"

#: A part of the error by which a server refuses a subject.
_FORBIDDEN: Final = "permissions violation"


class NatsUnavailableError(ConnectionError):
    """The NATS server cannot be reached, or does not answer."""


async def connect(
    address: NatsAddress,
    name: str,
    closed: Callable[[], Awaitable[None]] | None = None,
    denied: Callable[[str], object] | None = None,
) -> Client:
    """Connect to a server, once.

    Args:
        address: The server.
        name: The name of the connection, which the server shows.
        closed: Called when the connection is closed or lost.
        denied: Called with a sentence for each subject that the server does not allow; the connection goes on without.

    Raises:
        ConfigurationError: The server refuses the proof, shows a certificate that is not accepted, does not encrypt
            though the address asks for that, takes too little in a message, or a file is not there.
        MissingPackageError: `nats-py` is not installed.
        NatsUnavailableError: The server cannot be reached.
    """
    try:
        from nats.aio.client import Client  # an extra, 0.3 s
    except ImportError as error:
        raise MissingPackageError("stategraph[nats]", "NATS") from error
    problems: list[Exception] = []
    warned: set[str] = set()
    is_connected = False

    async def note(error: Exception) -> None:
        logger.debug("NATS: %r", error)
        if not is_connected:
            problems.append(error)
        elif _FORBIDDEN in str(error).lower():
            said = f"The NATS server at {address.where} does not allow this process something it needs: {error}"
            if said not in warned and len(warned) < MOST_WARNINGS:
                warned.add(said)
                logger.warning("%s", said)
            if denied is not None:
                denied(said)

    encryption = _encryption(address)
    client, options = Client(), _options(address, encryption)
    try:
        opening = client.connect(
            list(address.servers),
            name=name,
            error_cb=note,
            closed_cb=closed,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(CONNECT_S),
            ping_interval=PING_S,
            **options,
        )
        await asyncio.wait_for(opening, CONNECT_S)
        if encryption is not None:
            encryption.require()
        if not client.is_connected:  # an end before the server's answer is none for the client
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    except BaseException as error:  # of the client, of sockets and of TLS
        await close(client)  # it leaves the socket open
        if not isinstance(error, Exception):
            raise
        raise _in_a_sentence([*problems, error], address, encryption) from None
    is_connected = True
    problems.clear()
    if client.max_payload < LEAST_PAYLOAD:
        await close(client)
        raise ConfigurationError(
            f"The NATS server at {address.where} takes messages of at most {client.max_payload:,} bytes (max_payload); "
            f"workers need {LEAST_PAYLOAD:,}. Its default is 1 MB"
        )
    return client


async def close(client: Client) -> None:
    """Close a connection within a time limit: the client would wait for ever after a handshake of TLS that failed."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), CLOSE_S)


def _encryption(address: NatsAddress) -> Encryption | None:
    for name in ("ca", "certificate", "key"):
        if (file := getattr(address, name)) is not None:
            _look_for(name, file)
    return Encryption(address) if address.encrypts else None


def _options(address: NatsAddress, encryption: Encryption | None) -> dict[str, Any]:
    """Return the client's options for the proof and for TLS.

    Raises:
        ConfigurationError: A file cannot be read, or holds something else.
    """
    options: dict[str, Any] = {}
    if address.credentials is not None:
        options["user_credentials"] = _credentials(address.credentials)
    if address.nkey is not None:
        _content("nkey", address.nkey)  # an error that says so
        options["nkeys_seed"] = address.nkey
    for name in ("token", "user", "password"):
        if (value := getattr(address, name)) is not None:
            options[name] = value if encryption is None else encryption.guarded(value)
    if encryption is not None:
        options["tls"] = encryption.context
        options["tls_handshake_first"] = address.handshake == "first"
    return options


def _credentials(file: str) -> object:
    """Return the credentials in a file, as the client takes them.

    Not by its name: the client reads on for ever in a file without a JWT.
    """
    from nats.aio.client import RawCredentials

    content = _content("credentials", file)
    jwt, seed = _JWT.search(content), _SEED.search(content)
    if jwt is None or seed is None:
        raise ConfigurationError(
            f"The file '{file}' holds no credentials for a NATS server: it has the JWT of a user and its seed, as "
            "'nsc generate creds' writes them"
        )
    parts = (("NATS USER JWT", jwt[1]), ("USER NKEY SEED", seed[1]))
    return RawCredentials("".join(f"-----BEGIN {name}-----\n{part.decode()}\n" for name, part in parts))


def _content(name: str, file: str) -> bytes:
    _look_for(name, file)
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"The file '{file}', which the address of NATS names, cannot be read: {error}"
        ) from None


def _look_for(name: str, file: str) -> None:
    if not Path(file).is_file():
        raise ConfigurationError(f"The address of NATS names the file '{file}' as its {name}, and there is none")


def _in_a_sentence(errors: list[Exception], address: NatsAddress, encryption: Encryption | None) -> Exception:
    for each in errors:
        if isinstance(each, ConfigurationError):
            return each
        if isinstance(each, ssl.SSLError):  # also a ValueError, if it is about a certificate
            return _of_tls(each, address)
    if any(isinstance(each, ValueError) or type(each).__module__.startswith("nkeys") for each in errors):
        file = address.credentials or address.nkey
        return ConfigurationError(f"The file '{file}' holds no proof for a NATS server: write a seed, or credentials")
    said = [str(each) or type(each).__name__ for each in errors]
    if any(part in each.lower() for each in said for part in _DENIED):
        return ConfigurationError(
            f"The NATS server at {address.where} refuses this process, which shows {address.proof}: correct the "
            "address, or what the server allows"
        )
    return _unreachable(errors, address, encryption)


def _unreachable(errors: list[Exception], address: NatsAddress, encryption: Encryption | None) -> NatsUnavailableError:
    where, why = address.where, _why(errors)
    if encryption is not None and encryption.is_on and isinstance(errors[-1], ConnectionError):
        # Its alert may come too late to be read.
        return NatsUnavailableError(
            f"The NATS server at {where} ended the connection after the handshake of TLS: {why}. If it asks for a "
            f"certificate of this process, {_NAME_ONE}"
        )
    begins = ""
    if encryption is not None and address.handshake is None and _is_silent(errors):
        begins = "; if it begins with TLS (handshake_first), write ?handshake=first"
    return NatsUnavailableError(
        f"The NATS server at {where} cannot be reached: {why}. Start it, or correct the address{begins}"
    )


def _of_tls(error: ssl.SSLError, address: NatsAddress) -> Exception:
    """Return the error of a connection for a failure of TLS, in a sentence."""
    where = address.where
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        way_out = next((way for part, way in _WAYS_OUT if part in said.lower()), _trust(address))
        return ConfigurationError(f"The certificate of the NATS server at {where} is not accepted: {said}. {way_out}")
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if any(part in reason for part in _ASKS_FOR_ONE):
        shown = "none" if address.certificate is None else f"that in '{address.certificate}'"
        return ConfigurationError(
            f"The NATS server at {where} asks for a certificate of this process that its authorities signed, and was "
            f"shown {shown}: {_NAME_ONE}"
        )
    return NatsUnavailableError(f"TLS with the NATS server at {where} failed: {reason}. Look at its TLS configuration")


def _trust(address: NatsAddress) -> str:
    if address.ca is None:
        return "Name the file with the certificate of the authority that signed it: ?ca=FILE"
    return f"The file '{address.ca}' does not hold the authority that signed it: name the right one with ?ca=FILE"


def _is_silent(errors: list[Exception]) -> bool:
    return any(isinstance(each, TimeoutError) for each in errors)


def _why(errors: list[Exception]) -> str:
    if _is_silent(errors):
        return f"no answer in {CONNECT_S:g} s"
    of_system = [each.errno for each in errors if isinstance(each, OSError) and each.errno is not None]
    return os.strerror(of_system[0]) if of_system else str(errors[-1]) or type(errors[-1]).__name__
