"""Savers on SQLite.

This package must never know of runs, and never wait for anything but its database.
"""
