"""The certificate of a server, checked before it listens."""

from __future__ import annotations

import ssl
from typing import Any

from stategraph.errors import ConfigurationError
from stategraph.server.settings import Tls


def options_of(tls: Tls | None) -> dict[str, Any]:
    """Return the options of uvicorn that encrypt connections; none without a certificate.

    Raises:
        ConfigurationError: A file is not there, or holds something else.
    """
    if tls is None:
        return {}
    key = tls.key or tls.certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password, even an empty one, the terminal would be asked for that of a key that is encrypted.
        context.load_cert_chain(tls.certificate, key, password="")
    except OSError as error:  # an `SSLError` is one
        raise ConfigurationError(
            f"The server's certificate '{tls.certificate}' with its key in '{key}' cannot be used: {error}. Both have "
            "to be PEM, the key not encrypted and that of the certificate"
        ) from None
    options = {"ssl_certfile": tls.certificate, "ssl_keyfile": key}
    if tls.client_ca is None:
        return options
    try:
        context.load_verify_locations(tls.client_ca)
    except OSError as error:
        raise ConfigurationError(f"The file '{tls.client_ca}' holds no certificates of authorities: {error}") from None
    return {**options, "ssl_ca_certs": tls.client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
