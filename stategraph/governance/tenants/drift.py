"""Checks of row-level security that is on: roles, rights, policies and views that undo it.

Functions of the owner with `SECURITY DEFINER`, and rights to roles that only write files, are not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from psycopg import Connection

POLICY: Final = "sg_tenant"

DIGEST: Final = """md5(concat_ws(chr(10), p.polcmd, p.polpermissive, p.polroles::regrole[]::text,
    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)))"""
"""The digest of a policy `p`, in SQL; `apply` notes it in the comment of each policy."""

_MEMBERS: Final = """SELECT r.rolname, r.rolsuper OR r.rolbypassrls FROM pg_roles r, pg_roles app
    WHERE app.rolname = %s AND r.oid <> app.oid AND NOT app.rolsuper AND pg_has_role(app.oid, r.oid, 'MEMBER')
    AND (r.rolsuper OR r.rolbypassrls OR r.rolname = ANY(%s)) ORDER BY r.rolname"""

_RIGHTS: Final = """SELECT c.relname, c.oid, has_any_column_privilege(%s, c.oid, 'INSERT, UPDATE')
    OR has_table_privilege(%s, c.oid, 'DELETE'), has_table_privilege(%s, c.oid, 'TRUNCATE')
    FROM pg_class c WHERE c.oid = ANY(%s) ORDER BY c.relname"""

_LACKING: Final = """SELECT c.oid, array(SELECT wanted.name FROM unnest(%s::text[]) wanted(name)
    WHERE NOT has_table_privilege(%s, c.oid, wanted.name)) FROM pg_class c WHERE c.oid = ANY(%s)"""

_POLICIES: Final = f"""SELECT c.oid, c.relname, p.polname, {DIGEST}, obj_description(p.oid, 'pg_policy')
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE c.oid = ANY(%s) AND p.polpermissive AND (0 = ANY(p.polroles) OR EXISTS (
        SELECT 1 FROM pg_roles r WHERE r.oid = ANY(p.polroles) AND pg_has_role(%s, r.oid, 'MEMBER')))
    ORDER BY c.relname, p.polname"""

#: Views of tables, and views of these. One with `security_invoker` asks the policies of who reads it.
_VIEWS: Final = """WITH RECURSIVE reading(oid) AS (
    SELECT unnest(%s::oid[]) UNION
    SELECT w.ev_class FROM reading JOIN pg_depend d ON d.refobjid = reading.oid AND d.refclassid = 'pg_class'::regclass
        AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite w ON w.oid = d.objid)
    SELECT c.oid::regclass::text, pg_get_userbyid(c.relowner), c.relkind = 'm' FROM reading JOIN pg_class c USING (oid)
    WHERE (c.relkind = 'm' OR (c.relkind = 'v' AND pg_get_userbyid(c.relowner) <> %s AND NOT EXISTS (
        SELECT 1 FROM unnest(c.reloptions) o WHERE o IN ('security_invoker=true', 'security_invoker=on',
        'security_invoker=1', 'security_invoker=yes'))))
    AND (has_any_column_privilege(%s, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(%s, c.oid, 'DELETE'))
    ORDER BY 1"""


def of_roles(connection: Connection[Any], app: str, owners: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for every role that the app role may take on and that policies do not hold for."""
    for name, is_above in connection.execute(_MEMBERS, (app, list(owners))).fetchall():
        what = "which policies do not hold for" if is_above else "which owns tables"
        yield f"The role '{app}' is a member of '{name}', {what}: REVOKE {name} FROM {app}"


def of_rights(connection: Connection[Any], app: str, writable: Mapping[int, bool]) -> Iterator[str]:
    """Yield a sentence for every table that the app role may write though it must not, or empty.

    Args:
        connection: A connection that sees the catalogue.
        app: The app role.
        writable: The tables by their numbers, and whether the app role may write them.
    """
    rows = connection.execute(_RIGHTS, (app, app, app, list(writable))).fetchall()
    for table, oid, writes, truncates in rows:
        if writes and not writable[oid]:
            yield f"The role '{app}' may write the table '{table}', which it only reads: call RowSecurity.apply"
        if truncates:
            yield f"The role '{app}' may TRUNCATE the table '{table}', whatever its policies: call RowSecurity.apply"


def of_lacking(
    connection: Connection[Any], role: str, tables: Mapping[int, tuple[str, Sequence[str]]]
) -> Iterator[str]:
    """Yield a sentence for every table to which a role lacks rights, such as one that was made after the last `apply`.

    Args:
        connection: A connection that sees the catalogue.
        role: The role.
        tables: Names of tables and the rights that the role should have, by the numbers of the tables.
    """
    wanted = sorted({right for _, rights in tables.values() for right in rights})
    lacking = dict(connection.execute(_LACKING, (wanted, role, list(tables))).fetchall())
    for oid, (table, rights) in tables.items():
        missing = [right for right in rights if right in lacking.get(oid, ())]
        if missing:
            yield (
                f"The role '{role}' lacks {', '.join(missing)} on the table '{table}', which it works with: call "
                "RowSecurity.apply"
            )


def note_of(condition: str) -> str:
    """Return what the comment of a policy says of the condition that this version of the package gives it."""
    return hashlib.sha256(condition.encode()).hexdigest()[:16]


def of_policies(connection: Connection[Any], app: str, tables: Mapping[int, str | None]) -> Iterator[str]:
    """Yield a sentence for every policy that lets the app role see other rows than that of `apply`.

    Args:
        connection: A connection that sees the catalogue.
        app: The app role.
        tables: The conditions of tables, by their numbers; None: the table is closed.
    """
    for oid, table, policy, digest, note in connection.execute(_POLICIES, (list(tables), app)).fetchall():
        if policy != POLICY:
            yield (
                f"The table '{table}' has the policy '{policy}' for the role '{app}' too, and rows that either lets "
                f"pass are seen: DROP POLICY {policy} ON {table}"
            )
            continue
        made, _, known = (note or "").partition(" ")
        if not note:
            yield (
                f"The policy of the table '{table}' has no note of what it said at first: it was made by hand, or its "
                "comment was taken away: call RowSecurity.apply"
            )
        elif made != digest:
            yield f"The policy of the table '{table}' is not as RowSecurity.apply made it: call RowSecurity.apply"
        elif known != note_of(tables[oid] or ""):
            yield (
                f"The policy of the table '{table}' was made by another version of stategraph, and does not say what "
                "this one would: call RowSecurity.apply"
            )


def of_views(connection: Connection[Any], app: str, tables: Sequence[int]) -> Iterator[str]:
    """Yield a sentence for every view by which the app role reads tables with the rights of another role."""
    for view, owner, is_copy in connection.execute(_VIEWS, (list(tables), app, app, app)).fetchall():
        how = "holds a copy of rows, which has no policies" if is_copy else f"reads with the rights of '{owner}'"
        way_out = "" if is_copy else f", or ALTER VIEW {view} SET (security_invoker = true)"
        yield f"The view '{view}' {how}, and the role '{app}' may read it: REVOKE ALL ON {view} FROM {app}{way_out}"
