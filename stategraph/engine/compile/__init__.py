"""Everything about a node that can be decided before a run: how it is called, what it reads, what it writes.

It must never know a run: no execution, checkpoint or stream. What it decides here is decided once per graph.
"""
