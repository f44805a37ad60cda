"""Connections to NATS: opened with a sentence for each way in which that fails.

The client of `nats-py` is kept from connecting again by itself: it tries for minutes before it says that a server is
away, sends what it kept before its subscriptions are there again, and gives up for good after most errors that a server
reports. So a connection that is lost is over, and who uses it makes another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.workers.nats.address import NatsAddress

if TYPE_CHECKING:
    from nats.aio.client import Client

logger = logging.getLogger("stategraph.workers")

CONNECT_S: Final = 5.0

#: Interval at which a silent connection is asked whether it is there; twice without an answer it is given up.
PING_S: Final = 20

#: The least that a server has to take in one message, in bytes.
LEAST_PAYLOAD: Final = 16 * 1024

#: Parts of the errors by which a server refuses a proof.
_DENIED: Final = ("authorization", "authentication", "user jwt", "nkey")

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
        ConfigurationError: The server refuses the proof, takes too little in a message, or a file is not there.
        MissingPackageError: `nats-py` is not installed.
        NatsUnavailableError: The server cannot be reached.
    """
    try:
        from nats.aio.client import Client  # an extra, 0.3 s
    except ImportError as error:
        raise MissingPackageError("stategraph[nats]", "NATS") from error
    problems: list[Exception] = []
    is_connected = False

    async def note(error: Exception) -> None:
        logger.debug("NATS: %r", error)
        if not is_connected:
            problems.append(error)
        elif _FORBIDDEN in str(error).lower():
            said = f"The NATS server at {address.where} does not allow this process something it needs: {error}"
            logger.warning("%s", said)
            if denied is not None:
                denied(said)

    client, options = Client(), _options(address)
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
    except BaseException as error:  # of the client, of sockets and of TLS
        with contextlib.suppress(Exception):
            await client.close()  # it leaves the socket open
        if not isinstance(error, Exception):
            raise
        raise _in_a_sentence([*problems, error], address) from None
    is_connected = True
    problems.clear()
    if client.max_payload < LEAST_PAYLOAD:
        await client.close()
        raise ConfigurationError(
            f"The NATS server at {address.where} takes messages of at most {client.max_payload:,} bytes (max_payload); "
            f"workers need {LEAST_PAYLOAD:,}. Its default is 1 MB"
        )
    return client


def _options(address: NatsAddress) -> dict[str, Any]:
    """Return the client's options for the proof and for TLS.

    Raises:
        ConfigurationError: A file is not there, or cannot be read.
    """
    options: dict[str, Any] = {}
    files = (("credentials", "user_credentials"), ("nkey", "nkeys_seed"))
    for name, option in files:
        if (file := getattr(address, name)) is not None:
            _look_for(name, file)
            options[option] = file
    for name in ("token", "user", "password"):
        if (value := getattr(address, name)) is not None:
            options[name] = value
    if address.ca is not None:
        _look_for("ca", address.ca)
    if address.ca is not None or address.servers[0].startswith("tls:"):
        try:
            options["tls"] = ssl.create_default_context(cafile=address.ca)
        except OSError as error:
            raise ConfigurationError(f"The file '{address.ca}' holds no certificates: {error}") from None
    return options


def _look_for(name: str, file: str) -> None:
    if not Path(file).is_file():
        raise ConfigurationError(f"The address of NATS names the file '{file}' as its {name}, and there is none")


def _in_a_sentence(errors: list[Exception], address: NatsAddress) -> Exception:
    if any(isinstance(each, ValueError) or type(each).__module__.startswith("nkeys") for each in errors):
        file = address.credentials or address.nkey
        return ConfigurationError(f"The file '{file}' holds no proof for a NATS server: write a seed, or credentials")
    said = [str(each) or type(each).__name__ for each in errors]
    if any(part in each.lower() for each in said for part in _DENIED):
        return ConfigurationError(
            f"The NATS server at {address.where} refuses this process, which shows {address.proof}: correct the "
            "address, or what the server allows"
        )
    return NatsUnavailableError(
        f"The NATS server at {address.where} cannot be reached: {_why(errors)}. Start it, or correct the address"
    )


def _why(errors: list[Exception]) -> str:
    if any(isinstance(each, TimeoutError) for each in errors):
        return f"no answer in {CONNECT_S:g} s"
    of_system = [each.errno for each in errors if isinstance(each, OSError) and each.errno is not None]
    return os.strerror(of_system[0]) if of_system else str(errors[-1]) or type(errors[-1]).__name__
