"""`stategraph operator`: reconcile the resources of a Kubernetes cluster."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import socket
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import STORE_VARIABLE, Output, plain_command
from stategraph.cli.resources.opening import add_services, services_of

if TYPE_CHECKING:
    from stategraph.resources.operator.connecting import Login
    from stategraph.resources.operator.running import OperatorSettings
    from stategraph.resources.operator.workloads import PodSettings

_RETRY_S: Final = 2.0
"""Seconds after which a candidate looks again, at most: a Lease that was given back is not left alone for longer."""


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--namespace", action="append", default=[], metavar="NAME", help="follow it; may be repeated")
    add_services(parser)
    parser.add_argument(
        "--database",
        metavar="URL",
        nargs="?",
        const="",
        help="the database of the pods' threads, postgresql://...: schedules begin runs there, and the status of "
        f"workflows and workers counts them. Without a URL, that in the environment variable {STORE_VARIABLE} "
        "(default: none)",
    )
    server = parser.add_argument_group("the API server (default: the pod's service account, else the kubeconfig)")
    server.add_argument("--server", metavar="URL", help="its address")
    server.add_argument("--token-file", metavar="FILE", help="a bearer token, read anew when it is refused")
    server.add_argument("--certificate-authority", metavar="FILE", help="what its certificate is verified by")
    several = parser.add_argument_group("several operators")
    several.add_argument(
        "--elect", action="store_true", help="let one of them lead, by a Lease; the others wait until it is gone"
    )
    several.add_argument("--lease-namespace", metavar="NAME", help="namespace of the Lease (default: the pod's)")
    several.add_argument(
        "--lease", type=_seconds, default=15.0, metavar="S", help="seconds that a silent leader is waited for"
    )
    pods = parser.add_argument_group("pods of agents and workers")
    pods.add_argument("--image", default="", metavar="IMAGE", help="their image (default: there are none)")
    pods.add_argument("--agent-command", metavar="WORDS", help="command of an agent's pod; {name} is the agent's")
    pods.add_argument("--worker-command", metavar="WORDS", help="command of a worker's pod; {queue} is its queue's")
    pods.add_argument("--environment-secret", metavar="NAME", help="a Secret whose keys are their variables")
    pods.add_argument("--pod-service-account", metavar="NAME", help="their service account")
    pods.add_argument("--keda", action="store_true", help="have KEDA scale workers by their queue")
    parser.add_argument(
        "--define-kinds",
        action="store_true",
        help="make definitions of the kinds that a CustomResourceDefinition of stategraph.dev declares",
    )
    parser.add_argument("--liveness", metavar="URL", help="serve liveness there, such as http://0.0.0.0:8080/healthz")
    parser.add_argument(
        "--access", action="store_true", help="print what an operator with these options may do, for RBAC, and end"
    )
    parser.add_argument(
        "--custom",
        action="append",
        default=[],
        metavar="PLURAL.GROUP",
        help="with --access: a kind of one's own, such as datasources.mastra.ai; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print an error, or the rules, as JSON")
    parser.epilog = (
        "It runs until a signal. Exit code: 0 it was stopped, 1 another operator leads now, 2 it does not work. See "
        "docs/kubernetes.md."
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    """Read an argument that is a number of seconds, from 3 on.

    Raises:
        ArgumentTypeError: It is less, or no number.
    """
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 3 <= found < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds from 3 on")
    return found


def run(arguments: argparse.Namespace) -> int:
    """Run the operator and return the exit code."""
    return plain_command(_show_access if arguments.access else _operate, arguments, as_json=arguments.json)


def _show_access(arguments: argparse.Namespace, output: Output) -> int:
    from stategraph.errors import ConfigurationError, MissingPackageError
    from stategraph.resources.operator import access

    custom: dict[str, list[str]] = {}
    for each in arguments.custom:
        plural, dot, group = each.partition(".")
        if not (plural and dot and group):
            raise ConfigurationError(f"--custom is PLURAL.GROUP, such as datasources.mastra.ai; found '{each}'")
        custom.setdefault(group, []).append(plural)
    granted: dict[str, Any] = {
        "custom": custom,
        "pods": bool(arguments.image),
        "keda": arguments.keda,
        "defines": arguments.define_kinds,
    }
    documents = access.documents("stategraph-operator", arguments.lease_namespace or "stategraph", **granted)
    if arguments.json:
        output.show(documents, "")
        return 0
    try:
        import yaml  # an extra
    except ImportError as error:
        raise MissingPackageError("stategraph[resources]", "Rules in YAML") from error
    output.show(documents, yaml.safe_dump_all(documents, sort_keys=False, width=120).rstrip("\n"))
    return 0


def _operate(arguments: argparse.Namespace, output: Output) -> int:
    del output
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    return asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    from contextlib import AsyncExitStack

    from stategraph.resources.operator.election import LeadershipLostError
    from stategraph.resources.operator.running import Operator
    from stategraph.resources.runtime import Runtime

    async with AsyncExitStack() as stack:
        services = services_of(arguments)
        url = _database(arguments)
        if url is not None:
            services.setdefault("database", url)
            services.setdefault("registry", await stack.enter_async_context(_registry(url)))
        runtime = Runtime.from_url("memory:", allow=arguments.allow, **services)
        try:
            await Operator(runtime, _settings(arguments)).run()
        except LeadershipLostError as error:
            logging.getLogger("stategraph.operator").error("%s", error)
            return 1
    return 0


def _database(arguments: argparse.Namespace) -> str | None:
    """Return the address of the database; None: there is none.

    Raises:
        ConfigurationError: It is to be in the environment, and is not there.
    """
    from stategraph.errors import ConfigurationError

    if arguments.database == "":
        if not os.environ.get(STORE_VARIABLE):
            raise ConfigurationError(
                f"--database has no URL, and the environment variable {STORE_VARIABLE} is not set: set it, as in "
                "postgresql://app@db/agents"
            )
        return os.environ[STORE_VARIABLE]
    url: str | None = arguments.database
    return url


def _registry(url: str) -> Any:
    """Open the registry of runs for a block."""
    from contextlib import asynccontextmanager

    from stategraph.workers.registry.runs import RunRegistry

    @asynccontextmanager
    async def opened() -> Any:
        registry = RunRegistry.from_url(url)
        try:
            await registry.set_up()
            yield registry
        finally:
            await registry.aclose()

    return opened()


def _settings(arguments: argparse.Namespace) -> OperatorSettings:
    from stategraph.resources.operator import connecting
    from stategraph.resources.operator.election import Candidate
    from stategraph.resources.operator.running import OperatorSettings, identity

    candidate = None
    if arguments.elect:
        lease = arguments.lease
        candidate = Candidate(
            identity(os.environ.get("POD_NAME") or socket.gethostname()),
            arguments.lease_namespace or connecting.namespace_of(),
            lease_s=lease,
            renew_s=lease * 2 / 3,
            retry_s=min(_RETRY_S, lease * 2 / 15),
        )
    return OperatorSettings(
        tuple(arguments.namespace),
        login=_login(arguments),
        liveness=arguments.liveness,
        pods=_pods(arguments),
        candidate=candidate,
        defines=arguments.define_kinds,
    )


def _login(arguments: argparse.Namespace) -> Login:
    from stategraph.errors import ConfigurationError
    from stategraph.resources.operator import connecting

    if arguments.server:
        return connecting.at(
            arguments.server, token_file=arguments.token_file, authority=arguments.certificate_authority
        )
    if arguments.token_file or arguments.certificate_authority:
        raise ConfigurationError("--token-file and --certificate-authority go with --server: name the API server too")
    return connecting.found()


def _pods(arguments: argparse.Namespace) -> PodSettings:
    from stategraph.resources.operator.workloads import PodSettings

    defaults = PodSettings()
    return PodSettings(
        arguments.image,
        _words(arguments.agent_command, defaults.agent_command),
        _words(arguments.worker_command, defaults.worker_command),
        tuple(arguments.allow),
        arguments.services or "",
        arguments.environment_secret,
        arguments.pod_service_account,
        keda=arguments.keda,
    )


def _words(given: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if given is None else tuple(shlex.split(given))
