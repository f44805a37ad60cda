"""`stategraph operator`: reconcile the resources of a Kubernetes cluster."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shlex

from stategraph.cli.output import Output, plain_command


def prepare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--namespace", action="append", default=[], metavar="NAME", help="follow it; may be repeated")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PREFIX", help="modules that manifests may name, such as 'app.'"
    )
    parser.add_argument("--server", metavar="URL", help="the API server (default: the pod's or the kubeconfig's)")
    parser.add_argument("--liveness", metavar="URL", help="serve liveness there, such as http://0.0.0.0:8080/healthz")
    parser.add_argument(
        "--image", default="", metavar="IMAGE", help="image of agents' and workers' pods (default: none)"
    )
    parser.add_argument("--agent-command", metavar="WORDS", help="command of an agent's pod; {name} is the agent's")
    parser.add_argument("--worker-command", metavar="WORDS", help="command of a worker's pod; {queue} is its queue's")
    parser.add_argument("--environment-secret", metavar="NAME", help="a Secret whose keys are variables of these pods")
    parser.add_argument("--keda", action="store_true", help="have KEDA scale workers by their queue")
    parser.add_argument("--json", action="store_true", help="print an error as JSON")
    parser.epilog = "It runs until a signal. Exit code: 0 it was stopped, 2 it does not work. See docs/kubernetes.md."
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the operator and return the exit code."""
    return plain_command(_operate, arguments, as_json=arguments.json)


def _operate(arguments: argparse.Namespace, output: Output) -> int:
    del output
    from stategraph.errors import MissingPackageError
    from stategraph.resources.operator.mirror import Operator, OperatorSettings
    from stategraph.resources.operator.workloads import PodSettings
    from stategraph.resources.runtime import Runtime

    connection = None
    if arguments.server:
        try:
            import kopf  # 0.9 s, and only operators need it
        except ImportError as error:
            raise MissingPackageError("stategraph[kubernetes]", "The operator") from error
        connection = kopf.ConnectionInfo(server=arguments.server)
    defaults = PodSettings()
    pods = PodSettings(
        arguments.image,
        _words(arguments.agent_command, defaults.agent_command),
        _words(arguments.worker_command, defaults.worker_command),
        arguments.environment_secret,
        keda=arguments.keda,
    )
    settings = OperatorSettings(
        tuple(arguments.namespace), connection=connection, liveness=arguments.liveness, pods=pods
    )
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    operator = Operator(Runtime.from_url("memory:", allow=arguments.allow), settings)
    asyncio.run(operator.run())
    return 0


def _words(given: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if given is None else tuple(shlex.split(given))
