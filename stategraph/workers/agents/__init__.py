"""Whole runs of agents as jobs of a pool: the same `Run` for the host, whose turns a worker executes.

The pool, the workers and the registry know nothing of agents; this package does, on either side of a job. It must never
know the registry and its leases: a run here is a job of a pool, whose kind only `backends` knows.
"""
