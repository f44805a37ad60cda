"""Budgets over the tree of a run: reserved before a call, settled after it, in one place for all of its processes.

`port` is what executors and gates ask, `ledger` keeps the figures in SQLite or PostgreSQL, `gate` asks for calls of
models, and `questions` asks a person who may raise a cap.
"""
