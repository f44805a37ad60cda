"""Trust in agents: by the key that signed its card, and by how it is reached.

| level | an agent whose card | gets |
|---|---|---|
| `public` | is not signed, or by no key that is known | neither credentials nor metadata; its answer is cut off |
| `verified` | is signed by a key of that level | credentials |
| `trusted`, `internal` | is signed by a key of that level | credentials and metadata |

Rules
-----
* A key may sign for the agents that it names alone, from its beginning to its end, and until it is revoked. During a
  rotation two keys count, and a card may have a signature of each.
* The signature is over the addresses of the card: one of them has to be at the host that the endpoint is registered at,
  so that a card that was copied to another host is worth nothing there.
* An agent that is reached over `http://` on another machine is `public`, whoever signed its card.
* An agent that is not trusted as far as it has to be is sent nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.fleet.endpoint import AgentEndpoint, is_plain
from stategraph.fleet.errors import EndpointError

if TYPE_CHECKING:
    from a2a.types import AgentCard

Trust: TypeAlias = Literal["public", "verified", "trusted", "internal"]

LEVELS: Final[tuple[Trust, ...]] = get_args(Trust)

#: Algorithms of signatures; those with a shared secret are none of them, as who verifies could sign.
ALGORITHMS: Final = ("ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """The treatment of agents of a level: what they get, and what is taken from them.

    Attributes:
        credentials: Whether they are sent the host's credentials.
        metadata: Whether they are sent the metadata of messages.
        answer_bytes: Bytes of an answer that are read; None: all.
        answer_s: Seconds that an answer may take; None: any.
    """

    credentials: bool = True
    metadata: bool = True
    answer_bytes: int | None = None
    answer_s: float | None = None


#: How agents of each level are treated.
TREATMENTS: Final[Mapping[Trust, Treatment]] = {
    "public": Treatment(credentials=False, metadata=False, answer_bytes=1024 * 1024, answer_s=300.0),
    "verified": Treatment(metadata=False),
    "trusted": Treatment(),
    "internal": Treatment(),
}


class UntrustedAgentError(EndpointError):
    """An agent is not trusted as far as it has to be; nothing was sent to it, and it is as well as before."""

    is_failure = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CardKey:
    """A public key that signs cards.

    Attributes:
        key_id: Its name in signatures.
        key: The key as PEM.
        trust: How far agents are trusted whose cards it signed.
        agents: The agents that it may sign for; empty: any.
        not_before: From when it counts, in seconds since 1970; None: always.
        not_after: Until when it counts; None: always.
        revoked: Whether it counts no more.
    """

    key_id: str
    key: str = field(repr=False)
    trust: Trust = "verified"
    agents: frozenset[str] = frozenset()
    not_before: float | None = None
    not_after: float | None = None
    revoked: bool = False

    def __post_init__(self) -> None:
        _check(self.trust, f"The key '{self.key_id}'")
        if self.trust == "public":
            raise ConfigurationError(f"The key '{self.key_id}' has the trust 'public', which needs no key")

    def why_not(self, agent: str, now: float) -> str:
        """Return why a signature of it does not count for an agent; empty if it does."""
        if self.revoked:
            return "is revoked"
        if self.not_before is not None and now < self.not_before:
            return "does not count yet"
        if self.not_after is not None and now > self.not_after:
            return "counts no more: its time is over"
        if self.agents and agent not in self.agents:
            return f"may not sign for '{agent}'"
        return ""


class TrustPolicy:
    """Judges agents. Used by one event loop.

    Args:
        keys: The keys that are known.
        least: How far agents have to be trusted.
        agents: The same for agents by their names.
        clock: Returns seconds since 1970.

    Raises:
        MissingPackageError: `a2a-sdk` is not installed with what signatures need.
    """

    def __init__(
        self,
        keys: Iterable[CardKey] = (),
        *,
        least: Trust = "public",
        agents: Mapping[str, Trust] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            import a2a.utils.signing  # noqa: F401 (an extra)
        except ImportError as error:
            raise MissingPackageError("stategraph[server]", "Signatures of agents' cards") from error
        _check(least, "'least'")
        for agent, level in (agents or {}).items():
            _check(level, f"The agent '{agent}'")
        self._least = least
        self._agents = dict(agents or {})
        self._clock = clock
        self._keys: dict[str, CardKey] = {}
        self.replace_keys(keys)

    def replace_keys(self, keys: Iterable[CardKey]) -> None:
        """Know other keys from now on: requests that come are judged by them.

        Raises:
            ConfigurationError: Two have the same name.
        """
        found: dict[str, CardKey] = {}
        for each in keys:
            if each.key_id in found:
                raise ConfigurationError(f"There are two keys '{each.key_id}': a new key has a name of its own")
            found[each.key_id] = each
        self._keys = found

    def required(self, agent: str) -> Trust:
        """Return how far an agent has to be trusted."""
        return self._agents.get(agent, self._least)

    def check(self, endpoint: AgentEndpoint, card: AgentCard) -> Trust:
        """Return how far an agent is trusted.

        Raises:
            UntrustedAgentError: Less than it has to be.
        """
        level, why = self.judge(endpoint, card)
        required = self.required(endpoint.agent)
        if LEVELS.index(level) < LEVELS.index(required):
            raise UntrustedAgentError(f"'{endpoint.key}' is {level}, and has to be {required}: {why}", reached=False)
        return level

    def judge(self, endpoint: AgentEndpoint, card: AgentCard) -> tuple[Trust, str]:
        """Return how far an agent is trusted, and why no further."""
        if is_plain(endpoint.url) or is_plain(endpoint.card_url):
            return "public", "it is reached unencrypted"
        if not card.signatures:
            return "public", "its card is not signed. Sign it, with [[a2a.signing]] in the settings of a server"
        host = urlsplit(endpoint.url).netloc
        if host not in {urlsplit(each.url).netloc for each in card.supported_interfaces}:
            return "public", f"its card is of another host: it has no address at {host}"
        best: Trust = "public"
        whys = []
        for signature in card.signatures:
            key_id = _key_id_of(signature.protected)
            key = self._keys.get(key_id)
            if key is None:
                whys.append(f"the key '{key_id}' is not known")
            elif why := key.why_not(endpoint.agent, self._clock()):
                whys.append(f"the key '{key_id}' {why}")
            elif not _is_signed_by(card, key):
                whys.append(f"the signature of the key '{key_id}' is not of this card")
            elif LEVELS.index(key.trust) > LEVELS.index(best):
                best = key.trust
        return best, "; ".join(whys) or f"its card is signed by a key that is {best}"


def _key_id_of(protected: str) -> str:
    """Return the name of the key in the header of a signature; empty if it has none."""
    import jwt

    try:
        found = jwt.get_unverified_header(f"{protected}.e30.").get("kid")
    except jwt.PyJWTError:
        return ""
    return found if isinstance(found, str) else ""


def _is_signed_by(card: AgentCard, key: CardKey) -> bool:
    """Return whether a card has a valid signature of a key."""
    import jwt
    from a2a.utils.signing import SignatureVerificationError, create_signature_verifier

    def provide(key_id: str | None, url: str | None) -> str:
        del url  # an address in a signature is the word of who signed
        if key_id != key.key_id:
            raise jwt.InvalidKeyError("another key")
        return key.key

    try:
        create_signature_verifier(provide, list(ALGORITHMS))(card)
    except (SignatureVerificationError, ValueError):
        return False
    return True


def _check(level: str, whose: str) -> None:
    if level not in LEVELS:
        raise ConfigurationError(f"{whose} has the trust {level!r}; expected one of {', '.join(LEVELS)}")
