"""Upkeep of what savers have stored: sizes, pruning, and from one form to the other.

Everything here is a procedure of statements: it yields statements in the words of its database and is sent their rows,
so both savers and both kinds of callers perform the same one. This package must never know a connection, nor decode a
value.
"""
