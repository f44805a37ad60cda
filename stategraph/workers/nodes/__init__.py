"""Nodes whose function runs in a worker process: the executor `process` of graphs, both sides of it.

It must never know the run that a node belongs to, beyond what the engine's port hands over with each call: retries,
caches and what becomes of a result are the run's.
"""
