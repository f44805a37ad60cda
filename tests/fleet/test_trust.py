"""How far agents are trusted: signed cards, keys that change, and what each level gets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from a2a.types import AgentCard
from a2a.utils.signing import ProtectedHeader, create_agent_card_signer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.protobuf.json_format import MessageToDict, ParseDict

from stategraph.errors import ConfigurationError
from stategraph.fleet import (
    A2aTransport,
    AgentEndpoint,
    CardKey,
    Directory,
    EndpointError,
    Router,
    StaticSource,
    TrustPolicy,
    UntrustedAgentError,
    message,
)
from stategraph.fleet.trust import TREATMENTS, Treatment, Trust

pytestmark = pytest.mark.anyio

ENDPOINT = AgentEndpoint(agent="desk", url="https://agents.example/a2a/desk")


class Signer:
    """A key that signs cards."""

    def __init__(self, key_id: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.key = CardKey(key_id=key_id, key=public)

    def sign(self, card: AgentCard) -> AgentCard:
        header = ProtectedHeader(kid=self.key.key_id, alg="ES256", jku=None, typ="JOSE")
        signed: AgentCard = create_agent_card_signer(self._private, header)(card)
        return signed


OLD, NEW = Signer("old"), Signer("new")


def card(*signers: Signer, url: str = "https://agents.example/a2a/desk") -> AgentCard:
    described = {
        "name": "desk",
        "description": "d",
        "version": "1",
        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": False},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "s", "description": "s", "tags": ["t"]}],
    }
    made = ParseDict(described, AgentCard())
    for each in signers:
        made = each.sign(made)
    return made


def test_a_card_counts_as_much_as_the_key_that_signed_it() -> None:
    policy = TrustPolicy([replace(OLD.key, trust="trusted"), NEW.key], agents={"desk": "trusted"})
    assert policy.judge(ENDPOINT, card(OLD))[0] == "trusted"
    assert policy.judge(ENDPOINT, card(NEW))[0] == "verified"
    assert policy.judge(ENDPOINT, card(NEW, OLD))[0] == "trusted"
    assert policy.check(ENDPOINT, card(OLD)) == "trusted"
    with pytest.raises(UntrustedAgentError, match="is verified, and has to be trusted: its card is"):
        policy.check(ENDPOINT, card(NEW))
    with pytest.raises(UntrustedAgentError, match=r"is public, and has to be trusted: its card is not signed. Sign it"):
        policy.check(ENDPOINT, card())


def test_a_card_that_was_changed_or_copied_is_worth_nothing() -> None:
    policy = TrustPolicy([OLD.key])
    changed = card(OLD)
    changed.description = "another"
    assert policy.judge(ENDPOINT, changed) == ("public", "the signature of the key 'old' is not of this card")
    elsewhere = AgentEndpoint(agent="desk", url="https://evil.example/a2a/desk")
    level, why = policy.judge(elsewhere, card(OLD))
    assert (level, why) == ("public", "its card is of another host: it has no address at evil.example")
    plain = AgentEndpoint(agent="desk", url="http://agents.example/a2a/desk")
    assert policy.judge(plain, card(OLD, url=plain.url)) == ("public", "it is reached unencrypted")
    forged = card(OLD)
    forged.signatures[0].protected = "e30"
    assert policy.judge(ENDPOINT, forged) == ("public", "the key '' is not known")


def test_keys_are_rotated_with_an_overlap_and_revoked_at_once() -> None:
    now = [1_000.0]
    policy = TrustPolicy([replace(OLD.key, not_after=2_000.0)], least="verified", clock=lambda: now[0])
    assert policy.check(ENDPOINT, card(OLD)) == "verified"
    with pytest.raises(UntrustedAgentError, match="the key 'new' is not known"):
        policy.check(ENDPOINT, card(NEW))
    policy.replace_keys([replace(OLD.key, not_after=2_000.0), replace(NEW.key, not_before=1_500.0)])
    with pytest.raises(UntrustedAgentError, match="the key 'new' does not count yet"):
        policy.check(ENDPOINT, card(NEW))
    now[0] = 1_700.0
    for signers in ((OLD,), (NEW,), (OLD, NEW)):  # who has the one key or the other, or signs with both
        assert policy.check(ENDPOINT, card(*signers)) == "verified"
    now[0] = 2_001.0
    with pytest.raises(UntrustedAgentError, match="the key 'old' counts no more: its time is over"):
        policy.check(ENDPOINT, card(OLD))
    assert policy.check(ENDPOINT, card(OLD, NEW)) == "verified"
    policy.replace_keys([replace(NEW.key, revoked=True)])
    with pytest.raises(UntrustedAgentError, match="the key 'new' is revoked"):
        policy.check(ENDPOINT, card(NEW))
    policy.replace_keys([replace(NEW.key, agents=frozenset({"other"}))])
    with pytest.raises(UntrustedAgentError, match="the key 'new' may not sign for 'desk'"):
        policy.check(ENDPOINT, card(NEW))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: TrustPolicy(least="friends"), "'least' has the trust 'friends'; expected one of public, verified"),  # type: ignore[arg-type]
        (lambda: TrustPolicy(agents={"a": "x"}), "The agent 'a' has the trust 'x'"),  # type: ignore[dict-item]
        (lambda: replace(OLD.key, trust="public"), "has the trust 'public', which needs no key"),
        (lambda: TrustPolicy([OLD.key, OLD.key]), "There are two keys 'old'"),
    ],
)
def test_policies_that_make_no_sense_are_refused(make: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make()


class Agents:
    """Hosts that answer messages, and note what they were sent."""

    def __init__(self, cards: dict[str, AgentCard], answer: str = "hi") -> None:
        self.cards = cards
        self.answer = answer
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if request.method == "GET":
            assert "authorization" not in request.headers
            return httpx.Response(200, json=MessageToDict(self.cards[host]), headers={"cache-control": "max-age=300"})
        body = json.loads(request.content)
        self.sent.append((host, request.headers.get("authorization", ""), body["params"]["message"]))
        said = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": self.answer}]}
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": body["id"], "result": {"message": said}})

    def transport(self, policy: TrustPolicy | None, **named: Any) -> A2aTransport:
        headers = {"Authorization": "Bearer secret"}
        client = httpx.AsyncClient(transport=httpx.MockTransport(self), headers=headers)
        stranger = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return A2aTransport(client, trust=policy, stranger=stranger, **named)


async def test_each_level_gets_what_it_may_have() -> None:
    agents = Agents({"agents.example": card(OLD)})
    request = message("hi", metadata={"tenant": "acme"})
    levels: list[tuple[Trust | None, str, dict[str, str]]] = [
        ("verified", "Bearer secret", {}),
        ("trusted", "Bearer secret", {"tenant": "acme"}),
        ("internal", "Bearer secret", {"tenant": "acme"}),
        (None, "", {}),
    ]
    for trust, authorization, metadata in levels:
        keys = [] if trust is None else [replace(OLD.key, trust=trust)]
        async with agents.transport(TrustPolicy(keys)) as transport:
            [event async for event in transport.stream(ENDPOINT, request)]
        _, sent, said = agents.sent.pop()
        assert (sent, said.get("metadata", {})) == (authorization, metadata), trust
    assert dict(request.message.metadata) == {"tenant": "acme"}  # the caller's own is as it was


async def test_the_answer_of_a_stranger_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TREATMENTS, "public", Treatment(credentials=False, metadata=False, answer_bytes=100))
    agents = Agents({"agents.example": card()}, answer="x" * 200)
    async with agents.transport(TrustPolicy()) as transport:
        with pytest.raises(EndpointError, match="answered with more than 100 bytes, and is public"):
            [event async for event in transport.stream(ENDPOINT, message("hi"))]


async def test_a_router_passes_over_agents_that_are_not_trusted_and_hears_of_revoked_keys() -> None:
    other = AgentEndpoint(agent="desk", url="https://other.example/a2a/desk")
    agents = Agents({"agents.example": card(OLD), "other.example": card(url=other.url)})
    policy = TrustPolicy([OLD.key], agents={"desk": "verified"})
    async with agents.transport(policy) as transport, Directory(StaticSource([ENDPOINT, other])) as directory:
        router = Router(directory, transport, strategy="round_robin")
        for _ in range(4):
            assert [event async for event in router.stream(message("hi"), agent="desk")]
        assert {host for host, _, _ in agents.sent} == {"agents.example"}
        policy.replace_keys([replace(OLD.key, revoked=True)])
        with pytest.raises(UntrustedAgentError):
            [event async for event in router.stream(message("hi"), agent="desk")]
        assert len(agents.sent) == 4
