"""Jobs and signals over NATS (the extra `nats`): for workers on many machines.

`address` reads addresses, `connection` opens them, with errors in sentences, and `encryption` keeps secrets from
servers without TLS. This package must never know runs of a registry or their tables, and show no secret of an address.
"""
