"""Nodes whose function runs in a worker process: the executor `process` of graphs, both sides of it."""
