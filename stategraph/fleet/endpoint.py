"""Endpoints: the places where agents are reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from stategraph.errors import ConfigurationError

#: Where the card of an agent is, below its address (A2A 1.0, section 8.2).
CARD_PATH: Final = "/.well-known/agent-card.json"

#: The greatest weight of an endpoint.
MOST_WEIGHT: Final = 1_000

_FIELDS: Final = frozenset({"agent", "url", "card_url", "weight", "capabilities"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEndpoint:
    """A place where an agent is reached. Several with the same agent are replicas of it.

    Attributes:
        agent: The agent's name, which callers ask for.
        url: The address of its server, `http://` or `https://`, without a login.
        card_url: Where its card is; by default below `url`.
        weight: Its share of requests beside its replicas, up to 1,000. None are sent where it is 0: it is drained.
        capabilities: What it can do: ids of skills, or tags. Those of its card are added when that has been read.

    Raises:
        ConfigurationError: A field is not as described.
    """

    agent: str
    url: str
    card_url: str = ""
    weight: int = 1
    capabilities: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.agent or not isinstance(self.agent, str):
            raise ConfigurationError(f"An endpoint has the agent {self.agent!r}; expected a name")
        object.__setattr__(self, "url", _address(self.url, f"The endpoint of '{self.agent}'").rstrip("/"))
        card_url = self.card_url or self.url + CARD_PATH
        object.__setattr__(self, "card_url", _address(card_url, f"The card of '{self.agent}'"))
        if isinstance(self.weight, bool) or not isinstance(self.weight, int) or not 0 <= self.weight <= MOST_WEIGHT:
            raise ConfigurationError(
                f"The endpoint of '{self.agent}' has the weight {self.weight!r}; expected a whole number from 0 to "
                f"{MOST_WEIGHT:,}"
            )
        object.__setattr__(self, "capabilities", _names(self.capabilities, self.agent))

    @property
    def key(self) -> str:
        """Names it among all endpoints: an agent has one endpoint at an address."""
        return f"{self.agent}@{self.url}"

    def to_json(self) -> dict[str, Any]:
        """Return its fields as JSON."""
        return {
            "agent": self.agent,
            "url": self.url,
            "card_url": self.card_url,
            "weight": self.weight,
            "capabilities": sorted(self.capabilities),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AgentEndpoint:
        """Read what `to_json` returned.

        Raises:
            ConfigurationError: A field is missing, unknown, or not as described.
        """
        if not isinstance(data, Mapping):
            raise ConfigurationError(f"An endpoint is {data!r}; expected an object with 'agent' and 'url'")
        if unknown := sorted(set(data) - _FIELDS):
            raise ConfigurationError(f"An endpoint has the field '{unknown[0]}'; expected {sorted(_FIELDS)}")
        if missing := {"agent", "url"} - set(data):
            raise ConfigurationError(f"An endpoint has no '{min(missing)}'")
        return cls(**{**data, "capabilities": data.get("capabilities", ())})


def is_plain(url: str) -> bool:
    """Return whether requests to an address would cross a network unencrypted."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _address(url: object, whose: str) -> str:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        is_one = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        if parts is not None:
            _ = parts.port  # raises where it is no number
    except ValueError:
        parts, is_one = None, False
    if parts is not None and "@" in parts.netloc:
        raise ConfigurationError(f"{whose} has a login in its address; give credentials to the client instead")
    if not is_one:
        raise ConfigurationError(
            f"{whose} is {url!r}; expected an address such as 'https://agents.example.com/a2a/research'"
        )
    return str(url)


def _names(found: Iterable[str], agent: str) -> frozenset[str]:
    names = frozenset(found) if not isinstance(found, str) else None
    if names is None or not all(isinstance(each, str) and each for each in names):
        raise ConfigurationError(f"The endpoint of '{agent}' has the capabilities {found!r}; expected a list of names")
    return names
