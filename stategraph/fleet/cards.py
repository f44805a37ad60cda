"""Cards of agents, kept for a while and asked for again by their ETag."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from stategraph.fleet.errors import EndpointError, why

if TYPE_CHECKING:
    import httpx
    from a2a.types import AgentCard

#: For how long a card counts if its server does not say, and the least and the most that it can say, in seconds.
TTL_S: Final = 300.0
LEAST_TTL_S: Final = 1.0
MOST_TTL_S: Final = 3_600.0

#: The largest card, in bytes.
MOST_BYTES: Final = 1024 * 1024

_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})\b", re.IGNORECASE)


@dataclass(slots=True)
class _Kept:
    card: AgentCard
    etag: str
    until: float
    raw: Mapping[str, Any] = field(default_factory=dict)


class CardCache:
    """Cards by their address. Used by one event loop.

    Args:
        client: Asks for them.
        most: How many are kept; the one that was not asked for longest goes first.
        verify: Called with each card that comes; raises if it is not to be trusted, as what
            `a2a.utils.signing.create_signature_verifier` returns does.
        timeout_s: Time limit of a request.
        clock: Returns seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        most: int = 1_024,
        verify: Callable[[AgentCard], object] | None = None,
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._most = most
        self._verify = verify
        self._timeout_s = timeout_s
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._asking: dict[str, asyncio.Lock] = {}

    async def get(self, url: str, *, fresh: bool = False) -> AgentCard:
        """Return the card at an address.

        Args:
            url: The address.
            fresh: Ask its server, even if the card that is kept still counts.

        Raises:
            EndpointError: There was no card, or none that is to be trusted.
        """
        kept = self._kept.get(url)
        if kept is not None and not fresh and kept.until > self._clock():
            self._kept.move_to_end(url)
            return kept.card
        asking = self._asking.setdefault(url, asyncio.Lock())
        try:
            async with asking:  # those who come meanwhile get the same answer
                current = self._kept.get(url)
                if current is not None and current is not kept:
                    return current.card
                return (await self._ask(url, current)).card
        finally:
            if not asking.locked():
                self._asking.pop(url, None)

    async def raw(self, url: str) -> Mapping[str, Any]:
        """Return the card at an address as its server wrote it.

        Raises:
            EndpointError: There was no card, or none that is to be trusted.
        """
        await self.get(url)
        return self._kept[url].raw

    async def _ask(self, url: str, kept: _Kept | None) -> _Kept:
        import httpx

        headers = {"Accept": "application/json"}
        if kept is not None and kept.etag:
            headers["If-None-Match"] = kept.etag
        try:
            async with self._client.stream("GET", url, headers=headers, timeout=self._timeout_s) as response:
                if response.status_code == 304 and kept is not None:
                    return self._keep(url, _Kept(kept.card, kept.etag, self._until(response), kept.raw))
                if response.status_code != 200:
                    raise EndpointError(
                        f"The card at {url} was refused with status {response.status_code}", reached=False
                    )
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise EndpointError(f"The card at {url} has more than {MOST_BYTES:,} bytes", reached=False)
        except httpx.HTTPError as error:
            raise EndpointError(f"The card at {url} could not be read ({why(error)})", reached=False) from error
        raw, card = self._parse(url, bytes(body))
        return self._keep(url, _Kept(card, response.headers.get("etag", ""), self._until(response), raw))

    def _parse(self, url: str, body: bytes) -> tuple[Mapping[str, Any], AgentCard]:
        from a2a.client.card_resolver import parse_agent_card
        from google.protobuf.json_format import ParseError

        try:
            raw = json.loads(body)
            card = parse_agent_card(json.loads(body))  # it changes what it is given
        except (ValueError, ParseError) as error:
            raise EndpointError(f"What is at {url} is no card of an agent", reached=False) from error
        if self._verify is not None:
            try:
                self._verify(card)
            except Exception as error:
                raise EndpointError(f"The card at {url} is not to be trusted: {error}", reached=False) from error
        return raw, card

    def _until(self, response: httpx.Response) -> float:
        said = response.headers.get("cache-control", "")
        found = _MAX_AGE.search(said)
        ttl_s = float(found[1]) if found else TTL_S
        if "no-cache" in said or "no-store" in said:
            ttl_s = 0.0
        return self._clock() + min(max(ttl_s, LEAST_TTL_S), MOST_TTL_S)

    def _keep(self, url: str, kept: _Kept) -> _Kept:
        self._kept[url] = kept
        self._kept.move_to_end(url)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return kept
