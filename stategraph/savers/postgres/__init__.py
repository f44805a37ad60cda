"""Savers on PostgreSQL.

This package must never know of runs, and never keep a lock around its pool.
"""
