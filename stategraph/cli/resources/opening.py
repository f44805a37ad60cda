"""The store of resources that a command works on, and the runtime on it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import STOPPED, STORE_VARIABLE, Output, expected

if TYPE_CHECKING:
    from stategraph.resources.runtime import Runtime
    from stategraph.resources.store.port import ResourceStore

#: The database without `--store` and variable: that of `stategraph dev` and `serve`, in the present folder.
DEFAULT: Final = "sqlite:///.stategraph/threads.db"


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the database."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get(STORE_VARIABLE),
        help="the database of resources: sqlite:///app.db or postgresql://...; by default that in the environment "
        f"variable {STORE_VARIABLE}, else .stategraph/threads.db, which 'serve' and 'dev' use too",
    )


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which modules manifests may name."""
    parser.add_argument(
        "--allow",
        metavar="PREFIX",
        action="append",
        default=[],
        help="modules that manifests may name, such as 'app.'; may be repeated. Nothing else is imported for them",
    )


def add_services(parser: argparse.ArgumentParser, *, allows: bool = False) -> None:
    """Add the options that say which code manifests may use; `allows`: one of them is there already."""
    if not allows:
        add_allow(parser)
    parser.add_argument(
        "--services",
        metavar="TARGET",
        help="what the program gives controllers, as MODULE:NAME: a mapping such as {'model_factory': ..., "
        "'tools': {...}}, or a function that returns one",
    )


def services_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the program gives controllers.

    Raises:
        ConfigurationError: It cannot be imported, or is no mapping.
    """
    from stategraph.import_paths import mapping_at

    if not arguments.services:
        return {}
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as for targets
    return mapping_at(arguments.services, "--services")


def address_of(arguments: argparse.Namespace) -> str:
    """Return the address of the database."""
    return arguments.store or DEFAULT


def is_there(url: str) -> bool:
    """Return whether a database may be there: a file that is not is none."""
    scheme, _, path = url.partition(":///")
    return scheme not in ("sqlite", "libsql") or Path(path.partition("?")[0]).exists()


def check_there(arguments: argparse.Namespace) -> str:
    """Return the address of a database that is to be read.

    Raises:
        ConfigurationError: There is none.
    """
    from stategraph.errors import ConfigurationError

    url = address_of(arguments)
    if not is_there(url):
        path = url.partition(":///")[2]
        where = "check the path in --store" if arguments.store else "name another database with --store"
        raise ConfigurationError(
            f"There is no database '{path}': apply something first ('stategraph apply -f FOLDER'), or {where}"
        )
    return url


@asynccontextmanager
async def opened_store(arguments: argparse.Namespace) -> AsyncIterator[ResourceStore]:
    """Open the store of a command that reads; a file that is not there is not made.

    Raises:
        ConfigurationError: There is none.
    """
    from stategraph.resources.store.opening import open_store

    store = open_store(check_there(arguments))
    try:
        yield store
    finally:
        await store.close()


def make_room(url: str) -> None:
    """Make the folder of the default database, which version control leaves out."""
    if url != DEFAULT:
        return
    from stategraph.dev.serving import store_of

    store_of({}, None)


@asynccontextmanager
async def runtime_on(
    url: str, arguments: argparse.Namespace, *, saver: bool = True, writes: bool = True
) -> AsyncIterator[Runtime]:
    """Open the runtime of a store for a block, and reconcile.

    Args:
        url: The store.
        arguments: Has `allow` and `services`.
        saver: Whether threads are kept in the same database.
        writes: Whether what is found of resources is stored.
    """
    from contextlib import AsyncExitStack

    from stategraph.resources.loop.loop import LoopSettings
    from stategraph.resources.runtime import Runtime

    make_room(url)
    services = services_of(arguments)
    async with AsyncExitStack() as stack:
        if saver and "saver" not in services and not url.startswith(("memory:", "libsql:")):
            from stategraph.savers.urls import saver_at

            services["saver"] = await stack.enter_async_context(saver_at(url))
        yield await stack.enter_async_context(
            Runtime.from_url(url, allow=arguments.allow, settings=LoopSettings(writes=writes), **services)
        )


def run_on_resources(
    command: Callable[[argparse.Namespace, Output], Awaitable[int]], arguments: argparse.Namespace, *, as_json: bool
) -> int:
    """Run a command and return its exit code; an error that a user can do something about is a sentence.

    Args:
        command: The command.
        arguments: Its arguments.
        as_json: Whether its results are JSON.
    """
    import asyncio

    from stategraph.resources.errors import ResourceError

    output = Output(as_json=as_json, store=getattr(arguments, "store", None) or "")
    output.log_to_stderr()
    try:
        return asyncio.run(command(arguments, output))  # type: ignore[arg-type]
    except KeyboardInterrupt:
        return STOPPED
    except ResourceError as error:
        return output.fail(error)
    except Exception as error:
        known = expected(error)
        if known is None:
            raise
        return output.fail(known)
