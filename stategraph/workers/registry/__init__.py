"""The runs that workers share: one row each, in the database of the checkpoints.

`operations` performs each operation in one transaction, by the rules of `stategraph.workers.leases`, on any `Database`
(`port`) alike; `databases` lists those, `roster` keeps a row for each worker, `pruning` deletes old runs, `runs` is
what hosts call. This package must never decide what a run's row becomes, nor ask the time of any clock but the
database's.
"""
