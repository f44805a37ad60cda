"""Savers of the engine's own: checkpoints in SQLite and PostgreSQL, in a form that grows with the data of a thread.

They are `BaseCheckpointSaver`s as any other, so LangGraph takes them as well.

This package must never know of runs, agents or workers, and the engine never of a saver here: it calls the interface.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from stategraph.savers.postgres.saver import AsyncPostgresSaver as AsyncPostgresSaver
    from stategraph.savers.postgres.saver import PostgresSaver as PostgresSaver
    from stategraph.savers.sqlite.saver import AsyncSqliteSaver as AsyncSqliteSaver
    from stategraph.savers.sqlite.saver import SqliteSaver as SqliteSaver

__all__ = ("AsyncPostgresSaver", "AsyncSqliteSaver", "PostgresSaver", "SqliteSaver")

_MODULES: Final = {
    "AsyncPostgresSaver": "stategraph.savers.postgres.saver",
    "AsyncSqliteSaver": "stategraph.savers.sqlite.saver",
    "PostgresSaver": "stategraph.savers.postgres.saver",
    "SqliteSaver": "stategraph.savers.sqlite.saver",
}
"""Modules of the savers; those for PostgreSQL need its client, which is an extra."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ImportError as error:
        if "postgres" not in _MODULES[name]:
            raise
        from stategraph.errors import MissingPackageError

        raise MissingPackageError("stategraph[postgres]", name) from error
