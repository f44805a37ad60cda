"""Storages of audit logs: SQLite, PostgreSQL, and files of JSON lines. `urls` chooses one by its address.

They keep rows and heads as they are given, and must never know what is in them.
"""
