"""Where runs execute, and how nothing is lost or done twice.

A registry in the database of the checkpoints holds every run; any worker claims one, keeps its lease alive, and writes
under a token that a later claim makes worthless. What a run does to the outside world goes through a ledger, and what
it says through a log that any process can read.

This package stands on `run`, `agent` and `engine`. It must never know HTTP, YAML, tenants or policies: those pass
through as an opaque context. It never imports code because stored data says so, except from modules that the worker was
told of.
"""
