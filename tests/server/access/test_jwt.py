"""JSON Web Tokens: what is taken, what is refused, and how keys are looked up and rotated."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

pytest.importorskip("jwt")

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from stategraph.errors import ConfigurationError
from stategraph.server.access.jwt import Jwt
from stategraph.server.access.keys import FetchedKeys, StaticKeys
from stategraph.server.access.oauth import METADATA, OAuthResource
from stategraph.server.access.port import AuthenticationError
from tests.server.access.asking import bearer, request

ISSUER, AUDIENCE = "https://id.example.com/", "https://agents.example.com"
SECRET = "a-secret-of-thirty-two-bytes-or-more"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = ec.generate_private_key(ec.SECP256R1())


def key_set(**keys: Any) -> dict[str, Any]:
    found = []
    for name, key in keys.items():
        algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        found.append({**json.loads(algorithm.to_jwk(key.public_key())), "kid": name, "use": "sig"})
    return {"keys": found}


def token(key: Any = KEY, kid: str | None = "one", algorithm: str = "RS256", **claims: Any) -> str:
    given = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "sub": "ada", "scope": "read write", **claims}
    given = {name: value for name, value in given.items() if value is not None}
    return str(jwt.encode(given, key, algorithm, headers={} if kid is None else {"kid": kid}))


def checking(**options: Any) -> Jwt:
    return Jwt(issuer=ISSUER, audience=AUDIENCE, keys=StaticKeys(key_set(one=KEY)), **options)


async def refused(one: Any, given: Any) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as error:
        await one.authenticate(given)
    return error.value


def test_a_token_of_the_issuer_names_the_caller() -> None:
    caller = asyncio.run(checking().authenticate(bearer(token(name="Ada"))))
    assert caller is not None
    assert (caller.identity, caller.permissions) == ("ada", ("read", "write"))
    assert caller.user["display_name"] == "Ada"


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (header, claims)]
    return f"{parts[0]}.{parts[1]}."


CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "sub": "ada"}
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "given",
    [
        token(exp=time.time() - 60),
        token(exp=None),
        token(iss="https://id.example.com"),
        token(iss=None),
        token(aud="https://other.example.com"),
        token(aud=None),
        token(sub=None),
        token(sub=""),
        token(nbf=time.time() + 600),
        token(kid="two"),
        token(OTHER, algorithm="ES256"),
        token(KEY, algorithm="RS512"),
        f"{token()[:-4]}AAAA",
        "a.b.c",
        "..",
        unsigned({"alg": "none", "kid": "one"}, CLAIMS),
        unsigned({"alg": "HS256", "kid": "one"}, CLAIMS),
    ],
)
def test_any_other_token_is_refused(given: str) -> None:
    error = asyncio.run(refused(checking(), bearer(given)))
    assert error.status == 401
    assert "invalid_token" in error.headers["WWW-Authenticate"]
    assert given not in str(error)


def test_a_public_key_is_no_secret() -> None:
    # RFC 8725, section 2.1: a token that is signed with the text of the public key.
    head = unsigned({"alg": "HS256", "kid": "one"}, CLAIMS)[:-1]
    signature = base64.urlsafe_b64encode(hmac.digest(PUBLIC, head.encode(), hashlib.sha256)).decode().rstrip("=")
    for keys in (StaticKeys(PUBLIC.decode()), StaticKeys(key_set(one=KEY))):
        asyncio.run(refused(Jwt(issuer=ISSUER, audience=AUDIENCE, keys=keys), bearer(f"{head}.{signature}")))


def test_other_credentials_are_left_to_others() -> None:
    for each in (
        request(),
        bearer("sg_1_x"),
        request({"Authorization": "Basic YTpi"}),
        request({"X-Api-Key": "a.b.c"}),
    ):
        assert asyncio.run(checking().authenticate(each)) is None


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": "", "keys": StaticKeys(key_set(one=KEY))},
        {"audience": "", "keys": StaticKeys(key_set(one=KEY))},
        {},
        {"keys": StaticKeys(key_set(one=KEY)), "secret": SECRET},
        {"secret": "short"},
        {"keys": StaticKeys(key_set(one=KEY)), "algorithms": ["HS256"]},
        {"secret": SECRET, "algorithms": ["RS256"]},
        {"secret": SECRET, "algorithms": ["none"]},
    ],
)
def test_settings_that_would_take_any_token_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Jwt(**{"issuer": ISSUER, "audience": AUDIENCE, **options})


def test_a_shared_secret() -> None:
    one = Jwt(issuer=ISSUER, audience=AUDIENCE, secret=SECRET)
    caller = asyncio.run(one.authenticate(bearer(token(SECRET, None, "HS256"))))
    assert caller is not None and caller.identity == "ada"
    asyncio.run(refused(one, bearer(token(f"{SECRET}x", None, "HS256"))))


class Issuer:
    """An issuer whose keys change."""

    def __init__(self) -> None:
        self.now, self.asked, self.answers = 1000.0, 0, True
        self.keys = key_set(one=KEY)
        self.source = FetchedKeys("https://id.example.com/keys", clock=lambda: self.now, fetch=self.fetch)
        self.jwt = Jwt(issuer=ISSUER, audience=AUDIENCE, keys=self.source)

    async def fetch(self, url: str) -> Any:
        self.asked += 1
        if not self.answers:
            raise ValueError("away")
        return self.keys

    async def takes(self, given: str) -> bool:
        try:
            return await self.jwt.authenticate(bearer(given)) is not None
        except AuthenticationError:
            return False


def test_a_new_key_is_looked_up_and_made_up_ones_do_not_make_it_ask() -> None:
    async def scenario() -> None:
        issuer = Issuer()
        assert await issuer.takes(token())
        assert await issuer.takes(token())
        assert issuer.asked == 1
        issuer.keys = key_set(two=OTHER)
        issuer.now += 31
        assert await issuer.takes(token(OTHER, "two", "ES256"))
        assert not await issuer.takes(token())  # the old key is gone
        assert issuer.asked == 2
        for number in range(20):
            assert not await issuer.takes(token(kid=f"made-up-{number}"))
        assert issuer.asked == 2
        issuer.now += 31
        assert not await issuer.takes(token(kid="made-up"))
        assert issuer.asked == 3

    asyncio.run(scenario())


def test_an_issuer_that_is_away_leaves_its_keys_in_use_for_a_day() -> None:
    async def scenario() -> None:
        issuer = Issuer()
        assert await issuer.takes(token())
        issuer.answers = False
        issuer.now += 3600
        assert await issuer.takes(token())
        assert issuer.asked == 2
        issuer.now += 86_400
        assert not await issuer.takes(token())
        issuer.answers = True
        issuer.now += 31
        assert await issuer.takes(token())

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["http://id.example.com/keys", "file:///etc/passwd", "ftp://x", ""])
def test_keys_are_fetched_by_https(url: str) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        FetchedKeys(url)
    FetchedKeys("http://127.0.0.1:9/keys")


def resource(**options: Any) -> OAuthResource:
    return OAuthResource(AUDIENCE, {ISSUER: StaticKeys(key_set(one=KEY))}, **options)


def test_a_resource_server_names_its_metadata() -> None:
    error = asyncio.run(refused(resource(scopes=["read"]), request(path="/mcp")))
    assert error.headers["WWW-Authenticate"] == (f'Bearer resource_metadata="{AUDIENCE}{METADATA}/mcp", scope="read"')
    assert asyncio.run(resource().authenticate(request())) is None
    assert resource().challenge() == f'Bearer resource_metadata="{AUDIENCE}{METADATA}"'


@pytest.mark.parametrize(
    ("path", "audience", "taken"),
    [
        ("/mcp", AUDIENCE, True),
        ("/mcp", f"{AUDIENCE}/", True),
        ("/mcp", f"{AUDIENCE}/mcp", True),
        ("/mcp", [f"{AUDIENCE}/mcp", "x"], True),
        ("/threads", f"{AUDIENCE}/mcp", False),
        ("/a2a/x", f"{AUDIENCE}/mcp", False),
        ("/mcp", "https://other.example.com/mcp", False),
    ],
)
def test_a_token_is_for_this_server_or_for_a_part_of_it(path: str, audience: Any, taken: bool) -> None:
    given = bearer(token(aud=audience), path=path)
    if taken:
        caller = asyncio.run(resource().authenticate(given))
        assert caller is not None and caller.identity == "ada"
    else:
        assert asyncio.run(refused(resource(), given)).status == 401


def test_scopes_and_issuers() -> None:
    assert asyncio.run(resource(scopes=["read"]).authenticate(bearer(token()))) is not None
    error = asyncio.run(refused(resource(scopes=["admin"]), bearer(token(), path="/mcp")))
    assert (error.status, 'error="insufficient_scope"' in error.headers["WWW-Authenticate"]) == (403, True)
    error = asyncio.run(refused(resource(), bearer(token(iss="https://elsewhere.example.com/"))))
    assert 'error="invalid_token"' in error.headers["WWW-Authenticate"]
