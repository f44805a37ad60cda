"""Targets that are resources: what is declared, in a folder or in a database, as a graph that commands run.

A target with a slash and without a colon is a resource, `workflow/nightly`; code has a colon, or is a module.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.resources.asked import found_at, key_of
from stategraph.cli.resources.manifests import add_files, read
from stategraph.cli.resources.opening import add_services, address_of, check_there, runtime_on, services_of
from stategraph.resources.kind_table import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from stategraph.dev.console.console import Console
    from stategraph.resources.model import ResourceKey
    from stategraph.resources.runtime import Runtime
    from stategraph.server.service.graphs.declared import Declared, ResourceSettings

_NAMED: Final = re.compile(r"[A-Za-z]+(/[^/:\\]+){1,2}")

#: Seconds that what is declared has to become ready.
_READY_S: Final = 60.0


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the options of targets that are resources."""
    add_files(parser, needed=False)
    parser.add_argument(
        "-n", "--namespace", metavar="NAME", default=DEFAULT_NAMESPACE, help="the namespace of a resource"
    )
    add_services(parser)


def add_resources(parser: argparse.ArgumentParser, *, allows: bool = False, only: bool = False) -> None:
    """Add the options of servers that serve what is declared.

    Args:
        parser: Parses the command.
        allows: The command has an option `--allow` already.
        only: Whether the folder may be all that there is, see `--resources-only`.
    """
    parser.add_argument(
        "--resources",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="serve the agents, workflows and networks that are declared in the database; those of a folder are "
        "applied first",
    )
    if only:
        parser.add_argument(
            "--resources-only",
            action="store_true",
            help="with --resources FOLDER: the folder alone says what there is, and the database has the threads",
        )
    add_services(parser, allows=allows)


def resources_of(arguments: argparse.Namespace) -> Declared | None:
    """Return the declared resources of a command line; None: it does not ask for it."""
    if arguments.resources is None:
        return None
    from stategraph.errors import ConfigurationError
    from stategraph.server.service.graphs.declared import Declared

    only = arguments.resources_only
    if only and not arguments.resources:
        raise ConfigurationError("--resources-only is about a folder: name one, as in --resources app/")
    return Declared(arguments.resources or None, tuple(arguments.allow), services_of(arguments), stored=not only)


def take(arguments: argparse.Namespace, settings: ResourceSettings) -> None:
    """Take from the settings of a server what its command line does not say."""
    if arguments.resources is None:
        arguments.resources = settings.folder
        arguments.resources_only = arguments.resources_only or settings.only
    arguments.allow = [*arguments.allow, *(each for each in settings.allow if each not in arguments.allow)]
    arguments.services = arguments.services or settings.services or None


def console_of(arguments: argparse.Namespace) -> Callable[[str], Console] | None:
    """Return what makes the console of a server, of the address of its database; None: it has none."""
    if arguments.resources is None:
        return None

    def make(url: str) -> Console:
        from stategraph.dev.console.console import Console
        from stategraph.resources.runtime import Runtime

        runtime = Runtime.from_url(url, allow=tuple(arguments.allow), **services_of(arguments))
        return Console(runtime, folder=arguments.resources or None, writes=arguments.write)

    return make


def check_writes(arguments: argparse.Namespace) -> None:
    """Check that what changes resources is asked for where there are some.

    Raises:
        ConfigurationError: It is asked for without.
    """
    from stategraph.errors import ConfigurationError

    if arguments.write and arguments.resources is None:
        raise ConfigurationError("--write is for the console of resources: give --resources too, or --edit for threads")


def words_of(arguments: argparse.Namespace) -> list[str]:
    """Return the options that say the same to another process; manifests are stored by the first one alone."""
    if arguments.resources is None:
        return []
    allowed = [word for each in arguments.allow for word in ("--allow", each)]
    given = [*allowed, *(["--services", arguments.services] if arguments.services else []), "--resources"]
    return [*given, arguments.resources, "--resources-only"] if arguments.resources_only else given


def place(arguments: argparse.Namespace) -> None:
    """Name the database of a resource that is stored: its threads are beside it."""
    if is_named(arguments.target) and not arguments.files:
        arguments.store = address_of(arguments)


def is_named(target: str) -> bool:
    """Return whether a target is a resource."""
    return _NAMED.fullmatch(target) is not None and not Path(target).exists()


@asynccontextmanager
async def graph(arguments: argparse.Namespace) -> AsyncIterator[Any]:
    """Yield the graph of a resource: of the manifests in `--filename`, else of the database.

    Raises:
        ConfigurationError: There is none, or it is not ready; the message says why.
    """
    key = key_of(arguments.target, arguments.namespace)
    url = "memory:" if arguments.files else check_there(arguments)
    async with runtime_on(url, arguments, saver=False, writes=bool(arguments.files)) as runtime:
        if arguments.files:
            await _apply(runtime, arguments)
        yield await _ready(runtime, key)


@contextmanager
def conversing(arguments: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
    """Yield a resource as settings of a chat, for a block in which it is reconciled in the background.

    Raises:
        ConfigurationError: There is none, or it is not ready; the message says why.
    """
    from stategraph.resources.blocking import BlockingRuntime
    from stategraph.resources.loop.loop import LoopSettings
    from stategraph.resources.runtime import Runtime
    from stategraph.run import background_loop

    key = key_of(arguments.target, arguments.namespace)
    url = "memory:" if arguments.files else check_there(arguments)
    settings = LoopSettings(writes=bool(arguments.files))
    runtime = Runtime.from_url(url, allow=arguments.allow, settings=settings, **services_of(arguments))
    with BlockingRuntime(runtime):
        loop = background_loop.current()
        if arguments.files:
            loop.run(lambda: _apply(runtime, arguments))
        graph = loop.run(lambda: _ready(runtime, key))
        yield runtime.agent(key).settings() if key.kind == "agent" else {"graph": graph}


async def _apply(runtime: Runtime, arguments: argparse.Namespace) -> None:
    from stategraph.resources.loading import ManifestError

    given = read(arguments.files, arguments.namespace)
    if given.problems:
        raise ManifestError(given.problems)
    await runtime.apply(given.resources)


async def _ready(runtime: Runtime, key: ResourceKey) -> Any:
    """Return the graph of a resource once all is reconciled."""
    from stategraph.errors import ConfigurationError
    from stategraph.resources.errors import ResourceError
    from stategraph.resources.manifests import describing

    with suppress(TimeoutError):  # whatever is not ready then, this may be
        await runtime.settled(_READY_S)
    try:
        return runtime.graph(key)
    except ResourceError as error:
        resource = runtime.seen(key) or await found_at(runtime.store, key)
        why = describing.why_not(resource) if resource is not None else []
        text = "\n".join(why) if why else str(error)
        raise ConfigurationError(f"{key} cannot be run: {text}") from error
