"""A pool whose workers are on many machines, over NATS (the extra `nats`).

- `queue` keeps jobs in JetStream until they have ended, and what is too large for a message beside them.
- `node` is a machine with workers: it takes jobs from the queue and has them done by a pool of its own.
- `pool` is the host: it submits jobs, decides which node may begin one, and has their events and results.
- Between the two, `links` carries the messages of a job in order, each once (`channel`), also when `session` loses its
  connection and makes it again.

This package must never know runs of a registry or agents, nor import what a message names: a node imports what it was
told of when it was started.
"""
