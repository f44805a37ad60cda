"""One execution of a run's graph: its inputs, the lock of its thread, the tools that the client executes, its end.

It must never know what runs share (`stategraph.run.runtime`) or how a host describes a run (`stategraph.run.config`).
"""
