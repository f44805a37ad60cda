"""Tables and statements of the store, in the words of a database.

The version of the store is one row that every write locks before anything else: so writers come one after the other,
versions are given in the order of commits and without a gap, and whoever has read the log up to one of them has missed
none before it.
"""

from __future__ import annotations

from typing import Final

from stategraph.resources.store.rows import COLUMNS

TABLES: Final = (
    """CREATE TABLE sg_resource (
        namespace TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        uid TEXT NOT NULL UNIQUE,
        generation BIGINT NOT NULL,
        resource_version BIGINT NOT NULL,
        api_version TEXT NOT NULL,
        kind_name TEXT NOT NULL,
        spec TEXT NOT NULL,
        status TEXT NOT NULL,
        labels TEXT NOT NULL,
        annotations TEXT NOT NULL,
        owners TEXT NOT NULL,
        finalizers TEXT NOT NULL,
        source TEXT,
        created_at TEXT NOT NULL,
        deletion_at TEXT NOT NULL,
        applied TEXT,
        good_spec TEXT,
        good_generation BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (namespace, kind, name)
    )""",
    """CREATE TABLE sg_resource_log (
        resource_version BIGINT PRIMARY KEY,
        op TEXT NOT NULL,
        namespace TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        at TEXT NOT NULL
    )""",
    "CREATE TABLE sg_resource_version (one INTEGER PRIMARY KEY, version BIGINT NOT NULL)",
    """CREATE TABLE sg_resource_lease (
        name TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        until DOUBLE PRECISION NOT NULL
    )""",
)

_KEY: Final = "namespace = ? AND kind = ? AND name = ?"


class Statements:
    """Every statement.

    Args:
        parameter: Stands for an argument: `?` or `%s`.
        lock: Locks a row that is read: empty, or `FOR UPDATE`.
        now: The database's time, in seconds since 1970.
    """

    def __init__(self, parameter: str, lock: str, now: str) -> None:
        def say(statement: str) -> str:
            return statement.replace("?", parameter)

        marks = ", ".join("?" for _ in COLUMNS.split(","))
        self.first_version = "INSERT INTO sg_resource_version (one, version) VALUES (1, 0) ON CONFLICT (one) DO NOTHING"
        self.lock_version = f"SELECT version FROM sg_resource_version WHERE one = 1 {lock}"
        self.set_version = say("UPDATE sg_resource_version SET version = ? WHERE one = 1")
        self.version = "SELECT version FROM sg_resource_version WHERE one = 1"
        self.log = say(
            "INSERT INTO sg_resource_log (resource_version, op, namespace, kind, name, at) VALUES (?, ?, ?, ?, ?, ?)"
        )
        self.changes = say(
            "SELECT op, resource_version, namespace, kind, name FROM sg_resource_log WHERE resource_version > ? "
            "ORDER BY resource_version LIMIT ?"
        )
        self.prune = say("DELETE FROM sg_resource_log WHERE resource_version <= ?")
        self.get = say(f"SELECT {COLUMNS} FROM sg_resource WHERE {_KEY}")
        self.get_applied = say(f"SELECT {COLUMNS}, applied FROM sg_resource WHERE {_KEY}")
        self.all = f"SELECT {COLUMNS} FROM sg_resource ORDER BY kind, namespace, name"
        self.of_kind = say(f"SELECT {COLUMNS} FROM sg_resource WHERE kind = ? ORDER BY namespace, name")
        self.of_namespace = say(f"SELECT {COLUMNS} FROM sg_resource WHERE namespace = ? ORDER BY kind, name")
        self.of_both = say(f"SELECT {COLUMNS} FROM sg_resource WHERE kind = ? AND namespace = ? ORDER BY name")
        self.insert = say(f"INSERT INTO sg_resource ({COLUMNS}, applied) VALUES ({marks}, ?)")
        self.update = say(
            "UPDATE sg_resource SET generation = ?, resource_version = ?, api_version = ?, kind_name = ?, spec = ?, "
            "labels = ?, annotations = ?, owners = ?, finalizers = ?, source = ?, applied = ? "
            f"WHERE {_KEY} AND resource_version = ?"
        )
        self.set_status = say(
            f"UPDATE sg_resource SET status = ?, resource_version = ? WHERE {_KEY} AND resource_version = ?"
        )
        self.set_good = say(
            f"UPDATE sg_resource SET good_spec = spec, good_generation = generation WHERE {_KEY} "
            "AND good_generation < generation"
        )
        self.good = say(f"SELECT good_spec, good_generation FROM sg_resource WHERE {_KEY}")
        self.set_source = say(f"UPDATE sg_resource SET source = ? WHERE {_KEY}")
        self.set_deletion = say(f"UPDATE sg_resource SET deletion_at = ?, resource_version = ? WHERE {_KEY}")
        self.delete = say(f"DELETE FROM sg_resource WHERE {_KEY}")
        # One leader: a lease that is past, or whose holder is known to be gone, is taken over.
        self.take_lease = say(
            f"INSERT INTO sg_resource_lease (name, holder, until) VALUES (?, ?, {now} + ?) "
            "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
            f"WHERE sg_resource_lease.holder = excluded.holder OR sg_resource_lease.until < {now} "
            "OR sg_resource_lease.holder = ? RETURNING holder"
        )
        self.holder = say("SELECT holder FROM sg_resource_lease WHERE name = ?")
        self.drop_lease = say("DELETE FROM sg_resource_lease WHERE name = ? AND holder = ?")
