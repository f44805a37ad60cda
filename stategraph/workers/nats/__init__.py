"""Jobs and signals over NATS (the extra `nats`): for workers on many machines.

`address` reads addresses and `connection` opens them, with errors in sentences. This package must never know runs of a
registry or their tables, and show no secret of an address.
"""
