"""Tenants apart: by the keys of what is stored, and on PostgreSQL by row-level security as well.

`keys` prefixes threads and namespaces, `binding` tells a transaction its tenant, `pools` does so for savers and stores,
`database` for registries, and `policies` makes the policies of a database, and checks that no table is without.
"""
