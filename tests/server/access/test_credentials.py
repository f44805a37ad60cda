"""API keys, certificates of proxies, the token, the order in which authenticators are asked."""

from __future__ import annotations

import asyncio
import base64
import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from stategraph.errors import ConfigurationError
from stategraph.server.access import api_keys
from stategraph.server.access.api_keys import ApiKey, ApiKeys
from stategraph.server.access.port import AuthenticationError
from stategraph.server.access.proxies import TrustedProxies
from tests.server.access.asking import bearer, request


def kept(folder: Path, *keys: ApiKey) -> Path:
    path = folder / "keys.jsonl"
    path.write_text("# keys\n" + "".join(f"{each.to_line()}\n" for each in keys), encoding="utf-8")
    return path


def test_a_key_is_known_by_its_hash(tmp_path: Path) -> None:
    secret, key = api_keys.make("ada", ["read"])
    _, others = api_keys.make("bob")
    keys = ApiKeys(kept(tmp_path, key, others))
    assert secret.rpartition("_")[2] not in (tmp_path / "keys.jsonl").read_text(encoding="utf-8")
    for given in (bearer(secret), request({"X-Api-Key": secret}), bearer(secret)):
        caller = asyncio.run(keys.authenticate(given))
        assert caller is not None
        assert (caller.identity, caller.permissions) == ("ada", ("read",))
    assert asyncio.run(keys.authenticate(bearer("another-token"))) is None
    for wrong in (f"{secret}x", secret[:-1], f"sg_{others.key_id}_{secret.rpartition('_')[2]}", "sg_", "sg_0_0"):
        with pytest.raises(AuthenticationError) as error:
            asyncio.run(keys.authenticate(bearer(wrong)))
        assert wrong not in str(error.value) or wrong == "sg_"


def test_a_key_that_is_taken_away_is_refused_although_it_was_remembered(tmp_path: Path) -> None:
    now = [0.0]
    secret, key = api_keys.make("ada")
    keys = ApiKeys(kept(tmp_path, key), clock=lambda: now[0])
    assert asyncio.run(keys.authenticate(bearer(secret))) is not None
    kept(tmp_path)
    now[0] += 3
    with pytest.raises(AuthenticationError):
        asyncio.run(keys.authenticate(bearer(secret)))


def test_a_file_that_is_damaged_is_refused_at_first_and_later_leaves_the_keys(tmp_path: Path) -> None:
    now = [0.0]
    secret, key = api_keys.make("ada")
    path = kept(tmp_path, key)
    keys = ApiKeys(path, clock=lambda: now[0])
    path.write_text("{}\n", encoding="utf-8")
    now[0] += 3
    assert asyncio.run(keys.authenticate(bearer(secret))) is not None
    for content in ("{}", "x", '{"id": "1", "identity": " ", "scrypt": {"salt": "", "hash": ""}}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigurationError, match="Line 1"):
            ApiKeys(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ApiKeys(tmp_path / "none")


def certificate(*names: x509.GeneralName, common: str = "ada") -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    now = datetime.datetime(2026, 1, 1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=9999))
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return f":{base64.b64encode(made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)).decode()}:"


@pytest.mark.parametrize(
    ("header", "value", "identity"),
    [
        ("client-cert", certificate(), "ada"),
        (
            "client-cert",
            certificate(x509.DNSName("a.example"), x509.UniformResourceIdentifier("spiffe://x/ada")),
            "spiffe://x/ada",
        ),
        (
            "x-forwarded-client-cert",
            'By=spiffe://p;Hash=00;Subject="CN=ada,O=x\\"y";URI=spiffe://x/ada',
            "spiffe://x/ada",
        ),
        ("x-forwarded-client-cert", 'Hash=00;Subject="O=x, CN=ada"', "ada"),
        ("x-forwarded-client-cert", "URI=spiffe://forged,Hash=1;URI=spiffe://x/ada", "spiffe://x/ada"),
        ("ssl-client-subject-dn", "CN=ada,OU=desk,O=example", "ada"),
        ("ssl-client-subject-dn", "O=example,CN=a\\,b", "a,b"),
    ],
)
def test_a_certificate_that_a_proxy_has_checked(header: Any, value: str, identity: str) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"], header)
    headers = {header: value, "ssl-client-verify": "SUCCESS"}
    caller = asyncio.run(proxies.authenticate(request(headers, peer="10.1.2.3")))
    assert caller is not None and caller.identity == identity
    mapped = asyncio.run(proxies.authenticate(request(headers, peer="::ffff:10.1.2.3")))
    assert mapped is not None
    for peer in ("127.0.0.1", "11.0.0.1", "::1", "unix"):
        assert asyncio.run(proxies.authenticate(request(headers, peer=peer))) is None
    assert asyncio.run(proxies.authenticate(request(peer="10.1.2.3"))) is None


@pytest.mark.parametrize(
    ("header", "headers"),
    [
        ("client-cert", {"client-cert": ":AAAA:"}),
        ("client-cert", {"client-cert": "no base64"}),
        ("x-forwarded-client-cert", {"x-forwarded-client-cert": 'Subject="O=x"'}),
        ("x-forwarded-client-cert", {"x-forwarded-client-cert": '"'}),
        ("ssl-client-subject-dn", {"ssl-client-subject-dn": "CN=ada"}),
        ("ssl-client-subject-dn", {"ssl-client-subject-dn": "CN=ada", "ssl-client-verify": "FAILED"}),
    ],
)
def test_a_certificate_that_says_nothing_is_refused(header: Any, headers: dict[str, str]) -> None:
    with pytest.raises(AuthenticationError):
        asyncio.run(TrustedProxies(["10.0.0.0/8"], header).authenticate(request(headers, peer="10.0.0.1")))


def test_a_header_that_stands_twice_is_refused() -> None:
    given = request({"ssl-client-subject-dn": "CN=ada", "ssl-client-verify": "SUCCESS"}, peer="10.0.0.1")
    given.scope["headers"].append((b"ssl-client-subject-dn", b"CN=bob"))
    with pytest.raises(AuthenticationError):
        asyncio.run(TrustedProxies(["10.0.0.0/8"], "ssl-client-subject-dn").authenticate(given))


@pytest.mark.parametrize("networks", [[], ["0.0.0.0/0"], ["::/0"], ["no network"], ["10.0.0.1/8"]])
def test_all_of_the_internet_is_no_proxy(networks: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        TrustedProxies(networks)
