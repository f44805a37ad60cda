"""The rules: what a graph is, what its next step is, what a step does to the state.

This package is a machine that is told events (a task finished, failed, was interrupted; a drain was requested) and
answers with what should happen next (run these tasks, save these writes, save this checkpoint, finish). It decides
and never acts.

It must never know: threads, event loops and `await`; clocks, randomness and id factories (times and ids are arguments);
savers, stores and caches; logging and I/O; langchain, pydantic and LangGraph; how a node is called, and who listens.
"""
