"""Tables and statements of budgets, in the words that SQLite and PostgreSQL share.

- `sg_budget` has a row for each unit of a tree's budget: its cap, what is reserved and what was spent.
- `sg_budget_hold` has a row for each call that is under way, and for each execution of a root whose time runs.
- `sg_budget_question` has what a person was asked, so that a node that runs again asks the same.

Amounts are whole numbers, which both databases add up exactly: tokens and calls as they are, US dollars in billionths,
time in milliseconds. Times are seconds since 1970 by the database's clock.
"""

from __future__ import annotations

from typing import Final

from stategraph.workers.registry.sql import Dialect, Sql

BUDGET: Final = "sg_budget"
HOLD: Final = "sg_budget_hold"
QUESTION: Final = "sg_budget_question"

_TABLES: Final = (
    f"""CREATE TABLE {BUDGET} (
        tenant TEXT NOT NULL,
        root_run_id TEXT NOT NULL,
        unit TEXT NOT NULL CHECK (unit IN ('tokens', 'usd', 'tool_calls', 'wall_s')),
        cap BIGINT,
        reserved BIGINT NOT NULL DEFAULT 0,
        spent BIGINT NOT NULL DEFAULT 0,
        touched_at {{real}} NOT NULL,
        PRIMARY KEY (tenant, root_run_id, unit)
    )""",
    f"""CREATE TABLE {HOLD} (
        tenant TEXT NOT NULL,
        root_run_id TEXT NOT NULL,
        key TEXT NOT NULL,
        id TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('held', 'running', 'lapsed')),
        tokens BIGINT NOT NULL DEFAULT 0,
        usd BIGINT NOT NULL DEFAULT 0,
        tool_calls BIGINT NOT NULL DEFAULT 0,
        wall_s BIGINT NOT NULL DEFAULT 0,
        since {{real}} NOT NULL,
        expires_at {{real}} NOT NULL,
        PRIMARY KEY (tenant, root_run_id, key)
    )""",
    f"CREATE INDEX sg_budget_lapse ON {HOLD} (tenant, root_run_id, expires_at) WHERE state <> 'lapsed'",
    f"""CREATE TABLE {QUESTION} (
        tenant TEXT NOT NULL,
        root_run_id TEXT NOT NULL,
        place TEXT NOT NULL,
        position INTEGER NOT NULL,
        key TEXT NOT NULL,
        unit TEXT NOT NULL,
        cap BIGINT NOT NULL,
        spent BIGINT NOT NULL,
        asked_at {{real}} NOT NULL,
        PRIMARY KEY (tenant, root_run_id, place, position)
    )""",
)

_OF_TREE: Final = "tenant = ? AND root_run_id = ?"


class BudgetSql:
    """The statements, in the words of one database.

    Args:
        sql: Those of the registry, whose words they share.
    """

    def __init__(self, sql: Sql) -> None:
        self._dialect: Dialect = sql.dialect
        say = self._render
        self.tables = tuple(map(say, _TABLES))
        self.add_unit = say(
            f"""INSERT INTO {BUDGET} (tenant, root_run_id, unit, cap, touched_at) VALUES (?, ?, ?, ?, {{now}})
                ON CONFLICT (tenant, root_run_id, unit) DO NOTHING"""
        )
        #: The rows of a tree, locked: its budget is changed by one transaction at a time.
        self.units = say(
            f"SELECT unit, cap, reserved, spent, {{now}} FROM {BUDGET} WHERE {_OF_TREE} ORDER BY unit {{lock_row}}"
        )
        self.look = say(f"SELECT unit, cap, reserved, spent FROM {BUDGET} WHERE {_OF_TREE}")
        self.move = say(
            f"""UPDATE {BUDGET} SET reserved = reserved + ?, spent = spent + ?, touched_at = {{now}}
                WHERE {_OF_TREE} AND unit = ?"""
        )
        self.raise_cap = say(f"UPDATE {BUDGET} SET cap = ? WHERE {_OF_TREE} AND unit = ? AND cap < ?")
        columns = "key, id, state, tokens, usd, tool_calls, wall_s, since"
        self.hold = say(f"SELECT {columns} FROM {HOLD} WHERE {_OF_TREE} AND key = ?")
        self.lapsing = say(
            f"SELECT {columns}, expires_at FROM {HOLD} WHERE {_OF_TREE} AND state <> 'lapsed' AND expires_at < {{now}}"
        )
        self.running = say(f"SELECT since FROM {HOLD} WHERE {_OF_TREE} AND state = 'running'")
        self.add_hold = say(
            f"""INSERT INTO {HOLD} (tenant, root_run_id, key, id, state, tokens, usd, tool_calls, since, expires_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, {{now}}, {{now}} + ?)"""
        )
        self.lapse = say(f"UPDATE {HOLD} SET state = 'lapsed', wall_s = ? WHERE {_OF_TREE} AND key = ? AND id = ?")
        self.beat = say(
            f"UPDATE {HOLD} SET expires_at = {{now}} + ? WHERE {_OF_TREE} AND key = ? AND id = ? AND state = 'running'"
        )
        self.drop_hold = say(f"DELETE FROM {HOLD} WHERE {_OF_TREE} AND key = ? AND id = ?")
        self.add_question = say(
            f"""INSERT INTO {QUESTION} (tenant, root_run_id, place, position, key, unit, cap, spent, asked_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, {{now}})
                ON CONFLICT (tenant, root_run_id, place, position) DO NOTHING"""
        )
        self.questions = say(
            f"SELECT position, key, unit, cap, spent FROM {QUESTION} WHERE {_OF_TREE} AND place = ? ORDER BY position"
        )
        self.waiting = say(f"SELECT DISTINCT key FROM {QUESTION} WHERE {_OF_TREE} ORDER BY key")
        self.erase = tuple(say(f"DELETE FROM {table} WHERE {_OF_TREE}") for table in (QUESTION, HOLD, BUDGET))
        #: Trees of which nothing has moved for so long.
        self.old = say(
            f"""SELECT root_run_id FROM {BUDGET} WHERE tenant = ?
                GROUP BY root_run_id HAVING MAX(touched_at) < {{now}} - ? LIMIT 500"""
        )

    def _render(self, statement: str) -> str:
        d = self._dialect
        return statement.format(now=d.now, real=d.real, lock_row=d.lock_row).replace("?", d.parameter)
