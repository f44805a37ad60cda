"""A thread seen from outside a run: its snapshots, updates that are written as if nodes had, and the graph's drawing.

It must never know the class of the graph that callers hold (`stategraph.engine.engine`), and it starts no run.
"""
