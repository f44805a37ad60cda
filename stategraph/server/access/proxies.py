"""Certificates of clients (mTLS), which a proxy in front of the server has checked.

Rules
-----
* Headers are believed only if the connection comes from an address of a proxy that is trusted; from others they are
  as if they were not there. The proxy has to take such headers out of what clients send.
* A header that stands twice is refused: one of them may be a client's.

Headers: `Client-Cert` (RFC 9440); `X-Forwarded-Client-Cert` of Envoy; `SSL-Client-Subject-DN` with
`SSL-Client-Verify`, as ingress-nginx sends them.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote

from starlette.requests import HTTPConnection

from stategraph.errors import ConfigurationError
from stategraph.server.access.port import AuthenticationError
from stategraph.server.service.values import Caller

CertificateHeader: TypeAlias = Literal["client-cert", "x-forwarded-client-cert", "ssl-client-subject-dn"]

#: What follows a name in a distinguished name (RFC 4514), where a comma may be escaped.
_COMMON_NAME: Final = re.compile(r"(?:^|[,/+])\s*CN\s*=\s*((?:\\.|[^,/+\\])+)", re.IGNORECASE)

_PART: Final = re.compile(r'\s*(\w+)\s*=\s*("(?:\\.|[^"\\])*"|[^;,]*)\s*([;,]|$)')

_REFUSED: Final = "The certificate of the client cannot be read"


class TrustedProxies:
    """Knows requests of clients whose certificates a proxy has checked.

    Args:
        networks: Addresses of proxies, such as `10.0.0.0/8`.
        header: The header that the proxy sets.

    Raises:
        ConfigurationError: A network is none, all of the internet is trusted, or the header is another one.
    """

    def __init__(self, networks: Sequence[str], header: CertificateHeader = "client-cert") -> None:
        try:
            self._networks = [ipaddress.ip_network(each) for each in networks]
        except ValueError as error:
            raise ConfigurationError(f"Trusted proxies: {error}") from None
        if not self._networks or any(not each.prefixlen for each in self._networks):
            raise ConfigurationError("Trusted proxies: name the networks of the proxies, not all addresses")
        if header not in _READERS:
            raise ConfigurationError(
                f"Trusted proxies: the header is {header!r}; expected one of {', '.join(_READERS)}"
            )
        self._header = header

    def challenge(self) -> str:
        """Return no challenge: a certificate is asked for by the proxy."""
        return ""

    async def authenticate(self, connection: HTTPConnection, /) -> Caller | None:
        """Return the client whose certificate a proxy has checked; None: there is none, or no trusted proxy.

        Raises:
            AuthenticationError: The header stands twice, or cannot be read.
        """
        if not self._is_trusted(connection):
            return None
        given = connection.headers.getlist(self._header)
        if not given:
            return None
        identity = _READERS[self._header](given[0], connection) if len(given) == 1 else ""
        if not identity:
            raise AuthenticationError(_REFUSED)
        user = {"identity": identity, "display_name": identity, "is_authenticated": True, "permissions": []}
        return Caller(identity, user)

    def _is_trusted(self, connection: HTTPConnection) -> bool:
        peer = connection.client.host if connection.client is not None else ""
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in each for each in self._networks)


def _of_certificate(value: str, connection: HTTPConnection) -> str:
    """Return whom a certificate names, which the header has as bytes of a structured field (RFC 8941)."""
    del connection
    from cryptography import x509  # 90 ms, for those who use it

    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(value.strip().strip(":"), validate=True))
        return _alternative_name(x509, certificate) or _common_name(x509, certificate)
    except ValueError:
        return ""


def _alternative_name(x509: Any, certificate: Any) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    for kind in (x509.UniformResourceIdentifier, x509.RFC822Name, x509.DNSName):
        if found := names.get_values_for_type(kind):
            return str(found[0])
    return ""


def _common_name(x509: Any, certificate: Any) -> str:
    found = certificate.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _of_envoy(value: str, connection: HTTPConnection) -> str:
    """Return whom the last element of `X-Forwarded-Client-Cert` names: that of the nearest proxy."""
    del connection
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        part = _PART.match(value, at)
        if part is None or part.end() == at:
            return ""
        text = part[2]
        elements[-1].setdefault(part[1].lower(), re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == '"' else text)
        if part[3] == ",":
            elements.append({})
        at = part.end()
    last = elements[-1]
    return unquote(last.get("uri", "")) or last.get("dns", "") or _common_name_of(last.get("subject", ""))


def _of_nginx(value: str, connection: HTTPConnection) -> str:
    """Return whom a distinguished name names, if the proxy says that it has verified the certificate."""
    return _common_name_of(value) if connection.headers.getlist("ssl-client-verify") == ["SUCCESS"] else ""


def _common_name_of(name: str) -> str:
    found = _COMMON_NAME.search(name)
    return re.sub(r"\\(.)", r"\1", found[1]).strip() if found else ""


_READERS: Final[dict[str, Callable[[str, HTTPConnection], str]]] = {
    "client-cert": _of_certificate,
    "x-forwarded-client-cert": _of_envoy,
    "ssl-client-subject-dn": _of_nginx,
}
