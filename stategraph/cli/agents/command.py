"""`stategraph agents`: list agents of a directory, read their cards, ask, register; serve those of other frameworks."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from stategraph.cli.agents import serving
from stategraph.cli.output import NOTHING_DONE, Output, add_action, counted, positive, run_command, store_of, table

if TYPE_CHECKING:
    import httpx

    from stategraph.fleet.a2a import A2aTransport
    from stategraph.fleet.directory import Directory
    from stategraph.fleet.standing import Standing

    _Action: TypeAlias = Callable[[Directory, argparse.Namespace, Output], Awaitable[int]]

#: The token that requests to agents have.
TOKEN_VARIABLE: Final = "STATEGRAPH_AGENTS_TOKEN"

STRATEGIES: Final = ("round_robin", "weighted", "least_outstanding", "latency", "sticky")

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = (
        "The directory is a table in the database of --store, or with --nats alone a bucket of that server. Requests "
        f"to agents have the token in the environment variable {TOKEN_VARIABLE}, if there is one: who may register an "
        "agent in the directory may receive it. See docs/fleet.md."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, summary: str, act: _Action) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = add_action(actions, name, summary, run=run, act=act)
        return added

    listing = add("list", "List the agents, where each is reached, and whether it is there.", _list)
    listing.add_argument("--no-check", action="store_true", help="ask no agent whether it is there")
    listing.epilog = "Exit code: 0 all are there, 1 some are not, or there are none."

    card = add("card", "Print the card of an agent.", _card)
    card.add_argument("agent", metavar="AGENT")

    ping = add("ping", "Ask each endpoint of an agent for its card, and say how long it took.", _ping)
    ping.add_argument("agent", metavar="AGENT")
    ping.add_argument("--count", type=positive, default=3, metavar="N", help="times (default: %(default)s)")
    ping.epilog = "Exit code: 0 all answered, 1 some did not."

    send = add("send", "Send a message to an agent, and print its answer as it comes.", _send)
    send.add_argument("agent", metavar="AGENT")
    send.add_argument("text", metavar="TEXT")
    send.add_argument("--context", default="", metavar="ID", help="the conversation that the message belongs to")
    send.add_argument(
        "--strategy", choices=STRATEGIES, default="least_outstanding", help="how an endpoint is picked (%(default)s)"
    )
    send.add_argument(
        "--repeatable", action="store_true", help="send it to another endpoint even if one may have begun with it"
    )
    send.epilog = "Exit code: 0 it is done, 1 it waits for an answer or failed, 2 it could not be sent."

    register = add("register", "Register an endpoint of an agent, or change it.", _register)
    _add_endpoint(register)
    register.add_argument("--card", default="", metavar="URL", help="where its card is (default: below URL)")
    register.add_argument(
        "--weight", type=int, default=1, metavar="N", help="its share of requests; 0 drains it (default: 1)"
    )
    register.add_argument(
        "--capability", action="append", default=[], metavar="NAME", help="what it can do; may be given several times"
    )

    for each in (listing, card, ping, send):
        each.add_argument(
            "--plain-http", action="store_true", help="ask agents on other machines over http:// too, unencrypted"
        )

    remove = add("remove", "Remove an endpoint of an agent.", _remove)
    _add_endpoint(remove)
    remove.epilog = "Exit code: 0 it is removed, 1 it was not there."

    serving.prepare(add("serve", "Serve an agent of another framework over A2A.", serving.serve))


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="AGENT")
    parser.add_argument("url", metavar="URL")


def run(arguments: argparse.Namespace) -> int:
    """Perform an action on a directory and return the exit code."""
    return run_command(_act, arguments)


async def _act(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.fleet.directory import Directory
    from stategraph.fleet.errors import FleetError

    act: _Action = arguments.act
    if not getattr(arguments, "register", True):  # an agent that is served without a directory
        return await serving.serve(None, arguments, output)
    async with Directory(_source(arguments)) as directory:
        try:
            return await act(directory, arguments, output)
        except FleetError as error:
            return output.fail(error)


def _source(arguments: argparse.Namespace) -> Any:
    if arguments.nats and not arguments.store:
        from stategraph.fleet.sources.nats import NatsSource

        return NatsSource(arguments.nats)
    from stategraph.fleet.sources.database import DatabaseSource

    return DatabaseSource.from_url(store_of(arguments))


@contextlib.asynccontextmanager
async def _transport(standings: Sequence[Standing], arguments: argparse.Namespace) -> AsyncGenerator[A2aTransport]:
    """Return what asks agents, with the token if there is one.

    Raises:
        ConfigurationError: The token would cross a network unencrypted.
    """
    from stategraph.errors import ConfigurationError, MissingPackageError
    from stategraph.fleet.a2a import A2aTransport

    try:
        import httpx
    except ImportError as error:
        raise MissingPackageError("stategraph[server]", "Requests to agents") from error
    token = os.environ.get(TOKEN_VARIABLE, "")
    for each in standings if token else ():
        where = urlsplit(each.endpoint.url)
        if where.scheme != "https" and where.hostname not in _LOOPBACK:
            raise ConfigurationError(
                f"'{each.endpoint.url}' would be sent the token of {TOKEN_VARIABLE} unencrypted: register it as "
                "https://..., or unset the variable"
            )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    client: httpx.AsyncClient
    async with httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(10.0, read=None)) as client:
        transport = A2aTransport(client, plain_http=arguments.plain_http)
        try:
            yield transport
        finally:
            await transport.close()


def _endpoints(directory: Directory, agent: str) -> Sequence[Standing]:
    from stategraph.fleet.errors import NoEndpointError

    agents = directory.agents()
    if agent not in agents:
        from stategraph.cli.parser import suggestion

        known = suggestion(agent, agents) or f"; registered: {', '.join(sorted(agents)) or 'none'}"
        raise NoEndpointError(f"There is no agent '{agent}'{known}")
    return agents[agent]


async def _list(directory: Directory, arguments: argparse.Namespace, output: Output) -> int:
    standings = directory.endpoints()
    if not standings:
        output.show([], "No agents.")
        return NOTHING_DONE
    states = ["not asked"] * len(standings)
    if not arguments.no_check:
        import asyncio

        async with _transport(standings, arguments) as transport:
            states = await asyncio.gather(*(_state(transport, each) for each in standings))
    rows = [
        (
            each.endpoint.agent,
            each.endpoint.url,
            str(each.endpoint.weight),
            state,
            ", ".join(sorted(each.endpoint.capabilities)),
        )
        for each, state in zip(standings, states, strict=True)
    ]
    facts = [{**each.endpoint.to_json(), "state": state} for each, state in zip(standings, states, strict=True)]
    output.show(facts, table(("AGENT", "URL", "WEIGHT", "STATE", "CAPABILITIES"), rows))
    return int(any(state not in ("there", "not asked") for state in states))


async def _state(transport: A2aTransport, standing: Standing) -> str:
    from stategraph.fleet.errors import EndpointError

    try:
        await transport.cards.get(standing.endpoint.card_url)
    except EndpointError:
        return "away"
    return "there"


async def _card(directory: Directory, arguments: argparse.Namespace, output: Output) -> int:
    import json

    from stategraph.fleet.errors import EndpointError

    standings = _endpoints(directory, arguments.agent)
    failure: EndpointError | None = None
    async with _transport(standings, arguments) as transport:
        for each in standings:
            try:
                card = await transport.cards.raw(each.endpoint.card_url)
            except EndpointError as error:
                failure = error
            else:
                output.show(card, json.dumps(card, ensure_ascii=False, indent=2))
                return 0
    assert failure is not None
    raise failure


async def _ping(directory: Directory, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.fleet.errors import EndpointError

    standings = _endpoints(directory, arguments.agent)
    facts, rows = list[dict[str, Any]](), list[tuple[str, ...]]()
    async with _transport(standings, arguments) as transport:
        for each in standings:
            took: list[float] = []
            problem = ""
            for _ in range(arguments.count):
                began = time.perf_counter()
                try:
                    await transport.cards.get(each.endpoint.card_url, fresh=True)
                except EndpointError as error:
                    problem = str(error)
                else:
                    took.append(1_000 * (time.perf_counter() - began))
            fact = {"url": each.endpoint.url, "asked": arguments.count, "answered": len(took), "ms": took}
            facts.append({**fact, "error": problem or None})
            times = f"{min(took):.1f} to {max(took):.1f} ms" if took else ""
            rows.append((each.endpoint.url, f"{len(took)} of {arguments.count}", times, problem))
    output.show(facts, table(("URL", "ANSWERED", "TIME", "PROBLEM"), rows))
    return int(any(fact["error"] for fact in facts))


async def _send(directory: Directory, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.fleet.a2a import message
    from stategraph.fleet.answers import Answer, as_json
    from stategraph.fleet.router import Router

    async with _transport(_endpoints(directory, arguments.agent), arguments) as transport:
        router = Router(directory, transport, strategy=arguments.strategy)
        request = message(arguments.text, context_id=arguments.context)
        answer, waiting = Answer(), ""
        async for event in router.stream(
            request, agent=arguments.agent, key=arguments.context, repeatable=arguments.repeatable
        ):
            *whole, waiting = (waiting + answer.take(event)).split("\n")
            if output.as_json:
                output.show(as_json(event), "")
            else:
                for line in whole:
                    output.show(None, line)
        if output.as_json:
            return int(answer.state != "completed")
        if waiting:
            output.show(None, waiting)
        if answer.state != "completed":
            output.complain(f"The task is '{answer.state}'; the conversation is {answer.context_id}")
            return 1
        return 0


async def _register(directory: Directory, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.fleet.endpoint import AgentEndpoint

    endpoint = AgentEndpoint(
        agent=arguments.agent,
        url=arguments.url,
        card_url=arguments.card,
        weight=arguments.weight,
        capabilities=frozenset(arguments.capability),
    )
    await directory.register(endpoint)
    count = counted(len(directory.agents()[endpoint.agent]), "endpoint")
    output.show(endpoint.to_json(), f"'{endpoint.agent}' has {count}.")
    return 0


async def _remove(directory: Directory, arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.fleet.endpoint import AgentEndpoint

    key = AgentEndpoint(agent=arguments.agent, url=arguments.url).key
    was_there = await directory.deregister(key)
    said = "is removed" if was_there else "is not registered"
    output.show({"key": key, "removed": was_there}, f"'{key}' {said}.")
    return 0 if was_there else NOTHING_DONE
