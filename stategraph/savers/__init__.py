"""Savers of the engine's own: checkpoints in SQLite, in a form that grows with the data of a thread.

They are `BaseCheckpointSaver`s as any other, so LangGraph takes them as well.

This package must never know of runs, agents or workers, and the engine never of a saver here: it calls the interface.
"""

from stategraph.savers.sqlite.saver import AsyncSqliteSaver as AsyncSqliteSaver
from stategraph.savers.sqlite.saver import SqliteSaver as SqliteSaver
