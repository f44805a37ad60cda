"""Scheduling without a barrier: a node starts when its own inputs are there (docs/dataflow.md).

`core.flow` is what is known before a run, `window` decides what starts when and what it sees, `fork` is the state as
one task sees it, `machine` the run. It must never know a clock, a thread or the order in which drivers hear of ends:
what a node sees follows from the edges alone.
"""
