"""One run from the caller's arguments to its result: the execution, the two drivers, how a run ends.

It must never know the class of the graph that callers hold (`stategraph.engine.engine`), nor decide what runs next:
that is the core's.
"""
