"""TLS on connections to NATS: what the address asks for is kept, whatever the server says.

Rules
-----
* A NATS server says in its first line, in plain text, whether it wants TLS, and the client of `nats-py` believes it: a
  server without TLS, or one that stands in between, would be sent the token of a `tls://` address as it is. So a secret
  is handed out only after a handshake in which the server's certificate was accepted.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from stategraph.errors import ConfigurationError
from stategraph.workers.nats.address import NatsAddress


class Encryption:
    """The encryption of one connection.

    Args:
        address: The server, the authorities that are trusted, and the certificate of this process.

    Attributes:
        context: For the client.
        is_on: Whether a handshake has succeeded.

    Raises:
        ConfigurationError: A file holds no certificates, or no key for one.
    """

    def __init__(self, address: NatsAddress) -> None:
        self._where = address.where
        self.is_on = False
        try:
            self.context = ssl.create_default_context(cafile=address.ca)
        except OSError as error:
            raise ConfigurationError(f"The file '{address.ca}' holds no certificates: {error}") from None
        if address.certificate is not None:
            self._show(address.certificate, address.key)
        self.context.sslobject_class = self._noting()

    def _show(self, certificate: str, key: str | None) -> None:
        """Show servers that ask for it a certificate of this process."""
        try:
            # Without a password, even an empty one, the terminal would be asked for that of a key that is encrypted.
            self.context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            where = f"'{certificate}'" if key is None else f"'{certificate}' and its key in '{key}'"
            raise ConfigurationError(
                f"The certificate for the NATS server, {where}, cannot be used: {error}. Both have to be PEM, and the "
                "key not encrypted"
            ) from None

    def _noting(self) -> type[ssl.SSLObject]:
        """Return a class of TLS streams that note when their handshake has succeeded."""
        encryption = self

        class NotingObject(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                encryption.is_on = True

        return NotingObject

    def require(self) -> None:
        """Check that the connection is encrypted.

        Raises:
            ConfigurationError: It is not.
        """
        if not self.is_on:
            raise ConfigurationError(
                f"The NATS server at {self._where} does not ask for TLS, and the address does ('tls://' or a "
                "certificate): no secret was sent to it. Configure TLS in the server, without 'allow_non_tls'; or "
                "write 'nats://' for a server without TLS"
            )

    def guarded(self, secret: str) -> Callable[[], str]:
        """Return a function that hands out a secret if the connection is encrypted."""

        def hand_out() -> str:
            self.require()
            return secret

        return hand_out
