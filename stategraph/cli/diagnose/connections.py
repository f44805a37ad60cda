"""Connections: NATS, a server of stategraph, endpoints of models, agents of the directory; each with its latency."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from stategraph.cli.diagnose.findings import Finding

LIMIT_S: Final = 10.0

#: Statuses that ask for other credentials.
_NOT_ALLOWED: Final = (401, 403)

#: Clocks may differ by so much, in seconds; headers say whole ones.
SKEW_S: Final = 3.0


def nats(url: str) -> Iterator[Finding]:
    """Connect to a NATS server, and ask it for JetStream."""
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        took_s, streams, payload = asyncio.run(_asked(url))
    except (ConfigurationError, MissingPackageError, OSError, TimeoutError) as error:
        way_out = "look whether it runs, and whether address and login are right"
        yield Finding("fail", "nats", "connection", f"{type(error).__name__}: {error}", "an answer", way_out)
        return
    yield Finding("ok", "nats", "latency", f"answers in {1000 * took_s:.1f} ms; takes messages of {payload:,} bytes")
    if streams is None:
        way_out = "start it with JetStream for `NatsPool` and directories in NATS; wake-ups need none"
        yield Finding("ok", "nats", "jetstream", f"it has no JetStream: {way_out}")
    else:
        yield Finding("ok", "nats", "jetstream", f"{streams} streams")


async def _asked(url: str) -> tuple[float, int | None, int]:
    from stategraph.workers.nats.address import read_address
    from stategraph.workers.nats.connection import close, connect

    client = await connect(read_address(url), name="stategraph diagnose")
    try:
        began = time.perf_counter()
        await client.flush(timeout=int(LIMIT_S))
        took_s = time.perf_counter() - began
        try:
            streams = (await client.jetstream().account_info()).streams
        except Exception:  # whichever way a server says that it has none
            streams = None
        return took_s, streams, client.max_payload
    finally:
        await close(client)


def server(url: str, token: str | None) -> Iterator[Finding]:
    """Ask a server of stategraph whether it takes requests, whether its database answers, and for its clock."""
    answer = _asked_by_http("server", url, "/ok?check_db=1", token, "look whether it runs, and")
    if isinstance(answer, Finding):
        yield answer
        return
    if answer.status == 200:
        yield Finding("ok", "server", "ready", f"{url} takes requests, and answers in {1000 * answer.took_s:.1f} ms")
    else:
        way_out = (
            "503: it is stopping, or its database does not answer; another status: the address is of something else"
        )
        said = f"{url}/ok says {answer.status}: {answer.text[:200]}"
        yield Finding("fail", "server", "ready", said, "200", way_out)
    if answer.date is not None:
        skew_s = answer.date - time.time()
        said = f"its clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
        level = "warn" if abs(skew_s) > SKEW_S else "ok"
        expected, way_out = (
            (f"{SKEW_S:g} s at most", "have both set their clocks by NTP") if level == "warn" else ("", "")
        )
        yield Finding(level, "server", "clock", said, expected, way_out)  # type: ignore[arg-type]
    answer = _asked_by_http("server", url, "/info", token, "look whether it runs still, and")
    if isinstance(answer, Finding):
        yield answer
    elif answer.status == 200:
        try:
            yield Finding("ok", "server", "version", f"{json.loads(answer.text).get('version', 'unknown')}")
        except (ValueError, AttributeError):
            yield Finding("warn", "server", "version", "/info is no JSON", "a server of stategraph", "correct --server")
    elif answer.status in _NOT_ALLOWED:
        way_out = "the token is in STATEGRAPH_TOKEN"
        yield Finding("warn", "server", "credentials", f"/info says {answer.status}", "200", way_out)


def endpoint(url: str, key: str | None) -> Iterator[Finding]:
    """Ask an endpoint of models for its list, which costs nothing."""
    answer = _asked_by_http("models", url, "/models", key, "correct the address, or look")
    if isinstance(answer, Finding):
        yield answer
        return
    said = f"{url}/models says {answer.status} in {1000 * answer.took_s:.0f} ms"
    if answer.status == 200:
        yield Finding("ok", "models", "answer", said)
    elif answer.status in _NOT_ALLOWED:
        yield Finding("fail", "models", "credentials", said, "200", "the key is in OPENAI_API_KEY")
    else:
        yield Finding("warn", "models", "answer", said, "200", "the address ends with /v1 mostly")


def agents(url: str) -> Iterator[Finding]:
    """Ask all agents of a database's directory for their cards."""
    from stategraph.errors import ConfigurationError, MissingPackageError

    try:
        found = asyncio.run(_cards(url)) if _has_directory(url) else []
    except (ConfigurationError, MissingPackageError, ConnectionError) as error:
        yield Finding("warn", "agents", "directory", str(error), "a directory", "install the extra, or correct --store")
        return
    if not found:
        yield Finding("ok", "agents", "directory", "no agent is registered")
    for name, took_s, problem in found:
        if problem:
            way_out = "start it, or remove it: stategraph agents remove"
            yield Finding("warn", "agents", "card", f"{name}: {problem}", "its card", way_out)
        else:
            yield Finding("ok", "agents", "card", f"{name} answers in {1000 * took_s:.1f} ms")


def _has_directory(url: str) -> bool:
    """Return whether a database has the table of agents, without making it."""
    from stategraph.fleet.sources.database import TABLE
    from stategraph.workers.registry.databases import open_database

    database = open_database(url, create=False)
    try:
        with database.transaction(write=False) as session:
            return bool(session.execute(database.sql.exists, (TABLE,)))
    finally:
        database.close()


async def _cards(url: str) -> list[tuple[str, float, str]]:
    from stategraph.fleet.a2a import A2aTransport
    from stategraph.fleet.directory import Directory
    from stategraph.fleet.errors import EndpointError
    from stategraph.fleet.sources.database import DatabaseSource

    found = []
    async with Directory(DatabaseSource.from_url(url)) as directory:
        standings = directory.endpoints()
        if not standings:
            return []
        async with A2aTransport() as transport:
            for each in standings:
                name = f"{each.endpoint.agent} at {each.endpoint.url}"
                began = time.perf_counter()
                try:
                    await asyncio.wait_for(transport.cards.get(each.endpoint.card_url, fresh=True), LIMIT_S)
                except (EndpointError, TimeoutError) as error:
                    found.append((name, 0.0, str(error) or f"no answer within {LIMIT_S:g} s"))
                else:
                    found.append((name, time.perf_counter() - began, ""))
    return found


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer over HTTP.

    Attributes:
        status: Its status.
        text: Its text.
        date: The server's time in seconds since 1970; None: it does not say.
        took_s: Seconds that it took.
    """

    status: int
    text: str
    date: float | None
    took_s: float


def _asked_by_http(area: str, url: str, path: str, token: str | None, first: str) -> _Answer | Finding:
    """Ask for a path below an address; a finding: nobody answered. `first` begins the way out."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return _get(url.rstrip("/") + path, headers)
    except (OSError, ValueError, http.client.HTTPException) as error:
        way_out = f"{first} whether this machine may reach it: no proxy is used here, also if HTTPS_PROXY names one"
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Finding("fail", area, "connection", f"{url}: {said}", "an answer", way_out)


def _get(url: str, headers: Mapping[str, str]) -> _Answer:
    """Ask for an address.

    Raises:
        OSError: Nobody answers.
        ValueError: It is no address.
        http.client.HTTPException: What answers does not speak HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address begins with http:// or https:// and a host")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=LIMIT_S)
    try:
        began = time.perf_counter()
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=dict(headers))
        answer = connection.getresponse()
        took_s = time.perf_counter() - began
        date = answer.headers.get("date")
        at = None if date is None else email.utils.parsedate_to_datetime(date).timestamp()
        return _Answer(answer.status, answer.read(1 << 20).decode("utf-8", "replace"), at, took_s)
    finally:
        connection.close()
